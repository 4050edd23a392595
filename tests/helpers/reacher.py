"""The toy task, Reacher, whose episodes have 50 steps: the task, a tiny protocol and a data file."""

import numpy as np

from dmm.batch import Spaces
from dmm.config import Protocol
from dmm.tasks import Task

REACHER = Task(
    name="reacher", environment="Reacher-v5", spaces=Spaces(states=(10,), actions=2), horizon=50, return_scale=10.0,
    target_return=-5.0, ref_min_score=-60.0, ref_max_score=-4.0, source="made up for tests",
)  # fmt: skip
TINY = Protocol(name="tiny").with_overrides(
    context_length=4, updates=8, num_evaluations=2, episodes_per_evaluation=5, rollout_batch_size=6,
    batch_size=8, warmup=2, learning_rate=1e-3, targets=(1.0, 2.0),
)  # fmt: skip
SMALL = {"width": 16, "layers": 1}
SETTINGS = {  # of TINY, as words of dmm.train
    "updates": 8, "num_evaluations": 2, "episodes_per_evaluation": 5, "rollout_batch_size": 6, "batch_size": 8,
    "context_length": 4, "warmup": 2, "learning_rate": 1e-3, "targets": (1.0, 2.0), **SMALL,
}  # fmt: skip


def write_reacher_file(path, episodes: int = 12, seed: int = 0) -> None:
    """Random Reacher episodes in D4RL's HDF5 layout."""
    import h5py

    env, generator = REACHER.make(), np.random.default_rng(seed)
    arrays = {name: [] for name in ("observations", "actions", "rewards", "terminals", "timeouts")}
    for episode in range(episodes):
        state, _ = env.reset(seed=seed * 1000 + episode)
        for step in range(50):
            action = generator.uniform(-1, 1, 2).astype(np.float32)
            following, reward, *_ = env.step(action)
            row = (state.astype(np.float32), action, np.float32(reward), False, step == 49)
            for name, value in zip(arrays, row, strict=True):
                arrays[name].append(value)
            state = following
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = np.array(values)


def parts(protocol: Protocol = TINY, **overrides) -> dict:
    """The settings of a Trial: those of a protocol, with overrides."""
    changed = protocol.with_overrides(overrides)
    return {"training": changed.training, "evaluation": changed.evaluation}
