"""What all figures share: colours, sizes, panels, and a figure as a stack of blocks.

Text, axes and grid lines have one colour, INK. In SVG it becomes the colour of the page's text, so that a figure is readable on
white and on black. A figure is 7.2 inches wide, which is the width of a page of text. No letter is smaller than 8 points.
"""

import math
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib.style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from dmm.report.content import ReportContent

INK = "#010203"
GREY = "#999999"
# of Okabe and Ito, without yellow, which cannot be seen on white. INK stands for their black
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK, GREY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
FEW = len(COLOURS)  # rows that one panel can show
WIDTH = 7.2  # inches
LETTER = 0.068  # inches, the width of a letter
LINE = 0.135  # inches, the height of a line of text
SCORE = "normalised score"
LOG_RANGE = 8  # an axis whose values differ by this factor is a log axis

STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "figure.titlesize": 9,
    "figure.labelsize": 8,
    "text.parse_math": False,  # a label may have dollars
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.5,
    "hatch.color": INK,
    "hatch.linewidth": 0.4,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "figure.constrained_layout.h_pad": 0.05,
    "figure.constrained_layout.w_pad": 0.05,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "dmm",
}


class Block(ABC):
    """A part of a figure that has the figure's whole width."""

    @property
    @abstractmethod
    def height(self) -> float:
        """In inches."""

    @abstractmethod
    def draw(self, figure: SubFigure) -> None:
        """Draws the panels."""


def style() -> AbstractContextManager[None]:
    """Matplotlib's own settings and these, whatever a user's matplotlibrc says."""
    return matplotlib.style.context(["default", STYLE])


def stack(title: str, blocks: Sequence[Block], legend: Mapping[str, Artist]) -> Figure:
    """A figure of blocks, one below the other, with a legend for all. Its layout is computed once, here."""
    title = "\n".join(textwrap.fill(line, 105) for line in title.splitlines())
    labels = [textwrap.fill(label, 48) for label in legend]
    longest = max((len(line) for label in labels for line in label.splitlines()), default=1)
    across = max(1, min(len(labels), int(WIDTH / (longest * LETTER + 0.5))))
    lines = max((label.count("\n") + 1 for label in labels), default=1)
    below = math.ceil(len(labels) / across) * (lines * LINE + 0.04) + 0.1 if labels else 0
    heights = [block.height for block in blocks]
    above = (title.count("\n") + 1) * 0.15 + 0.15
    layout = ConstrainedLayoutEngine()
    figure = Figure(figsize=(WIDTH, sum(heights) + above + below), layout=layout)
    figure.suptitle(title, x=0.01, ha="left")
    for block, part in zip(
        blocks, figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=heights)[:, 0], strict=True
    ):
        block.draw(part)
    if labels:
        shown = [f" {label}" if label.startswith("_") else label for label in labels]  # it would hide such a label
        figure.legend(list(legend.values()), shown, loc="outside lower left", ncols=across, handlelength=2.4)
    layout.execute(figure)
    figure.set_layout_engine("none")
    return figure


def panels(figure: SubFigure, count: int, across: int) -> list[Axes]:
    """So many panels, line by line."""
    grid = figure.subplots(math.ceil(count / across), across, squeeze=False)
    for axes in grid.flat[count:]:
        axes.remove()
    return list(grid.flat[:count])


def titled(axes: Axes, title: str, across: int) -> None:
    """Gives a panel a title that is not wider than the panel."""
    axes.set_title(wrapped(title, title_letters(across)))


def title_letters(across: int) -> int:
    """The letters that fit above one of so many panels side by side."""
    return int(0.8 * WIDTH / across / LETTER)


def wrapped(label: str, letters: int) -> str:
    """A label in lines of at most so many letters."""
    return textwrap.fill(label, letters)


def heading(content: ReportContent, what: str, how: str = "") -> str:
    """The title of a figure: what it shows, how it is read, and the number of seeds. Else it is read as the headline."""
    counts = sorted({len(cell.finished) for cell in content.cells if cell.finished})
    if not counts:
        return f"{what}\npublished numbers only: no trial is finished"
    seeds = " to ".join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))
    how = how or f"{content.headline.name}: {content.headline.describe()}"
    return f"{what}\n{how}; n = {seeds} seed{'s' * (seeds != '1')}"


def row_labels(content: ReportContent) -> list[str]:
    """The rows that have a finished trial, in the table's order. A row has the same colour in all figures."""
    return [row.label for row in content.table.rows if any(cell.finished for cell in content.row(row))]


def row_colour(labels: Sequence[str], label: str) -> str:
    """The colour of a row. Many rows have one colour, and a row that has published numbers only is grey."""
    if label not in labels:
        return GREY
    return COLOURS[labels.index(label)] if len(labels) <= FEW else COLOURS[0]


def row_line(labels: Sequence[str], label: str) -> dict:
    """The colour, marker and dashes of a row's line."""
    number = labels.index(label) if len(labels) <= FEW else 0
    return {"color": COLOURS[number], "marker": MARKERS[number], "linestyle": DASHES[number % len(DASHES)]}


def row_legend(labels: Sequence[str]) -> dict[str, Artist]:
    """The legend of few rows."""
    return {label: Line2D([], [], markersize=4, **row_line(labels, label)) for label in labels}


def diamond(colour: str = INK, hollow: bool = True) -> dict:
    """The marker of a published number."""
    face = "none" if hollow else colour
    return {"marker": "D", "markersize": 4.5, "markerfacecolor": face, "markeredgecolor": colour, "linestyle": "none"}


def large_numbers(axis: Axis) -> None:
    """Ticks like 100k and 1.2M."""
    axis.set_major_formatter(EngFormatter(sep=""))


def log_axis(axes: Axes, values: Sequence[float]) -> None:
    """Makes x a log axis of positive values, with ticks at 1, 2 and 5 where there is room."""
    axes.set_xscale("log")
    wide = max(values) >= 20 * min(values)
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    large_numbers(axes.xaxis)


def are_numbers(values: list[Any]) -> bool:
    """Whether all values are numbers."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def is_log(values: list[Any]) -> bool:
    """Whether the values of an axis are read by their ratios."""
    return are_numbers(values) and min(values) > 0 and max(values) >= LOG_RANGE * min(values)
