"""efficiency: score against parameters, one labelled point a row. Published pairs are hollow.

The rows of a grid are families. A family is a line in a colour of its own, and a point has the values of the axes.
"""

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from dmm.config import Column
from dmm.report.content import ReportContent
from dmm.report.figures.style import (
    FEW,
    INK,
    LINE,
    SCORE,
    Block,
    diamond,
    heading,
    log_axis,
    panels,
    row_colour,
    row_labels,
    row_legend,
    row_line,
    stack,
    titled,
)
from dmm.report.sections import axis_text
from dmm.results.grids import family_of
from dmm.results.statistics import Interval

LETTERS = 24  # of a label. The table has the whole one
# where a label may stand beside its point: the direction, and how it is aligned
DIRECTIONS = (
    (1, 0, "left", "center"),
    (-1, 0, "right", "center"),
    (0, 1, "center", "bottom"),
    (0, -1, "center", "top"),
    (0.7, 0.7, "left", "bottom"),
    (0.7, -0.7, "left", "top"),
    (-0.7, 0.7, "right", "bottom"),
    (-0.7, -0.7, "right", "top"),
)
PLACES = [
    (right * distance, up * distance, across, down)
    for distance in (5, 14, 24, 36, 50)
    for right, up, across, down in DIRECTIONS
    if right or distance == 5  # a leader straight up or down would lie on the interval
]


@dataclass(frozen=True)
class Point:
    """A row in a panel: its own pair and the published one. None where there is none."""

    label: str
    family: str  # its label without the values of axes
    values: str  # of its axes. "" for a row of no grid
    own: tuple[int, Interval] | None
    published: tuple[int, float] | None

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """Parameters and score, its own first."""
        own = (self.own[0], self.own[1].value) if self.own else None
        return [pair for pair in (own, self.published) if pair]

    @property
    def covered(self) -> list[tuple[float, float]]:
        """Places where no label should stand: the points, and some of the interval."""
        if not self.own or not self.own[1].known:
            return self.pairs
        count, number = self.own
        return self.pairs + [(count, float(value)) for value in np.linspace(number.low, number.high, 60)]


def efficiency(content: ReportContent) -> Figure | None:
    """The figure. None if no row has parameters and a score."""
    found = {column.label: points(content, column) for column in content.table.columns}
    found = {label: of_column for label, of_column in found.items() if of_column}
    if not found:
        return None
    every = [point for of_column in found.values() for point in of_column]
    families = list(dict.fromkeys(point.family for point in every if point.values))
    block = Efficiency(found, row_labels(content), families if len(families) <= FEW else [])
    by = f", by {' and '.join(content.table.axes)}" if block.families else ""
    figure = stack(heading(content, f"Score against parameters{by}"), [block], block.legend())
    for axes, of_column in zip(figure.axes, found.values()):
        add_labels(axes, of_column, block.families)
    return figure


def points(content: ReportContent, column: Column) -> list[Point]:
    """The rows of a column that have a pair."""
    found = []
    for cell in content.column(column):
        number = content.number(cell, content.headline)
        count = None if math.isnan(number.value) else content.parameters(cell)
        published = cell.row.published.get(column.label), cell.row.published_parameters.get(column.label)
        own = (count.counted, number) if count else None
        printed = (published[1], published[0]) if published[0] is not None and published[1] is not None else None
        if own or printed:
            values = ", ".join(axis_text(value) for value in cell.row.axes.values())
            found.append(Point(cell.row.label, family_of(cell.row), values, own, printed))
    return found


@dataclass(frozen=True)
class Efficiency(Block):
    """One panel a column."""

    points: dict[str, list[Point]]  # by the column's label
    labels: list[str]  # of all rows
    families: list[str]  # those that are lines

    @property
    def across(self) -> int:
        """Panels side by side. Long labels need room."""
        long = max(len(point.label) for found in self.points.values() for point in found) > 12
        return min(len(self.points), 2 if long else 3)

    @property
    def height(self) -> float:
        """In inches."""
        most = max(map(len, self.points.values()))
        return math.ceil(len(self.points) / self.across) * max(2.4, most * 1.6 * LINE + 1) + 0.2

    def draw(self, figure: SubFigure) -> None:
        """Draws the panels without the labels of points."""
        for axes, (title, found) in zip(panels(figure, len(self.points), self.across), self.points.items()):
            for family in self.families:
                pairs = [(point.own[0], point.own[1].value) for point in found if point.own and point.family == family]
                if pairs:
                    axes.plot(*zip(*sorted(pairs)), **{**row_line(self.families, family), "marker": ""})
            for point in found:
                colour = self.colour(point)
                if point.own:
                    count, number = point.own
                    axes.vlines([count], number.low, number.high, color=colour, linewidth=1.2)
                    axes.plot([count], [number.value], self.marker(point), color=colour, markersize=4.5)
                if point.published:
                    axes.plot(*point.published, **diamond(colour))
                if len(point.pairs) == 2:
                    axes.plot(*zip(*point.pairs), color=colour, linewidth=0.6, linestyle=":")
            log_axis(axes, [count for point in found for count, _ in point.pairs])
            axes.margins(0.2, 0.12)
            titled(axes, title, self.across)
        figure.supxlabel("parameters")
        figure.supylabel(SCORE)

    def colour(self, point: Point) -> str:
        """The colour of a point: of its family's line or of its row."""
        in_line = point.family in self.families
        return row_line(self.families, point.family)["color"] if in_line else row_colour(self.labels, point.label)

    def marker(self, point: Point) -> str:
        """The marker of a point."""
        return row_line(self.families, point.family)["marker"] if point.family in self.families else "o"

    def legend(self) -> dict[str, Artist]:
        """What the signs mean, as far as they are used."""
        found, every = row_legend(self.families), [point for of_column in self.points.values() for point in of_column]
        numbers = [point.own[1] for point in every if point.own]
        if numbers:
            found["here, 95 % interval" if any(number.known for number in numbers) else "here"] = Line2D(
                [], [], color=INK, marker="o", markersize=4.5, linestyle="none"
            )
        if any(point.published for point in every):
            found["published, comparable or not"] = Line2D([], [], **diamond())
        return found


def add_labels(axes: Axes, found: list[Point], families: list[str]) -> None:
    """Writes each row's label beside its point, where it covers least. To leave the panel is worse than to cover something.

    In a family's line it is the values of the axes.
    """
    room, boxes = axes.get_window_extent(), []
    taken = [axes.transData.transform(pair) for point in found for pair in point.covered]
    places = [axes.transData.transform(pair) for point in found for pair in point.pairs]

    def box(text: Annotation, place: tuple) -> Bbox:
        text.set(position=place[:2], ha=place[2], va=place[3])
        return text.get_window_extent()

    def cost(found: Bbox, own: np.ndarray) -> tuple[bool, int, bool, int]:
        outside = found.x0 < room.x0 or found.x1 > room.x1 or found.y0 < room.y0 or found.y1 > room.y1
        nearer = any(distance(found, place) < distance(found, own) for place in places)
        covered = sum(bool(found.contains(*pair)) for pair in taken)
        return bool(outside), int(found.count_overlaps(boxes)), nearer, covered

    for point in found:
        label = point.values if point.family in families else point.label
        label = label if len(label) <= LETTERS else f"{label[: LETTERS - 1]}…"
        text = axes.annotate(label, point.pairs[0], (0, 0), textcoords="offset points")
        own = axes.transData.transform(point.pairs[0])
        place = min(PLACES, key=lambda place: cost(box(text, place), own))  # noqa: B023  runs now
        boxes.append(box(text, place))
        if place not in PLACES[: len(DIRECTIONS)]:
            leader = {"arrowstyle": "-", "color": INK, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 3}
            axes.annotate("", point.pairs[0], place[:2], textcoords="offset points", arrowprops=leader)


def distance(box: Bbox, place: np.ndarray) -> float:
    """From a place to the nearest point of a box, in pixels."""
    across = max(box.x0 - place[0], 0.0, place[0] - box.x1)
    return float(math.hypot(across, max(box.y0 - place[1], 0.0, place[1] - box.y1)))
