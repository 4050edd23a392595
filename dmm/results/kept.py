"""runs.jsonl.gz: the whole results behind a report. From them the report can be made again anywhere.

The first line says what the file is. Each further line is a trial, in the table's order: its result with all episodes, losses
and provenance, and the cells of the table that have it. Each line has its sha256. The same results give the same bytes.
Weights are not in the file.
"""

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dmm.base import provenance
from dmm.base.checksums import dump_json, load_json
from dmm.base.paths import write_atomic
from dmm.base.text_tables import counted
from dmm.config import RESULTS_VERSION, Table, edited_code
from dmm.results.score import summarise
from dmm.schema import EvaluationResult, ReportSource, TrialResult, TrialSummary, from_json, to_json

RUNS = "runs.jsonl.gz"
FORMAT = 1  # of the file


@dataclass(frozen=True, kw_only=True)
class Head:
    """The first line: what the file is."""

    format: int
    table: str  # its name, with budget and source of data
    budget: str
    data_source: str
    results_version: int
    trials: int  # further lines


@dataclass(frozen=True, kw_only=True)
class KeptTrial:
    """A further line: a trial, and the labels of row and column of each cell that has it."""

    cells: list[list[str]]
    result: TrialResult


class NotKept(ValueError):
    """The whole results behind a report are not here."""


def keep_runs(
    table: Table, results: Mapping[str, TrialResult], summaries: Mapping[str, TrialSummary], folder: Path
) -> Path:
    """Writes the file beside a report, and lets git take the folder. Returns its path.

    Raises NotKept unless the results are those from whose summaries the report was made. Then nothing is written.
    """
    check_whole(table, results, summaries)
    write_atomic(folder / RUNS, kept_bytes(table, results))
    write_atomic(folder / ".gitignore", b"# a kept report: git takes all files of this folder\n!*\n")
    return folder / RUNS


def kept_bytes(table: Table, results: Mapping[str, TrialResult]) -> bytes:
    """The file of a table's results by second id."""
    cells: dict[str, list[list[str]]] = {}
    for row in table.rows:
        for column in table.columns:
            for trial in table.cell(row, column):
                cells.setdefault(trial.returns_id, []).append([row.label, column.label])
    ids = [trial.returns_id for trial in table.trials() if trial.returns_id in results]
    head = Head(
        format=FORMAT,
        table=table.name,
        budget=table.budget,
        data_source=table.data_source,
        results_version=RESULTS_VERSION,
        trials=len(ids),
    )
    lines = [head, *(KeptTrial(cells=cells[id_], result=results[id_]) for id_ in ids)]
    data = b"".join(dump_json(to_json(line)) + b"\n" for line in lines)
    return gzip.compress(data, 9, mtime=0)  # a time would change the bytes


def check_whole(table: Table, results: Mapping[str, TrialResult], summaries: Mapping[str, TrialSummary]) -> None:
    """Raises NotKept unless the whole results are those from whose summaries a report was made."""
    reported = {id_: replace(summary, run_id=None) for id_, summary in summaries.items()}
    lacking = [id_ for id_ in reported if id_ not in results]
    others = [id_ for id_, result in results.items() if reported.get(id_) != summarise(result)]
    if lacking:
        raise NotKept(
            f"only MLflow has {counted(len(lacking), 'trial')}, among them {table.names()[lacking[0]]}, and it has no losses. "
            "The DMM_HOME in which they were run has all that the file needs"
        )
    if others:
        raise NotKept(
            f"MLflow has another state of {counted(len(others), 'trial')} than DMM_HOME, among them "
            f"{table.names()[others[0]]}. `dmm sync` of the table sends that of DMM_HOME"
        )


def lines_of(path: Path) -> Iterator[tuple[int, Any]]:
    """The lines of a file, each with its number, from 1. Raises ValueError with the line that is damaged."""
    number = 0
    try:
        with gzip.open(path) as file:
            for number, line in enumerate(file, 1):
                yield number, load_json(line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        after = f" after line {number}" if number else f" and may be no {RUNS}"
        raise ValueError(f"{path} is damaged{after}: it cannot be unpacked ({error})") from error
    except ValueError as error:
        raise ValueError(f"{path}, line {number} is damaged: {error}") from error


class KeptResults:
    """The results in a runs.jsonl.gz. Raises ValueError, with file and line, if it is damaged or of another format."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = lines_of(path)
        first = next(lines, (1, {}))[1]
        version = first.get("format") if isinstance(first, dict) else None
        if version != FORMAT:
            raise ValueError(f"{path}, line 1 has format {version!r}; this dmm reads format {FORMAT}")
        self.head = self._read(Head, 1, first)
        self.trials = [self._read(KeptTrial, number, line) for number, line in lines]
        if len(self._by_id) != self.head.trials:
            raise ValueError(
                f"{path} was edited: it has {counted(len(self._by_id), 'trial')}, and line 1 says {self.head.trials}"
            )

    def _read(self, kind: Any, number: int, line: Any) -> Any:
        """A line as its type."""
        try:
            return from_json(kind, line)
        except ValueError as error:
            raise ValueError(f"{self.path}, line {number} cannot be read: {error}") from error

    @cached_property
    def _by_id(self) -> dict[str, TrialResult]:
        """The results by second id."""
        return {trial.result.id: trial.result for trial in self.trials}

    def results(self, table: Table) -> dict[str, TrialResult]:
        """The results of the trials that a table has, by second id. The table may be another one that shares trials.

        Raises ValueError if there is none, or if they are of another version of results.
        """
        if self.head.results_version != RESULTS_VERSION:
            raise ValueError(
                f"{self.path} has results of version {self.head.results_version}, and this dmm makes version "
                f"{RESULTS_VERSION}. Numbers moved in between: `dmm sweep` runs the table again"
            )
        trials = table.trials()
        found = {trial.returns_id: self._by_id[trial.returns_id] for trial in trials if trial.returns_id in self._by_id}
        if not found:
            edited = edited_code(trials)
            raise ValueError(
                f"{self.path} has {counted(len(self._by_id), 'trial')} of table {self.head.table}, and none of them is one of "
                f"table {table.name}: their settings differ{f'. {edited}' if edited else ''}"
            )
        return found

    def summaries(self, table: Table) -> dict[str, TrialSummary]:
        """The summaries of the table's trials by second id. Raises ValueError like `results`, and for another table."""
        if self.head.table != table.name:
            raise ValueError(f"{self.path} is of table {self.head.table}, not of table {table.name}")
        return {id_: summarise(result) for id_, result in self.results(table).items()}

    def cells(self) -> Iterator[tuple[tuple[str, str], TrialSummary]]:
        """The labels of row and column of every cell that has a trial, with the trial's summary. Any version of results."""
        for trial in self.trials:
            for row, column in trial.cells:
                yield (row, column), summarise(trial.result)

    def episodes(self, summaries: Iterable[TrialSummary]) -> dict[str, list[EvaluationResult]]:
        """The evaluations of finished trials by second id, with every episode."""
        return {one.id: self._by_id[one.id].evaluations for one in summaries if one.status == "finished"}

    def source(self, table: Table) -> ReportSource:
        """Where a report is read from, and by which code."""
        return source_of(self.path)


def source_of(path: Path) -> ReportSource:
    """A file or folder as the source of a report."""
    return ReportSource(
        uri=str(path), experiment="", query="", commit=provenance.commit(), versions=provenance.versions()
    )
