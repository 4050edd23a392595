"""An environment that ends its process at the first step, as a driver's segmentation fault would: `dying:Dying-v0`."""

import os

import gymnasium
from gymnasium.envs.mujoco.reacher_v5 import ReacherEnv


class Dying(ReacherEnv):
    def step(self, action):
        os._exit(1)


gymnasium.register("Dying-v0", entry_point="dying:Dying", max_episode_steps=50)
