"""A block of lines, one panel a column. Few rows share a panel. Many rows are small multiples, one row over grey others."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D
from matplotlib.transforms import offset_copy

from dmm.report.figures.style import (
    COLOURS,
    FEW,
    GREY,
    INK,
    LINE,
    Block,
    diamond,
    panels,
    row_legend,
    row_line,
    title_letters,
    titled,
    wrapped,
)

MOST_POINTS = 40  # of a line
FEW_POINTS = 8  # of a grey line
MOST_GREY = 12  # lines behind a row, of rows in equal distances. More would be one grey area, and megabytes
MOST_ROWS = 24  # with their seeds
MOST_MARKERS = 20
DODGE = 2.0  # points, from bar to bar
MULTIPLES = 4  # panels side by side
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row's numbers in a panel."""

    label: str  # of the row
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]  # of the 95 % interval. nan where there is none
    high: Sequence[float]
    seeds: Sequence[Sequence[float]] = ()  # shown where there is room
    marks: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # points by what they are
    published: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Panel:
    """The lines of a column."""

    title: str
    lines: Sequence[Line]
    prepare: Callable[[Axes], None]  # sets scales, and draws what is behind the lines
    limits: tuple[float, float] | None = None  # of y. An interval may leave the panel


@dataclass(frozen=True, kw_only=True)
class Lines(Block):
    """Panels with the same two units."""

    panels: Sequence[Panel]
    labels: Sequence[str]  # of all rows, so that a row has one colour in all panels
    x: str
    y: str
    bars: bool = False  # intervals are bars, not bands

    @property
    def few(self) -> bool:
        """Whether a panel shows all rows."""
        return len(self.labels) <= FEW

    @property
    def across(self) -> int:
        """Panels side by side."""
        return min(len(self.panels), 3) if self.few else MULTIPLES

    @property
    def height(self) -> float:
        """In inches."""
        if self.few:
            return math.ceil(len(self.panels) / self.across) * (2.6 if self.across < 3 else 2.1) + 0.2
        of_title = LINE * max(wrapped(label, title_letters(self.across)).count("\n") for label in self.labels)
        of_column = math.ceil(len(self.labels) / self.across) * (1.2 + of_title) + 0.2
        return len(self.panels) * of_column + 0.2

    def draw(self, figure: SubFigure) -> None:
        """Draws the panels."""
        if self.few:
            for axes, panel in zip(panels(figure, len(self.panels), self.across), self.panels):
                panel.prepare(axes)
                titled(axes, panel.title, self.across)
                for line in panel.lines:
                    self.draw_line(axes, line, row_line(self.labels, line.label), len(panel.lines))
                axes.set_ylim(panel.limits)
        else:
            for part, panel in zip(figure.subfigures(len(self.panels), 1, squeeze=False)[:, 0], self.panels):
                part.suptitle(panel.title)
                self.draw_multiples(part, panel)
        figure.supxlabel(self.x)
        figure.supylabel(self.y)

    def draw_multiples(self, figure: SubFigure, panel: Panel) -> None:
        """One panel a row, over the others in grey."""
        lines = {line.label: line for line in panel.lines}
        shown = panels(figure, len(lines), self.across)
        for i, (axes, line) in enumerate(zip(shown, lines.values())):
            panel.prepare(axes)
            axes.grid(False, axis="x")
            titled(axes, line.label, self.across)
            first, last = i % self.across == 0, i + self.across >= len(lines)
            axes.tick_params(left=first, labelleft=first, bottom=last, labelbottom=last)
            others = [other for other in lines.values() if other is not line]
            others = others[:: -(-len(others) // MOST_GREY) or 1]
            if others:
                points = [[(other.x[k], other.y[k]) for k in thinned(other, FEW_POINTS)] for other in others]
                axes.plot(*with_gaps(points), color=GREY, alpha=0.45, linewidth=0.5)
            alone = line if len(lines) <= MOST_ROWS else replace(line, seeds=())
            self.draw_line(axes, alone, {"color": COLOURS[0]}, 1)
        limits = [(*axes.get_xlim(), *axes.get_ylim()) for axes in shown]
        left, right, bottom, top = zip(*limits)
        for axes in shown:  # Matplotlib's own shared axes take a time that grows with the square of their number
            axes.set(xlim=(min(left), max(right)), ylim=panel.limits or (min(bottom), max(top)))

    def draw_line(self, axes: Axes, line: Line, look: dict, rows: int) -> None:
        """A line with its interval, beside so many rows in the panel. Alone, it also shows its seeds."""
        chosen, colour = thinned(line, MOST_POINTS if self.few else MOST_POINTS // 2), look["color"]
        x, y, low, high = (np.asarray(values, float)[chosen] for values in (line.x, line.y, line.low, line.high))
        known = np.isfinite(low)
        marker = look.get("marker", "o") if len(x) <= (MOST_MARKERS if self.few else 3) else ""
        size = 3 if self.few else 2
        artists: list[Artist] = [*axes.plot(x, y, **{**look, "marker": marker}, markersize=size, label=line.label)]
        if self.bars:
            artists.append(axes.vlines(x[known], low[known], high[known], color=colour, linewidth=1))
        elif known.any():
            axes.fill_between(x, low, high, color=colour, alpha=0.2 if rows < 4 else 0.1, linewidth=0)
        if self.bars and rows > 1:  # rows stand beside each other. The limits of the axes are not moved
            aside = DODGE * (self.labels.index(line.label) - (len(self.labels) - 1) / 2)
            for artist in artists:
                artist.set_transform(offset_copy(axes.transData, axes.figure.figure, x=aside, units="points"))
        if line.seeds and rows == 1:
            seeds = [list(zip(x, np.asarray(seed, float)[chosen])) for seed in line.seeds]
            axes.plot(*with_gaps(seeds), color=colour, linewidth=0.5, alpha=0.6, label="seeds")
        for (at, value), marker in zip(line.marks.values(), MARKS):
            axes.plot([at], [value], marker=marker, markersize=6, markerfacecolor="none", markeredgecolor=colour)
        for at, value in line.published:
            axes.plot([at], [value], **diamond(colour), label="published")

    def legend(self) -> dict[str, Artist]:
        """The rows, where panels do not name them, and the kinds of marks."""
        lines = [line for panel in self.panels for line in panel.lines]
        marks = dict.fromkeys(name for line in lines for name in line.marks)
        found = row_legend(self.labels) if self.few else {}
        for name, marker in zip(marks, MARKS):
            found[name] = Line2D(
                [], [], color=INK, marker=marker, markersize=6, markerfacecolor="none", linestyle="none"
            )
        if any(line.published for line in lines):
            found["published, comparable or not"] = Line2D([], [], **diamond())
        return found


def limits_of(values: Sequence[float]) -> tuple[float, float]:
    """The limits of a panel that shows values with room above and below: for intervals, which may be far wider."""
    low, high = min(values), max(values)
    room = 0.2 * (high - low) or 1.0
    return low - room, high + room


def with_gaps(lines: Sequence[Sequence[tuple[float, float]]]) -> np.ndarray:
    """Many lines as the x and y of one, with gaps. One path is smaller than many."""
    return np.concatenate([[*points, (np.nan, np.nan)] for points in lines]).T


def thinned(line: Line, most: int = MOST_POINTS) -> list[int]:
    """Which points of a line are drawn: all, or so many with the last one. They are even in log x where x begins at 1."""
    count = len(line.x)
    if count <= most:
        return list(range(count))
    even = np.geomspace(1, count, most) - 1 if line.x[0] == 1 else np.linspace(0, count - 1, most)
    return sorted(set(even.round().astype(int).tolist()))
