"""An environment of a few steps, whose episodes end at different times: `helpers.uneven_env:Uneven-v0`.

Its rewards depend on all actions so far. Its picture at step t is grey of value 10 t.
"""

import gymnasium
import numpy as np

from dmm.batch import Spaces
from dmm.tasks import Task

UNEVEN = Task(
    name="uneven", environment="helpers.uneven_env:Uneven-v0", spaces=Spaces(states=(2,), actions=1, low=(-2.0,), high=(2.0,)),
    horizon=7, return_scale=1.0, target_return=3.0, ref_min_score=0.0, ref_max_score=10.0, source="made up for tests",
)  # fmt: skip


class Uneven(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), float)
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float32)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.length, self.step_index, self.place = int(self.np_random.integers(3, 7)), 0, self.np_random.normal()
        return self.observe(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.step_index += 1
        self.place += float(action[0]) / 2
        return self.observe(), self.place / 4, self.step_index == self.length, False, {}

    def observe(self):
        return np.array([self.place, np.sin(self.step_index)])

    def render(self):
        return np.full((8, 8, 3), 10 * self.step_index, np.uint8)


gymnasium.register("Uneven-v0", entry_point="helpers.uneven_env:Uneven")
