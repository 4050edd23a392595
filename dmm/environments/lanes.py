"""Lanes: episodes of a task side by side. `make_lanes` gives those of any task.

Environments are made once, and are reset for every episode. A lane depends on its seed and its actions only.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, runtime_checkable
from typing import Protocol as Interface

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8

from dmm.environments.atari import AtariLanes
from dmm.environments.vector_env import SubEnv, VectorStep, step_all
from dmm.tasks import Task

ALE = "ALE/"  # the namespace of Atari games in Gymnasium
HELP = (
    "on a machine without a screen, set the variable MUJOCO_GL=egl (Debian and Ubuntu: apt install libegl1 libgl1-mesa-dri) or "
    "MUJOCO_GL=osmesa (apt install libosmesa6) before anything is drawn"
)


@runtime_checkable
class Lanes(Interface):
    """Episodes side by side. `step` takes an action for each live lane, in their order."""

    steps_per_second: float  # of the game or the simulation, for a video

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Begins an episode with each seed, and returns the first states [B ...]. All lanes are live."""
        ...

    def step(self, actions: Float[np.ndarray, "B A"] | Int64[np.ndarray, " B"]) -> VectorStep:
        """Takes an action in each live lane, in the environment's units."""
        ...

    def keep(self, running: Bool[np.ndarray, " B"]) -> None:
        """Keeps the live lanes where `running` is true. The others are not asked again before the next reset."""
        ...

    def draw(self) -> UInt8[np.ndarray, "height width 3"]:
        """A picture of the first lane. The lanes were made with `pictures`. Raises ValueError if it cannot be drawn."""
        ...

    def close(self) -> None:
        """Ends the environments."""
        ...


def make_lanes(task: Task, lanes: int, pictures: bool = False) -> Lanes:
    """Makes so many lanes of a task. A reset with more seeds makes more.

    With `pictures` the first lane can be drawn. That moves no number. Raises ValueError if the environment cannot be made, or
    has other spaces than the task.
    """
    kind = AtariLanes if task.environment.startswith(ALE) else GymLanes
    return kind(task, lanes, pictures)


class GymLanes:
    """Lanes of any environment of Gymnasium."""

    def __init__(self, task: Task, lanes: int, pictures: bool = False) -> None:
        self.task = replace(task, options=(*task.options, ("render_mode", "rgb_array"))) if pictures else task
        self.live: list[SubEnv] = []
        self.made: list[SubEnv] = []
        self.make(lanes)
        self.steps_per_second: float = self.made[0].env.metadata.get("render_fps") or 25
        self.prepared = False  # for pictures

    def make(self, count: int) -> None:
        """Makes more environments, until there are so many."""
        self.made.extend(SubEnv(self.task.make(), self.task.horizon) for _ in range(count - len(self.made)))

    def reset(self, seeds: Sequence[int]) -> Float[np.ndarray, "B S"]:
        """Begins an episode with each seed."""
        self.make(len(seeds))
        self.live = self.made[: len(seeds)]
        states = np.stack([sub_env.reset(seed=seed)[0] for sub_env, seed in zip(self.live, seeds, strict=True)])
        self.check_arrays(states)
        return states

    def step(self, actions: Float[np.ndarray, "B A"] | Int64[np.ndarray, " B"]) -> VectorStep:
        """Takes an action in each live lane."""
        taken = step_all(self.live, actions)
        self.check_arrays(taken.states, taken.rewards.shape[1:])
        return taken

    def check_arrays(self, states: np.ndarray, reward_shape: tuple[int, ...] = ()) -> None:
        """Raises ValueError if the environment gives other states than it declares, or no number as a reward."""
        if states.shape[1:] != self.task.spaces.states or reward_shape or states.dtype.kind not in "fiub":
            raise ValueError(
                f"task {self.task.name} ({self.task.environment}): states are {states.dtype} of shape {states.shape[1:]}, and "
                f"rewards have the shape {reward_shape}; states must be numbers of shape {self.task.spaces.states}, and a "
                "reward one number"
            )

    def keep(self, running: Bool[np.ndarray, " B"]) -> None:
        """Keeps the live lanes where `running` is true."""
        self.live = [sub_env for sub_env, runs in zip(self.live, running, strict=True) if runs]

    def draw(self) -> UInt8[np.ndarray, "height width 3"]:
        """A picture of the first lane."""
        env = self.made[0].env
        try:
            if not self.prepared:
                prepare(env)
                self.prepared = True
            return np.asarray(env.render())
        except Exception as error:  # each backend of OpenGL raises its own types
            raise ValueError(f"{self.task.environment} cannot be drawn ({error}); {HELP}") from error

    def close(self) -> None:
        """Ends the environments."""
        for sub_env in self.made:
            sub_env.env.close()


def prepare(env: Any) -> None:
    """Chooses how a MuJoCo environment is drawn. It must be called before the first picture."""
    bare = env.unwrapped
    if not hasattr(bare, "mujoco_renderer"):
        return
    from mujoco import mj_name2id, mjtObj

    if sys.platform == "linux" and not {"MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        # without a screen. MuJoCo would try GLFW, fail, and end the process when something is drawn after that
        os.environ["MUJOCO_GL"] = "egl"
    # the body's own camera, or -1 if the model has none. Gymnasium's camera stays where the episode began
    bare.mujoco_renderer.camera_id = mj_name2id(bare.model, mjtObj.mjOBJ_CAMERA, "track")
