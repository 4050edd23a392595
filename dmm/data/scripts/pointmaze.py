"""Way-points: a scripted walk through the mazes of dmm/tasks/pointmaze.py.

The walker heads for the centre of the next cell of the shortest path, and in the last cell for the goal itself. Gains and noise
are those of Minari's generator. Its way-points stay until they are reached. Here a position alone decides, so that data can be
imitated from the state.

`expert` heads for the goal from the first step on.
`medium` of PointMaze heads for the goal in half of the episodes. In the others it walks to free cells, one after the other, and
the goal's cell is a wall to it. So almost all of the others fail, and a return of 1 or 0 tells how an episode was walked, from
its first step on. Episodes without success are the long ones, so a model without the return imitates them most of the time.
`medium` of maze2d walks to free cells until a step that is drawn uniformly from the episode, and then stays at the goal. The
return counts steps at the goal, so returns are spread from none to the expert's. The return asked for says when to turn.
"""

from collections.abc import Callable
from functools import cache
from math import inf
from typing import Any, NamedTuple

import numpy as np

from dmm.data.collect import Behaviour, Script, scripted
from dmm.tasks import Task
from dmm.tasks.maze import Maze
from dmm.tasks.pointmaze import D4RL_TASKS, ROBOTICS_TASKS

P_GAIN, D_GAIN, NOISE = 10.0, -1.0, 0.5  # minari-dataset-generation-scripts, scripts/pointmaze, at 0c31b396
ARRIVED = 0.2  # metres from a free cell's centre at which the next one is drawn

Cell = tuple[int, int]  # column and row


class Plan(NamedTuple):
    """How an episode is walked."""

    turn: float  # the step at which it turns to the goal
    avoids: bool = False  # whether the goal's cell is a wall to it


class Grid:
    """The cells of a maze."""

    def __init__(self, maze: Maze) -> None:
        self.maze, self.sign = maze, 1 if maze.upwards else -1
        self.free = frozenset((int(column), int(row)) for row, column in np.argwhere(~maze.walls))

    def cell(self, x: float, y: float) -> Cell:
        """The cell of a position."""
        (x0, y0), size = self.maze.origin, self.maze.cell
        return round((x - x0) / size), round((y - y0) / size * self.sign)

    def centre(self, cell: Cell) -> tuple[float, float]:
        """The centre of a cell."""
        (x0, y0), size = self.maze.origin, self.maze.cell
        return x0 + cell[0] * size, y0 + cell[1] * size * self.sign


@cache
def next_cells(free: frozenset[Cell], target: Cell) -> dict[Cell, Cell]:
    """The next cell of the shortest path to the target, for each free cell that has one. Breadth-first from the target."""
    found, queue = {target: target}, [target]
    for column, row in queue:
        for cell in ((column + 1, row), (column - 1, row), (column, row + 1), (column, row - 1)):
            if cell in free and cell not in found:
                found[cell] = column, row
                queue.append(cell)
    return found


def waypoints(task: Task, plan: Callable[[np.random.Generator, int], Plan]) -> Script:
    """The walk of a task. `plan` draws the plan of an episode from its generator and the task's horizon."""
    assert task.maze is not None, "a task without a maze"
    grid = Grid(task.maze)

    def begin(env: Any, generator: np.random.Generator) -> Callable[[Any], np.ndarray]:
        data, goal = env.unwrapped.data, tuple(env.unwrapped.goal.tolist())
        turn, avoids = plan(generator, task.horizon)
        free = grid.free - {grid.cell(*goal)} if avoids else grid.free
        reachable = sorted(next_cells(free, grid.cell(*data.qpos.tolist())))
        steps, target = 0, None

        def act(_: Any) -> np.ndarray:
            nonlocal steps, target
            x, y = data.qpos.tolist()
            if steps >= turn:
                target = goal
            elif target is None or abs(x - target[0]) + abs(y - target[1]) < ARRIVED:
                target = grid.centre(reachable[generator.integers(len(reachable))])
            steps += 1
            here, last = grid.cell(x, y), grid.cell(*target)
            # one that has strayed into a cell to avoid stays there
            aim = target if here == last else grid.centre(next_cells(free, last).get(here, here))
            force = P_GAIN * (np.array(aim) - (x, y)) + D_GAIN * data.qvel + NOISE * generator.standard_normal(2)
            return np.clip(force, -1, 1).astype(np.float32)

        return act

    return begin


def at_once(generator: np.random.Generator, horizon: int) -> Plan:
    """Turns to the goal at the first step."""
    return Plan(0)


def at_once_or_never(generator: np.random.Generator, horizon: int) -> Plan:
    """Turns to the goal at the first step, or keeps away from it. Both are equally likely."""
    return Plan(0) if generator.random() < 0.5 else Plan(inf, avoids=True)


def at_any_step(generator: np.random.Generator, horizon: int) -> Plan:
    """Turns to the goal at a step drawn from the episode."""
    return Plan(generator.uniform(0, horizon))


ALGORITHM = "way-points on the shortest path, PD gains (10, -1), noise 0.5"
RETURNS = {  # mean and standard deviation of 100 episodes of seed 0
    "pointmaze-umaze-expert": (1.0, 0.0),
    "pointmaze-umaze-medium": (0.53, 0.5),
    "pointmaze-medium-expert": (1.0, 0.0),
    "pointmaze-medium-medium": (0.53, 0.5),
    "pointmaze-large-expert": (1.0, 0.0),
    "pointmaze-large-medium": (0.53, 0.5),
    "maze2d-umaze-expert": (249.7, 34.0),
    "maze2d-umaze-medium": (115.9, 76.2),
    "maze2d-medium-expert": (482.4, 55.7),
    "maze2d-medium-medium": (214.9, 166.8),
    "maze2d-large-expert": (625.5, 76.4),
    "maze2d-large-medium": (286.3, 219.2),
}


def behaviour(task: Task, name: str, plan: Callable[[np.random.Generator, int], Plan]) -> Behaviour:
    """The walk of a task under a plan, with its card."""
    mean, std = RETURNS[name]
    card = {"algorithm": ALGORITHM, "return_mean": mean, "return_std": std, "episodes": 100}
    return scripted(task, waypoints(task, plan), **card)


BEHAVIOURS = {
    (name := f"{task.name}-{policy}"): behaviour(task, name, plan)
    for tasks, medium in ((ROBOTICS_TASKS, at_once_or_never), (D4RL_TASKS, at_any_step))
    for task in tasks
    for policy, plan in (("expert", at_once), ("medium", medium))
}
