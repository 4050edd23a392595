"""grid: score along the axes of a grid. Two axes make a heat map, and families with one axis share a panel as lines."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dmm.report.content import ReportContent
from dmm.report.figures.heat_maps import HeatMaps
from dmm.report.figures.lines import Line, Lines, Panel
from dmm.report.figures.style import SCORE, Block, are_numbers, heading, is_log, stack
from dmm.report.sections import axis_text
from dmm.results.grids import AxisCurve, axis_curves, family_of, pivots


def grid(content: ReportContent) -> Figure | None:
    """The figure. None if no row with axes has a finished trial."""
    maps = pivots(content.table, content.cells, content.headline)
    blocks: list[Block] = []
    if any(not math.isnan(number.value) for pivot in maps for number in pivot.numbers.values()):
        blocks.append(HeatMaps(maps))
    legend = {}
    for axis in content.table.axes:
        curves = [
            curve
            for curve in axis_curves(content.table, content.cells, content.headline)
            if curve.axis == axis
            and not curve.fixed
            and any(not math.isnan(number.value) for number in curve.points.values())
        ]
        if curves:
            lines = axis_lines(content, axis, curves)
            blocks.append(lines)
            legend |= lines.legend()
    return stack(heading(content, "Score along the grid's axes"), blocks, legend) if blocks else None


def axis_lines(content: ReportContent, axis: str, curves: list[AxisCurve]) -> Lines:
    """One panel a column, one line a family."""
    places = axis_places(list(content.table.axes[axis]))

    def prepare(axes: Axes) -> None:
        shown = {value: place for value, place in places.items() if any(value in curve.points for curve in curves)}
        if is_log(list(places)):
            axes.set_xscale("log", base=2)
            axes.minorticks_off()
        axes.set_xticks(list(shown.values()), [axis_text(value) for value in shown])

    panels = []
    for column in content.table.columns:
        lines = [axis_line(content, curve, places) for curve in curves if curve.column is column]
        if lines:
            panels.append(Panel(column.label, lines, prepare))
    return Lines(
        panels=panels, labels=list(dict.fromkeys(curve.family for curve in curves)), x=axis, y=SCORE, bars=True
    )


def axis_line(content: ReportContent, curve: AxisCurve, places: dict[Any, float]) -> Line:
    """The numbers of a family along its axis, and what was published of them."""
    published = []
    for cell in content.column(curve.column):
        found = content.published(cell, content.headline)
        if found and tuple(cell.row.axes) == (curve.axis,) and family_of(cell.row) == curve.family:
            published.append((places[cell.row.axes[curve.axis]], found.value))
    numbers = {
        place: curve.points[value]
        for value, place in sorted(places.items(), key=lambda item: item[1])
        if value in curve.points
    }
    return Line(
        label=curve.family,
        x=list(numbers),
        y=[number.value for number in numbers.values()],
        low=[number.low for number in numbers.values()],
        high=[number.high for number in numbers.values()],
        published=published,
    )


def axis_places(values: list[Any]) -> dict[Any, float]:
    """Where the values of an axis stand. What is no number stands in the table's order."""
    return {value: float(value) if are_numbers(values) else float(i) for i, value in enumerate(values)}
