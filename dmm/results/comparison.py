"""Cells with their intervals, rows beside rows and readings beside readings.

All differences are paired: there is one for each seed that both sides have finished. In last evaluations the episodes of a
seed start alike in all rows, so the luck of the starts cancels. If rows have other numbers of episodes, or if a reading picks
other evaluations, less of it cancels, and the interval is wider but still right.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev

from dmm.config import Reading
from dmm.results.score import Cell
from dmm.results.statistics import Interval, mean_intervals, no_interval


@dataclass(frozen=True)
class Difference:
    """The mean difference of two cells over their common seeds, and its 95 % interval, in points of score."""

    interval: Interval
    std: float  # sample standard deviation of the differences (n - 1). nan below two common seeds
    why_unknown: str  # why there is no interval. "" if there is one

    @property
    def told_apart(self) -> bool:
        """Whether the interval excludes 0. It is not corrected for the number of rows of a column."""
        return self.interval.excludes_zero


@dataclass(frozen=True)
class ColumnComparison:
    """The rows of a column beside its best row, under one reading."""

    best: Cell
    differences: dict[str, Difference]  # label of each other row with trials -> that row minus the best one

    @property
    def not_told_apart(self) -> list[str]:
        """The labels of the rows whose interval has 0. Rows without an interval are not among them."""
        return [label for label, found in self.differences.items() if not found.why_unknown and not found.told_apart]


def cell_interval(cell: Cell, reading: Reading) -> Interval:
    """The number of a cell under a reading and its 95 % interval over seeds, in points of score.

    It is `mean_interval` of the scores of finished trials. A maximum over seeds has no interval. A cell without a finished
    trial has nan. Raises ValueError if the trials were not evaluated as the reading wants.
    """
    return cell_intervals([cell], reading)[0]


def cell_intervals(cells: Sequence[Cell], reading: Reading) -> list[Interval]:
    """`cell_interval` of each cell, which is faster for many."""
    scores = [cell.score(reading) for cell in cells]
    if reading.seeds == "max":
        return [no_interval(score.value, score.n) for score in scores]
    return mean_intervals([score.values for score in scores])


def paired_difference(scores: Mapping[int, float], others: Mapping[int, float]) -> Difference:
    """The mean of score minus other over the common seeds, with the interval of `mean_interval`.

    Below 10 common seeds the interval is that of the paired t-test: it excludes 0 if and only if the test's two-sided p is
    below 0.05. One common seed has a difference and no interval. Raises ValueError if a score is not finite.
    """
    return paired_differences([(scores, others)])[0]


def paired_differences(pairs: Sequence[tuple[Mapping[int, float], Mapping[int, float]]]) -> list[Difference]:
    """`paired_difference` of each pair, which is faster for many."""
    values = [[score - others[seed] for seed, score in scores.items() if seed in others] for scores, others in pairs]
    return [
        Difference(
            interval,
            stdev(found) if len(found) > 1 else math.nan,
            "" if len(found) > 1 else "one common finished seed" if found else "no common finished seed",
        )
        for found, interval in zip(values, mean_intervals(values), strict=True)
    ]


def difference(cell: Cell, reading: Reading, other: Cell, other_reading: Reading) -> Difference:
    """A cell under a reading minus another cell of the same column under another reading.

    A maximum over seeds has one number and no seeds, so the difference has no interval if a reading takes it.
    Raises ValueError like `cell_interval`.
    """
    return differences([(cell, other)], reading, other_reading)[0]


def differences(pairs: Sequence[tuple[Cell, Cell]], reading: Reading, other_reading: Reading) -> list[Difference]:
    """`difference` of each pair of cells, which is faster for many."""
    maxima = [found.name for found in (reading, other_reading) if found.seeds == "max"]
    if maxima:
        values = [cell.score(reading).value - other.score(other_reading).value for cell, other in pairs]
        return [
            Difference(no_interval(value, 0), math.nan, f"{maxima[0]!r} is a maximum over seeds") for value in values
        ]
    return paired_differences([(cell.seed_scores(reading), other.seed_scores(other_reading)) for cell, other in pairs])


def compare_with(cells: Sequence[Cell], base: Cell, reading: Reading) -> dict[str, Difference]:
    """Each other row of a column minus a base row, by label. Cited rows have no trials and are left out."""
    rows = [cell for cell in cells if cell.trials and cell is not base]
    found = differences([(cell, base) for cell in rows], reading, reading)
    return {cell.row.label: entry for cell, entry in zip(rows, found, strict=True)}


def compare_column(cells: Sequence[Cell], reading: Reading) -> ColumnComparison | None:
    """The best row of a column, and every other row beside it. `cells` are those of one column.

    The best row has the highest number among the rows whose trials are all finished. A row that lacks a seed cannot be the
    best, because the missing seed may be one that failed. Of equal rows the first one is the best. None if no row is complete.
    """
    complete = [cell for cell in cells if is_complete(cell)]
    if not complete:
        return None
    best = max(complete, key=lambda cell: cell.score(reading).value)
    return ColumnComparison(best, compare_with(cells, best, reading))


def is_complete(cell: Cell) -> bool:
    """Whether a cell has trials, and all of them are finished."""
    return bool(cell.trials) and len(cell.finished) == len(cell.trials)
