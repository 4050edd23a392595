"""The step of point masses in mazes. maze2d.py and pointmaze.py share it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

FASTEST = 5.0  # metres a second, along each axis


def move(envs: Sequence[Any], actions: Float[np.ndarray, "B 2"]) -> Float64[np.ndarray, "B 4"]:
    """Pushes each point mass once, and returns positions and velocities. Velocities are cut before, as D4RL does."""
    from mujoco import mj_step

    model = envs[0].model  # all mazes are alike, and one model stays in the processor's cache
    states = np.empty((len(envs), 4))
    for env, action, state in zip(envs, np.clip(actions, -1, 1), states, strict=True):
        data = env.data
        position, velocity = data.qpos, data.qvel
        np.clip(velocity, -FASTEST, FASTEST, out=velocity)
        data.ctrl[:] = action
        mj_step(model, data)
        state[:2], state[2:] = position, velocity
    return states
