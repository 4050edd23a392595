"""A task: an environment, its horizon, the scale of its returns, the return asked for and the reference scores."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dmm.base.errors import raise_interrupt
from dmm.base.fields import check_fields
from dmm.batch import Spaces

if TYPE_CHECKING:
    import gymnasium as gym


@dataclass(frozen=True, kw_only=True)
class Task:
    """An environment as a benchmark sees it. Datasets are named separately, because a task has many."""

    name: str
    environment: str  # Gymnasium id
    spaces: Spaces
    horizon: int  # steps after which an episode is cut
    return_scale: float  # returns-to-go are divided by it
    target_return: float  # the return asked for at target 1
    ref_min_score: float  # the return of score 0
    ref_max_score: float  # the return of score 100
    source: str  # of target and reference scores
    options: tuple[tuple[str, Any], ...] = field(default=())  # keyword arguments of gymnasium.make

    def __post_init__(self) -> None:
        check_fields(self)
        if self.horizon < 1 or self.return_scale <= 0 or self.ref_min_score >= self.ref_max_score:
            raise ValueError(
                f"task {self.name} takes a positive horizon and return_scale, and ref_min_score below ref_max_score; it has "
                f"{self.horizon}, {self.return_scale}, {self.ref_min_score} and {self.ref_max_score}"
            )

    def make(self) -> "gym.Env":
        """Makes the environment. Raises ValueError for a wrong id, a missing package or other spaces than the task's."""
        import gymnasium as gym

        try:
            env = gym.make(self.environment, disable_env_checker=True, **dict(self.options))
        except (gym.error.Error, ImportError) as error:
            raise_interrupt(error)
            raise ValueError(f"task {self.name}: {self.environment!r} cannot be made: {error}") from None
        states, actions, spaces = env.observation_space.shape, env.action_space, self.spaces
        if states != spaces.states or not isinstance(actions, gym.spaces.Box) or actions.shape != (spaces.action_dim,):
            raise ValueError(
                f"task {self.name} expects states {spaces.states} and a box of {spaces.action_dim} actions; "
                f"{self.environment} has {states} and {actions}"
            )
        low, high = np.asarray(actions.low, np.float32), np.asarray(actions.high, np.float32)
        if not np.array_equal((low, high), spaces.bounds):
            raise ValueError(
                f"task {self.name} expects actions from {spaces.low} to {spaces.high}; {self.environment} takes "
                f"{tuple(low.tolist())} to {tuple(high.tolist())}"
            )
        return env

    def normalised_score(self, value: float) -> float:
        """D4RL's normalised score of an undiscounted return: 0 at `ref_min_score`, 100 at `ref_max_score`."""
        return 100 * (value - self.ref_min_score) / (self.ref_max_score - self.ref_min_score)
