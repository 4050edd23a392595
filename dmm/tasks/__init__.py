"""Tasks by name. Each family of tasks has a file here.

target.py      Target: the return that an evaluation asks for
view.py        the state vector of observations that are dictionaries
maze.py        Maze: where walls are, and whether data come from there
make.py        makes environments of Gymnasium
task.py        Task: environment, horizon, return scale, target return, reference scores
locomotion.py  Hopper, Walker2d, HalfCheetah
antmaze.py     AntMaze of D4RL and of gymnasium-robotics
pointmaze.py   PointMaze of gymnasium-robotics, and maze2d of D4RL
atari.py       the games of ALE, and the tasks of eight
"""

from dmm.base.errors import unknown_name
from dmm.tasks import antmaze, atari, locomotion, pointmaze
from dmm.tasks.target import Target as Target
from dmm.tasks.task import Task as Task

FAMILIES = (locomotion, antmaze, pointmaze, atari)
TASKS = {task.name: task for family in FAMILIES for task in family.TASKS}


def find_task(name: str) -> Task:
    """Returns the task of that name. Raises ValueError for an unknown name."""
    if name not in TASKS:
        raise unknown_name("task", name, TASKS, "dmm/tasks")
    return TASKS[name]
