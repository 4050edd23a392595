"""Returns asked for and returns got: how far a row misses what it was asked for, inside the range of its data."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from dmm.results.score import Cell
from dmm.results.statistics import Interval, mean_interval, mean_intervals


@dataclass(frozen=True)
class TargetReturn:
    """The undiscounted return of a cell at one target, at the last evaluation."""

    target: str  # its label
    asked: float
    got: Interval  # mean over seeds
    inside: bool  # whether the data have returns on both sides of what was asked for


@dataclass(frozen=True)
class Miss:
    """The mean absolute difference of asked and got, in units of return."""

    interval: Interval  # mean over seeds. nan if no target is inside
    targets: tuple[str, ...]  # the labels of the targets inside the range
    low: float  # of the range
    high: float
    low_is_mean: bool  # results of before the lowest return was recorded begin at the data's mean return


def data_range(cell: Cell) -> tuple[float, float, bool] | None:
    """The lowest and the highest return of an episode of the data, and whether the first is their mean instead.

    The lowest return was not recorded in the beginning. The mean is above it, so the range is then a part of the data's range.
    None without a finished trial.
    """
    if not cell.finished:
        return None
    data = cell.finished[0].data
    low = data.return_mean if data.return_min is None else data.return_min
    return low, data.return_max, data.return_min is None


def target_returns(cells: Sequence[Cell]) -> list[list[TargetReturn]]:
    """What each cell was asked for and got at each target, in the evaluation's order. Empty without a finished trial."""
    asked = [cell.finished[0].asked if cell.finished else {} for cell in cells]
    groups = [
        [summary.curve[target][-1].mean_return for summary in cell.finished]
        for cell, targets in zip(cells, asked, strict=True)
        for target in targets
    ]
    intervals, found = iter(mean_intervals(groups)), []
    for cell, targets in zip(cells, asked, strict=True):
        low, high, _ = data_range(cell) or (0.0, 0.0, False)
        found.append(
            [TargetReturn(name, wanted, next(intervals), low <= wanted <= high) for name, wanted in targets.items()]
        )
    return found


def mean_miss(cell: Cell) -> Miss | None:
    """The mean over targets of |asked - got| at the last evaluation, mean over seeds, in units of return.

    Only targets inside the range of the data's returns count: outside of it, nobody can be asked to get what is asked for.
    The mean over targets is taken for each seed, so the interval is one over seeds. None without a finished trial.
    """
    found = data_range(cell)
    if found is None:
        return None
    inside = tuple(target for target, asked in cell.finished[0].asked.items() if found[0] <= asked <= found[1])
    misses = [
        fmean(abs(summary.asked[target] - summary.curve[target][-1].mean_return) for target in inside)
        for summary in cell.finished
        if inside
    ]
    return Miss(mean_interval(misses), inside, *found)
