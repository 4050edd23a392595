"""Small data files of both kinds: D4RL's layout, and Minari's."""

import warnings
from pathlib import Path

import h5py
import numpy as np


def arrays(**overrides) -> dict[str, np.ndarray | None]:
    """Six rows: an episode that terminates, one that times out, a piece that does neither. None leaves a key out."""
    return {
        "observations": np.arange(12, dtype=np.float32).reshape(6, 2),
        "actions": np.linspace(-1, 1, 6, dtype=np.float32)[:, None],
        "rewards": np.arange(6, dtype=np.float32),
        "terminals": np.array([0, 1, 0, 0, 0, 0], bool),
        "timeouts": np.array([0, 0, 0, 0, 1, 0], bool),
        **overrides,
    }


def write(path: Path, **overrides) -> str:
    with h5py.File(path, "w") as file:
        for key, value in arrays(**overrides).items():
            if value is not None:
                file[key] = value
    return f"d4rl:{path}"


def make_minari(name: str, states: int = 2, action_space=None, **overrides) -> None:
    """Three episodes by Minari's own means: terminated, unfinished, truncated."""
    import gymnasium as gym
    import minari

    ends = [(True, False), (False, False), (False, True)]
    buffers = [
        minari.data_collector.EpisodeBuffer(
            observations=np.full((length + 1, states), float(length)),
            actions=np.zeros((length, 1), np.float32) if action_space is None else np.zeros(length, np.int64),
            rewards=overrides.get("rewards", np.arange(length, dtype=float)),
            terminations=np.array([False] * (length - 1) + [end[0]]),
            truncations=np.array([False] * (length - 1) + [end[1]]),
            infos={},
        )
        for length, end in zip((2, 3, 4), ends, strict=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            name,
            buffers,
            observation_space=gym.spaces.Box(-np.inf, np.inf, (states,)),
            action_space=action_space or gym.spaces.Box(-1, 1, (1,)),
            data_format="hdf5",
        )
