"""D4RL's AntMaze v2 on Gymnasium's ant, and gymnasium-robotics' AntMaze v5. Gymnasium imports this file when a task is made.

D4RL at 61b0d257, d4rl/locomotion: ant.xml, ant.py, maze_env.py, goal_reaching_env.py and wrappers.py. Its ant.xml differs from
Gymnasium's in gear, control range, time step and solimp (how contacts give way). Colours aside, the rest is the same.
An action of 1 is a torque of 30. D4RL has a gear of 1, a control range of 30 and scaled actions, which is the same.
Differs: D4RL was run with mujoco-py and MuJoCo 2. A reset draws from the environment's own generator, not from a global one.
"""

import xml.etree.ElementTree as ET
from contextlib import redirect_stderr
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from jaxtyping import Float64

from dmm.tasks.antmaze import D4RL_MAZES, HORIZONS, ROBOTICS_MAZES
from dmm.tasks.maze import Maze

GEAR, TIME_STEP, FRAME_SKIP = "30", "0.02", 5  # torque at action 1, seconds, simulated steps of a step
SOLIMP = ".8 .8 .01"
WALL_HEIGHT = 2.0  # metres: maze_height 0.5 of a cell
RADIUS = 0.5  # metres from the goal that are a success
GOAL_NOISE = 1.0, 0.5  # metres. The goal is its cell's centre plus one uniform draw up to each, in x and in y
RESET_NOISE = 0.1  # uniform in positions, standard deviation in velocities


class AntMaze(MujocoEnv):
    """An ant in a maze. A state has the 15 positions and the 14 velocities of its joints. It does not have the goal."""

    metadata = {"render_modes": ["human", "rgb_array", "depth_array"], "render_fps": 10}

    def __init__(self, maze: Maze, **rendering: Any) -> None:
        self.maze, self.goal = maze, maze.centre("g")
        space = gym.spaces.Box(-np.inf, np.inf, (29,), np.float64)
        super().__init__("ant.xml", FRAME_SKIP, space, **rendering)

    def _initialize_simulation(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """The model of the maze, and data of this environment's own."""
        model = model_of(Path(self.fullpath), self.maze)
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, self.width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, self.height)
        return model, mujoco.MjData(model)

    def reset_model(self) -> Float64[np.ndarray, "29"]:
        """Draws a goal, and the ant's positions and velocities. Returns the state."""
        draw = self.np_random
        self.goal = self.maze.centre("g") + sum(draw.uniform(0, noise, 2) for noise in GOAL_NOISE)
        position = self.init_qpos + draw.uniform(-RESET_NOISE, RESET_NOISE, self.model.nq)
        self.set_state(position, self.init_qvel + RESET_NOISE * draw.standard_normal(self.model.nv))
        return self.state_vector()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Takes an action [8]. The reward is 1 where the goal is reached, which ends the episode."""
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data, self.frame_skip)
        if self.render_mode == "human":
            self.render()
        state = self.state_vector()
        reached = bool(np.linalg.norm(state[:2] - self.goal) <= RADIUS)
        return state, float(reached), reached, False, {"success": reached}


@cache
def model_of(ant: Path, maze: Maze) -> mujoco.MjModel:
    """The model of an ant's file in a maze. A process has one for all environments: it stays in the cache."""
    model = mujoco.MjModel.from_xml_string(with_maze(ant.read_text(), maze))
    # an ant is one island, so the bits are the same without the search for islands. It exists from MuJoCo 3.3.6 on
    model.opt.disableflags |= getattr(mujoco.mjtDisableBit, "mjDSBL_ISLAND", 0)
    return model


def with_maze(ant: str, maze: Maze) -> str:
    """The XML of Gymnasium's ant with D4RL's constants and the walls of a maze."""
    root = ET.fromstring(ant)

    def find(path: str) -> ET.Element:
        found = root.find(path)
        assert found is not None, f"Gymnasium's ant.xml has no {path}"
        return found

    find("option").set("timestep", TIME_STEP)
    find("default/geom").set("solimp", SOLIMP)
    for motor in find("actuator"):
        motor.set("gear", GEAR)
    half = np.array([maze.cell, maze.cell, WALL_HEIGHT]) / 2
    for row, column in np.argwhere(maze.walls):
        x, y = np.array(maze.origin) + maze.cell * np.array([column, row])
        wall = {"type": "box", "pos": f"{x} {y} {half[2]}", "size": " ".join(map(str, half)), "rgba": "0.7 0.5 0.3 1"}
        ET.SubElement(find("worldbody"), "geom", wall, name=f"wall_{row}_{column}", contype="1", conaffinity="1")
    return ET.tostring(root, encoding="unicode")


def robotics(**options: Any) -> gym.Env:
    """gymnasium-robotics' AntMaze v5. Raises ImportError without the extra.

    Version 1.4.2 leaves an XML file for each environment in the temporary folder. The file is deleted here.
    """
    try:
        with redirect_stderr(StringIO()):  # it prints a note about hands, in each process
            from gymnasium_robotics.envs.maze.ant_maze_v5 import AntMazeEnv
    except ImportError as error:
        raise ImportError(f"it needs gymnasium-robotics: pip install 'dmm-bench[robotics]' ({error})") from None
    env = AntMazeEnv(**options)
    Path(env.tmp_xml_file_path).unlink(missing_ok=True)
    return env


for name, found in D4RL_MAZES.items():
    gym.register(f"antmaze-{name}-v2", AntMaze, max_episode_steps=HORIZONS[name], kwargs={"maze": found})
for name, found in ROBOTICS_MAZES.items():
    gym.register(f"AntMaze-{name}-v5", robotics, max_episode_steps=HORIZONS[name], kwargs={"maze_map": found.map})
