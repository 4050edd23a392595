"""What the papers' tables share: columns with their sources of data, seeds, and rows. A shared row has shared trials."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any

from dmm.config import BUDGETS, Budget, Column, Protocol, Row
from dmm.tasks import Task, find_task
from dmm.tasks.antmaze import VIEW
from tune_spaces.protocols import (
    ANTMAZE,
    ANTMAZE_TARGETS,
    DC_ANTMAZE,
    DC_PER_COLUMN,
    DMM_GYM,
    EDT_ANTMAZE,
    EDT_GYM,
    EDT_SAMPLED_PER_COLUMN,
    OTA_PER_COLUMN,
)

SEEDS = (0, 1, 2, 3, 4)

# A table of our own at budget laptop takes hours of two cores. Three seeds tell large differences only
LAPTOP = Budget(factor=0.02, num_evaluations=4, episodes_per_evaluation=10, seeds=3, max_steps=3000, batch_size=16)
WITH_LAPTOP = {**BUDGETS, "laptop": LAPTOP}

# The papers' batches of frames take 2.6 GB (128 windows of 30 steps), and on Pong several times as much. In parts of 16
# windows they take 0.7 GB, in the same time on a CPU
ATARI_BUDGETS = WITH_LAPTOP | {name: replace(BUDGETS[name], micro_batch_size=16) for name in ("short", "medium")}


def with_laptop(rows: Iterable[Row], **changes: Any) -> dict[str, Budget]:
    """The budgets of a table whose laptop runs these rows only."""
    return {**BUDGETS, "laptop": replace(LAPTOP, rows=tuple(row.label for row in rows), **changes)}


# The order of Decision MetaMamba's tables
LOCOMOTION = tuple(
    f"{name}-{data}"
    for name in ("hopper", "walker2d", "halfcheetah")
    for data in ("medium", "medium-replay", "medium-expert")
)

# The policies of the source dmm. Mixed takes the place of a replay buffer. Best takes that of an expert: on Walker2d and
# HalfCheetah a million steps of SAC did not reach 90 % of D4RL's
EMBEDDED = {
    **{f"{name}-medium": ("medium",) for name in ("hopper", "walker2d", "halfcheetah")},
    **{f"{name}-medium-replay": ("mixed",) for name in ("hopper", "walker2d", "halfcheetah")},
    "hopper-medium-expert": ("expert", "medium"),
    **{f"{name}-medium-expert": ("best", "medium") for name in ("walker2d", "halfcheetah")},
}


def sources(label: str) -> dict[str, tuple[str, ...]]:
    """The ids of a column's data by source.

    d4rl: the papers' data. Their medium-expert is the expert and the medium data as one.
    minari: the same names, collected anew in the v5 environments. There is no medium-replay.
    dmm: collected at the first use, by the behaviour policies that ship with dmm.
    local: files of your own in the folder DMM_D4RL, with D4RL's names without a version.
    AntMaze's data are cut at every terminal step, as the papers' scripts do. There are none of the source dmm.
    """
    name, _, data = label.partition("-")
    if label in ANTMAZE:
        minari = f"minari/D4RL/antmaze/{data}-v1@view={VIEW}"
        return {"d4rl": (f"d4rl/{label}-v2",), "minari": (minari,), "local": (f"d4rl/{label}",)}
    parts = ("expert", "medium") if data == "medium-expert" else (data,)
    found = {"d4rl": tuple(f"d4rl/{name}-{part}-v2" for part in parts)}
    if data != "medium-replay":
        found["minari"] = tuple(f"minari/mujoco/{name}/{part}-v0" for part in parts)
    if label in EMBEDDED:
        found["dmm"] = tuple(f"dmm/{name}/{policy}-v0" for policy in EMBEDDED[label])
    return found | {"local": tuple(f"d4rl/{name}-{part}" for part in parts)}


def task_of(label: str, source: str) -> Task:
    """The task of a column's data. Minari's data of AntMaze have a task of their own."""
    if label in ANTMAZE:
        return find_task("antmaze-umaze-robotics" if source == "minari" else "antmaze-umaze")
    return find_task(label.split("-")[0])


def columns(*labels: str) -> tuple[Column, ...]:
    """Columns of locomotion and of AntMaze by their labels."""
    return tuple(
        Column(label=label, sources={name: (task_of(label, name), ids) for name, ids in sources(label).items()})
        for label in labels
    )


def differences(protocol: Protocol, table: Protocol) -> dict[str, Any]:
    """The overrides with which a row of a table has another protocol than the table."""
    pairs = ((protocol.training, table.training), (protocol.evaluation, table.evaluation))
    return {
        field.name: getattr(own, field.name)
        for own, other in pairs
        for field in fields(own)
        if getattr(own, field.name) != getattr(other, field.name)
    }


def on(labels: Sequence[str], row: Row, scores: Sequence[float] = (), **changes: Any) -> Row:
    """A row as a table with these columns has it: its settings per column, and its published scores in that order.

    On AntMaze it is asked for the returns of the papers' scripts, unless its own settings say otherwise.
    """
    targets = {label: {"targets": ANTMAZE_TARGETS} for label in ANTMAZE}
    per_column = {label: {**targets.get(label, {}), **row.per_column.get(label, {})} for label in labels}
    per_column = {label: settings for label, settings in per_column.items() if settings}
    published = dict(zip(labels, scores, strict=True)) if scores else {}
    return replace(row, per_column=per_column, published=published, **changes)


def cited(labels: Sequence[str], label: str, scores: Sequence[float], not_comparable: str) -> Row:
    """A row of published scores, which has no trials."""
    return Row(label=label, published=dict(zip(labels, scores, strict=True)), not_comparable=not_comparable)


def with_overrides(row: Row, **overrides: Any) -> Row:
    """The row with more overrides."""
    return replace(row, overrides={**row.overrides, **overrides})


def without(row: Row, name: str) -> Row:
    """The row without one of its overrides, so that a grid can vary it."""
    return replace(row, overrides={key: value for key, value in row.overrides.items() if key != name})


# Decision MetaMamba v1 compares these. Each has its own paper's context length, width and learning rate. Table 5 shows that the
# widths are these. DT is that of kzl/decision-transformer. The other settings of these runs are not stated
DT = Row(label="DT", arch="dt", overrides={"context_length": 20})
DC = Row(label="DC", arch="dc", per_column=DC_PER_COLUMN | DC_ANTMAZE)
DM = Row(
    label="DM",
    arch="decision_mamba",
    preset="DMamba",
    overrides={"context_length": 20},
    per_column=OTA_PER_COLUMN | DC_ANTMAZE,
    note="the Decision Mamba of Ota",
)
EDT = Row(
    label="EDT",
    arch="edt",
    preset="EDT, sampled",
    overrides=differences(EDT_GYM, DMM_GYM),
    per_column=EDT_SAMPLED_PER_COLUMN | EDT_ANTMAZE,
    note="training and evaluation of its own scripts, which sample returns: 2 evaluations of 20 episodes at one target",
)
DMM_V2 = Row(label="DMM v2", arch="metamamba", preset="DMM v2")

# Departures
SIMULATOR = "environments of Gymnasium v5. The papers had v3 of Gym, with another version of MuJoCo"
SEEDED = "each run has a seed from 0 to 4. The released scripts set none"
WIDTHS = "DMM has the widths that the counts of Table 5 imply: 32 on walker2d, else 128 (single mixers) or 64 (double mixers)"
ANT = (
    "the environment of AntMaze is D4RL's on another version of MuJoCo. With source minari it is that of gymnasium-robotics, "
    "whose ant, steps and maze differ"
)
CUT = (
    "D4RL's antmaze-umaze is cut at every terminal step, as the papers' scripts do: thousands of its episodes have one step. "
    "In Minari's data and in table dmm_v2_antmaze, column as meant, these steps stay in their episodes"
)
NO_PAPER = "no paper prints these numbers. The settings are those of papers, and the comparison is ours"
