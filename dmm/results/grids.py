"""Grids: the rows of a table along its axes, as pivots of two axes and curves along one.

The rows of one `grid` are a family, for example DT at every width and context length. A row without axes is in no grid.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from dmm.config import Column, Reading, Row, Table
from dmm.results.comparison import cell_interval
from dmm.results.score import Cell
from dmm.results.statistics import Interval


@dataclass(frozen=True)
class AxisCurve:
    """The numbers of a family along one axis in a column, in points of score."""

    column: Column
    family: str
    axis: str
    fixed: dict[str, Any]  # the other axes, with their values
    points: dict[Any, Interval]  # value of the axis -> number. A value without a row is left out


@dataclass(frozen=True)
class Pivot:
    """The numbers of a family over two axes in a column, in points of score."""

    column: Column
    family: str
    down: str  # the axis of the pivot's rows
    across: str  # the axis of the pivot's columns
    down_values: tuple
    across_values: tuple
    fixed: dict[str, Any]  # the other axes, with their values
    numbers: dict[tuple[Any, Any], Interval]  # (value down, value across) -> number. A point without a row is left out


def family_of(row: Row) -> str:
    """The label of the row that `grid` varied: `DT` of `DT, width 64`."""
    return row.label.removesuffix("".join(f", {axis} {value}" for axis, value in row.axes.items()))


def pivots(table: Table, cells: Sequence[Cell], reading: Reading) -> list[Pivot]:
    """A pivot for each column, family and pair of its axes, in the table's order.

    The first axis of a pair is that of the pivot's rows. If there are more axes, there is one pivot for each combination of
    their values: nothing is averaged over an axis. A cell without a finished trial is nan.
    Raises ValueError if trials were not evaluated as the reading wants.
    """
    found = []
    for column, family, of_family, axes in families(table, cells):
        for i, down in enumerate(axes):
            for across in list(axes)[i + 1 :]:
                for fixed, part in slices(of_family, axes, (down, across)):
                    numbers = {
                        (cell.row.axes[down], cell.row.axes[across]): cell_interval(cell, reading) for cell in part
                    }
                    found.append(Pivot(column, family, down, across, axes[down], axes[across], fixed, numbers))
    return found


def axis_curves(table: Table, cells: Sequence[Cell], reading: Reading) -> list[AxisCurve]:
    """A curve for each column, family, axis and combination of the other axes' values, in the table's order.

    Curves of one column and axis belong into one figure. Raises ValueError if trials were not evaluated as the reading wants.
    """
    return [
        AxisCurve(column, family, axis, fixed, {cell.row.axes[axis]: cell_interval(cell, reading) for cell in part})
        for column, family, of_family, axes in families(table, cells)
        for axis in axes
        for fixed, part in slices(of_family, axes, (axis,))
    ]


def families(table: Table, cells: Sequence[Cell]) -> Iterator[tuple[Column, str, list[Cell], dict[str, tuple]]]:
    """The cells of each family in each column, and the family's axes with their values in the table's order."""
    names = dict.fromkeys((family_of(row), tuple(row.axes)) for row in table.rows if row.axes)
    for column in table.columns:
        for family, axes in names:
            of_family = [
                cell
                for cell in cells
                if cell.column is column and family_of(cell.row) == family and tuple(cell.row.axes) == axes
            ]
            yield (
                column,
                family,
                of_family,
                {axis: tuple(dict.fromkeys(cell.row.axes[axis] for cell in of_family)) for axis in axes},
            )


def slices(
    cells: Sequence[Cell], axes: dict[str, tuple], shown: Sequence[str]
) -> Iterator[tuple[dict[str, Any], list[Cell]]]:
    """The cells at each combination of the values of the axes that are not shown. A combination without a cell is left out."""
    others = [axis for axis in axes if axis not in shown]
    for values in product(*(axes[axis] for axis in others)):
        fixed = dict(zip(others, values, strict=True))
        part = [cell for cell in cells if all(cell.row.axes[axis] == value for axis, value in fixed.items())]
        if part:
            yield fixed, part
