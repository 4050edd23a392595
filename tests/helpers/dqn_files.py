"""Files of DQN-replay as Dopamine writes them: five episodes of frames that are like no other."""

import gzip
from pathlib import Path

import numpy as np

from dmm.data.trajectories import Trajectories

ID, ROWS = "dqn/Breakout-all", 20  # rows of a file
LENGTHS = (9, 6, 11, 8, 5)  # of the episodes of `write_run`
Row = tuple[np.ndarray, int, float, bool]  # frame, action, reward, terminal
ZERO: Row = (np.zeros((84, 84), np.uint8), 0, 0.0, False)


def frame(step: int) -> np.ndarray:
    """A frame that is like no other."""
    return np.full((84, 84), step % 255 + 1, np.uint8)


def steps(lengths=LENGTHS) -> list[list[Row]]:
    """Episodes. Step t of the run has action t % 4."""
    first = np.cumsum([0, *lengths])
    return [
        [(frame(t), t % 4, float(t % 3 - 1), t == first[e] + length - 1) for t in range(first[e], first[e] + length)]
        for e, length in enumerate(lengths)
    ]


def save(path: Path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wb", 1) as file:
        np.save(file, array)


def write_file(logs: Path, number: int, rows: list[Row], add_count: int) -> None:
    frames, actions, rewards, terminals = zip(*rows, strict=True)
    columns = {
        "observation": np.array(frames, np.uint8),
        "action": np.array(actions, np.int32),
        "reward": np.array(rewards, np.float32),
        "terminal": np.array(terminals, np.uint8),
    }
    for key, column in columns.items():
        save(logs / f"$store$_{key}_ckpt.{number}.gz", column)
    save(logs / f"add_count_ckpt.{number}.gz", np.array(add_count))
    save(logs / f"invalid_range_ckpt.{number}.gz", np.zeros(5, int))


def write_run(root: Path, episodes: list[list[Row]], pads: int = 3) -> Path:
    """A run as Dopamine's circular buffer writes it: a file whenever the cursor stands at the last row, which is stale."""
    logs, added, number = root / "Breakout" / "1" / "replay_logs", 0, 0
    buffer: list[Row] = [(frame(200), 3, 1.0, True)] * ROWS
    for episode in episodes:
        for row in [ZERO] * pads + episode:
            buffer[added % ROWS] = row
            added += 1
            if added % ROWS == ROWS - 1:
                write_file(logs, number, buffer, added)
                number += 1
    return logs


def stacks(found: Trajectories, episode: int) -> list[list[int]]:
    """The values of the four frames of each state of an episode."""
    assert found.frames is not None and found.frame_starts is not None
    first = found.frame_starts[episode]
    return [found.frames[first + t : first + t + 4, 0, 0].tolist() for t in range(found.lengths[episode])]


def check_episode(found: Trajectories, episode: int, rows: list[Row], terminated: bool = True) -> None:
    values = [0, 0, 0, *(int(row[0][0, 0]) for row in rows)]
    assert stacks(found, episode) == [values[t : t + 4] for t in range(len(rows))]
    here = slice(*found.offsets[episode : episode + 2])
    assert found.actions[here, 0].tolist() == [row[1] for row in rows]
    rewards = [row[2] for row in rows]
    assert found.rewards[here].tolist() == rewards
    assert found.returns_to_go[here].tolist() == np.cumsum(rewards[::-1])[::-1].tolist()
    assert found.table[here, -1].tolist() == list(range(len(rows)))
    assert found.terminated[episode] == terminated
