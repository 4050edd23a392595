"""Mazes with a point mass, of two kinds, which are never mixed.

PointMaze is gymnasium-robotics', for Minari's data. It needs the extra `robotics`. Start and goal are in free cells, drawn anew
for each episode. The goal is in the state, and the return is 1 for success, which ends the episode. The maze's centre is at
(0, 0), x grows from column to column and y falls from row to row.
maze2d is D4RL's. The goal is always the same and not in the state. The start is a free cell. Nothing ends an episode before its
horizon, so the return counts steps at the goal. x grows from row to row, y from column to column, both from a corner.
The point mass and the walls are the same: dmm/environments/maze2d.py.

Minari's metadata name another evaluation: the fixed goal of maze2d, also without an end. Its data have no step at a goal but
the last of each episode, so it is no task here. D4RL's files are one walk without an end to way-points that are not the goal.
Their `timeouts` are the steps that reached one, and their rewards come one step late.
"""

from dmm.batch import Spaces
from dmm.tasks.maze import Maze
from dmm.tasks.task import Task

# D4RL's maze_model.py: U_MAZE, MEDIUM_MAZE and LARGE_MAZE. g is the goal of maze2d. gymnasium-robotics has the same walls
MAZES = {
    "umaze": ("#####", "#g..#", "###.#", "#...#", "#####"),
    "medium": ("########", "#..##..#", "#..#...#", "##...###", "#..#...#", "#.#..#.#", "#...#.g#", "########"),
    "large": (
        "############", "#....#.....#", "#.##.#.#.#.#", "#......#...#", "#.####.###.#", "#..#.#.....#", "##.#.#.#.###",
        "#..#...#.g.#", "############",
    ),
}  # fmt: skip
HORIZONS = {"umaze": 300, "medium": 600, "large": 800}  # D4RL's and gymnasium-robotics' registrations
SCORES = {"umaze": (23.85, 161.86), "medium": (13.13, 277.39), "large": (6.7, 273.99)}  # D4RL's: random, reference
SECONDS, VELOCITY = 0.01, 2  # of a step. The place of the velocity in a state


def robotics_maze(rows: tuple[str, ...]) -> Maze:
    """A maze with gymnasium-robotics' coordinates."""
    free = tuple(row.replace("g", ".") for row in rows)  # any free cell may be the goal
    origin = -(len(rows[0]) - 1) / 2, (len(rows) - 1) / 2
    return Maze(rows=free, cell=1.0, origin=origin, upwards=False, seconds=SECONDS, velocity=VELOCITY)


def d4rl_maze(rows: tuple[str, ...]) -> Maze:
    """A maze with D4RL's coordinates. Its x grows from row to row, so the rows here are D4RL's columns."""
    columns = tuple("".join(letters) for letters in zip(*rows, strict=True))
    return Maze(rows=columns, cell=1.0, origin=(-0.2, -0.2), upwards=True, seconds=SECONDS, velocity=VELOCITY)


ROBOTICS_MAZES = {name: robotics_maze(rows) for name, rows in MAZES.items()}
D4RL_MAZES = {name: d4rl_maze(rows) for name, rows in MAZES.items()}

ROBOTICS_TASKS = tuple(
    Task(
        name=f"pointmaze-{name}",
        environment=f"dmm.environments.pointmaze:PointMaze-{name}-v3",
        spaces=Spaces(states=(6,), actions=2),
        horizon=HORIZONS[name],
        return_scale=1.0,
        target_return=1.0,
        ref_min_score=0.0,
        ref_max_score=1.0,
        source="reference scores and target x1: failure and success. Nobody has published a score of this task; environment: "
        "gymnasium-robotics' PointMaze v3",
        options=(("maze_map", maze.map), ("continuing_task", False)),
        view="observation+desired_goal",
        maze=maze,
    )
    for name, maze in ROBOTICS_MAZES.items()
)
D4RL_TASKS = tuple(
    Task(
        name=f"maze2d-{name}",
        environment=f"dmm.environments.maze2d:maze2d-{name}-v1",
        spaces=Spaces(states=(4,), actions=2),
        horizon=HORIZONS[name],
        return_scale=100.0,
        target_return=SCORES[name][1],
        ref_min_score=SCORES[name][0],
        ref_max_score=SCORES[name][1],
        source="reference scores: D4RL's infos.py; target x1: the reference score, because no paper names a target; "
        "environment: D4RL's maze2d v1 on MuJoCo's present version",
        maze=maze,
    )
    for name, maze in D4RL_MAZES.items()
)
TASKS = (*ROBOTICS_TASKS, *D4RL_TASKS)
