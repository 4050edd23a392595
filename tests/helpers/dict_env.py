"""A small environment whose observations are dictionaries, one of them nested, and its dataset by Minari's own means."""

import warnings

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

SPACE = Dict(
    {
        "observation": Box(-np.inf, np.inf, (2,)),
        "desired_goal": Dict({"b": Box(-np.inf, np.inf, (1,)), "a": Box(-np.inf, np.inf, (1,))}),
        "achieved_goal": Box(-np.inf, np.inf, (2,)),
    }
)


def observation(step: int) -> dict:
    """Each number says where it comes from: 10 to 11 observation, 20 to 21 achieved goal, 30 goal a, 40 goal b."""
    return {
        "observation": np.array([10.0, 11.0]) + 100 * step,
        "achieved_goal": np.array([20.0, 21.0]) + 100 * step,
        "desired_goal": {"a": np.array([30.0]) + 100 * step, "b": np.array([40.0]) + 100 * step},
    }


class DictEnv(gym.Env):
    observation_space, action_space = SPACE, Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return observation(0), {}

    def step(self, action):
        self.steps += 1
        return observation(self.steps), 1.0, self.steps == 3, False, {}


gym.register("DmmDict-v0", DictEnv, max_episode_steps=10)


def make_dataset(name: str, data_format: str = "hdf5", discrete: bool = False) -> None:
    """Two episodes of the environment, of 3 and 2 steps. The second is truncated."""
    import minari

    def stacked(parts: list) -> dict | np.ndarray:
        if isinstance(parts[0], dict):
            return {key: stacked([part[key] for part in parts]) for key in parts[0]}
        return np.stack(parts).astype(np.float32)

    buffers = [
        minari.data_collector.EpisodeBuffer(
            observations=stacked([observation(step) for step in range(length + 1)]),
            actions=np.arange(length) if discrete else np.zeros((length, 1), np.float32),
            rewards=np.ones(length),
            terminations=np.arange(length) == (length - 1 if length == 3 else -1),
            truncations=np.arange(length) == (length - 1 if length == 2 else -1),
            infos={"seen": np.zeros((length + 1, 3))},
        )
        for length in (3, 2)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            name,
            buffers,
            observation_space=SPACE,
            action_space=Discrete(3) if discrete else DictEnv.action_space,
            data_format=data_format,
        )
