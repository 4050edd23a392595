"""gymnasium-robotics' PointMaze v3. Gymnasium imports this file when a task is made."""

from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from jaxtyping import Bool, Float, Float64

from dmm.environments.point_mass import move
from dmm.tasks.pointmaze import HORIZONS

try:
    with redirect_stderr(StringIO()):  # it prints a note about hands, in each process
        from gymnasium_robotics.envs.maze.point_maze import PointMazeEnv
except ImportError as error:
    raise ImportError(f"it needs gymnasium-robotics: pip install 'dmm-bench[robotics]' ({error})") from None

RADIUS = 0.45  # metres from the goal that are a success


class PointMaze(PointMazeEnv):
    """PointMaze with a step of many. Version 1.4.2 leaves an XML file in the temporary folder. It is deleted here."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        assert not (self.continuing_task and self.reset_target), "step_many does not move the goal"
        Path(self.tmp_xml_file_path).unlink(missing_ok=True)

    @staticmethod
    def step_many(
        envs: Sequence["PointMaze"], actions: Float[np.ndarray, "B 2"]
    ) -> tuple[dict[str, Float64[np.ndarray, "B size"]], Float64[np.ndarray, " B"], Bool[np.ndarray, " B"]]:
        """Takes an action in each environment: what `step` does, without a dictionary for each.

        The observations, the rewards, and whether the episodes have ended.
        """
        states, goals = move(envs, actions), np.array([env.goal for env in envs])
        reached = np.linalg.norm(states[:, :2] - goals, axis=-1) <= RADIUS
        observations = {"observation": states, "achieved_goal": states[:, :2], "desired_goal": goals}
        return observations, reached.astype(float), reached & (not envs[0].continuing_task)


for name in HORIZONS:
    gym.register(f"PointMaze-{name}-v3", f"{__name__}:PointMaze", max_episode_steps=HORIZONS[name])
