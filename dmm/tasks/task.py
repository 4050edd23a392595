"""A task: an environment, its horizon, the scale of its returns, the return asked for and the reference scores."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dmm.base.errors import raise_interrupt
from dmm.base.fields import check_fields, check_least, check_value, kind_of, later, shown
from dmm.batch import Spaces
from dmm.tasks import view
from dmm.tasks.make import make_env
from dmm.tasks.maze import Maze

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
    reward_clip: float | None = later(
        None
    )  # returns-to-go of data are sums of rewards clipped to +- this. None: not clipped
    view: str = ""  # the state vector of observations that are dictionaries: dmm/tasks/view.py
    maze: Maze | None = None  # data that cannot come from it are refused

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self, 1, "horizon")
        if self.reward_clip is not None and self.reward_clip <= 0:
            raise ValueError(f"Task.reward_clip of {self.name} is {self.reward_clip}; it must be above 0, or None")
        if self.return_scale <= 0:
            raise ValueError(f"Task.return_scale of {self.name} is {self.return_scale}; it must be above 0")
        if self.ref_min_score >= self.ref_max_score:
            raise ValueError(
                f"Task.ref_min_score of {self.name} is {self.ref_min_score}, and ref_max_score is {self.ref_max_score}; the "
                "first must be below the second"
            )
        options = tuple((name, check_option(f"Task.options[{name!r}]", value)) for name, value in self.options)
        object.__setattr__(self, "options", options)
        if len(dict(options)) < len(options):
            raise ValueError(f"Task.options of {self.name} is {shown(options)}; it takes each name once")
        if self.maze and dict(options).get("maze_map", self.maze.map) != self.maze.map:
            raise ValueError(
                f"Task.options of {self.name} has another maze_map than Task.maze, whose rows are {self.maze.rows}"
            )

    def make(self) -> "gym.Env":
        """Makes the environment. Raises ValueError for a wrong id or option, a missing package and for other spaces."""
        import gymnasium as gym

        env = self.make_without_view()
        try:
            env = view.wrap(env, self.view)
        except ValueError as error:
            raise self.unmakeable(error) from error
        actions: Any = env.action_space
        states, spaces = env.observation_space.shape, self.spaces
        if spaces.discrete:
            fits = isinstance(actions, gym.spaces.Discrete) and (actions.start, actions.n) == (0, spaces.actions)
        else:
            fits = isinstance(actions, gym.spaces.Box) and actions.shape == (spaces.actions,)
        if states != spaces.states or not fits:
            kind = f"{spaces.actions} discrete actions" if spaces.discrete else f"a box of {spaces.actions} actions"
            raise ValueError(
                f"task {self.name} expects states {spaces.states} and {kind}; {self.environment} has {states} and {actions}"
            )
        if spaces.discrete:
            return env
        low, high = np.asarray(actions.low, np.float32), np.asarray(actions.high, np.float32)
        if not np.array_equal((low, high), spaces.bounds):
            raise ValueError(
                f"task {self.name} expects actions from {spaces.low} to {spaces.high}; {self.environment} takes "
                f"{tuple(low.tolist())} to {tuple(high.tolist())}"
            )
        return env

    def make_without_view(self) -> "gym.Env":
        """Makes the environment with its own observations. Raises ValueError for a wrong id or option and a missing package."""
        try:
            return make_env(self.environment, **dict(self.options))
        except Exception as error:  # environments are code from outside, and each fails in its own way
            raise_interrupt(error)
            raise self.unmakeable(error) from error

    def unmakeable(self, error: Exception) -> ValueError:
        """The error for an environment that cannot be made."""
        options = ", ".join(f"{name!r}: {shown(value)}" for name, value in self.options)  # a maze is long
        is_absent = isinstance(error, ImportError)  # of a package, whatever the options
        given = f" with the options {{{options}}}" if options and not is_absent else ""
        return ValueError(f"task {self.name}: {self.environment!r} cannot be made{given}: {error}")

    def normalised_score(self, value: float) -> float:
        """D4RL's normalised score of an undiscounted return: 0 at `ref_min_score`, 100 at `ref_max_score`."""
        return 100 * (value - self.ref_min_score) / (self.ref_max_score - self.ref_min_score)


def check_option(field: str, value: Any) -> Any:
    """The value of an option, with tuples in the place of lists. Raises ValueError if a trial's id cannot hold it."""
    if isinstance(value, list | tuple):
        return tuple(check_option(field, entry) for entry in value)
    if value is None or type(value) in (bool, int, float, str):
        return check_value(field, value, Any)
    raise ValueError(
        f"{field} is {shown(value)}, {kind_of(value)}; an option is a number, a bool, a str, None or a tuple of these"
    )
