"""asked: the return that a row got against the return that it was asked for."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dmm.config import Column
from dmm.report.content import ReportContent
from dmm.report.figures.lines import Line, Lines, Panel, limits_of
from dmm.report.figures.style import INK, heading, is_log, large_numbers, log_axis, row_labels, stack
from dmm.results.asked import data_range
from dmm.results.score import Cell

DIAGONAL = {"color": INK, "linewidth": 0.8, "linestyle": (0, (4, 2))}
RANGE = {"facecolor": INK, "alpha": 0.08, "linewidth": 0}


def asked(content: ReportContent) -> Figure | None:
    """The figure. None if nobody was asked for several returns."""
    panels = [asked_panel(content, cells) for column in content.table.columns if (cells := finished(content, column))]
    if all(len(line.x) < 2 for panel in panels for line in panel.lines):
        return None
    block = Lines(panels=panels, labels=row_labels(content), x="return asked for", y="return got", bars=True)
    legend: dict[str, Artist] = {
        **block.legend(),
        "got what was asked for": Line2D([], [], **DIAGONAL),
        "range of the data's returns": Patch(**RANGE),
    }
    return stack(
        heading(content, "Return got against return asked for", "last evaluation, mean over seeds"), [block], legend
    )


def finished(content: ReportContent, column: Column) -> list[Cell]:
    """The cells of a column that have a finished trial."""
    return [cell for cell in content.column(column) if cell.finished]


def asked_panel(content: ReportContent, cells: list[Cell]) -> Panel:
    """The lines of a column. Behind them are the diagonal and the range of the data's returns.

    Targets may be far above all that was got. So the diagonal may leave the panel, and targets may be on a log axis.
    """
    lines = [asked_line(content, cell) for cell in cells]
    found = data_range(cells[0])
    ends = found[:2] if found else ()
    shown = [*(place for line in lines for place in line.x), *ends]

    def behind(axes: Axes) -> None:
        diagonal = np.array([min(shown), max(shown)])
        if is_log(shown):
            log_axis(axes, shown)
            diagonal = np.geomspace(*diagonal)  # it is no straight line
        axes.plot(diagonal, diagonal, **DIAGONAL)
        if ends:
            axes.axvspan(*ends, **RANGE)
        large_numbers(axes.xaxis)
        large_numbers(axes.yaxis)

    got = [value for line in lines for value in line.y]
    return Panel(cells[0].column.label, lines, behind, limits_of([*got, *ends]))


def asked_line(content: ReportContent, cell: Cell) -> Line:
    """The returns of a cell by what was asked for."""
    found = sorted(content.asked(cell), key=lambda entry: entry.asked)
    return Line(
        label=cell.row.label,
        x=[entry.asked for entry in found],
        y=[entry.got.value for entry in found],
        low=[entry.got.low for entry in found],
        high=[entry.got.high for entry in found],
    )
