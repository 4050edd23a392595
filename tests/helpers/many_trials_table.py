"""A table of DMM_TOY_TRIALS trials that do next to nothing: what is left is the cost of a sweep itself."""

import os

from dmm.config import Column, Row, Table
from helpers.reacher import REACHER, TINY

TABLE = Table(
    name="many",
    title="Many",
    rows=(Row(label="DT", arch="dt", overrides={"width": 8, "layers": 1}),),
    columns=(Column(task=REACHER, dataset="d4rl:" + os.environ["DMM_TOY_DATA"], label="reacher-random"),),
    seeds=tuple(range(int(os.environ["DMM_TOY_TRIALS"]))),
    protocol=TINY.with_overrides(
        updates=2, num_evaluations=1, episodes_per_evaluation=1, rollout_batch_size=1, targets=(1.0,)
    ),
)
