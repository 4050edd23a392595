"""Rollouts: a model acts in an environment. Many episodes are rolled in lock-step, with one batched model call a step.

The unit of work is an episode batch: a fixed set of episodes, at one target or more. A finished episode leaves its batch.
The numbers do not depend on the process that rolls a batch, because the composition of a batch is always the same.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from dmm.base.fields import LARGEST_FLOAT
from dmm.base.seeds import derive_seed
from dmm.config import Trial
from dmm.environments.lanes import Lanes, make_lanes
from dmm.models import DecisionModel
from dmm.rollouts.history import RecurrentHistory, StateStatistics, WindowedHistory
from dmm.schema import EvaluationResult
from dmm.tasks import Task

LIMIT = np.float64(LARGEST_FLOAT)  # of this type, because Python's float would become a float16 beside float16
LANES: dict[Task, Lanes] = {}  # of this process


class EpisodeSpec(NamedTuple):
    """An episode to be rolled."""

    target: str  # its label
    asked: float  # the return asked for, undiscounted, in the environment's units
    index: int  # of the episode in its evaluation. It fixes the seed


@dataclass(frozen=True)
class EpisodeBatch:
    """Episodes of one evaluation that are rolled together."""

    from_last: int  # the number of the evaluation, counted from the last one, which has 0
    episodes: tuple[EpisodeSpec, ...]


class RolloutResult(NamedTuple):
    """The outcome of a batch of episodes, in their order."""

    returns: list[float]  # undiscounted, in the environment's units
    lengths: list[int]  # steps


RolloutBackend = Callable[[DecisionModel, Trial, StateStatistics, list[EpisodeBatch]], Iterable[RolloutResult]]


def rollout(
    model: DecisionModel,
    trial: Trial,
    statistics: StateStatistics,
    targets: Sequence[float],
    seeds: Sequence[int],
    lanes: Lanes | None = None,
    watch: Callable[[Lanes], object] = lambda lanes: None,
) -> RolloutResult:
    """Rolls one episode for each target and seed. Targets are undiscounted returns in the environment's units.

    Returns undiscounted, unnormalised returns and lengths in steps, in the order of the targets. An episode ends at the
    trial's horizon at the latest. The model keeps its mode (training or evaluation). `lanes` are by default those of this
    process. `watch` is called with them when the first episode begins and after each of its steps.
    Raises ValueError for a state, a prediction or a reward that is not finite in float32.
    """
    task = trial.task
    if lanes is None:
        lanes = LANES[task] = LANES.get(task) or make_lanes(task, len(seeds))
    history = (
        WindowedHistory(trial, statistics, targets, model.needs, seeds)
        if trial.evaluation.rollout == "windowed"
        else RecurrentHistory(trial, statistics, targets, seeds)
    )
    returns, lengths = np.zeros(len(seeds)), np.zeros(len(seeds), np.int64)
    episodes = np.arange(len(seeds))  # those that are running
    states = lanes.reset(seeds)
    watch(lanes)

    def check_finite(what: str, values: np.ndarray) -> None:
        if values.dtype.kind == "f" and not (finite := np.abs(values) <= LIMIT).all():
            first = int(np.argmin(finite.reshape(len(values), -1).all(1)))
            raise ValueError(
                f"task {task.name} ({task.environment}): {what} of step {step} is {values[first]} in the episode with seed "
                f"{seeds[episodes[first]]}; it must be finite in float32"
            )

    training = model.training
    model.eval()
    with torch.inference_mode(), np.errstate(over="ignore"):  # what overflows is named
        for step in range(trial.horizon):
            check_finite("the state", states)
            check_finite("the normalised state", history.observe(states))
            predicted = history.predict(model)
            check_finite("the model's prediction", predicted)
            states, rewards, finished = lanes.step(history.choose(predicted))
            check_finite("the reward", rewards)
            returns[episodes] += rewards
            lengths[episodes] += 1
            history.record_rewards(rewards)
            if episodes[0] == 0:
                watch(lanes)
            if finished.all() or step == trial.horizon - 1:
                break
            if finished.any():
                running = ~finished
                episodes, states = episodes[running], states[running]
                lanes.keep(running)
                history.drop_finished(running)
    model.train(training)
    return RolloutResult(returns.tolist(), lengths.tolist())


def episode_batches(trial: Trial, update: int, highest_return: float) -> list[EpisodeBatch]:
    """The episodes of the evaluation after so many updates, target by target, in batches of the evaluation's size."""
    evaluation, from_last = trial.evaluation, trial.updates[::-1].index(update)
    asked = {target.label: target.resolve(trial.task, highest_return) for target in evaluation.targets}
    indices = range(evaluation.episodes_per_evaluation)
    episodes = [EpisodeSpec(label, value, index) for label, value in asked.items() for index in indices]
    size = evaluation.rollout_batch_size
    return [EpisodeBatch(from_last, tuple(episodes[first : first + size])) for first in range(0, len(episodes), size)]


def rollout_batch(
    model: DecisionModel, trial: Trial, statistics: StateStatistics, batch: EpisodeBatch
) -> RolloutResult:
    """Rolls one episode batch. Episode i has the seed (trial seed, j, i). j counts evaluations from the last one.

    Neither the target nor the number of evaluations is part of the seed. So the episodes of the last evaluation start alike
    in all rows, and their differences can be paired.
    """
    seeds = [derive_seed(trial.seed, "episode", batch.from_last, episode.index) for episode in batch.episodes]
    return rollout(model, trial, statistics, [episode.asked for episode in batch.episodes], seeds)


def rollout_in_process(
    model: DecisionModel, trial: Trial, statistics: StateStatistics, batches: list[EpisodeBatch]
) -> list[RolloutResult]:
    """The default backend: rolls episode batches one after the other, in this process."""
    return [rollout_batch(model, trial, statistics, batch) for batch in batches]


def evaluate(
    model: DecisionModel,
    trial: Trial,
    statistics: StateStatistics,
    update: int,
    *,
    highest_return: float = math.nan,
    weights_sha256: str = "",
    roll: RolloutBackend = rollout_in_process,
) -> list[EvaluationResult]:
    """The evaluation of a model after so many updates. A result for each target, in the evaluation's order.

    `highest_return` is that of the data's episodes. Targets that are shares of it need it. `roll` rolls the episode batches.
    """
    batches = episode_batches(trial, update, highest_return)
    results: dict[str, EvaluationResult] = {}
    for batch, rolled in zip(batches, roll(model, trial, statistics, batches), strict=True):
        for episode, value, length in zip(batch.episodes, rolled.returns, rolled.lengths, strict=True):
            found = results.setdefault(
                episode.target,
                EvaluationResult(
                    update=update, target=episode.target, asked=episode.asked, returns=[], lengths=[],
                    weights_sha256=weights_sha256,
                ),
            )  # fmt: skip
            found.returns.append(value)
            found.lengths.append(length)
    return list(results.values())
