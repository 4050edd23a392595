"""Where results are read from: a DMM_HOME folder, a kept report, or a tracking store (tracking/places.py opens all three)."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

from dmm.base.checksums import load_json
from dmm.base.paths import home, home_at
from dmm.config import RESULTS_VERSION, Table
from dmm.results.episodes import Episodes, episodes_here
from dmm.results.kept import RUNS, KeptResults, source_of
from dmm.results.score import summarise
from dmm.schema import EvaluationResult, ReportSource, ReturnsResult, TrialResult, TrialSummary
from dmm.trials.storage import load_status, old_results, read_checked


@runtime_checkable  # tests check annotations
class Results(Protocol):
    """Results of trials."""

    def summaries(self, table: Table) -> dict[str, TrialSummary]:
        """The summaries of a table's trials by second id."""
        ...

    def episodes(self, summaries: Iterable[TrialSummary]) -> dict[str, list[EvaluationResult]]:
        """The evaluations of finished trials by second id, with every episode. The summaries are those of this place."""
        ...

    def source(self, table: Table) -> ReportSource:
        """Where a report is read from, and by which code."""
        ...


def other_versions() -> list[int]:
    """The versions of the results in DMM_HOME that are not those of this code."""
    found = {old.version for old in old_results()}
    for path in (home() / "trials").glob("*/training.json"):
        with suppress(ValueError, KeyError, TypeError):
            found.add(load_json(path.read_bytes())["weights"]["results_version"])
    return sorted(version for version in found if version not in (None, RESULTS_VERSION))


class FolderResults:
    """The results in a DMM_HOME. Nothing is written there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def results(self, table: Table) -> dict[str, TrialResult]:
        """The results of a table by second id.

        Raises ValueError if there is none, or if a file is damaged.
        """
        with home_at(self.folder):
            found = stored_results(table)
            versions = "" if found else ", ".join(map(str, other_versions()))
        if not found:
            older = (
                f". It has results of version {versions}, and this dmm makes version {RESULTS_VERSION}. Numbers moved"
            )
            raise ValueError(
                f"{self.folder} has no result of table {table.name}{f'{older} in between' if versions else ''}; "
                f"`dmm sweep` runs it{' again' if versions else ''} there"
            )
        return found

    def summaries(self, table: Table) -> dict[str, TrialSummary]:
        """The summaries of a table's trials by second id. Raises ValueError like `results`."""
        return {id_: summarise(result) for id_, result in self.results(table).items()}

    def episodes(self, summaries: Iterable[TrialSummary]) -> dict[str, list[EvaluationResult]]:
        """The evaluations of finished trials by second id, with every episode. Raises ValueError if a file is damaged."""
        found = {}
        for summary in summaries:
            path = self.folder / "trials" / summary.weights_id / "evaluations" / f"{summary.id}.json"
            if summary.status == "finished" and (returns := read_checked(ReturnsResult, path)):
                found[summary.id] = returns.evaluations
        return found

    def source(self, table: Table) -> ReportSource:
        """Where a report is read from, and by which code."""
        return source_of(self.folder)


def stored_results(table: Table) -> dict[str, TrialResult]:
    """The results of a table in DMM_HOME by second id. Raises ValueError if a file is damaged."""
    return {trial.returns_id: result for trial in table.trials() if (result := load_status(trial))}


def whole_results(results: Results, table: Table) -> dict[str, TrialResult]:
    """The results of a table with episodes and losses, by second id. MLflow has no losses, so then those in DMM_HOME."""
    return results.results(table) if isinstance(results, FolderResults | KeptResults) else stored_results(table)


def episodes_at_hand(results: Results, table: Table, summaries: Mapping[str, TrialSummary]) -> Episodes:
    """The episodes that need no download: those of the place, or for results in MLflow those of them in DMM_HOME."""
    if isinstance(results, FolderResults | KeptResults):
        return results.episodes(summaries.values())
    return episodes_here(summaries, table.trials())


def is_uri(place: str) -> bool:
    """Whether a place is a tracking URI. All others are files and folders."""
    return "://" in place or place.startswith("databricks")


def find_results(place: str) -> FolderResults | KeptResults:
    """The whole results at a place: a DMM_HOME, the folder of a kept report, or its runs.jsonl.gz.

    Raises ValueError if the place does not exist or holds no results, or if the file is damaged.
    """
    path = Path(place).expanduser()
    if is_uri(place):
        raise ValueError(
            f"{place} is a tracking store, which has no losses; whole results are in a DMM_HOME and in {RUNS}"
        )
    if path.is_file():
        return KeptResults(path)
    if not path.is_dir():
        raise ValueError(
            f"there is no {place}; results are read from a DMM_HOME, the folder of a kept report, its {RUNS}, or a tracking "
            "URI such as sqlite:////PATH"
        )
    if (path / RUNS).is_file():
        return KeptResults(path / RUNS)
    if (path / "trials").is_dir():
        return FolderResults(path.resolve())
    inside = ", ".join(sorted(found.parent.name for found in path.glob(f"*/{RUNS}")))
    has = f"; its folders {inside} have one" if inside else "; `dmm report --keep` writes one"
    raise ValueError(f"{place} holds no results: it has no folder trials, as a DMM_HOME has, and no {RUNS}{has}")
