"""DT and DMM on embedded data of Pong, in minutes. It shows that frames and discrete actions work, on two cores."""

from dmm.config import Column, Row, Table
from dmm.tasks import find_task
from tune_spaces.protocols import DT_ATARI

SMALL = {"width": 64, "layers": 3}
PROTOCOL = DT_ATARI.with_overrides(
    name="quickstart on Atari",
    context_length=10,
    batch_size=32,
    updates=800,
    warmup_actions=0,
    cosine_passes=0.0,
    num_evaluations=2,
    episodes_per_evaluation=4,
    max_steps=2_000,
    targets=(0.5,),
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
        "800 updates of 32 windows of 10 steps (papers: ten passes over 500,000 steps in windows of up to 50). So few do not "
        "suffice to play: both rows score as random play does",
        "width 64 and three layers (papers: 128 and six)",
        "episodes are stopped after 2,000 steps, in which few games end. A game has 21 points",
        "4 episodes and 2 evaluations, and one seed (papers: 10, 10 and 3). This table shows that the service works, not which "
        "architecture is better",
        "data collected by this project's own follower of the ball, in episodes of at most 3,000 steps: no published number "
        "can stand beside these",
        "no paper has DMM v2 on Atari: the frame of v1 and the layers of v2",
    ),
)
