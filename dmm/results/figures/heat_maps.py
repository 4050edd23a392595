"""A block of heat maps: the numbers of a family over two axes, written into the cells."""

import math
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.figure import SubFigure
from matplotlib.patches import Rectangle

from dmm.results.figures.style import SCORE, WIDTH, Block, panels, titled
from dmm.results.grids import Pivot
from dmm.results.sections import axis_text, notes_of

CELL = 0.55, 0.3  # inches, across and down
NARROWEST = 0.36  # inches, of a cell that has its number written in it
LEVELS = 40  # of colour


@dataclass(frozen=True)
class HeatMaps(Block):
    """One panel a pivot, all on one scale of colours."""

    pivots: list[Pivot]

    @property
    def across(self) -> int:
        """Panels side by side."""
        return max(1, min(3, len(self.pivots), int((WIDTH - 0.8) / (self.most_across * CELL[0] + 0.7))))

    @property
    def most_across(self) -> int:
        """Cells side by side in the widest panel."""
        return max(len(pivot.across_values) for pivot in self.pivots)

    @property
    def height(self) -> float:
        """In inches."""
        most = max(len(pivot.down_values) for pivot in self.pivots)
        return math.ceil(len(self.pivots) / self.across) * (max(most * CELL[1], 0.9) + 0.75)

    def draw(self, figure: SubFigure) -> None:
        """Draws the panels and the scale."""
        values = [number.value for pivot in self.pivots for number in pivot.numbers.values()]
        scale = Normalize(float(np.nanmin(values)), float(np.nanmax(values)))
        shown = panels(figure, len(self.pivots), self.across)
        for axes, pivot in zip(shown, self.pivots):
            colours = draw_pivot(axes, pivot, scale, self.across)
        bar = figure.colorbar(colours, ax=shown, label=SCORE, aspect=25, pad=0.02)
        bar.outline.set_visible(False)


def draw_pivot(axes: Axes, pivot: Pivot, scale: Normalize, panels_across: int) -> QuadMesh:
    """One heat map. Returns its colours. A cell without a result is hatched, and one without a row is empty."""
    values = np.full((len(pivot.down_values), len(pivot.across_values)), np.nan)
    for i, down in enumerate(pivot.down_values):
        for j, across in enumerate(pivot.across_values):
            if (down, across) in pivot.numbers:
                values[i, j] = pivot.numbers[down, across].value
                if math.isnan(values[i, j]):
                    axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, hatch="////", linewidth=0))
    colours = axes.pcolormesh(
        np.arange(values.shape[1] + 1) - 0.5,
        np.arange(values.shape[0] + 1) - 0.5,
        np.ma.masked_invalid(values),
        cmap=matplotlib.colormaps["cividis"].resampled(LEVELS),
        norm=scale,
    )
    if WIDTH / panels_across / (values.shape[1] + 2) >= NARROWEST:
        for (i, j), value in np.ndenumerate(values):
            if not math.isnan(value):
                red, green, blue, _ = colours.cmap(scale(value))
                dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.45
                axes.text(j, i, f"{value:.1f}", ha="center", va="center", color="#ffffff" if dark else "#000000")
    axes.set_xticks(range(values.shape[1]), [axis_text(value) for value in pivot.across_values])
    axes.set_yticks(range(values.shape[0]), [axis_text(value) for value in pivot.down_values])
    axes.set_ylim(values.shape[0] - 0.5, -0.5)
    axes.set(xlabel=pivot.across, ylabel=pivot.down)
    titled(axes, f"{pivot.family}, {pivot.column.label}{notes_of(pivot.fixed)}", panels_across)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return colours
