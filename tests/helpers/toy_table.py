"""A table of seconds, for sweeps in tests: DT and DMM on Reacher; DMM_TOY_DATA names the data, the rest changes it."""

import os
from dataclasses import replace

from dmm.config import Column, Row, Table
from helpers.reacher import REACHER, TINY

SMALL = {"width": 16, "layers": 1}
BROKEN = {
    "": (),
    "nan": (Row(label="NaN", arch="dt", overrides={**SMALL, "learning_rate": 1e30}),),
}
task = replace(REACHER, environment=os.environ.get("DMM_TOY_ENVIRONMENT", REACHER.environment))
TABLE = Table(
    name=os.environ.get("DMM_TOY_NAME", "toy"),
    title="Toy",
    rows=(
        Row(label="DT", arch="dt", overrides=SMALL),
        Row(label="DMM", arch="metamamba", overrides=SMALL, published={"reacher-random": 12.5}),
        *BROKEN[os.environ.get("DMM_TOY_BROKEN", "")],
    ),
    columns=(Column(task=task, dataset="d4rl:" + os.environ["DMM_TOY_DATA"], label="reacher-random"),),
    seeds=tuple(range(int(os.environ.get("DMM_TOY_SEEDS", 2)))),
    protocol=TINY.with_overrides(
        updates=int(os.environ.get("DMM_TOY_UPDATES", 60)),
        num_evaluations=int(os.environ.get("DMM_TOY_EVALUATIONS", 3)),
        episodes_per_evaluation=6,
        rollout_batch_size=3,
    ),
)
