"""`dmm compare`: two tables, or two states of one, cell by cell. A cell is found by the labels of its row and column.

All differences are paired by seed, as in comparison.py. They are paired for two versions of results as well, because a seed's
episodes start alike in both. Cells of other data or of another task are never compared.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from dmm.base.text_tables import csv_text, markdown_list, markdown_table, markdown_text
from dmm.config import RESULTS_VERSION, Reading, Table
from dmm.results.comparison import Difference, paired_difference
from dmm.results.kept import KeptResults
from dmm.results.score import Score, finished, over_seeds, trial_score
from dmm.results.statistics import no_interval
from dmm.schema import TrialSummary

FORMATS = ("md", "csv")
Labels = tuple[str, str]  # of row and column


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two tables."""

    name: str  # as it was given
    table: str
    version: int  # of results
    cells: Mapping[Labels, list[TrialSummary]]

    @staticmethod
    def of_table(name: str, table: Table, summaries: Mapping[str, TrialSummary]) -> "Side":
        """A table with the summaries of its trials by second id. Cited rows have no cells.

        Raises ValueError if there is no summary.
        """
        if not summaries:
            raise ValueError(f"{name} has no result of table {table.name}")
        cells = {
            (row.label, column.label): [
                summaries[trial.returns_id] for trial in table.cell(row, column) if trial.returns_id in summaries
            ]
            for column in table.columns
            for row in table.rows
            if not row.cited
        }
        return Side(name=name, table=table.name, version=RESULTS_VERSION, cells=cells)

    @staticmethod
    def of_kept(name: str, kept: KeptResults) -> "Side":
        """The table of a kept report, as it was then. Its file is not needed, and its results may be of any version."""
        cells: dict[Labels, list[TrialSummary]] = {}
        for labels, summary in kept.cells():
            cells.setdefault(labels, []).append(summary)
        return Side(name=name, table=kept.head.table, version=kept.head.results_version, cells=cells)

    def __str__(self) -> str:
        named = self.name if self.name == self.table else f"{self.name}, table {self.table}"
        return f"{named}, results of version {self.version}"


@dataclass(frozen=True, kw_only=True)
class CellComparison:
    """A cell that both sides have. Scores are D4RL-normalised."""

    row: str
    column: str
    a: float  # nan without a finished trial
    a_seeds: int  # finished
    b: float
    b_seeds: int
    difference: Difference  # B - A
    not_compared: str  # why there is no difference at all. "" if there is one


def compare(a: Side, b: Side, reading: Reading) -> list[CellComparison]:
    """The cells that both sides have, in the order of A.

    Raises ValueError if there is none, or if the trials of a cell were not evaluated as the reading wants.
    """
    common = [labels for labels in a.cells if labels in b.cells]
    if not common:
        raise ValueError(
            f"no cell is in both: {a.name} has {named(a.cells)}; {b.name} has {named(b.cells)}. A cell is found by the labels "
            "of its row and column"
        )
    return [compare_cell(labels, a.cells[labels], b.cells[labels], reading) for labels in common]


def compare_cell(
    labels: Labels, a: Sequence[TrialSummary], b: Sequence[TrialSummary], reading: Reading
) -> CellComparison:
    """A cell of both sides. Raises ValueError, with the cell, if its trials were not evaluated as the reading wants."""
    try:
        (first, a_scores), (second, b_scores) = read_cell(a, reading), read_cell(b, reading)
    except ValueError as error:
        raise ValueError(f"{' on '.join(labels)}: {error}") from error
    not_compared = other_origin(a, b)
    if not_compared:
        difference = Difference(no_interval(math.nan, 0), math.nan, not_compared)
    elif reading.seeds == "max":
        why = f"{reading.name!r} is a maximum over seeds"
        difference = Difference(no_interval(second.value - first.value, 0), math.nan, why)
    else:
        difference = paired_difference(b_scores, a_scores)
    return CellComparison(
        row=labels[0],
        column=labels[1],
        a=first.value,
        a_seeds=first.n,
        b=second.value,
        b_seeds=second.n,
        difference=difference,
        not_compared=not_compared,
    )


def read_cell(summaries: Sequence[TrialSummary], reading: Reading) -> tuple[Score, dict[int, float]]:
    """The number of a cell, and the score of each finished trial by its seed."""
    done = finished(summaries)
    scores = {one.trial.weights.seed: trial_score(one, reading, one.task) for one in done}
    return over_seeds(tuple(scores.values()), reading, len(summaries)), scores


def other_origin(a: Sequence[TrialSummary], b: Sequence[TrialSummary]) -> str:
    """Why the scores of two cells cannot be compared. "" if they can.

    They can if the data are equal, and all of the task that makes an episode or its score. Where each seed has its own data,
    those of the seeds that both cells have must be equal.
    """
    a_data, b_data = ({one.trial.weights.seed: one.data.sha256 for one in finished(side)} for side in (a, b))
    both = a_data.keys() & b_data.keys()
    pairs = [(a_data[seed], b_data[seed]) for seed in both] or list(product(a_data.values(), b_data.values()))
    if any(first != second for first, second in pairs):
        return "other data: not compared"
    tasks = [
        (task.environment, task.options, task.horizon, task.ref_min_score, task.ref_max_score)
        for task in (one.task for one in finished([*a, *b]))
    ]
    return "other task: not compared" if any(task != tasks[0] for task in tasks) else ""


def only_one(a: Side, b: Side) -> list[str]:
    """The rows, columns and cells that only one side has, in words."""
    lines = []
    for name, one, other in (("A", a, b), ("B", b, a)):
        for i, kind in enumerate(("rows", "columns")):
            theirs = {labels[i] for labels in other.cells}
            if labels := dict.fromkeys(cell[i] for cell in one.cells if cell[i] not in theirs):
                lines.append(f"{kind} that only {name} has: {', '.join(labels)}")
    return lines


def named(cells: Mapping[Labels, Any]) -> str:
    """Rows and columns of cells, in words."""
    rows, columns = (dict.fromkeys(labels[i] for labels in cells) for i in range(2))
    return f"rows {', '.join(rows)} and columns {', '.join(columns)}"


def told_apart(cell: CellComparison) -> str:
    """Whether the two numbers are told apart, or why nobody knows."""
    if cell.difference.why_unknown:
        return cell.difference.why_unknown
    return "yes" if cell.difference.told_apart else "no"


def comparison_markdown(a: Side, b: Side, reading: Reading, cells: Sequence[CellComparison]) -> str:
    """A comparison as Markdown."""
    lines = [
        [
            cell.row,
            cell.column,
            with_seeds(cell.a, cell.a_seeds),
            with_seeds(cell.b, cell.b_seeds),
            cell.difference.interval.text(sign="+"),
            str(cell.difference.interval.n),
            told_apart(cell),
        ]
        for cell in cells
    ]
    header = ["row", "column", "A", "B", "B - A [95 % interval]", "common seeds", "told apart"]
    parts = [
        markdown_list([f"A: {a}", f"B: {b}"]),
        markdown_text(
            f"Scores are D4RL-normalised means over finished seeds, read as {reading.name}: {reading.describe()}. B - A is the "
            "mean over common seeds of paired differences. Two numbers are told apart if its interval excludes 0."
        ),
        markdown_table(header, lines, text_columns=2),
    ]
    if only := only_one(a, b):
        parts.append(markdown_list(only))
    return "\n\n".join(parts)


def comparison_csv(cells: Sequence[CellComparison]) -> str:
    """A comparison as CSV, with whole numbers. A number that does not exist is empty."""
    rows = [
        {
            "row": cell.row,
            "column": cell.column,
            "a": cell.a,
            "a_seeds": cell.a_seeds,
            "b": cell.b,
            "b_seeds": cell.b_seeds,
            "difference": cell.difference.interval.value,
            "low": cell.difference.interval.low,
            "high": cell.difference.interval.high,
            "common_seeds": cell.difference.interval.n,
            "told_apart": told_apart(cell),
        }
        for cell in cells
    ]
    return csv_text(
        [
            {key: "" if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
            for row in rows
        ]
    )


def with_seeds(value: float, seeds: int) -> str:
    """45.2 (2), or - without a finished seed."""
    return f"{value:.1f} ({seeds})" if seeds else "-"
