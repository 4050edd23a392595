"""budget: the score that evaluations in the environment buy, when they are spent on choosing a policy."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dmm.report.content import ReportContent
from dmm.report.figures.lines import Line, Lines, Panel
from dmm.report.figures.style import SCORE, heading, log_axis, row_labels, stack
from dmm.results.episodes import Episodes, arm_scores
from dmm.results.online_budget import bandit_curve, expected_best_curve, reading_point
from dmm.results.score import Cell

MOST_EPISODES = 500  # of the bandit
MOST_CELLS = 100  # with a bandit. One takes about 0.1 s
ARMS = 8  # among which a bandit chooses, as in the paper


def budget(content: ReportContent, episodes: Episodes | None) -> Figure | None:
    """The figure. None if no row has two evaluations. The bandit is drawn where episodes are given."""
    if not any(len(curve.x) > 1 for cell in content.cells for curve in expected_lines(content, cell)):
        return None
    labels = row_labels(content)
    blocks = [
        Lines(
            panels=panels_of(content, lambda cell: expected_lines(content, cell)),
            labels=labels,
            x="evaluations among which the best policy is chosen",
            y=f"expected best {SCORE}",
        )
    ]
    bandits = []
    if episodes and len(content.cells) <= MOST_CELLS:
        bandits = panels_of(content, lambda cell: bandit_lines(cell, episodes))
    if bandits:
        blocks.append(
            Lines(panels=bandits, labels=labels, x="episodes that a bandit spends", y=f"{SCORE} of its choice")
        )
    how = "a policy is a checkpoint of a seed at a target; a mark shows what a reading spends and gets"
    return stack(heading(content, "Score against the online budget", how), blocks, blocks[0].legend())


def panels_of(content: ReportContent, lines_of) -> list[Panel]:
    """A panel for each column that has lines."""
    found = []
    for column in content.table.columns:
        lines = [line for cell in content.column(column) for line in lines_of(cell)]
        if lines:
            found.append(Panel(column.label, lines, prepare(lines)))
    return found


def prepare(lines: list[Line]):
    """A log axis from 1 to the most that is spent."""
    most = max(max(line.x) for line in lines)

    def log(axes: Axes) -> None:
        log_axis(axes, [1, most])

    return log


def expected_lines(content: ReportContent, cell: Cell) -> list[Line]:
    """The expected best of n evaluations of a cell, with the point of each reading. Empty without a finished trial."""
    curve = expected_best_curve(cell)
    if not curve:
        return []
    points = {reading.name: reading_point(cell, reading) for reading in content.table.readings}
    unknown = [float("nan")] * len(curve)
    return [
        Line(
            label=cell.row.label,
            x=[point.evaluations for point in curve],
            y=[point.score for point in curve],
            low=unknown,
            high=unknown,
            marks={name: (point.evaluations, point.score) for name, point in points.items() if point},
        )
    ]


def bandit_lines(cell: Cell, episodes: Episodes) -> list[Line]:
    """The score of the bandit's choice, with the central 95 % of repeats. Empty without episodes."""
    arms = arm_scores(cell, episodes)
    if not arms.size:
        return []
    curve = bandit_curve(arms, min(arms.size, MOST_EPISODES), min(len(arms), ARMS))
    spent = range(1, len(curve.score) + 1)
    low, high = curve.low.tolist(), curve.high.tolist()
    return [Line(label=cell.row.label, x=spent, y=curve.score.tolist(), low=low, high=high)]
