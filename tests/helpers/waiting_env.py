"""Reacher that waits before episodes that a test names: `helpers.waiting_env:Waiting-v0`.

An episode of seed 7 waits as long as the folder DMM_TOY_GATES has a file 7. First it writes its process id into 7.reached.
Every episode begins DMM_TOY_PACE seconds later, so that tests can be tried on a slower machine.
"""

import os
import time
from pathlib import Path

import gymnasium
from gymnasium.envs.mujoco.reacher_v5 import ReacherEnv


class Waiting(ReacherEnv):
    def reset(self, *, seed=None, options=None):
        time.sleep(float(os.environ.get("DMM_TOY_PACE", 0)))
        gate = Path(os.environ["DMM_TOY_GATES"], str(seed))
        while gate.exists():
            gate.with_suffix(".reached").write_text(str(os.getpid()))
            time.sleep(0.05)
        return super().reset(seed=seed, options=options)


gymnasium.register("Waiting-v0", entry_point="helpers.waiting_env:Waiting", max_episode_steps=50)
