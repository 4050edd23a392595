"""Lanes: episodes of an Atari game side by side, in ALE's vector environment. The extra `atari` brings ALE with its games.

A lane depends on its seed only. A seeded reset loads the game anew, because in some games, Seaquest for example, the course
depends on the games that the same emulator has played before. The seed gives the number of frames without an action at the
beginning. Nothing else is random unless the task repeats actions.
Frames are those of Gymnasium's AtariPreprocessing, bit for bit on x86-64. Rewards are not clipped. A lost life ends nothing.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from dmm.base.errors import raise_interrupt, unknown_name
from dmm.environments.vector_env import VectorStep
from dmm.tasks import Task

if TYPE_CHECKING:
    from ale_py.vector_env import AtariVectorEnv

SEEDS = 2**31  # ALE takes seeds below it
FRAMES_PER_SECOND = 60  # of the console
COLOURS = {"stack_num": 1, "img_height": 210, "img_width": 160, "grayscale": False}  # the whole screen


class AtariLanes:
    """One episode of a task in each lane. `keep` drops the lanes that are over.

    With `pictures` the first lane has a twin: the same game with the same seed and actions, whose frames have colours.
    """

    def __init__(self, task: Task, lanes: int, pictures: bool = False) -> None:
        self.task, self.env = task, make(task, lanes)
        self.live = np.arange(lanes)  # the lanes that are still asked
        self.twin = make_vector_env(task, 1, COLOURS) if pictures else None
        self.steps_per_second = FRAMES_PER_SECOND / dict(task.options).get("frameskip", 4)

    def reset(self, seeds: Sequence[int]) -> UInt8[np.ndarray, "B C height width"]:
        """Begins an episode in every lane, and returns its first state. A lane's seed alone decides its course."""
        if len(seeds) != self.env.num_envs:
            self.env.close()
            self.env = make(self.task, len(seeds))
        self.live = np.arange(len(seeds))
        given = np.array(seeds, np.int64) % SEEDS
        if self.twin:
            self.picture = self.twin.reset(seed=given[:1])[0][0, 0]
        return self.env.reset(seed=given)[0]

    def step(self, actions: Int64[np.ndarray, " B"]) -> VectorStep:
        """Takes an action in each live lane. Raises ValueError for an action that the game has not.

        ALE steps the other lanes too. They get action 0, and their outcome is thrown away.
        """
        outside = (actions < 0) | (actions >= self.task.spaces.actions)
        if outside.any():  # ALE would wait for ever
            raise ValueError(
                f"task {self.task.name}: action {actions[np.argmax(outside)]} is not in 0 to {self.task.spaces.actions - 1}"
            )
        given = np.zeros(self.env.num_envs, np.int64)
        given[self.live] = actions
        states, rewards, terminated, truncated, _ = self.env.step(given)
        if self.twin and 0 in self.live:
            self.picture = self.twin.step(given[:1])[0][0, 0]
        return VectorStep(
            states[self.live], rewards[self.live].astype(float), (terminated | truncated)[self.live].astype(bool)
        )

    def keep(self, running: Bool[np.ndarray, " B"]) -> None:
        """Keeps the live lanes where `running` is true. The others are not asked again before the next reset."""
        self.live = self.live[running]

    def draw(self) -> UInt8[np.ndarray, "height width 3"]:
        """The newest frame of the first lane, in colours. The lanes were made with `pictures`."""
        return self.picture

    def close(self) -> None:
        """Ends the emulators."""
        for env in (self.env, self.twin):
            if env:
                env.close()


def make(task: Task, lanes: int) -> "AtariVectorEnv":
    """The environment of a task's lanes. Raises ValueError as `make_vector_env`, and for other spaces than the task's."""
    stack, height, width = task.spaces.states if task.spaces.has_frames else (0, 0, 0)
    env = make_vector_env(task, lanes, {"stack_num": stack, "img_height": height, "img_width": width})
    found = env.single_observation_space.shape, int(getattr(env.single_action_space, "n", 0))
    if found != (task.spaces.states, task.spaces.actions) or not task.spaces.discrete:
        env.close()
        kind = "discrete actions" if task.spaces.discrete else "dimensions of actions"
        raise ValueError(
            f"task {task.name} ({task.environment}) expects states {task.spaces.states} and {task.spaces.actions} {kind}; ALE "
            f"has {found[0]} and {found[1]} discrete actions"
        )
    return env


def make_vector_env(task: Task, lanes: int, frames: dict[str, Any]) -> "AtariVectorEnv":
    """ALE's vector environment of a task, with frames of a size. The task's options are its arguments.

    Raises ValueError without the extra, for a game that ALE has not, and for wrong options.
    """
    where = f"task {task.name} ({task.environment})"
    try:
        import gymnasium as gym
        from ale_py import ALEInterface, LoggerMode
        from ale_py.vector_env import AtariVectorEnv
    except ImportError as error:
        raise_interrupt(error)
        raise ValueError(f"{where} needs ALE: pip install 'dmm-bench[atari]' ({error})") from None
    ALEInterface.setLoggerMode(LoggerMode.Error)  # otherwise every game prints a banner
    games = {name: spec.kwargs["game"] for name, spec in gym.registry.items() if name.startswith("ALE/")}
    if task.environment not in games:
        raise unknown_name(f"game of task {task.name}", task.environment, games, "ALE")
    options = dict(task.options)
    rules = {"reward_clipping": False, "use_fire_reset": False, "num_threads": 1}  # one thread: lanes stay in order
    try:
        return AtariVectorEnv(games[task.environment], lanes, **options, **frames, **rules)
    except Exception as error:  # code from outside, which fails in its own way
        raise_interrupt(error)
        raise ValueError(f"{where} cannot be made with the options {options}: {error}") from error
