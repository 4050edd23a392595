"""DMM and DT in a maze with a sparse reward, on embedded data, in minutes. The goal is part of the state."""

from dmm.config import Column, Protocol, Row, Table
from dmm.tasks import find_task
from tune_spaces.shared import NO_PAPER

PROTOCOL = Protocol(name="pointmaze").with_overrides(
    context_length=4,
    updates=1_500,
    warmup=100,
    learning_rate=1e-3,
    sampling="episodes",  # episodes without success are five times as long, and would have most of the steps
    num_evaluations=2,
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
        Row(
            label="DMM v2",
            arch="metamamba",
            preset="DMM v2",
            overrides={"width": 64, "dropout": 0.0, "learning_rate": 3e-3},
        ),
        Row(label="DT", arch="dt", overrides={"width": 64, "dropout": 0.0}),
        Row(label="BC", arch="bc", overrides={"width": 64}, note="does not see the return"),
    ),
    columns=(column("umaze"),),
    seeds=(0, 1),
    protocol=PROTOCOL,
    departures=(
        NO_PAPER,
        "data collected by this project's own script, which knows the goal in half of its episodes. The score is success in "
        "percent. Minari's and D4RL's data of the same mazes have other behaviour, and D4RL's maze2d counts steps at the goal",
        "the settings were chosen on seed 0, so that both models learn in minutes: K, the sampling of windows, DMM's "
        "learning rate and dropout. This table shows that the service works, not which architecture is better",
        "1,500 updates at a learning rate of 1e-3 (DMM: 3e-3) with a warm-up of 100 (papers: 100,000 at 1e-4 with 10,000)",
        "K = 4, width 64, no dropout. Windows are drawn by episodes (papers: by steps)",
        "50 episodes per target and evaluation, 2 evaluations, 2 seeds (papers: 100, 10, 5)",
    ),
)
