"""The complete rows of a table over all of its columns: aggregates, mean rank, probability of improvement."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dmm.base.errors import unknown_name
from dmm.config import Reading, Row, Table
from dmm.results.comparison import is_complete
from dmm.results.score import Cell
from dmm.results.statistics import AGGREGATES, Interval, aggregate, mean_ranks, probability_of_improvement


@dataclass(frozen=True)
class RowAggregates:
    """A row over all columns, with 95 % intervals over seeds."""

    row: Row
    values: dict[str, Interval]  # IQM, mean, median and optimality gap, in points of score
    rank: Interval  # mean over columns of the rank among the complete rows. 1 is the best
    improvement: Interval | None  # probability of improvement against the baseline. None without one


def check_baseline(table: Table, baseline: str) -> None:
    """Raises ValueError for a baseline that is no row with trials."""
    labels = [row.label for row in table.rows if not row.cited]
    if baseline and baseline not in labels:
        raise unknown_name("baseline", baseline, labels, f"table {table.name}")


def complete_rows(table: Table, cells: Sequence[Cell]) -> list[Row]:
    """The rows whose trials are all finished, in the table's order. Cited rows have no trials."""
    return [row for row in table.rows if all(is_complete(cell) for cell in cells if cell.row is row)]


def score_matrix(cells: Sequence[Cell], row: Row, reading: Reading) -> Float[np.ndarray, "seeds columns"]:
    """The scores of a complete row. Raises ValueError if the trials were not evaluated as the reading wants."""
    return np.array([cell.score(reading).values for cell in cells if cell.row is row], float).T


def aggregate_rows(table: Table, cells: Sequence[Cell], reading: Reading, baseline: str = "") -> list[RowAggregates]:
    """The aggregates of each complete row under a reading, in the table's order.

    A baseline that is not complete gives no probability of improvement. Ranks are among the complete rows, so they change when
    another row is finished. Raises ValueError for a reading that takes the maximum over seeds, because it has no score for
    each seed, and for a baseline that is no row with trials.
    """
    if reading.seeds == "max":
        raise ValueError(f"reading {reading.name!r} is a maximum over seeds; aggregates need a score for each seed")
    check_baseline(table, baseline)
    rows = complete_rows(table, cells)
    if not rows:
        return []
    scores = {row.label: score_matrix(cells, row, reading) for row in rows}
    ranks = mean_ranks(np.stack(list(scores.values())))
    base = scores.get(baseline)
    return [
        RowAggregates(
            row,
            {name: aggregate(scores[row.label], statistic) for name, statistic in AGGREGATES.items()},
            rank,
            None if base is None else probability_of_improvement(scores[row.label], base),
        )
        for row, rank in zip(rows, ranks, strict=True)
    ]
