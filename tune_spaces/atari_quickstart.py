"""DT and DMM on embedded data of Pong, in minutes. It shows that frames and discrete actions work, on two cores."""

from dmm.config import Column, Row, Table, Target
from dmm.tasks import find_task
from tune_spaces.protocols import DT_ATARI

# global_steps: without the table of steps, with which a model knows few episodes by heart. pixel_mean: Pong's grey background
SMALL = {"width": 128, "layers": 2, "dropout": 0.0, "global_steps": 0, "pixel_mean": 0.34}
PROTOCOL = DT_ATARI.with_overrides(
    name="quickstart on Atari",
    context_length=2,
    updates=2_000,
    learning_rate=5e-4,
    warmup_actions=0,
    cosine_passes=0.0,
    weight_decay=0.0,
    num_evaluations=2,
    episodes_per_evaluation=4,
    max_steps=3_000,
    targets=(Target(1.0, "data"),),
)

TABLE = Table(
    name="atari_quickstart",
    title="Quickstart on Atari: Decision Transformer and Decision MetaMamba on locally collected data of Pong",
    rows=(
        Row(label="DMM v2", arch="metamamba", preset="DMM v2, Atari", overrides=SMALL),
        Row(label="DT", arch="dt", preset="DT, Atari", overrides=SMALL),
    ),
    columns=(Column(label="pong", task=find_task("pong"), dataset=("dmm/pong/medium-n30000-s0-v0",)),),
    seeds=(0,),
    protocol=PROTOCOL,
    departures=(
        "2,000 updates of 128 windows of 2 steps (papers: ten passes over 500,000 steps in windows of up to 50)",
        "two layers, no dropout, no weight decay, a learning rate of 5e-4 (papers: six, 0.1, 0.1, 6e-4), and no table of steps",
        "0.34 is subtracted from the pixels. Beside Pong's grey background the ball is hard to see, and so short a training "
        "would not learn it",
        "episodes are stopped after 3,000 steps, as those of the data. A game may last longer, and has 21 points",
        "4 episodes and 2 evaluations, and one seed (papers: 10, 10 and 3). The settings were chosen on this seed. This table "
        "shows that the service works, not which architecture is better",
        "data collected by this project's own follower of the ball. The models are asked for the highest return of these data: "
        "no published number can stand beside these",
        "no paper has DMM v2 on Atari: the frame of v1 and the layers of v2",
    ),
)
