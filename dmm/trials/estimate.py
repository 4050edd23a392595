"""What a table will cost here: updates and model calls timed on made-up batches, a moment each. No data, no Ray."""

import time
from collections.abc import Callable

import torch

from dmm.batch import Batch
from dmm.config import Table, Trial
from dmm.rollouts.rollout import episode_batches
from dmm.training.fit import init_model


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Median time of a call, after one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return sorted(times)[repeats // 2]


def random_batch(trial: Trial, rows: int) -> Batch:
    """A batch of the trial's shapes with nothing in it."""
    k, task = trial.protocol.context_length, trial.task
    states, actions, scalars = ((rows, k, task.state_dim), (rows, k, task.action_dim), (rows, k))
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


def estimate(trial: Trial) -> dict[str, float]:
    """Seconds that a trial takes on one core of this machine, physics apart: for training, and for rollouts at most."""
    protocol = trial.protocol
    torch.set_num_threads(1)
    model = init_model(trial)
    batch = random_batch(trial, protocol.batch_size)
    update = seconds(lambda: model.loss(model(batch), batch).backward())
    window = random_batch(trial, protocol.rollout_batch_size)
    with torch.inference_mode():
        act = seconds(lambda: model.eval().act(window))
    calls = trial.task.horizon * len(episode_batches(protocol, 0)) * protocol.num_evaluations
    return {"train": update * protocol.updates, "rollout": act * calls}


def estimates(table: Table) -> dict[str, dict[str, float]]:
    """An estimate for every trial by its id; trials that differ in seed or data only are timed once."""
    known, found = {}, {}
    for trial in table.trials():
        key = (trial.arch, trial.overrides, trial.task, trial.protocol)
        if key not in known:
            known[key] = estimate(trial)
        found[trial.id] = known[key]
    return found
