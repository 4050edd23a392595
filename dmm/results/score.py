"""A cell's number: finished trials read under a Reading. Interquartile mean and bootstrap intervals over seeds.

A trial's result holds the return of every episode; `summarise` keeps the means of its evaluations, from which every
Reading, and every table, is computed. Means are exactly rounded, so a summary gives the same numbers on any machine.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from jaxtyping import Float

from dmm.config import Column, Reading, Row, Table, Trial
from dmm.tasks import Task

ERROR_LENGTH = 2000  # of a failed trial's reason, in characters


@dataclass(frozen=True)
class Score:
    """A cell's number under a Reading, D4RL-normalised; without a finished trial it is nan."""

    value: float
    std: float  # sample standard deviation over seeds (n - 1); nan for one seed, or for their maximum
    values: tuple[float, ...]  # one a finished trial
    of: int  # trials of the cell, finished or not

    @property
    def n(self) -> int:
        """How many trials it is read from."""
        return len(self.values)


def target_label(target: float) -> str:
    """How a multiple of the task's target is written: 1, 0.5."""
    return f"{target:g}"


def summarise(result: Mapping) -> dict:
    """A trial's result without its episodes and losses: small, and equal to itself after a trip through JSON."""
    summary = {key: value for key, value in result.items() if key not in ("loss", "evaluations")}
    curve: dict[str, dict[int, float]] = {}
    asked = {}
    for entry in result["evaluations"]:
        name = target_label(entry["target"])
        asked[name] = entry["asked"]
        curve.setdefault(name, {})[entry["update"]] = fmean(entry["returns"])
    summary["error"] = result["error"] and result["error"][:ERROR_LENGTH]
    summary["asked"] = asked
    summary["curve"] = {name: [list(point) for point in sorted(points.items())] for name, points in curve.items()}
    return summary


def trial_score(summary: Mapping, reading: Reading, task: Task) -> float:
    """One trial's number: each target over its evaluations first, then over targets, then the floor."""
    curve = summary["curve"]
    names = list(curve) if isinstance(reading.target, str) else [target_label(reading.target)]
    values = []
    for name in names:
        if name not in curve:
            raise ValueError(
                f"reading {reading.name!r} wants target x{name}; the trials were asked for x{', x'.join(curve)}"
            )
        scores = [task.normalised_score(mean) for _, mean in curve[name]]
        if reading.checkpoint == "average" and len(scores) < reading.average_last:
            raise ValueError(
                f"reading {reading.name!r} wants {reading.average_last} evaluations; the trials have {len(scores)}"
            )
        values.append(
            {"last": lambda s: s[-1], "best": max, "average": lambda s: fmean(s[-reading.average_last :])}[
                reading.checkpoint
            ](scores)
        )
    value = fmean(values) if reading.target == "mean" else max(values)
    return value if reading.floor is None else max(value, reading.floor)


def read(summaries: Sequence[Mapping | None], reading: Reading, task: Task) -> Score:
    """A cell's number from its trials, one a seed, None where there is none yet; only finished ones count."""
    finished = [summary for summary in summaries if summary and summary["status"] == "finished"]
    values = tuple(trial_score(summary, reading, task) for summary in finished)
    value = std = math.nan
    if values and reading.seeds == "max":
        value = max(values)
    elif values:
        value, std = fmean(values), stdev(values) if len(values) > 1 else math.nan
    return Score(value, std, values, len(summaries))


def parameters_per_score(parameters: int, score: float) -> float:
    """Parameters per normalised point, as in Table 5 of the Decision MetaMamba paper; nan unless the score is positive."""
    return parameters / score if score > 0 else math.nan


@dataclass(frozen=True)
class Cell:
    """A row on a column: its trials, one a seed, and what each has given so far."""

    row: Row
    column: Column
    trials: list[Trial]
    found: list[dict | None]

    @property
    def finished(self) -> list[dict]:
        """The summaries that count."""
        return [summary for summary in self.found if summary and summary["status"] == "finished"]

    @property
    def parameters(self) -> int | None:
        """Of one model."""
        return self.finished[0]["parameters"] if self.finished else None

    @property
    def name(self) -> str:
        """How notes speak of it."""
        return f"{self.row.label} on {self.column.label}"

    def score(self, reading: Reading) -> Score:
        """Its number under a reading."""
        return read(self.found, reading, self.column.task)


def gather(table: Table, summaries: Mapping[str, dict]) -> list[Cell]:
    """A table's cells, column by column; refuses a table without a finished trial, or a column made with two data."""
    cells = []
    for column in table.columns:
        for row in table.rows:
            trials = table.cell(row, column)
            cells.append(Cell(row, column, trials, [summaries.get(trial.id) for trial in trials]))
        hashes = {
            summary["data"]["sha256"]: f"{cell.row.label} seed {summary['trial']['seed']}"
            for cell in cells
            if cell.column is column
            for summary in cell.finished
        }
        if len(hashes) > 1:
            which = ", ".join(f"{sha[:12]} ({name})" for sha, name in sorted(hashes.items()))
            raise ValueError(f"{column.label} of table {table.name} was trained on different data, sha256 {which}; "
                             "such results cannot be averaged: run the older ones again")  # fmt: skip
    if not any(cell.finished for cell in cells):
        reasons = sorted({reason(summary) for cell in cells for summary in cell.found if summary and summary["error"]})
        failed = f"; failed: {'; '.join(reasons)}" if reasons else ""
        raise ValueError(f"table {table.name} has no finished trial among {len(table.trials())} yet{failed}. "
                         f"`dmm sweep {table.name}` runs them")  # fmt: skip
    return cells


def state(summary: Mapping | None) -> str:
    """Where a trial stands."""
    return summary["status"] if summary else "pending"


def reason(summary: Mapping) -> str:
    """Why a trial failed, in one line."""
    return " ".join((summary["error"] or "no reason given").split())[:300]


def is_papers_data(column: Column) -> bool:
    """Whether a column is learnt from the data on which papers publish, which D4RL names with a version."""
    return all(re.fullmatch(r"d4rl/.+-v\d+", name) for name in column.dataset)


def iqm(scores: Float[np.ndarray, "*batch n"]) -> Float[np.ndarray, "*batch"]:
    """The interquartile mean over the last axis: the mean without the lowest and the highest quarter."""
    from scipy import stats  # takes a second, for which `dmm status` has no use

    return np.asarray(stats.trim_mean(scores, 0.25, axis=-1))


def interval(
    scores: Float[np.ndarray, "seeds tasks"],
    statistic: Callable,
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = 2000,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic of all scores; the seeds of each task are resampled apart."""
    from scipy import stats

    if len(scores) < 2:
        raise ValueError(f"a bootstrap over seeds needs two or more; there is {len(scores)}")
    found = stats.bootstrap(
        tuple(scores.T),
        lambda *tasks, axis: statistic(np.concatenate(tasks, axis=-1)),
        n_resamples=resamples,
        confidence_level=level,
        method="percentile",
        rng=rng,
    ).confidence_interval
    return float(found.low), float(found.high)
