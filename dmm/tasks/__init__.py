"""Tasks: an environment, its horizon, how its returns are scaled, asked for and normalised, each with its source."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dmm.base.errors import unknown_name

if TYPE_CHECKING:
    import gymnasium as gym


@dataclass(frozen=True, kw_only=True)
class Task:
    """An environment as a benchmark sees it. Datasets are named apart: the same task has many."""

    name: str
    environment: str  # Gymnasium id
    state_dim: int  # S
    action_dim: int  # A, continuous in [-1, 1]
    horizon: int  # steps after which an episode is cut
    return_scale: float  # returns-to-go are divided by it
    target_return: float  # the return asked for, x1
    ref_min_score: float  # return that counts as 0 ...
    ref_max_score: float  # ... and as 100
    source: str  # of target and reference scores
    options: tuple[tuple[str, Any], ...] = field(default=())  # keyword arguments of gymnasium.make

    def make(self) -> "gym.Env":
        """Makes the environment; a wrong id or wrong dimensions is one error."""
        import gymnasium as gym

        try:
            env = gym.make(self.environment, disable_env_checker=True, **dict(self.options))
        except (gym.error.Error, ImportError) as error:
            raise ValueError(f"task {self.name}: {self.environment!r} cannot be made: {error}") from None
        found = (env.observation_space.shape, env.action_space.shape)
        if found != ((self.state_dim,), (self.action_dim,)):
            raise ValueError(
                f"task {self.name} expects states ({self.state_dim},) and actions ({self.action_dim},); "
                f"{self.environment} has {found[0]} and {found[1]}"
            )
        return env

    def normalised_score(self, value: float) -> float:
        """D4RL's normalised score: 0 is `low`, 100 is `high`."""
        return 100 * (value - self.ref_min_score) / (self.ref_max_score - self.ref_min_score)


D4RL = "reference scores: D4RL's infos.py; target x1: Decision ConvFormer's scripts; environment: Gymnasium v5, not D4RL's v2"
TASKS = {
    task.name: task
    for task in (
        Task(name="hopper", environment="Hopper-v5", state_dim=11, action_dim=3, horizon=1000,
             return_scale=1000.0, target_return=3600.0, ref_min_score=-20.272305, ref_max_score=3234.3, source=D4RL),
        Task(name="walker2d", environment="Walker2d-v5", state_dim=17, action_dim=6, horizon=1000,
             return_scale=1000.0, target_return=5000.0, ref_min_score=1.629008, ref_max_score=4592.3, source=D4RL),
        Task(name="halfcheetah", environment="HalfCheetah-v5", state_dim=17, action_dim=6, horizon=1000,
             return_scale=1000.0, target_return=12000.0, ref_min_score=-280.178953, ref_max_score=12135.0, source=D4RL),
    )
}  # fmt: skip


def find_task(name: str) -> Task:
    """Returns the task of that name."""
    if name not in TASKS:
        raise unknown_name("task", name, TASKS, "dmm/tasks.py")
    return TASKS[name]
