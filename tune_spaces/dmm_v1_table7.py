"""Decision MetaMamba v1, Table 7: the embedding width of DMM-DL."""

from dmm.config import Row, Table
from tune_spaces.dmm_v1_table1 import HIGHEST
from tune_spaces.protocols import DMM_GYM
from tune_spaces.shared import SEEDED, SEEDS, SIMULATOR, columns, on

LABELS = ("hopper-medium", "walker2d-medium", "halfcheetah-medium")


def at_width(width: int) -> Row:
    """DMM-DL at a width, in all columns."""
    return Row(
        label=f"DMM-DL {width}",
        arch="metamamba",
        preset="DMM-DL, as published",
        overrides={"width": width},
        published_reading=HIGHEST,
    )


TABLE = Table(
    name="dmm_v1_table7",
    title="Decision MetaMamba v1, Table 7: DMM-DL at width 128 and 64",
    rows=(
        on(LABELS, at_width(128), (97.1, 79.7, 43.1)),
        on(
            LABELS,
            at_width(64),
            (96.2, 81.3, 43.0),
            note="the published values are those of DMM-L in Table 1. Table 2 prints 98.6, 81.4 and 43.2 for DMM-DL",
        ),
    ),
    columns=columns(*LABELS),
    seeds=SEEDS,
    protocol=DMM_GYM,
    source="arXiv 2408.10517v1, Table 7, read as its Table 1: the highest value of five runs",
    departures=(SIMULATOR, SEEDED, "the widths are those of the labels, on walker2d too"),
)
