"""DT and DMM on embedded Hopper data, in minutes. It shows that everything works, at equal width and context length."""

from dmm.config import Column, Protocol, Row, Table
from dmm.tasks import find_task

PROTOCOL = Protocol(name="quickstart").with_overrides(
    context_length=8,
    updates=2_000,
    warmup=100,
    learning_rate=1e-3,
    num_evaluations=4,
    episodes_per_evaluation=20,
    rollout_batch_size=60,
    targets=(1.0, 0.5, 0.0),
)

TABLE = Table(
    name="quickstart",
    title="Quickstart: Decision Transformer and Decision MetaMamba on locally collected Hopper data",
    rows=(
        Row(
            label="DMM v2",
            arch="metamamba",
            preset="DMM v2",
            overrides={"width": 64, "learning_rate": 3e-3},
        ),
        Row(label="DT", arch="dt", overrides={"width": 64, "dropout": 0.0}, note="no dropout"),
    ),
    columns=(Column(task=find_task("hopper"), dataset=("dmm/hopper/medium-v0",), label="hopper-medium"),),
    seeds=(0, 1),
    protocol=PROTOCOL,
    departures=(
        "2,000 updates at a learning rate of 1e-3 with a warm-up of 100 (papers: 100,000 at 1e-4 with 10,000)",
        "DMM's learning rate and DT's dropout were chosen among a few on these seeds, so that each reacts to the return asked "
        "for in so short a time. This table shows that the service works, not which architecture is better",
        "K = 8 and width 64 for both (DT's paper: 20 and 128)",
        "20 episodes per target and evaluation, 4 evaluations, 2 seeds (papers: 100, 10, 5)",
        "data collected by this project's own policy in Hopper-v5: no published number can stand beside these",
    ),
)
