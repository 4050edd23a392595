"""Rolls a model through an environment: many episodes in lock-step, one batched model call a step, finished lanes dropped.

The unit of work is a shard: a fixed set of episodes, of one target or more. Its numbers do not depend on which process
rolls it or how many do, since its batch is always the same.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from dmm.batch import Batch, RecurrentState
from dmm.config import Protocol, Trial
from dmm.environments.vector_env import SubEnv, step_all
from dmm.models import DecisionModel
from dmm.schema import EvaluationResult
from dmm.tasks import Task


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of a dataset's states, the latter with the protocol's offset added."""

    mean: np.ndarray  # [S]
    std: np.ndarray  # [S]


@dataclass(frozen=True)
class EpisodeBatch:
    """Some episodes of one evaluation, each with the return that it is asked for."""

    evaluation: int
    lanes: tuple[tuple[float, int], ...]  # target, in multiples of the task's, and index of the episode


class WindowedHistory:
    """What each live lane has seen and done since its episode began; all lanes are at the same step."""

    def __init__(
        self,
        task: Task,
        protocol: Protocol,
        statistics: Statistics,
        targets: Sequence[float],
        needs: frozenset[str] = frozenset(),
        seeds: Sequence[int] = (),
    ) -> None:
        self.protocol, self.statistics, self.scale, self.needs = protocol, statistics, task.return_scale, needs
        self.length = 0  # states seen
        lanes = len(targets)
        self.states = np.zeros((lanes, task.horizon, task.state_dim), np.float32)
        self.goals = np.zeros_like(self.states if needs & {"goals", "previous_goals"} else self.states[:, :0])
        self.actions = np.zeros((lanes, task.horizon, task.action_dim), np.float32)
        self.returns_to_go = np.zeros((lanes, task.horizon), np.float32)
        self.return_to_go = np.array(targets, float) / task.return_scale  # return-to-go of the state to come
        self.uniform_samples = self.returns_to_go[..., None]
        if "uniform_samples" in needs:
            generators = (np.random.default_rng((seed, 1)) for seed in seeds)
            size = task.horizon, protocol.context_length
            self.uniform_samples = np.stack([generator.random(size, np.float32) for generator in generators])

    def observe(self, states: np.ndarray) -> None:
        """Takes the states that the lanes are in now, as the environment gives them [lanes, S]."""
        self.states[:, self.length] = (states - self.statistics.mean) / self.statistics.std
        self.returns_to_go[:, self.length] = self.return_to_go
        self.length += 1

    def act(self, model: DecisionModel) -> np.ndarray:
        """Asks the model what to do in the last state [lanes, A]."""
        chosen = model.act(self.window().to(next(model.parameters()).device))
        if isinstance(chosen, tuple):
            chosen, goals = chosen
            self.goals[:, self.length - 1] = goals.float().cpu().numpy()
        self.actions[:, self.length - 1] = chosen.float().cpu().numpy()
        return self.actions[:, self.length - 1]

    def record_rewards(self, rewards: np.ndarray) -> None:
        """Takes what the lanes got for their last action."""
        self.return_to_go = self.return_to_go - rewards / self.scale

    def drop_finished(self, live: np.ndarray) -> None:
        """Drops the lanes whose episode is over."""
        for name in ("states", "actions", "goals", "returns_to_go", "return_to_go", "uniform_samples"):
            setattr(self, name, getattr(self, name)[live])

    def window(self) -> Batch:
        """The last K steps as the model sees them; the slot of the action, and of the goal, to come holds 0."""
        protocol, lanes = self.protocol, len(self.states)
        k, real = protocol.context_length, min(self.length, protocol.context_length)
        last = slice(self.length - real, self.length)
        slots = slice(k - real, k) if protocol.padding == "left" else slice(0, real)
        # a step before the window is known, unless the episode begins with it
        first = 1 if last.start == 0 else 0
        earlier, later = slice(last.start + first - 1, last.stop - 1), slice(slots.start + first, slots.stop)
        raw = protocol.rollout_pad_state == "raw zero"
        pad_state = -self.statistics.mean / self.statistics.std if raw else np.zeros_like(self.statistics.mean)

        def padded(values: np.ndarray, pad: float | np.ndarray, source: slice, target: slice) -> torch.Tensor:
            window = np.full((lanes, k, *values.shape[2:]), pad, values.dtype)
            window[:, target] = values[:, source]
            return torch.from_numpy(window)

        mask = np.zeros((lanes, k), bool)
        mask[:, slots] = True
        steps = np.zeros((lanes, k), np.int64)
        steps[:, slots] = np.arange(last.start, last.stop)
        needed = {
            "previous_actions": lambda: padded(self.actions, 0.0, earlier, later),
            "goals": lambda: padded(self.goals, pad_state, last, slots),
            "previous_goals": lambda: padded(self.goals, pad_state, earlier, later),
            "uniform_samples": lambda: torch.from_numpy(self.uniform_samples[:, self.length - 1]),
        }
        return Batch(
            padded(self.states, pad_state, last, slots),
            padded(self.actions, protocol.rollout_pad_action, last, slots),
            padded(self.returns_to_go, 0.0, last, slots),
            *map(torch.from_numpy, (steps, mask)),
            **{name: make() for name, make in needed.items() if name in self.needs},
        )


class RecurrentHistory:
    """A recurrent rollout's history: the model keeps what it wants of the past and is given each step once."""

    def __init__(self, task: Task, protocol: Protocol, statistics: Statistics, targets: Sequence[float]) -> None:
        self.statistics, self.scale, self.length = statistics, task.return_scale, 0
        self.past = RecurrentState()
        self.actions = torch.zeros(len(targets), 1, task.action_dim)
        self.return_to_go = np.array(targets, float) / task.return_scale

    def observe(self, states: np.ndarray) -> None:
        """Takes the states that the lanes are in now, as the environment gives them [lanes, S]."""
        self.states = ((states - self.statistics.mean) / self.statistics.std).astype(np.float32)
        self.length += 1

    def act(self, model: DecisionModel) -> np.ndarray:
        """Asks the model what to do in the last state [lanes, A]."""
        lanes = len(self.states)
        now = Batch(
            torch.from_numpy(self.states).unsqueeze(1),
            torch.zeros_like(self.actions),
            torch.from_numpy(self.return_to_go.astype(np.float32)).unsqueeze(1),
            torch.full((lanes, 1), self.length - 1),
            torch.ones(lanes, 1, dtype=torch.bool),
            previous_actions=self.actions,
        )
        self.actions = model.step(now.to(next(model.parameters()).device), self.past).float().cpu().unsqueeze(1)
        return self.actions[:, 0].numpy()

    def record_rewards(self, rewards: np.ndarray) -> None:
        """Takes what the lanes got for their last action."""
        self.return_to_go = self.return_to_go - rewards / self.scale

    def drop_finished(self, live: np.ndarray) -> None:
        """Drops the lanes whose episode is over."""
        self.actions, self.return_to_go = self.actions[live], self.return_to_go[live]
        self.past.drop_finished(torch.from_numpy(live))


@cache
def pool(task: Task) -> list[SubEnv]:
    """This process's environments of a task, made once and reset for every episode."""
    return []


def rollout(
    model: DecisionModel,
    task: Task,
    protocol: Protocol,
    statistics: Statistics,
    targets: Sequence[float],
    seeds: Sequence[int],
) -> tuple[list[float], list[int]]:
    """Rolls one episode a lane, from its seed and asking for its return; gives returns and lengths, lane by lane."""
    made = pool(task)
    made.extend(SubEnv(task.make(), task.horizon) for _ in range(len(seeds) - len(made)))
    lanes = made[: len(seeds)]
    history = (
        WindowedHistory(task, protocol, statistics, targets, model.needs, seeds)
        if protocol.rollout == "windowed"
        else RecurrentHistory(task, protocol, statistics, targets)
    )
    returns, lengths = np.zeros(len(seeds)), np.zeros(len(seeds), np.int64)
    live = np.arange(len(seeds))
    states = np.stack([lane.reset(seed=seed)[0] for lane, seed in zip(lanes, seeds, strict=True)])
    training = model.training
    model.eval()
    with torch.inference_mode():
        for step in range(task.horizon):
            history.observe(states)
            actions = history.act(model)
            states, rewards, over = step_all(lanes, actions)
            returns[live] += rewards
            lengths[live] += 1
            history.record_rewards(rewards)
            if over.all() or step == task.horizon - 1:
                break
            if over.any():
                going = ~over
                live, states = live[going], states[going]
                lanes = [lane for lane, goes in zip(lanes, going, strict=True) if goes]
                history.drop_finished(going)
    model.train(training)
    return returns.tolist(), lengths.tolist()


def shards(protocol: Protocol, evaluation: int) -> list[EpisodeBatch]:
    """The work of one evaluation, target by target, in shards of the protocol's size."""
    every = [(target, episode) for target in protocol.targets for episode in range(protocol.episodes_per_evaluation)]
    return [
        EpisodeBatch(evaluation, tuple(every[first : first + protocol.rollout_batch_size]))
        for first in range(0, len(every), protocol.rollout_batch_size)
    ]


def rollout_batch(
    model: DecisionModel, trial: Trial, statistics: Statistics, shard: EpisodeBatch
) -> tuple[list[float], list[int]]:
    """Rolls one shard. Episode i of an evaluation starts alike for every target: its seed is (seed, evaluation, i)."""
    parts = [(trial.seed, shard.evaluation, episode) for _, episode in shard.lanes]
    seeds = [int(np.random.SeedSequence(part).generate_state(1)[0]) for part in parts]
    targets = [target * trial.task.target_return for target, _ in shard.lanes]
    return rollout(model, trial.task, trial.protocol, statistics, targets, seeds)


Roll = Callable[[DecisionModel, Trial, Statistics, list[EpisodeBatch]], Iterable[tuple[list[float], list[int]]]]


def in_process(model: DecisionModel, trial: Trial, statistics: Statistics, work: list[EpisodeBatch]):
    """Rolls shards one after the other, here."""
    return [rollout_batch(model, trial, statistics, shard) for shard in work]


def evaluate(
    model: DecisionModel,
    trial: Trial,
    statistics: Statistics,
    evaluation: int,
    update: int,
    roll: Roll = in_process,
) -> list[EvaluationResult]:
    """One evaluation: for each target the returns and lengths of its episodes, in order."""
    work = shards(trial.protocol, evaluation)
    entries = {
        target: EvaluationResult(
            update=update, target=target, asked=target * trial.task.target_return, returns=[], lengths=[]
        )
        for target in trial.protocol.targets
    }
    for shard, rolled in zip(work, roll(model, trial, statistics, work), strict=True):
        for (target, _), value, length in zip(shard.lanes, *rolled, strict=True):
            entries[target].returns.append(value)
            entries[target].lengths.append(length)
    return list(entries.values())
