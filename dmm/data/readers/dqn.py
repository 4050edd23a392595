"""DQN-replay: the transitions that DQN agents saw in Atari games, as Dopamine logs them. It is read as a stream.

`dqn/GAME-all` has all whole episodes of a game. `dqn/GAME-1pct-s123` has the papers' 1 % of a run, selected with seed 123.
GAME is the name of a folder in the folder DMM_DQN (default DMM_HOME/dqn). `dqn:FOLDER/GAME-all` is in another folder.

A run is the folder GAME/1/replay_logs. It has files KEY_ckpt.N.gz, the gzip of one .npy file each. File N has the N-th
million of rows. A row is a single frame, an action, a reward clipped to [-1, 1] and whether the episode ends.

Traps of the layout:
- Three rows of zeros open each episode. They are no steps. Files without them exist too.
- Rows from the cursor on are stale: they were not yet written when the file was. The last row always is.
- A file begins in the middle of an episode. `all` leaves this piece out. A share of a run has it, as in the papers, whose
  code takes it for a whole episode: its returns-to-go are right, its steps are counted from the piece's beginning.
  Pads alone show where an episode begins. So `all` has the piece, too, if a file has no pads.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int64

from dmm.base.errors import unknown_name
from dmm.base.paths import expand, home
from dmm.data import addresses, dqn_download
from dmm.data.dqn_download import FILES, array_path
from dmm.data.frames import STACK, FrameWriter
from dmm.data.gzip_arrays import ArrayStream
from dmm.data.trajectories import Trajectories, assemble, check_finite, check_flags
from dmm.tasks.atari import FRAMES, GAMES

PREFIXES, IS_FOLDER, IS_EXPENSIVE = ("dqn",), True, True
NAME = re.compile(r"(?P<game>\w+)-(all|(?P<percent>\d+(\.\d+)?)pct-s(?P<seed>0|[1-9]\d{0,8}))")
PAPER_SEEDS = (123, 231, 312)
ROWS_PER_PERCENT = 500_000  # of a run
SEARCHED = 100_000  # rows at the beginning of a file. The papers select from them
VISIT = 11  # episodes' ends that a visit to a file takes. The papers say 10; their code counts one more
PADS, FRAME = STACK - 1, FRAMES[1:]
CHUNK, LONGEST = 1_000, 100_000  # rows that are read at once


@dataclass(frozen=True)
class Selection:
    """What an id asks for."""

    logs: Path  # the folder of the files
    game: str
    percent: float | None = None  # of a run. None: all whole episodes
    seed: int = 0


def parse(dataset_id: str) -> Selection:
    """Reads an id. Raises ValueError for another form, and for a game that DQN-replay has not."""
    place = Path(dataset_id[4:])
    root = expand(place.parent) if dataset_id.startswith("dqn:") else folder()
    if not (match := NAME.fullmatch(place.name if dataset_id.startswith("dqn:") else dataset_id[4:])):
        raise ValueError(
            f"{dataset_id!r} is no data set of DQN-replay. Its form is dqn/GAME-1pct-s123 (the papers' 1 % of a run, selected "
            "with seed 123), or dqn/GAME-all"
        )
    game, percent = match["game"], match["percent"]
    if game not in addresses.GAMES:
        raise unknown_name("game", game, addresses.GAMES, "DQN-replay")
    if percent is not None and not 0 < float(percent) <= 100:
        raise ValueError(f"{dataset_id!r} asks for {percent} % of a run; it takes more than 0 and at most 100")
    logs = root / game / "1" / "replay_logs"
    return Selection(logs, game) if percent is None else Selection(logs, game, float(percent), int(match["seed"]))


def folder() -> Path:
    """The folder of the games."""
    return expand(os.environ.get("DMM_DQN") or home() / "dqn")


def path(dataset_id: str) -> Path:
    """The folder of a game's files."""
    return parse(dataset_id).logs


def local_ids() -> list[str]:
    """All of a game where its run has few files. The papers' shares where it is whole, because all of it is 300 GB."""
    found = []
    for logs in folder().glob("*/1/replay_logs"):
        game, files = logs.parent.parent.name, len(numbers(logs))
        if files and game in addresses.GAMES:
            found += [f"dqn/{game}-1pct-s{seed}" for seed in PAPER_SEEDS] if files >= FILES else [f"dqn/{game}-all"]
    return found


def absent(dataset_id: str) -> ValueError:
    """The error for a game that has no folder."""
    message = unknown_name("dataset", dataset_id, local_ids(), str(folder()))
    return ValueError(
        f"{message} {path(dataset_id)} is not there. To get it: dmm data download dqn/{parse(dataset_id).game}. DMM_DQN names "
        "the folder"
    )


def downloadable_ids() -> list[str]:
    """Ids of the first runs of all games."""
    return dqn_download.downloadable_ids()


def download_paths(dataset_id: str) -> list[Path]:
    """All files of a run."""
    return dqn_download.paths(dataset_id, folder())


def records() -> list[Path]:
    """The recorded sha256 of all files that were downloaded."""
    return list(folder().glob("*/*/replay_logs/*.sha256"))


def download(dataset_id: str, url_root: str) -> Callable[[], str]:
    """A function that downloads the files of a run. Raises ValueError for an unknown game."""
    return dqn_download.download(dataset_id, folder(), url_root)


def numbers(logs: Path) -> list[int]:
    """The numbers of the files that have frames."""
    found = (re.fullmatch(r"\$store\$_observation_ckpt\.(\d+)\.gz", file.name) for file in logs.glob("*.gz"))
    return sorted(int(match[1]) for match in found if match)


@dataclass(frozen=True)
class Columns:
    """The columns of a file's first rows, except its frames."""

    actions: Int64[np.ndarray, " rows"]
    rewards: Float32[np.ndarray, " rows"]
    terminals: Bool[np.ndarray, " rows"]

    @cached_property
    def are_zero(self) -> Bool[np.ndarray, " rows"]:
        """The rows that could be pads, because only their frame may be other than zero."""
        return (self.actions == 0) & (self.rewards == 0) & ~self.terminals


def read_columns(logs: Path, number: int, end: int | None, num_actions: int) -> Columns:
    """The columns of a file up to row `end`, or up to its first stale row.

    Raises ValueError for columns of other lengths, for frames of another size and for values that are not possible.
    """
    with ArrayStream(array_path(logs, "observation", number)) as stream:
        if len(stream.shape) != 3 or stream.shape[1:] != FRAME or stream.dtype != np.uint8:
            raise ValueError(f"{stream.path} is {stream.dtype} of shape {stream.shape}; frames are uint8 of {FRAME}")
        rows = stream.shape[0]
    with ArrayStream(array_path(logs, "add_count", number)) as stream:
        if stream.shape not in ((), (1,)) or stream.dtype.kind not in "iu":
            raise ValueError(f"{stream.path} is {stream.dtype} of shape {stream.shape}; it takes one whole number")
        if (added := int(stream.read(1).reshape(-1)[0])) < 0:
            raise ValueError(f"{stream.path} is {added}; it counts rows")
        stream.finish()
        cursor = added % max(rows, 1)  # the next row to be written
    valid = cursor or rows
    found = {}
    for key, kinds in (("action", "iu"), ("reward", "f"), ("terminal", "iub")):
        with ArrayStream(array_path(logs, key, number)) as stream:
            if len(stream.shape) != 1 or stream.dtype.kind not in kinds:
                raise ValueError(f"{stream.path} is {stream.dtype} of shape {stream.shape}; it takes one number a row")
            if stream.shape[0] != rows:
                frames = array_path(logs, "observation", number).name
                raise ValueError(f"{stream.path} ends at row {stream.shape[0]}; {frames} has {rows} rows")
            found[key] = stream.read(min(valid, rows if end is None else end))
            stream.finish()
            check_finite(str(stream.path), key, found[key])
            if key == "terminal":
                check_flags(str(stream.path), key, found[key])
            values = found[key]
            wrong = (values < 0) | (values >= num_actions) if key == "action" else np.zeros(0, bool)
            if wrong.any():
                row = int(np.argmax(wrong))
                raise ValueError(
                    f"{stream.path}: row {row} has action {values[row]}; the game has the actions 0 to {num_actions - 1}"
                )
    return Columns(found["action"].astype(np.int64), found["reward"].astype(np.float32), found["terminal"].astype(bool))


def read(dataset_id: str) -> Trajectories:
    """Reads episodes. Raises ValueError with the file and the row of a fault, and for a share that the files cannot give."""
    asked = parse(dataset_id)
    actions = next(known.actions for known in GAMES.values() if known.name == asked.game)
    if asked.percent is None:
        ends: dict[int, int | None] = dict.fromkeys(numbers(asked.logs))
    else:
        if lost := set(range(FILES)) - set(numbers(asked.logs)):
            raise ValueError(
                f"{dataset_id} is selected from {FILES} files; {array_path(asked.logs, 'observation', min(lost))} is not "
                f"there. dqn/{asked.game}-all reads those that are"
            )
        ends = dict(
            select_rows(asked, lambda number: read_columns(asked.logs, number, SEARCHED - 1, actions).terminals)
        )
    parts = []
    with FrameWriter(*FRAME) as writer:
        for number, end in ends.items():
            columns = read_columns(asked.logs, number, end, actions)
            with ArrayStream(array_path(asked.logs, "observation", number)) as stream:
                parts.append(read_episodes(stream, columns, writer, whole=asked.percent is None))
        if not sum(len(part.lengths) for part in parts):
            raise ValueError(f"{dataset_id}: no complete episode in {asked.logs}")
        frames = writer.finish()
    return assemble(
        dataset_id,
        np.zeros((sum(len(part.actions) for part in parts), 0)),
        np.concatenate([part.actions for part in parts])[:, None],
        np.concatenate([part.rewards for part in parts]),
        np.cumsum([0, *np.concatenate([part.lengths for part in parts])]),
        np.concatenate([part.terminated for part in parts]),
        frames,
        actions,
    )


def select_rows(asked: Selection, terminals_of: Callable[[int], Bool[np.ndarray, " rows"]]) -> dict[int, int]:
    """The papers' selection: the row after the last one taken of each file that it visits.

    A file is drawn uniformly. It is read from where the last visit to it ended, until VISIT episodes have ended. Zero rows
    count. A visit that does not end within SEARCHED rows takes nothing. (In the papers' code it leaves wrong ends of
    episodes.) `terminals_of` gives the flags of a file's rows. Raises ValueError if all files are used up.
    """
    assert asked.percent is not None
    draw, wanted, taken = np.random.RandomState(asked.seed), round(asked.percent * ROWS_PER_PERCENT), 0
    found: dict[int, Int64[np.ndarray, " ends"]] = {}  # the rows after the ends of each file's episodes
    visits, used_up = dict.fromkeys(range(FILES), 0), set()
    while taken < wanted:
        number = int(draw.choice(np.arange(FILES), 1)[0])
        if number not in found:
            found[number] = np.flatnonzero(terminals_of(number)) + 1
        before, after = visits[number] * VISIT, (visits[number] + 1) * VISIT
        if after <= len(found[number]):
            taken += int(found[number][after - 1] - (found[number][before - 1] if before else 0))
            visits[number] += 1
            continue
        used_up.add(number)
        if len(used_up) == FILES:
            raise ValueError(
                f"{asked.logs} cannot give {asked.percent:g} % of a run, which are {wanted:,} rows: the first {SEARCHED:,} "
                f"rows of its files give {taken:,}"
            )
    return {number: int(found[number][count * VISIT - 1]) for number, count in sorted(visits.items()) if count}


@dataclass(frozen=True)
class Episodes:
    """The episodes of one file, without their frames."""

    actions: Int64[np.ndarray, " n"]
    rewards: Float32[np.ndarray, " n"]
    lengths: Int64[np.ndarray, " E"]  # steps
    terminated: Bool[np.ndarray, " E"]


def read_episodes(stream: ArrayStream, columns: Columns, writer: FrameWriter, whole: bool) -> Episodes:
    """Reads the episodes of a file, and writes their frames. With `whole` a piece at the file's beginning is left out.

    An episode ends at a terminal row, or where three rows of zeros begin the next one. Rows after the last terminal one are
    in no episode. With `whole` they are read too, because only the file's end shows whether it is damaged.
    """
    last = np.flatnonzero(columns.terminals)[-1:] + 1
    rows = int(last[0]) if len(last) else 0
    padded = has_pads(stream.path, columns)
    begins, pads = np.zeros(rows + 1, bool), np.zeros(rows, bool)  # begins: the first row of an episode
    begins[0], kept = True, np.ones(rows, bool)
    begins[1:][columns.terminals[:rows]] = True
    in_episode = False
    for chunk in chunks(stream.path, columns, rows):
        frames = stream.read(len(chunk))
        mark_pads(stream.path, columns, frames, chunk, begins, pads, padded)
        if padded and whole and not chunk[0] and not pads[0]:
            begins[0] = False
        cuts = [chunk[0], *np.flatnonzero(begins[chunk[0] : chunk[-1] + 1]) + chunk[0], chunk[-1] + 1]
        for first, end in zip(cuts[:-1], cuts[1:], strict=True):
            if first < end and begins[first]:
                writer.begin_episode()
                in_episode = True
            kept[first:end] = in_episode & ~pads[first:end]
            writer.add(frames[first - chunk[0] : end - chunk[0]][kept[first:end]])
    if whole:
        stream.finish()
    starts = np.cumsum(kept)[begins[:rows]] - 1
    lengths = np.diff(np.append(starts, kept.sum()))
    return Episodes(
        columns.actions[:rows][kept],
        columns.rewards[:rows][kept],
        lengths,
        columns.terminals[:rows][kept][np.cumsum(lengths) - 1],
    )


def has_pads(path: Path, columns: Columns) -> bool:
    """Whether rows of zeros open the episodes of a file. The first rows after the first end show it."""
    ends = np.flatnonzero(columns.terminals[:-PADS])
    first = int(ends[0]) + 1 if len(ends) else 0
    if not columns.are_zero[first : first + PADS].all():
        return False
    with ArrayStream(path) as stream:
        stream.skip(first)
        return not stream.read(PADS).any()


def chunks(path: Path, columns: Columns, rows: int) -> Iterator[range]:
    """The rows of a file in chunks. None ends among rows that could be pads."""
    first = 0
    while first < rows:
        end = min(first + CHUNK, rows)
        while end < rows and columns.are_zero[end]:
            end += 1
        if end - first > LONGEST:
            raise ValueError(f"{path}: from row {first} on, {LONGEST:,} rows have no action, no reward and no end")
        yield range(first, end)
        first = end


def mark_pads(
    path: Path,
    columns: Columns,
    frames: np.ndarray,
    chunk: range,
    begins: Bool[np.ndarray, " rows1"],
    pads: Bool[np.ndarray, " rows"],
    padded: bool,
) -> None:
    """Marks the pads of a chunk, if its file has them. An episode begins after its pads.

    Raises ValueError if pads follow some ends of episodes, and not others.
    """
    zero = columns.are_zero[chunk.start : chunk.stop].copy()
    zero[zero] = ~frames[zero].any((1, 2))
    for row in np.flatnonzero(begins[chunk.start : chunk.stop]):
        if chunk[row] and (zero[row : row + PADS].sum() == PADS) != padded:
            here, first = ("no", "they follow") if padded else (f"{PADS}", "none follow")
            raise ValueError(
                f"{path}: {here} rows of zeros follow the episode's end at row {chunk[row] - 1}, but {first} the first end in "
                "this file"
            )
    if not padded:
        return
    steps = np.diff(np.concatenate([[False], zero, [False]]).astype(np.int8))
    for first, end in zip(
        np.flatnonzero(steps > 0) + chunk.start, np.flatnonzero(steps < 0) + chunk.start, strict=True
    ):
        if end - first == PADS or begins[first] and end - first > PADS:
            pads[first : first + PADS] = True
            begins[first], begins[first + PADS] = False, True
