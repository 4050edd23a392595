"""A grid of context length and embedding width, for DMM v2 and DT."""

from dmm.config import Table, grid
from tune_spaces.protocols import DMM_GYM
from tune_spaces.shared import DMM_V2, DT, NO_PAPER, SEEDS, WITH_LAPTOP, columns, without

AXES = {"context_length": (4, 8, 20, 50), "width": (32, 64, 128)}

TABLE = Table(
    name="context_x_width",
    title="Context length and embedding width of DMM v2 and DT",
    rows=(*grid(DMM_V2, **AXES), *grid(without(DT, "context_length"), **AXES)),
    columns=columns("hopper-medium"),
    seeds=SEEDS,
    protocol=DMM_GYM,
    budgets=WITH_LAPTOP,
    departures=(NO_PAPER, "one learning rate, 1e-4, at every width and context length"),
)
