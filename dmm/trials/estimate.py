"""The cost of a table on this machine. Updates and model calls are timed briefly on random batches, without data and Ray."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from dmm.batch import Batch
from dmm.config import Table, Trial
from dmm.rollouts.rollout import episode_batches
from dmm.schema import Seconds
from dmm.training.fit import init_model

FEW = 4  # rows of a batch on which slow work is timed
SLOW = 0.1  # seconds. Work that takes longer on a few rows is timed on these, because its cost is linear in rows


def seconds(work: Callable[[Batch], object], trial: Trial, rows: int) -> float:
    """Seconds of work on a batch of so many rows: the median of three calls, after one call that does not count."""
    few = min(FEW, rows)
    work(random_batch(trial, few))
    once = timed(work, random_batch(trial, few))
    if once > SLOW:
        return once * rows / few
    batch = random_batch(trial, rows)
    return median(timed(work, batch) for _ in range(3))


def timed(work: Callable[[Batch], object], batch: Batch) -> float:
    """Seconds of one call on one core. Other processes that share the core do not count."""
    began = time.process_time()
    work(batch)
    return time.process_time() - began


def random_batch(trial: Trial, rows: int) -> Batch:
    """A batch of the trial's shapes, full of random numbers."""
    k, spaces = trial.training.context_length, trial.task.spaces
    scalars, actions = (rows, k), (rows, k, spaces.actions)
    common: dict[str, Any] = {
        "returns_to_go": torch.rand(scalars),
        "steps": torch.arange(k).expand(rows, k),
        "mask": torch.ones(scalars, dtype=torch.bool),
        "rewards": torch.rand(scalars),
        "uniform_samples": torch.rand(scalars),
        "actions": torch.randint(spaces.actions, scalars) if spaces.discrete else torch.rand(actions),
    }
    if spaces.has_frames:
        stack, *size = spaces.states
        return Batch(states=torch.randint(256, (rows, k + stack - 1, *size), dtype=torch.uint8), **common)
    states = (rows, k, spaces.state_dim)
    return Batch(
        states=torch.randn(states),
        next_states=torch.randn(states),
        previous_actions=common["actions"].clone(),
        goals=torch.randn(states),
        previous_goals=torch.randn(states),
        **common,
    )


@dataclass(frozen=True)
class StepSeconds:
    """Seconds of one update, and of one call that acts for a batch of episodes."""

    update: float
    act: float


def time_steps(trial: Trial, episodes: int) -> StepSeconds:
    """Times the model of a trial on one core. `episodes` are rolled out together."""
    torch.set_num_threads(1)
    model = init_model(trial)
    update = seconds(lambda batch: model.loss(model(batch), batch).backward(), trial, trial.training.batch_size)
    model.eval()
    with torch.inference_mode():
        return StepSeconds(update, seconds(model.act, trial, episodes))


def estimates(table: Table) -> dict[str, Seconds]:
    """The cost of every trial on one core by its second id, without the physics of its environment.

    Models of one shape are timed once. The rollout seconds are an upper bound, because every episode is assumed to reach the
    horizon.
    """
    known: dict[tuple, StepSeconds] = {}
    found = {}
    for trial in table.trials():
        batches = episode_batches(trial, trial.training.updates, 0.0)
        episodes = len(batches[0].episodes)  # no other batch has more
        sizes = trial.training.context_length, trial.training.batch_size, episodes
        shape = trial.arch, trial.source, trial.overrides, trial.task.spaces, *sizes
        if shape not in known:
            known[shape] = time_steps(trial, episodes)
        step = known[shape]
        calls = trial.horizon * len(batches) * len(trial.updates)
        found[trial.returns_id] = Seconds(train=step.update * trial.training.updates, rollout=step.act * calls)
    return found
