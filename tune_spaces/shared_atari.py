"""What the papers' tables on Atari share: columns with their sources of data, seeds, rows and departures."""

from dmm.config import Column, Row
from dmm.tasks import find_task
from tune_spaces.protocols import DC_ATARI_PER_COLUMN, DT_ATARI_PER_COLUMN, OTA_ATARI_PER_COLUMN

SEEDS = (123, 231, 312)  # of the scripts. They select the data too


def columns(*games: str) -> tuple[Column, ...]:
    """Columns of Atari games.

    dqn: the papers' 1 % of a run of DQN-replay, which the seed of a trial selects.
    minari: ten episodes of an expert, with its own frames. The papers' numbers are of other data.
    dmm: collected at the first use. There are behaviours for Pong and Breakout.
    local: all whole episodes of the files of DQN-replay that are in the folder DMM_DQN.
    """
    return tuple(Column(label=game, sources=sources(game)) for game in games)


def sources(game: str) -> dict:
    """The task and the ids of a game's data by source."""
    task = find_task(game)
    folder = task.environment.removeprefix("ALE/").removesuffix("-v5")
    found = {
        "dqn": (task, (f"dqn/{folder}-1pct-s{{seed}}",)),
        "minari": (find_task(f"{game}-minari"), (f"minari/atari/{game}/expert-v0",)),
    }
    if game in ("pong", "breakout"):
        found["dmm"] = task, (f"dmm/{game}/medium-v0",)
    return found | {"local": (task, (f"dqn/{folder}-all",))}


DT = Row(label="DT", arch="dt", preset="DT, Atari", per_column=DT_ATARI_PER_COLUMN)
DC = Row(label="DC", arch="dc", preset="DC, Atari", per_column=DC_ATARI_PER_COLUMN)
DM = Row(label="DM", arch="decision_mamba", preset="DMamba, Atari", per_column=OTA_ATARI_PER_COLUMN)

OTHER_SCALE = (
    "the paper of Decision ConvFormer normalises by other scores of random play and of humans, in Breakout by 2 and 30. Here "
    "they are 1.7 and 30.5"
)
DEPARTURES = (
    "frames are shrunk by area after the maximum of the last two, as the data were. The scripts shrink the frames of rollouts "
    "linearly, before the maximum",
    "an episode is the emulator's first since the game was loaded. The scripts play all episodes in one emulator, and take "
    "their first action on the first state of another episode",
    "steps are counted from the beginning of an episode. In the scripts they are one too low, and the first step of an episode "
    "has the length of the one before",
    "the three rows of zeros before each episode of the data are dropped. The scripts train on them",
    "a visit of the selection that runs out of rows takes nothing. In the scripts its ends stay, and cut other episodes",
    "updates are those of ten passes over 500,000 steps. The data have up to 1 % less or more, so passes are not whole",
    "the table of steps has 4,096 entries. The scripts have as many as the longest episode of the data",
    "windows may begin at every step. In the scripts they begin at the first N - 3 K of N steps, and the last batch of a pass "
    "has fewer windows",
    "there are as many actions as the game has. In the scripts there are as many as the data have",
    "ALE 0.12 with the games in its package. The papers had atari-py, and the data are of its games",
)
