"""scores: each row of each column, one dot a seed, the mean with its 95 % interval, and the published number."""

import math
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from dmm.config import Column, Row
from dmm.report.content import ReportContent
from dmm.report.figures.style import (
    INK,
    LINE,
    SCORE,
    Block,
    diamond,
    heading,
    panels,
    row_colour,
    row_labels,
    stack,
    titled,
    wrapped,
)
from dmm.results.score import data_score

LETTERS = 28  # of a line of a row's label


def scores(content: ReportContent) -> Figure | None:
    """The figure. None if no trial is finished and no number is published."""
    block = Scores(content, order(content))
    return stack(heading(content, "Score"), [block], block.legend()) if block.rows else None


def order(content: ReportContent) -> list[Row]:
    """The rows that have a number. Those of one column are sorted by it, and those of several are in the table's order."""
    rows = [row for row in content.table.rows if row.published or any(cell.finished for cell in content.row(row))]
    column, *others = content.table.columns
    if others:
        return rows

    def number(row: Row) -> float:
        (cell,) = content.row(row)
        value = content.number(cell, content.headline).value
        return row.published.get(column.label, math.nan) if math.isnan(value) else value

    return sorted(rows, key=number, reverse=True)


@dataclass(frozen=True)
class Scores(Block):
    """One panel a column, one line a row."""

    content: ReportContent
    rows: list[Row]

    @property
    def across(self) -> int:
        """Panels side by side."""
        return min(len(self.content.table.columns), 3)

    @property
    def height(self) -> float:
        """In inches."""
        lines = max(wrapped(row.label, LETTERS).count("\n") + 1 for row in self.rows)
        panel = max(1, len(self.rows)) * (lines * LINE + 0.1) + 0.55
        return math.ceil(len(self.content.table.columns) / self.across) * panel + 0.15

    def draw(self, figure: SubFigure) -> None:
        """Draws the panels."""
        columns = self.content.table.columns
        for i, (axes, column) in enumerate(zip(panels(figure, len(columns), self.across), columns)):
            self.draw_column(axes, column)
            if i % self.across:
                axes.tick_params(labelleft=False)
        figure.supxlabel(SCORE)

    def draw_column(self, axes: Axes, column: Column) -> None:
        """One panel."""
        content, headline = self.content, self.content.headline
        labels = row_labels(content)
        cells = {cell.row.label: cell for cell in content.column(column)}
        for y, row in enumerate(self.rows):
            cell, colour = cells[row.label], row_colour(labels, row.label)
            number, published = content.number(cell, headline), content.published(cell, headline)
            seeds = cell.score(headline).values
            axes.plot(seeds, [y + 0.2] * len(seeds), "o", color=colour, alpha=0.75, markersize=3, mew=0, label="seeds")
            if number.known:
                axes.plot([number.low, number.high], [y - 0.1] * 2, color=colour, linewidth=1.8)
            axes.plot([number.value], [y - 0.1], "|", color=colour, markersize=9, markeredgewidth=2)
            if published:
                axes.plot([published.value], [y - 0.1], **diamond(INK, bool(published.why_not)), label="published")
        data = next((summary.data for cell in cells.values() for summary in cell.finished), None)
        if data and (score := data_score(column.task, data)) is not None:
            axes.axvline(score, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
        axes.set_yticks(range(len(self.rows)), [wrapped(row.label, LETTERS) for row in self.rows])
        axes.set_ylim(len(self.rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        titled(axes, column.label, self.across)

    def legend(self) -> dict[str, Artist]:
        """What the signs mean, as far as they are used."""
        content, cells = self.content, self.content.cells
        found: dict[str, Artist] = {}
        if any(cell.finished for cell in cells):
            found["one seed"] = Line2D([], [], marker="o", color=INK, alpha=0.75, markersize=3, mew=0, linestyle="none")
            known = any(content.number(cell, content.headline).known for cell in cells)
            found["mean, 95 % interval" if known else "mean"] = Line2D(
                [], [], color=INK, marker="|", markersize=9, mew=2, linewidth=1.8 if known else 0
            )
        if any(data_score(cell.column.task, data) is not None for cell in cells for data in cell.data):
            found["mean return of the data"] = Line2D([], [], color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
        published = [number for cell in cells if (number := content.published(cell, content.headline))]
        if not all(number.why_not for number in published):
            found["published"] = Line2D([], [], **diamond(hollow=False))
        if any(number.why_not for number in published):
            found[f"published, not comparable with {content.headline.name}"] = Line2D([], [], **diamond())
        return found
