"""DMM and DT in a maze with a sparse reward, on embedded data, in minutes. The goal is part of the state."""

from dmm.config import Column, Protocol, Row, Table
from dmm.tasks import find_task
from tune_spaces.shared import NO_PAPER

PROTOCOL = Protocol(name="pointmaze").with_overrides(
    context_length=8,
    updates=3_000,
    warmup=100,
    learning_rate=1e-3,
    num_evaluations=3,
    episodes_per_evaluation=50,
    rollout_batch_size=100,
    targets=(1.0, 0.0),
)


def column(name: str) -> Column:
    """A maze with the data of its medium script."""
    task = find_task(f"pointmaze-{name}")
    return Column(label=task.name, task=task, dataset=(f"dmm/{task.name}/medium-v0@view={task.view}",))


TABLE = Table(
    name="pointmaze",
    title="PointMaze: Decision MetaMamba and Decision Transformer with a sparse reward, on embedded data",
    rows=(
        Row(label="DMM v2", arch="metamamba", preset="DMM v2", overrides={"width": 64}),
        Row(label="DT", arch="dt", overrides={"width": 64, "dropout": 0.0}, note="no dropout"),
        Row(label="BC", arch="bc", overrides={"width": 64}, note="does not see the return"),
    ),
    columns=(column("umaze"),),
    seeds=(0, 1),
    protocol=PROTOCOL,
    departures=(
        NO_PAPER,
        "data collected by this project's own script, which knows the goal in half of its episodes. The score is success in "
        "percent. Minari's and D4RL's data of the same mazes have other behaviour, and D4RL's maze2d counts steps at the goal",
        "3,000 updates at a learning rate of 1e-3 with a warm-up of 100 (papers: 100,000 at 1e-4 with 10,000), K = 8, width 64",
        "50 episodes per target and evaluation, 3 evaluations, 2 seeds (papers: 100, 10, 5)",
    ),
)
