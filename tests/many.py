"""A table of DMM_TOY_TRIALS trials that do next to nothing: what is left is the cost of a sweep itself."""

import os

from conftest import REACHER, TINY

from dmm.config import Column, Row, Table

TABLE = Table(
    name="many",
    title="Many",
    rows=(Row(label="DT", arch="dt", changes={"width": 8, "layers": 1}),),
    columns=(Column(task=REACHER, dataset="d4rl:" + os.environ["DMM_TOY_DATA"], label="reacher-random"),),
    seeds=tuple(range(int(os.environ["DMM_TOY_TRIALS"]))),
    protocol=TINY.changed(updates=2, evaluations=1, episodes=1, shard=1, targets=(1.0,)),
)
