"""The figures of a report."""

import io
import math
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from dmm.config import Reading
from dmm.results.content import ReportContent
from dmm.results.score import Cell, reading_targets

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def learning_curves(cells: list[Cell], reading: Reading) -> "Figure":
    """curves: score over updates, one panel a column, one line a row. Lines are means over seeds.

    A band is one standard deviation wide on each side. A panel of many lines has no bands, because they would overlap.
    """
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    columns = list({cell.column.label: cell.column for cell in cells}.values())
    across = min(len(columns), 3)
    down = math.ceil(len(columns) / across)
    lines = len({cell.row.label for cell in cells})
    crowded = lines > 8  # then the legend is beside the panel
    height = max(3.8, 0.21 * lines + 1) if crowded else 3.8
    figure = Figure(figsize=((7.5 if crowded else 5.5) * across, height * down), dpi=120, layout="constrained")
    styles = cycler(linestyle=["-", "--", ":"]) * cycler(color=matplotlib.color_sequences["tab10"])
    for panel, column in zip(figure.subplots(down, across, squeeze=False).flat, columns):
        shown = [cell for cell in cells if cell.column is column and cell.finished]
        panel.set_prop_cycle(styles)
        for cell in shown:
            updates, scores = learning_curve(cell, reading)
            average = scores.mean(axis=0)
            (line,) = panel.plot(
                updates, average, marker="o", markersize=3, label=figure_text(f"{cell.row.label} ({len(scores)})")
            )
            if len(scores) > 1 and not crowded:
                spread = scores.std(axis=0, ddof=1)
                panel.fill_between(updates, average - spread, average + spread, color=line.get_color(), alpha=0.2, lw=0)
        panel.set(title=figure_text(column.label), xlabel="updates", ylabel="normalised score")
        panel.grid(alpha=0.3)
        if shown:
            beside = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.02)} if crowded else {}
            panel.legend(title="mean of seeds (n)", fontsize="small", **beside)
    for panel in figure.axes[len(columns) :]:
        panel.remove()
    return figure


def draw(content: ReportContent) -> dict[str, "Figure"]:
    """The figures of a report by name."""
    return {"curves": learning_curves(content.cells, content.headline)}


def png(figure: "Figure") -> bytes:
    """A figure as PNG."""
    return saved(figure, "png")


def svg(figure: "Figure") -> bytes:
    """A figure as SVG. The same figure gives the same bytes."""
    return saved(figure, "svg", metadata={"Date": None})


def saved(figure: "Figure", format: str, **settings: Any) -> bytes:
    """The bytes of a figure's file."""
    import matplotlib

    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "dmm", "svg.fonttype": "none"}):
        figure.savefig(file, format=format, **settings)
    return file.getvalue()


def figure_text(text: str) -> str:
    """A text as Matplotlib shows it unchanged. It would read formulas between $ signs, and hide a label that begins with _."""
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def learning_curve(cell: Cell, reading: Reading) -> tuple[list[int], Float[np.ndarray, "seeds evaluations"]]:
    """The updates of a cell's evaluations and the scores at them: over the reading's targets."""
    over_targets = fmean if reading.target == "mean" else max
    updates, scores = [], []
    for summary in cell.finished:
        curve = summary.curve
        labels = reading_targets(summary, reading)
        updates = [point.update for point in next(iter(curve.values()))]
        returns = [[point.mean_return for point in curve[label]] for label in labels]
        scores.append([cell.column.task.normalised_score(over_targets(at)) for at in zip(*returns)])
    return updates, np.array(scores)
