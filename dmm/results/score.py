"""Scores: a Reading makes the number of a cell from finished trials.

A trial's result holds the return of every episode. `summarise` keeps the means of its evaluations. Every reading and every
table is computed from summaries. Means are exactly rounded, so a summary gives the same numbers on any machine.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev

from dmm.base.text_tables import one_line
from dmm.config import Column, Reading, Row, Table, Trial, cell_name
from dmm.schema import DataRecord, ReturnPoint, TrialResult, TrialSummary
from dmm.tasks import Target, Task

ERROR_LENGTH = 2000  # characters of a failed trial's reason in its summary


class NoFinishedTrial(ValueError):
    """A table that cannot be reported yet."""


@dataclass(frozen=True)
class Score:
    """A cell's number under a Reading, D4RL-normalised. It is nan without a finished trial."""

    value: float
    std: float  # sample standard deviation over seeds (n - 1). nan for one seed, and for their maximum
    values: tuple[float, ...]  # one for each finished trial
    of: int  # trials of the cell, finished or not

    @property
    def n(self) -> int:
        """The number of finished trials."""
        return len(self.values)


def summarise(result: TrialResult) -> TrialSummary:
    """A result without its episodes and losses."""
    curve: dict[str, dict[int, float]] = {}
    asked = {}
    for evaluation in result.evaluations:
        asked[evaluation.target] = evaluation.asked
        curve.setdefault(evaluation.target, {})[evaluation.update] = fmean(evaluation.returns)
    return TrialSummary(
        id=result.id,
        weights_id=result.training.weights_id,
        trial=result.trial,
        task=result.task,
        status=result.status,
        error=result.error and result.error[:ERROR_LENGTH],
        data=result.training.data,
        provenance=result.training.provenance,
        rollouts=result.returns.provenance,
        parameters=result.training.parameters,
        live_parameters=result.training.live_parameters,
        update=result.update,
        seconds=result.seconds,
        peak_memory=result.training.peak_memory,
        steps=sum(sum(evaluation.lengths) for evaluation in result.evaluations),
        asked=asked,
        curve={label: [ReturnPoint(*point) for point in sorted(means.items())] for label, means in curve.items()},
    )


def reading_targets(summary: TrialSummary, reading: Reading) -> list[str]:
    """The labels of the targets that a reading reads. Raises ValueError if the trial was not asked for them."""
    labels = summary.trial.targets
    if isinstance(reading.target, Target):
        labels = [reading.target.label]
    elif reading.target == "first":
        labels = labels[:1]
    for label in labels:
        if label not in summary.curve:
            raise ValueError(
                f"reading {reading.name!r} wants target {label}; the trials were asked for {', '.join(summary.curve)}"
            )
    return labels


def trial_score(summary: TrialSummary, reading: Reading, task: Task) -> float:
    """One trial's score: first over the evaluations of each target, then over targets, then the floor.

    Raises ValueError if the trial was not evaluated as the reading wants.
    """
    curve, values = summary.curve, []
    for label in reading_targets(summary, reading):
        scores = [task.normalised_score(point.mean_return) for point in curve[label]]
        if reading.checkpoint == "average" and len(scores) < reading.average_last:
            raise ValueError(
                f"reading {reading.name!r} wants {reading.average_last} evaluations; the trials have {len(scores)}"
            )
        match reading.checkpoint:
            case "last":
                values.append(scores[-1])
            case "best":
                values.append(max(scores))
            case "average":
                values.append(fmean(scores[-reading.average_last :]))
    value = fmean(values) if reading.target == "mean" else max(values)
    return value if reading.floor is None else max(value, reading.floor)


def over_seeds(values: tuple[float, ...], reading: Reading, of: int) -> Score:
    """The number of the scores of finished trials, of so many trials in all."""
    value = std = math.nan
    if values and reading.seeds == "max":
        value = max(values)
    elif values:
        value, std = fmean(values), stdev(values) if len(values) > 1 else math.nan
    return Score(value, std, values, of)


def finished(summaries: Sequence[TrialSummary | None]) -> list[TrialSummary]:
    """The summaries that count: those of finished trials."""
    return [summary for summary in summaries if summary and summary.status == "finished"]


def parameters_per_score(parameters: int, score: float) -> float:
    """Parameters per normalised point, as in Table 5 of the Decision MetaMamba paper. nan unless the score is positive."""
    return parameters / score if score > 0 else math.nan


def updates_per_second(summary: TrialSummary) -> float | None:
    """Updates in a wall second of training. None if there was no training."""
    return summary.update / summary.seconds.train if summary.seconds.train else None


def ms_per_action(summary: TrialSummary) -> float | None:
    """Wall milliseconds of a rollout's step, environment included. None if steps were not counted."""
    return 1000 * summary.seconds.rollout / summary.steps if summary.steps else None


@dataclass(frozen=True)
class Cell:
    """A row on a column: its trials, one for each seed, and their summaries. A cited row has neither."""

    row: Row
    column: Column
    trials: list[Trial]
    summaries: list[TrialSummary | None]  # None: the trial has not begun

    @property
    def finished(self) -> list[TrialSummary]:
        """The summaries of finished trials."""
        return finished(self.summaries)

    @property
    def data(self) -> list[DataRecord]:
        """The data of finished trials, each once. Each seed may have its own."""
        return distinct(summary.data for summary in self.finished)

    @property
    def parameters(self) -> int | None:
        """Parameters of one model. None without a finished trial."""
        return self.finished[0].parameters if self.finished else None

    @property
    def live_parameters(self) -> int | None:
        """Those of them that training changes. None without a finished trial."""
        return self.finished[0].live_parameters if self.finished else None

    @property
    def name(self) -> str:
        """The cell's name in notes."""
        return cell_name(self.row, self.column)

    def seed_scores(self, reading: Reading) -> Mapping[int, float]:
        """The score of each finished trial by its seed. Raises ValueError like `trial_score`."""
        if reading not in self._scores:  # a report asks many times
            self._scores[reading] = {
                trial.seed: trial_score(summary, reading, self.column.task)
                for trial, summary in zip(self.trials, self.summaries, strict=True)
                if summary and summary.status == "finished"
            }
        return self._scores[reading]

    @cached_property
    def _scores(self) -> dict[Reading, dict[int, float]]:
        return {}

    def score(self, reading: Reading) -> Score:
        """The cell's number under a reading."""
        return over_seeds(tuple(self.seed_scores(reading).values()), reading, len(self.trials))


def gather_cells(table: Table, summaries: Mapping[str, TrialSummary]) -> list[Cell]:
    """A table's cells, column by column, from its trials' summaries by second id.

    Raises NoFinishedTrial if no trial is finished, unless the table has printed numbers of parameters, which need none. Raises
    ValueError if trials of a column name the same data and learnt from different ones.
    """
    cells = []
    for column in table.columns:
        for row in table.rows:
            trials = table.cell(row, column)
            cells.append(Cell(row, column, trials, [summaries.get(trial.returns_id) for trial in trials]))
        named: dict[tuple[str, ...], dict[str, str]] = {}  # ids of data -> sha256 -> a trial
        for cell in (cell for cell in cells if cell.column is column):
            for summary in cell.finished:
                name = f"{cell.row.label} seed {summary.trial.weights.seed}"
                named.setdefault(tuple(summary.data.ids), {})[summary.data.sha256] = name
        if hashes := next((found for found in named.values() if len(found) > 1), None):
            which = ", ".join(f"{sha[:12]} ({name})" for sha, name in sorted(hashes.items()))
            raise ValueError(f"{column.label} of table {table.name} was trained on different data, sha256 {which}; "
                             "such results cannot be averaged: run the older ones again")  # fmt: skip
    if not any(cell.finished or cell.row.published_parameters for cell in cells):
        errors = {failure_reason(s.error) for cell in cells for s in cell.summaries if s and s.error}
        failed = f"; failed: {'; '.join(sorted(errors))}" if errors else ""
        raise NoFinishedTrial(f"table {table.name} has no finished trial among {len(table.trials())} yet{failed}")
    return cells


def status_of(found: TrialSummary | TrialResult | None) -> str:
    """The status of a trial. It is "pending" before it has begun."""
    return found.status if found else "pending"


def failure_reason(error: str | None) -> str:
    """Why a trial failed, in one line."""
    return one_line(error or "no reason given")[:300]


def column_data(cells: Sequence[Cell]) -> list[DataRecord]:
    """The data of a column's finished trials, each once."""
    return distinct(data for cell in cells for data in cell.data)


def data_score(task: Task, data: DataRecord) -> float | None:
    """The score of the data's mean return. None where a success ends a rollout, and the data's episodes go on after it."""
    counts_success = (task.ref_min_score, task.ref_max_score) == (0, 1)
    return None if counts_success and data.return_max > 1 else task.normalised_score(data.return_mean)


def distinct(data: Iterable[DataRecord]) -> list[DataRecord]:
    """The first record of each sha256."""
    found: dict[str, DataRecord] = {}
    for each in data:
        found.setdefault(each.sha256, each)
    return list(found.values())


def is_papers_data(column: Column) -> bool:
    """Whether a column is learnt from the data on which papers publish.

    D4RL names these with a version. Those of DQN-replay are a percent of a run, selected with the seed of the trial.
    """
    return all(re.fullmatch(r"d4rl/.+-v\d+|dqn/\w+-1pct-s{seed}", name) for name in column.dataset)
