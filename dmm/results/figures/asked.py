"""asked: the return that a row got against the return that it was asked for."""

from collections.abc import Callable

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dmm.config import Column
from dmm.results.asked import data_range
from dmm.results.content import ReportContent
from dmm.results.figures.lines import Line, Lines, Panel
from dmm.results.figures.style import INK, heading, large_numbers, row_labels, stack
from dmm.results.score import Cell

DIAGONAL = {"color": INK, "linewidth": 0.8, "linestyle": (0, (4, 2))}
RANGE = {"facecolor": INK, "alpha": 0.08, "linewidth": 0}


def asked(content: ReportContent) -> Figure | None:
    """The figure. None if nobody was asked for several returns."""
    panels = [
        Panel(column.label, lines, prepare(content, column))
        for column in content.table.columns
        if (lines := [asked_line(content, cell) for cell in content.column(column) if cell.finished])
    ]
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


def prepare(content: ReportContent, column: Column) -> Callable[[Axes], None]:
    """The diagonal, and the range of the data's returns."""
    cells = [cell for cell in content.column(column) if cell.finished]
    places = [entry.asked for cell in cells for entry in content.asked(cell)]
    found, ends = data_range(cells[0]), [min(places), max(places)]

    def behind(axes: Axes) -> None:
        axes.plot(ends, ends, **DIAGONAL)
        if found:
            axes.axvspan(found[0], found[1], **RANGE)
        large_numbers(axes.xaxis)
        large_numbers(axes.yaxis)

    return behind
