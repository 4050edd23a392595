"""curves: score over updates. A band is the 95 % interval of the mean over seeds. It may leave the panel."""

from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dmm.config import Column, Reading
from dmm.report.content import ReportContent
from dmm.report.figures.lines import Line, Lines, Panel, limits_of
from dmm.report.figures.style import SCORE, heading, large_numbers, row_labels, stack
from dmm.results.score import Cell, reading_targets
from dmm.results.statistics import mean_intervals


def curves(content: ReportContent) -> Figure | None:
    """The figure. None if no trial is finished."""
    columns = [column for column in content.table.columns if any(cell.finished for cell in content.column(column))]
    if not columns:
        return None
    block = Lines(
        panels=[curve_panel(content, column) for column in columns],
        labels=row_labels(content),
        x="updates",
        y=SCORE,
    )
    how = f"each evaluation, {content.headline.describe_target()}, mean over seeds"
    return stack(heading(content, "Learning curves", how), [block], block.legend())


def curve_panel(content: ReportContent, column: Column) -> Panel:
    """The curves of a column."""
    lines = [curve_line(cell, content.headline) for cell in content.column(column) if cell.finished]
    values = [value for line in lines for values in (line.y, *line.seeds) for value in values]
    return Panel(column.label, lines, prepare, limits_of(values))


def prepare(axes: Axes) -> None:
    """Ticks at whole updates, like 100k."""
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    large_numbers(axes.xaxis)


def curve_line(cell: Cell, reading: Reading) -> Line:
    """The mean over seeds at each evaluation."""
    updates, scores = learning_curve(cell, reading)
    means = mean_intervals(list(zip(*scores)))
    return Line(
        label=cell.row.label,
        x=updates,
        y=[mean.value for mean in means],
        low=[mean.low for mean in means],
        high=[mean.high for mean in means],
        seeds=scores if len(scores) > 1 else [],
    )


def learning_curve(cell: Cell, reading: Reading) -> tuple[list[int], list[list[float]]]:
    """The updates of a cell's evaluations, and each seed's scores at them: over the reading's targets."""
    over_targets = fmean if reading.target == "mean" else max
    updates, scores = [], []
    for summary in cell.finished:
        curve = summary.curve
        labels = reading_targets(summary, reading)
        updates = [point.update for point in next(iter(curve.values()))]
        returns = [[point.mean_return for point in curve[label]] for label in labels]
        scores.append([cell.column.task.normalised_score(over_targets(at)) for at in zip(*returns)])
    return updates, scores
