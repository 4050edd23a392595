"""Handmade results of every status, in trial folders and in runs.jsonl.gz."""

from dataclasses import replace
from pathlib import Path

from dmm.base.paths import home
from dmm.results.kept import kept_bytes
from dmm.schema import TrialResult
from helpers import handmade_results as handmade

TABLE = handmade.TABLE
FILE = handmade.__file__  # of the table
TRIALS = TABLE.trials()
FILES = ("table.md", "table.csv", "table.tex", "scores.csv")


def by_id(results: list[TrialResult]) -> dict[str, TrialResult]:
    return {result.id: result for result in results}


def every_status() -> list[TrialResult]:
    """Results of TABLE: one failed, one stopped, two finished."""
    first, second, third, fourth = handmade.results()
    failed = replace(third, status="failed", returns=replace(third.returns, status="failed", error="the loss is nan"))
    stopped = handmade.result(TRIALS[3], {1.0: [5.0], 0.5: [4.0]}, "stopped")
    return [first, second, failed, stopped]


def write_results(results: list[TrialResult]) -> None:
    for result in results:
        handmade.write(result, home() / "trials")


def write_runs(path: Path, results: list[TrialResult] | None = None) -> Path:
    path.write_bytes(kept_bytes(TABLE, by_id(results or handmade.results())))
    return path


def keep_report(dmm, folder: Path, monkeypatch) -> Path:
    """A kept report of finished trials in this test's DMM_HOME. `dmm` is the command line."""
    write_results(handmade.results())
    monkeypatch.setattr("dmm.report.files.draw", lambda *words: {})  # figures take seconds
    assert dmm("report", FILE, "--from", str(home()), "--out", str(folder), "--keep")[0] == 0
    return folder / "handmade"
