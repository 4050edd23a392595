"""The cost of a table on this machine. Updates and model calls are timed briefly on random batches, without data and Ray."""

import time
from collections.abc import Callable

import torch

from dmm.batch import Batch
from dmm.config import Table, Trial
from dmm.rollouts.rollout import episode_batches
from dmm.schema import Seconds
from dmm.training.fit import init_model


def median_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Median seconds of a call, after one call that does not count."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return sorted(times)[repeats // 2]


def random_batch(trial: Trial, rows: int) -> Batch:
    """A batch of the trial's shapes, full of random numbers."""
    k, spaces = trial.training.context_length, trial.task.spaces
    states, actions, scalars = ((rows, k, spaces.state_dim), (rows, k, spaces.action_dim), (rows, k))
    return Batch(
        torch.randn(states),
        torch.rand(actions),
        torch.rand(scalars),
        torch.arange(k).expand(rows, k),
        torch.ones(scalars, dtype=torch.bool),
        rewards=torch.rand(scalars),
        next_states=torch.randn(states),
        previous_actions=torch.rand(actions),
        goals=torch.randn(states),
        previous_goals=torch.randn(states),
        uniform_samples=torch.rand(scalars),
    )


def estimate(trial: Trial) -> Seconds:
    """The cost of one trial on one core, without the physics of its environment.

    The rollout seconds are an upper bound, because every episode is assumed to reach the horizon.
    """
    torch.set_num_threads(1)
    model = init_model(trial)
    batch = random_batch(trial, trial.training.batch_size)
    update = median_seconds(lambda: model.loss(model(batch), batch).backward())
    window = random_batch(trial, trial.evaluation.rollout_batch_size)
    with torch.inference_mode():
        act = median_seconds(lambda: model.eval().act(window))
    calls = trial.task.horizon * len(episode_batches(trial, trial.training.updates, 0.0)) * len(trial.updates)
    return Seconds(train=update * trial.training.updates, rollout=act * calls)


def estimates(table: Table) -> dict[str, Seconds]:
    """The cost of every trial by its second id. Trials that differ only in seed or data are timed once."""
    known, found = {}, {}
    for trial in table.trials():
        if trial.kind not in known:
            known[trial.kind] = estimate(trial)
        found[trial.returns_id] = known[trial.kind]
    return found
