"""Score against context length, for DMM v2, DC, DT and DMamba. The paper of Decision MetaMamba v2 has such a figure."""

from dataclasses import replace

from dmm.config import Row, Table, grid
from tune_spaces.protocols import DMM_GYM
from tune_spaces.shared import DC, DM, DMM_V2, DT, NO_PAPER, SEEDS, WITH_LAPTOP, columns, on, without

LABELS = ("hopper-medium",)
LENGTHS = (2, 4, 8, 12, 20, 30, 50)


def lengths(row: Row) -> tuple[Row, ...]:
    """A row at every context length."""
    return grid(on(LABELS, without(row, "context_length")), context_length=LENGTHS)


TABLE = Table(
    name="dmm_v2_context",
    title="Context length of DMM v2, DC, DT and DMamba",
    rows=(*lengths(DMM_V2), *lengths(DC), *lengths(DT), *lengths(replace(DM, label="DMamba"))),
    columns=columns(*LABELS),
    seeds=SEEDS,
    protocol=DMM_GYM,
    budgets=WITH_LAPTOP,
    departures=(
        NO_PAPER,
        "the paper of DMM v2 has such a figure, and its numbers are not known here",
        "each system has the width and learning rate of its own paper: DMM v2 64, DT 128, DC and DMamba 256",
    ),
)
