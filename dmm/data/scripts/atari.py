"""Followers: in Pong and in Breakout the paddle goes to where the ball will be. Both are read from the emulator's memory.

Each time that the ball flies away, a point of the paddle is drawn, with which the ball will be hit. The spread of the points is
the episode's skill. It is drawn first, so that returns go from poor to good. With a wide spread the paddle misses often. With a
narrow one long rallies follow, which would take 10,000 steps and more. So an episode is cut after 3,000.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dmm.base.errors import raise_interrupt
from dmm.data.collect import Behaviour, Script, scripted
from dmm.tasks import Task, find_task

if TYPE_CHECKING:
    import gymnasium as gym

# actions of both games' minimal sets
NOTHING, FIRE, RIGHT, LEFT = range(4)  # in Pong, right is up and left is down
RAM = {"pong": (49, 54, 51), "breakout": (99, 101, 72)}  # x and y of the ball, and the paddle. y grows downwards
SLIP = 8  # steps, the mean length of a slip
LIMIT = 3_000  # steps of an episode
FASTEST = 40  # a larger change of y in a step is a new ball


def pong(env: Any, generator: np.random.Generator) -> Callable[[Any], int]:
    """Goes to the height at which the ball will be two steps later. Now and then the paddle slips.

    A slip is an action that is drawn and held for some steps. So the data have the way back from everywhere. Without slips
    they have only a paddle that is at the ball, and a model that has learnt from them is lost after its first error.
    """
    spread, chance = generator.uniform(1, 8), generator.uniform(0, 0.04)
    aim, before, slip, left = 0.0, (0, 0, 0), NOTHING, 0

    def act(_: Any) -> int:
        nonlocal aim, before, slip, left
        x, y, paddle = (int(env.unwrapped.ale.getRAM()[place]) for place in RAM["pong"])
        flight, fall, drift = x - before[0], y - before[1], paddle - before[2]
        before = x, y, paddle
        if flight <= 0:  # it flies away
            aim = spread * generator.standard_normal() - 6  # the paddle's middle is at 6
        if not left and generator.random() < chance:
            left, slip = int(generator.geometric(1 / SLIP)), int(generator.choice([NOTHING, RIGHT, LEFT]))
        if left:
            left -= 1
            return slip
        if not y:  # no ball is in play
            return NOTHING
        ahead = 2 * fall if flight > 0 and abs(fall) < FASTEST else 0
        return towards(y + ahead + aim - (paddle + 0.8 * drift), 6, LEFT, RIGHT)

    return act


def breakout(env: Any, generator: np.random.Generator) -> Callable[[Any], int]:
    """Stays below the ball. Serves the ball when none is in play."""
    spread, aim, before = generator.uniform(0, 16), 0.0, (0, 0)

    def act(_: Any) -> int:
        nonlocal aim, before
        x, y, paddle = (int(env.unwrapped.ale.getRAM()[place]) for place in RAM["breakout"])
        fall, drift = y - before[0], paddle - before[1]
        before = y, paddle
        if fall <= 0:  # it flies away
            aim = spread * generator.standard_normal() - 8  # the paddle's middle is at 8
        if not y or generator.random() < 0.02:  # a lost ball keeps its place in memory
            return FIRE
        return towards(x + aim - (paddle + 0.5 * drift), 5, RIGHT, LEFT)

    return act


def towards(distance: float, near: float, more: int, less: int) -> int:
    """The action that makes a distance smaller. A paddle that is near enough stays."""
    return NOTHING if abs(distance) < near else more if distance > 0 else less


def make_game(task: Task) -> "gym.Env":
    """The task's game with an emulator that can be looked into. Raises ValueError without the extra `atari`."""
    import gymnasium as gym

    options = dict(task.options)
    options["max_num_frames_per_episode"] = LIMIT * options["frameskip"]
    try:
        return gym.make("dmm.environments.atari_game:AtariGame-v0", game=task.name, **options)
    except ImportError as error:
        raise_interrupt(error)
        raise ValueError(
            f"task {task.name} ({task.environment}) needs ALE: pip install 'dmm-bench[atari]' ({error})"
        ) from None


def behaviour(task: Task, script: Script, returns: tuple[float, float]) -> Behaviour:
    """A follower with its card. `returns` has the mean and the standard deviation of 40 episodes of seed 0."""
    mean, std = returns
    algorithm = (
        "the paddle follows the ball, both from the emulator's memory, with a spread that is drawn for each episode. Episodes "
        f"are cut after {LIMIT:,} steps, frames without an action included"
    )
    made = scripted(task, script, algorithm=algorithm, return_mean=mean, return_std=std, episodes=40)
    return replace(made, make=partial(make_game, task))


BEHAVIOURS = {
    "pong-medium": behaviour(find_task("pong"), pong, (-6.1, 5.2)),
    "breakout-medium": behaviour(find_task("breakout"), breakout, (31.1, 22.1)),
}
