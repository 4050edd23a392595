"""A trained model that acts in a user's own loop. It gives the actions of dmm's own rollouts, bit for bit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped

from dmm.base.fields import LARGEST_FLOAT, shown
from dmm.base.threads import one_thread
from dmm.config import Target, Trial
from dmm.models import DecisionModel
from dmm.rollouts.history import RecurrentHistory, StateStatistics, WindowedHistory
from dmm.tasks import Task

LARGEST_MULTIPLE = 100  # of a task's target return. Papers ask for 20 times at most


def multiple(value: float, task: Task) -> Target:
    """A multiple of the task's target return. Raises ValueError for a number that must be meant as a return."""
    if abs(value) > LARGEST_MULTIPLE:
        raise ValueError(
            f"target={value:g} would ask for {value:g} times the target return of task {task.name}, which is "
            f'{task.target_return:g}; a return is given as dmm.config.Target({value:g}, "return")'
        )
    return Target(value)


def finite(what: str, values: object) -> Float[np.ndarray, "..."]:
    """Values as an array of floats. Raises ValueError for what is no number, and for nan and inf."""
    try:
        numbers = np.asarray(values, float)
    except OverflowError:  # a whole number of hundreds of digits
        numbers = np.array(np.inf)
    except (TypeError, ValueError):
        raise ValueError(f"{what} is {shown(values)}; it takes numbers in one array") from None
    if not (np.abs(numbers) <= LARGEST_FLOAT).all():
        raise ValueError(f"{what} is {shown(values)}; its numbers must be finite in float32")
    return numbers


@dataclass
class Lanes:
    """Episodes that began together, so they are at the same step. Each is a lane of a vector environment."""

    history: WindowedHistory | RecurrentHistory
    indices: Int64[np.ndarray, " lanes"]


class Policy:
    """Acts step by step, for one environment or for B environments at once. `TrainedModel.policy` makes one.

        policy.reset()
        observation, _ = env.reset(seed=0)
        reward = None
        while not ended:
            action = policy(observation, reward)
            observation, reward, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated

    With a vector environment observations are [B S] and rewards are [B]. `reset(mask)` begins new episodes where the mask is
    True. It comes before the first observation of these episodes.

        envs = gymnasium.make_vec("Hopper-v5", num_envs=8, vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP})
        policy.reset()
        observation, _ = envs.reset(seed=0)
        reward = None
        for step in range(1000):
            observation, reward, terminated, truncated, _ = envs.step(policy(observation, reward))
            policy.reset(terminated | truncated)

    With AutoresetMode.NEXT_STEP, gymnasium's default, the mask is that of the step before, because an ended environment
    restarts one step later.
    """

    def __init__(
        self,
        model: DecisionModel,
        trial: Trial,
        statistics: StateStatistics,
        target: Target | float,
        highest_return: float,  # of the data. A target that is a share of it needs it
    ) -> None:
        self.model, self.trial, self.statistics, self.highest_return = model, trial, statistics, highest_return
        if not isinstance(target, Target | int | float):
            raise ValueError(f"target is {shown(target)}; it takes a number or a dmm.config.Target")
        self.target = target if isinstance(target, Target) else multiple(target, trial.task)
        self.asked = self.target.resolve(trial.task, highest_return)  # undiscounted, in the environment's units
        self.reset()

    def with_target(self, target: Target | float) -> "Policy":
        """The same policy with another return asked for, before its first step. A number is a multiple of the task's."""
        return Policy(self.model, self.trial, self.statistics, target, self.highest_return)

    def reset(
        self, mask: Bool[np.ndarray, " B"] | Sequence[bool] | bool | np.bool_ | None = None, *, seed: int | None = None
    ) -> None:
        """Begins new episodes: in all environments, or where the mask is True.

        Only a model that draws random numbers uses the seed. Environment i has the seed `seed + i`, as in gymnasium.
        Without a seed each episode draws other numbers. Raises ValueError for a mask of another length than the observations,
        and for a wrong seed.
        """
        if seed is not None and not (isinstance(seed, int | np.integer) and seed >= 0):
            raise ValueError(f"the seed is {shown(seed)}; it must be an int of 0 or more")
        self._seed = seed
        if mask is None:
            self._lanes: list[Lanes] = []
            self._count = 0
            return
        ended = np.atleast_1d(np.asarray(mask))  # of one environment it may be a bool
        if ended.dtype != bool or ended.shape != (self._count,):
            raise ValueError(
                f"policy.reset takes a mask of {self._count} booleans, one for each environment so far; it was given "
                f"{ended.dtype} of shape {ended.shape}"
            )
        for lanes in self._lanes:
            running = ~ended[lanes.indices]
            lanes.history.drop_finished(running)
            lanes.indices = lanes.indices[running]
        self._lanes = [lanes for lanes in self._lanes if len(lanes.indices)]

    def __call__(
        self,
        observation: Shaped[np.ndarray, "..."] | Sequence,
        reward: Float[np.ndarray, " B"] | Sequence[float] | float | None = None,
    ) -> Float[np.ndarray, "*B A"] | Int64[np.ndarray, " B"] | np.int64:
        """The action for an observation, or the actions for B observations. Actions have the environment's units.

        An observation is a vector [S], or a stack of frames [C, height, width] of uint8. B observations have an axis more in
        front. An action is a vector [A], or the number of a discrete action. The reward is the one that the action of the
        last call gave. At the first step of an episode it is ignored.
        Raises ValueError for other shapes, for what is no finite number, for a missing reward where the model reads
        returns-to-go, and for an episode that is longer than the task's horizon.
        """
        states, several = self._read_observations(observation)
        if self._count not in (0, len(states)):
            raise ValueError(
                f"the policy was given {self._count} observations before and {len(states)} now; policy.reset() begins anew"
            )
        rewards = self._read_rewards(reward, len(states))
        self._begin(len(states))
        # with NEXT_STEP an episode that was cut is observed once more
        if any(lanes.history.length > self.trial.task.horizon for lanes in self._lanes):
            raise ValueError(
                f"an episode of task {self.trial.task.name} ends after {self.trial.task.horizon:,} steps; policy.reset() "
                "begins a new one"
            )
        spaces = self.trial.task.spaces
        count = len(states)
        actions = np.empty(count, np.int64) if spaces.discrete else np.empty((count, spaces.actions), np.float32)
        with torch.inference_mode(), one_thread():
            for lanes in self._lanes:
                if lanes.history.length:
                    lanes.history.record_rewards(rewards[lanes.indices])
                lanes.history.observe(states[lanes.indices])
                actions[lanes.indices] = lanes.history.choose(lanes.history.predict(self.model))
        return actions if several else actions[0]

    def _read_observations(self, observation: object) -> tuple[np.ndarray, bool]:
        """The observations of B environments, and whether they were given with that axis."""
        spaces = self.trial.task.spaces
        if spaces.has_frames:
            observations = np.asarray(observation)
            if observations.dtype != np.uint8:
                raise ValueError(f"frames are uint8, from 0 to 255; the observation was given as {observations.dtype}")
        else:
            observations = finite("an observation", observation)
        shape, known = observations.shape, len(spaces.states)
        if len(shape) not in (known, known + 1) or shape[-known:] != spaces.states or not observations.size:
            size = ", ".join(map(str, spaces.states))
            raise ValueError(
                f"an observation of {self.trial.task.environment} is [{size}], or [B, {size}] for B environments; it was "
                f"given {list(shape)}"
            )
        several = len(shape) > known
        return observations if several else observations[None], several

    def _read_rewards(self, reward: object, count: int) -> Float[np.ndarray, " B"]:
        """The rewards of the step before, one for each environment."""
        if reward is None:
            if any(lanes.history.length for lanes in self._lanes) and self.reads_returns_to_go:
                raise ValueError(
                    f"{self.trial.arch} reads returns-to-go, so it needs the reward of the step before: write "
                    "`action = policy(observation, reward)`; a new episode begins with policy.reset()"
                )
            return np.zeros(count)
        rewards = np.atleast_1d(finite("a reward", reward))
        if rewards.shape != (count,):
            raise ValueError(f"rewards of {count} observations are [{count}]; it was given {list(rewards.shape)}")
        return rewards

    @property
    def reads_returns_to_go(self) -> bool:
        """Whether the model reads returns-to-go. Then it must know the rewards."""
        return "returns_to_go" in self.model.sees()

    def _begin(self, count: int) -> None:
        """Begins an episode in each environment that has none."""
        self._count = count
        known = [lanes.indices for lanes in self._lanes]
        new = np.setdiff1d(np.arange(count), np.concatenate(known) if known else [])
        if not len(new):
            return
        targets = [self.asked] * len(new)
        drawn = new + self._seed if self._seed is not None else np.random.default_rng().integers(2**32, size=len(new))
        seeds = drawn.tolist()
        if self.trial.evaluation.rollout == "recurrent":
            history = RecurrentHistory(self.trial, self.statistics, targets, seeds)
        else:
            history = WindowedHistory(self.trial, self.statistics, targets, self.model.needs, seeds)
        self._lanes.append(Lanes(history, new))
        self._seed = None

    def __repr__(self) -> str:
        trial = self.trial
        return (
            f"Policy({trial.arch} in {trial.task.environment}, target {self.target.label}: return {self.asked:g} asked for, "
            f"{trial.evaluation.rollout}, K = {trial.training.context_length})"
        )
