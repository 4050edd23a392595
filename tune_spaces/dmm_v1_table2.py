"""Decision MetaMamba v1, Table 2: double mixers beside DT and DC, all at an embedding width of 64."""

from dataclasses import replace

from dmm.config import Row, Table
from tune_spaces.dmm_v1_table1 import HIGHEST, LABELS, UNSTATED
from tune_spaces.protocols import DMM_GYM, DMM_V1_PER_COLUMN
from tune_spaces.shared import ANT, CUT, DC, DT, SEEDED, SEEDS, SIMULATOR, columns, on, with_overrides

DC_64 = {label: {**settings, "width": 64} for label, settings in DC.per_column.items()}
DMM_DL = Row(label="DMM-DL", arch="metamamba", preset="DMM-DL, as published", per_column=DMM_V1_PER_COLUMN)
DMM_DC = Row(label="DMM-DC", arch="metamamba", preset="DMM-DC", per_column=DMM_V1_PER_COLUMN)

TABLE = Table(
    name="dmm_v1_table2",
    title="Decision MetaMamba v1, Table 2: double mixers beside DT and DC at width 64",
    rows=(
        on(
            LABELS,
            with_overrides(DT, width=64),
            (68.4, 78.5, 101.3, 81.1, 49.2, 104.8, 42.9, 37.5, 82.8, 64.4, 58.0),
            note="the published 68.4 on hopper-medium is also that of Table 1, whose DT has width 128",
            not_comparable=UNSTATED,
        ),
        on(
            LABELS,
            replace(DC, per_column=DC_64),
            (85.6, 89.5, 101.5, 82.6, 69.3, 104.7, 42.8, 38.7, 86.3, 81.0, 68.0),
            not_comparable=UNSTATED,
        ),
        on(
            LABELS,
            DMM_DL,
            (98.6, 95.9, 110.0, 81.4, 75.1, 110.4, 43.2, 41.1, 92.6, 80.0, 74.0),
            published_reading=HIGHEST,
        ),
        on(
            LABELS,
            DMM_DC,
            (96.5, 92.1, 109.5, 82.2, 78.9, 109.8, 43.3, 41.5, 92.2, 82.0, 77.0),
            published_reading=HIGHEST,
        ),
    ),
    columns=columns(*LABELS),
    seeds=SEEDS,
    protocol=DMM_GYM,
    source="arXiv 2408.10517v1, Table 2, read as its Table 1: the highest value of five runs. The paper does not say whether "
    "DT and DC were read like this",
    departures=(
        SIMULATOR,
        ANT,
        CUT,
        SEEDED,
        "DMM has width 32 on walker2d, as the counts of Table 5 imply. The caption says 64 for all models",
        "on AntMaze, DC has the learning rate 1e-3, because the paper does not state it",
    ),
)
