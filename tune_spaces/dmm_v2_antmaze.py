"""Decision MetaMamba v2 on AntMaze: its mixer as released and as meant, on data cut as published and as meant."""

from dmm.config import Column, Row, Table
from tune_spaces.protocols import ANTMAZE, ANTMAZE_TARGETS, DMM_GYM
from tune_spaces.shared import ANT, DMM_V2, DT, NO_PAPER, SEEDS, WITH_LAPTOP, columns, task_of

AS_MEANT = Column(
    label="antmaze-umaze, as meant",
    sources={
        source: (task_of("antmaze-umaze", source), (f"d4rl/{name}@ends=timeouts",))
        for source, name in (("d4rl", "antmaze-umaze-v2"), ("local", "antmaze-umaze"))
    },
)


def v2(label: str, note: str, sharing: str) -> Row:
    """DMM v2 at the width of its script for AntMaze."""
    overrides = {"width": 128, "mixer_sharing": sharing}
    return Row(label=label, arch=DMM_V2.arch, preset=DMM_V2.preset, overrides=overrides, note=note)


TABLE = Table(
    name="dmm_v2_antmaze",
    title="Decision MetaMamba v2 on AntMaze: the mixer as published and as meant",
    rows=(
        v2("DMM v2, as published", "as released for AntMaze: one mixer for all layers, never trained", "frozen-shared"),
        v2(
            "DMM v2, as meant",
            "as released for locomotion: each layer has its own mixer, and it is trained",
            "per-layer",
        ),
        v2("DMM v2, shared mixer", "one mixer for all layers, trained", "shared"),
        DT,
    ),
    columns=(*columns(*ANTMAZE), AS_MEANT),
    seeds=SEEDS,
    protocol=DMM_GYM.with_overrides(name="DMM, AntMaze", targets=ANTMAZE_TARGETS),
    budgets=WITH_LAPTOP,
    departures=(
        NO_PAPER,
        ANT,
        "the column as meant ends episodes at timeouts only, so steps at the goal stay in their episode. The other column of "
        "antmaze-umaze is cut at every terminal step, as the papers' scripts do",
        "the width is 128, as in the released script for AntMaze. That for locomotion has 64",
    ),
)
