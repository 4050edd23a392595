"""A table of seconds, for sweeps in tests: DT and DMM on Reacher; the data file is named by DMM_TOY_DATA."""

import os

from conftest import REACHER, TINY

from dmm.config import Column, Row, Table

TABLE = Table(
    name="toy",
    title="Toy",
    rows=(
        Row(label="DT", arch="dt", changes={"width": 16, "layers": 1}),
        Row(label="DMM", arch="metamamba", changes={"width": 16, "layers": 1}, published={"reacher-random": 12.5}),
    ),
    columns=(Column(task=REACHER, dataset="d4rl:" + os.environ["DMM_TOY_DATA"], label="reacher-random"),),
    seeds=(0, 1),
    protocol=TINY.changed(updates=int(os.environ.get("DMM_TOY_UPDATES", 300)), evaluations=3, episodes=20, shard=10),
)
