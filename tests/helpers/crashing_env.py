"""An environment that ends its process at the first step, as a segmentation fault would: `helpers.crashing_env:Crashing-v0`."""

import os

import gymnasium
from gymnasium.envs.mujoco.reacher_v5 import ReacherEnv


class Crashing(ReacherEnv):
    def step(self, action):
        os._exit(1)


gymnasium.register("Crashing-v0", entry_point="helpers.crashing_env:Crashing", max_episode_steps=50)
