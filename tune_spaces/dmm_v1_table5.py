"""Decision MetaMamba v1, Table 5: parameters, and parameters per score. `dmm show dmm_v1_table5` counts them untrained."""

from dataclasses import replace

from dmm.config import Row, Table
from tune_spaces.dmm_v1_table1 import TABLE as SINGLE
from tune_spaces.dmm_v1_table2 import TABLE as DOUBLE
from tune_spaces.protocols import DMM_GYM
from tune_spaces.shared import ANT, CUT, SEEDED, SEEDS, SIMULATOR, WIDTHS, columns, on

LABELS = ("hopper-medium", "walker2d-medium", "antmaze-umaze")
ROWS = {row.label: row for table in (DOUBLE, SINGLE) for row in table.rows}  # DT and DC are those of Table 1
SWAPPED = "on antmaze-umaze the printed ratio divides by {}. Table 2 prints {}, so the ratios of DMM-DC and DMM-DL are swapped"


def counted(label: str, scores: tuple[float, ...], counts: tuple[int, ...], note: str = "") -> Row:
    """A row of Table 1 or 2 with the printed counts. Its scores are those of that table."""
    row = replace(ROWS[label], published={}, published_parameters=dict(zip(LABELS, counts, strict=True)))
    return on(LABELS, row, scores, note=note)


TABLE = Table(
    name="dmm_v1_table5",
    title="Decision MetaMamba v1, Table 5: parameters, and parameters per score",
    rows=(
        counted("DT", (68.4, 76.6, 69.2), (727_695, 730_008, 730_008),
                "a misprint on antmaze-umaze: the count of walker2d-medium again. DT with 29 state dimensions and 8 actions "
                "has 733,606 parameters"),
        counted("DC", (89.7, 79.8, 86.0), (1_858_307, 537_478, 539_528)),
        counted("DMM-C", (94.2, 81.6, 85.0), (358_403, 32_390, 361_992)),
        counted("DMM-DC", (96.5, 82.2, 82.0), (110_467, 36_422, 112_264), SWAPPED.format("80.0", "82.0")),
        counted("DMM-L", (96.2, 81.3, 88.0), (1_235_075, 85_670, 1_238_664)),
        counted("DMM-DL", (98.6, 81.4, 80.0), (1_204_291, 306_854, 1_206_088), SWAPPED.format("82.0", "80.0")),
    ),
    columns=columns(*LABELS),
    seeds=SEEDS,
    protocol=DMM_GYM,
    source="arXiv 2408.10517v1, Table 5: parameters, and parameters per score of Table 1 (DT, DC, DMM-C, DMM-L) or Table 2 "
    "(DMM-DC, DMM-DL). The scores here are those of these tables, the highest of five runs",
    departures=(
        SIMULATOR,
        ANT,
        CUT,
        SEEDED,
        WIDTHS,
        "parameters are counted as in the paper, with those that never change: the unused heads of DT, and the dead rows of "
        "DMM-L and DMM-DL as released",
    ),
)  # fmt: skip
