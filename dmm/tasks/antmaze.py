"""AntMaze of two kinds, which are never mixed. Their ants differ in torque, in the length of a step and in coordinates.

D4RL's: torque 30, steps of 0.1 s, start at (0, 0), y grows from row to row. The environment is dmm/environments/antmaze.py.
gymnasium-robotics', for Minari's data: torque 150, steps of 0.05 s, the maze's centre at (0, 0), y falls from row to row. The
extra `robotics` brings it.
`umaze` and `umaze-diverse` are data of one environment, and so are `play` and `diverse`.
The goal is not in the state. The return is 1 for a success, which ends the episode.
"""

from functools import partial

from dmm.batch import Spaces
from dmm.tasks.maze import Maze
from dmm.tasks.task import Task

# D4RL's maze_env.py: U_MAZE_TEST, BIG_MAZE_TEST and HARDEST_MAZE_TEST
UMAZE = ("#####", "#r..#", "###.#", "#g..#", "#####")
MEDIUM = ("########", "#r.##..#", "#..#...#", "##...###", "#..#...#", "#.#..#.#", "#...#.g#", "########")
LARGE = (
    "############", "#r...#.....#", "#.##.#.#.#.#", "#......#...#", "#.####.###.#", "#..#.#.....#", "##.#.#.#.###",
    "#..#...#.g.#", "############",
)  # fmt: skip
# The maze of Minari's umaze-v1, from its create_antmaze_dataset.py. The evaluation environment in Minari's metadata has the
# mirrored maze, with walls where the data have none. The mazes of medium and large are D4RL's
MINARI_UMAZE = ("#####", "#g..#", "###.#", "#r..#", "#####")

CELL = 4.0  # metres: maze_size_scaling of both
VIEW = "achieved_goal+observation"  # in D4RL's order: position, other joints, velocities
SOURCE = "reference scores: D4RL's infos.py; target x1: Decision ConvFormer's scripts; "


def d4rl_maze(rows: tuple[str, ...]) -> Maze:
    """A maze with D4RL's coordinates and step."""
    return Maze(rows=rows, cell=CELL, origin=(-CELL, -CELL), upwards=True, seconds=0.1, velocity=15)


def robotics_maze(rows: tuple[str, ...]) -> Maze:
    """A maze with gymnasium-robotics' coordinates and step."""
    origin = -CELL * (len(rows[0]) - 1) / 2, CELL * (len(rows) - 1) / 2
    return Maze(rows=rows, cell=CELL, origin=origin, upwards=False, seconds=0.05, velocity=15)


D4RL_MAZES = {name: d4rl_maze(rows) for name, rows in (("umaze", UMAZE), ("medium", MEDIUM), ("large", LARGE))}
ROBOTICS_MAZES = {
    name: robotics_maze(rows) for name, rows in (("umaze", MINARI_UMAZE), ("medium", MEDIUM), ("large", LARGE))
}
HORIZONS = {"umaze": 700, "medium": 1000, "large": 1000}  # D4RL's and gymnasium-robotics' registrations
make = partial(  # a task of either kind
    Task,
    spaces=Spaces(states=(29,), actions=8),
    return_scale=1.0,
    target_return=1.0,
    ref_min_score=0.0,
    ref_max_score=1.0,
)

D4RL_TASKS = tuple(
    make(
        name=f"antmaze-{name}",
        environment=f"dmm.environments.antmaze:antmaze-{name}-v2",
        horizon=HORIZONS[name],
        source=SOURCE + "environment: D4RL's antmaze v2 on MuJoCo's present version",
        maze=maze,
    )
    for name, maze in D4RL_MAZES.items()
)
ROBOTICS_TASKS = tuple(
    make(
        name=f"antmaze-{name}-robotics",
        environment=f"dmm.environments.antmaze:AntMaze-{name}-v5",
        horizon=HORIZONS[name],
        source=SOURCE + "environment: gymnasium-robotics' AntMaze v5 in the maze of Minari's data",
        options=(("maze_map", maze.map), ("continuing_task", False), ("include_cfrc_ext_in_observation", False)),
        view=VIEW,
        maze=maze,
    )
    for name, maze in ROBOTICS_MAZES.items()
)
TASKS = (*D4RL_TASKS, *ROBOTICS_TASKS)
