"""Score against context length, for DMM v2, DC, DT and DMamba. The paper of Decision MetaMamba v2 has such a figure."""

from dataclasses import replace

from dmm.config import Row, Table, grid
from tune_spaces.protocols import DMM_GYM
from tune_spaces.shared import DC, DM, DMM_V2, DT, NO_PAPER, SEEDS, columns, on, with_laptop, without

LABELS = ("hopper-medium",)
LENGTHS = (2, 4, 8, 12, 20, 30, 50)


def lengths(row: Row) -> tuple[Row, ...]:
    """A row at every context length."""
    return grid(on(LABELS, without(row, "context_length")), context_length=LENGTHS)


ROWS = tuple(at_k for row in (DMM_V2, DC, DT, replace(DM, label="DMamba")) for at_k in lengths(row))

TABLE = Table(
    name="dmm_v2_context",
    title="Context length of DMM v2, DC, DT and DMamba",
    rows=ROWS,
    columns=columns(*LABELS),
    seeds=SEEDS,
    protocol=DMM_GYM,
    budgets=with_laptop(row for row in ROWS if row.axes["context_length"] in (2, 4, 8, 20)),
    departures=(
        NO_PAPER,
        "the paper of DMM v2 has such a figure, and its numbers are not known here",
        "each system has the width and learning rate of its own paper: DMM v2 64, DT 128, DC and DMamba 256",
    ),
)
