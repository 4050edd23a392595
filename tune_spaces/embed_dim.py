"""Score against embedding width, for DMM v2, DMM-DL, DT and DC."""

from dataclasses import replace

from dmm.config import Row, Table, grid
from tune_spaces.protocols import DMM_GYM
from tune_spaces.shared import DC, DMM_V2, DT, NO_PAPER, SEEDS, columns, with_laptop

WIDTHS = (16, 32, 64, 128, 256)
DMM_DL = Row(label="DMM-DL", arch="metamamba", preset="DMM-DL, as published")
ROWS = tuple(
    at_width for row in (DMM_V2, DMM_DL, DT, replace(DC, per_column={})) for at_width in grid(row, width=WIDTHS)
)

TABLE = Table(
    name="embed_dim",
    title="Embedding width of DMM v2, DMM-DL, DT and DC",
    rows=ROWS,
    columns=columns("hopper-medium"),
    seeds=SEEDS,
    protocol=DMM_GYM,
    budgets=with_laptop(row for row in ROWS if row.axes["width"] in (32, 64, 128)),
    departures=(
        NO_PAPER,
        "one learning rate, 1e-4, at every width. It is that of the papers on hopper-medium",
        "K = 8 for DMM and DC, K = 20 for DT, as in their papers",
    ),
)
