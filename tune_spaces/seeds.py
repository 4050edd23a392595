"""How many seeds tell two rows apart: DMM v2 and DT with 30 seeds."""

from dataclasses import replace

from dmm.config import BUDGETS, Table
from tune_spaces.protocols import DMM_GYM
from tune_spaces.shared import DMM_V2, DT, NO_PAPER, columns

TABLE = Table(
    name="seeds",
    title="How many seeds tell DMM v2 and DT apart",
    rows=(DMM_V2, DT),
    columns=columns("hopper-medium"),
    seeds=tuple(range(30)),
    protocol=DMM_GYM,
    departures=(NO_PAPER, "30 seeds. Papers of this field have three to five"),
    # seeds are what this table is about
    budgets={name: replace(budget, seeds=30) if name != "smoke" else budget for name, budget in BUDGETS.items()},
)
