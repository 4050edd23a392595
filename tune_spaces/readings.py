"""One set of runs under every reading: how much each rule of reading adds to the same scores."""

from dataclasses import replace

from dmm.config import BUDGETS, LAST, PAPER_MAX, Reading, Table
from tune_spaces.protocols import DMM_GYM
from tune_spaces.shared import DC, DM, DMM_V2, DT, NO_PAPER, SEEDS, WITH_LAPTOP, columns, on

LABELS = ("hopper-medium",)

TABLE = Table(
    name="readings",
    title="One set of runs under every reading",
    rows=(on(LABELS, DMM_V2), on(LABELS, DC), on(LABELS, DT), on(LABELS, DM, label="DMamba")),
    columns=columns(*LABELS),
    seeds=SEEDS,
    protocol=DMM_GYM,
    readings=(
        LAST,
        Reading(name="last, mean of targets", target="mean"),
        Reading(name="last, best target", target="max"),
        Reading(name="mean of the last 3", checkpoint="average", average_last=3),
        Reading(name="best", checkpoint="best"),
        Reading(name="best, best target", checkpoint="best", target="max"),
        Reading(name="last, best seed", seeds="max"),
        PAPER_MAX,
    ),
    departures=(
        NO_PAPER,
        "each system has the settings of its own paper. The table compares readings, and not systems",
        "the last reading is that of Decision MetaMamba v1, there a maximum over 4 targets, 10 evaluations and 5 seeds",
    ),
    # one reading averages three evaluations
    budgets={**WITH_LAPTOP, "smoke": replace(BUDGETS["smoke"], num_evaluations=3)},
)
