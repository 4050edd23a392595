"""D4RL's maze2d v1. Gymnasium imports this file when a task is made.

D4RL at 61b0d257, d4rl/pointmaze/maze_model.py: walls, reset, goal and reward. The point mass is that of gymnasium-robotics'
PointMaze in every constant: force 100 at action 1, 0.01 s, density, damping, margin, and velocities cut at 5 before a step.
What differs from PointMaze: x grows from row to row, and y from column to column. Coordinates begin at a corner, and all of
them are 0.2 less than the place in the maze. So a start and the goal are 0.2 off a cell's centre. The radius of the goal is
0.5, not 0.45. The goal is always the same and is not in the state. The start has a velocity.
Differs from D4RL: D4RL was run with mujoco-py and MuJoCo 2.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from jaxtyping import Bool, Float, Float64

from dmm.environments.point_mass import move
from dmm.tasks.maze import Maze
from dmm.tasks.pointmaze import D4RL_MAZES, HORIZONS

START = 1.2  # x and y of the point mass in D4RL's XML. Its place in the maze is its position plus this
RADIUS = 0.5  # metres from the goal that are a success
RESET_NOISE = 0.1  # uniform in positions, standard deviation in velocities
UNREAD = "point.xml"  # MujocoEnv takes a file of Gymnasium that exists. Its content is not used
POINT_MASS = f"""<mujoco><compiler inertiafromgeom="true"/>
<option timestep="0.01" gravity="0 0 0" iterations="20" integrator="Euler"/>
<default>
 <joint damping="1" limited="false"/>
 <geom friction=".5 .1 .1" density="1000" margin="0.002" condim="1" contype="2" conaffinity="1"/>
</default>
<worldbody>
 <geom type="plane" size="40 40 .25" pos="0 0 -.1" contype="1" conaffinity="0" rgba=".2 .3 .4 1"/>
 <body pos="{START} {START} 0">
  <geom type="sphere" size=".1" contype="1" rgba="0 0 1 1"/>
  <joint name="ball_x" type="slide" axis="1 0 0"/>
  <joint name="ball_y" type="slide" axis="0 1 0"/>
 </body>
</worldbody>
<actuator>
 <motor joint="ball_x" ctrlrange="-1 1" ctrllimited="true" gear="100"/>
 <motor joint="ball_y" ctrlrange="-1 1" ctrllimited="true" gear="100"/>
</actuator></mujoco>"""


class Maze2d(MujocoEnv):
    """A point mass in a maze. A state is its position and velocity. The reward is 1 near the goal. Nothing ends an episode."""

    metadata = {"render_modes": ["human", "rgb_array", "depth_array"], "render_fps": 100}

    def __init__(self, maze: str, **rendering: Any) -> None:
        self.maze = D4RL_MAZES[maze]
        self.starts = np.argwhere(~self.maze.walls)[:, ::-1].astype(float)  # column and row: D4RL's positions
        self.goal = np.round(self.maze.centre("g"))
        space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float64)
        super().__init__(UNREAD, 1, space, default_camera_config={"distance": 12.0}, **rendering)

    def _initialize_simulation(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Makes the model. MujocoEnv calls it."""
        model = mujoco.MjModel.from_xml_string(with_walls(self.maze))
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, self.width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, self.height)
        return model, mujoco.MjData(model)

    def reset_model(self) -> Float64[np.ndarray, "4"]:
        """Draws a free cell, the place near it and the velocity. Returns the state."""
        draw = self.np_random
        position = self.starts[draw.integers(len(self.starts))] + draw.uniform(-RESET_NOISE, RESET_NOISE, 2)
        self.set_state(position, RESET_NOISE * draw.standard_normal(2))
        return self.state_vector()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Takes an action [2]."""
        (state,), (reward,), _ = self.step_many([self], np.asarray(action)[None])
        if self.render_mode == "human":
            self.render()
        return state, float(reward), False, False, {"success": bool(reward)}

    @staticmethod
    def step_many(
        envs: Sequence["Maze2d"], actions: Float[np.ndarray, "B 2"]
    ) -> tuple[Float64[np.ndarray, "B 4"], Float64[np.ndarray, " B"], Bool[np.ndarray, " B"]]:
        """Takes an action in each environment. The states, the rewards, and whether the episodes have ended."""
        states = move(envs, actions)
        distance = np.linalg.norm(states[:, :2] - np.array([env.goal for env in envs]), axis=-1)
        return states, (distance <= RADIUS).astype(float), np.zeros(len(envs), bool)


def with_walls(maze: Maze) -> str:
    """The XML of the point mass with the walls of a maze."""
    root = ET.fromstring(POINT_MASS)
    world = root.find("worldbody")
    assert world is not None
    for row, column in np.argwhere(maze.walls):
        wall = {"type": "box", "pos": f"{column + 1} {row + 1} 0", "size": ".5 .5 .2", "rgba": ".7 .5 .3 1"}
        ET.SubElement(world, "geom", wall, conaffinity="1")
    return ET.tostring(root, encoding="unicode")


for name in D4RL_MAZES:
    gym.register(f"maze2d-{name}-v1", f"{__name__}:Maze2d", max_episode_steps=HORIZONS[name], kwargs={"maze": name})
