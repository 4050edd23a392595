"""grid: rows along named axes."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from dmm.config.table import Row


def grid(row: Row, **axes: Sequence[Any]) -> tuple[Row, ...]:
    """The row at every combination of values: `grid(row, context_length=(4, 8), width=(64, 128))` makes four rows.

    An axis is a field of the architecture's Config, of Training or of Evaluation. The labels name the values, and the rows
    remember them in `axes`. Raises ValueError for an axis without values, for an axis that the row sets itself, and for a
    row with published numbers, because they belong to one point.
    """
    if row.published:
        raise ValueError(f"row {row.label!r} has published numbers; a grid would print them at every point")
    for axis, values in axes.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ValueError(f"axis {axis} of row {row.label!r} is {values!r}; it takes a sequence of values")
        axes[axis] = [tuple(value) if isinstance(value, list) else value for value in values]  # a table compares them
        for where in (row.overrides, *row.per_column.values()):
            if axis in where:
                raise ValueError(f"row {row.label!r} sets {axis} to {where[axis]!r}, and the grid varies it")
    return tuple(
        replace(
            row,
            label=", ".join([row.label, *(f"{axis} {value}" for axis, value in point.items())]),
            overrides={**row.overrides, **point},
            axes={**row.axes, **point},
        )
        for values in product(*axes.values())
        for point in [dict(zip(axes, values, strict=True))]
    )
