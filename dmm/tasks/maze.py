"""A maze: where its walls are in the coordinates of states, and how long a step lasts.

Two benchmarks have mazes of one name with other coordinates and other dynamics. Data tell them apart, because an ant is never
inside a wall, and because its position changes by its velocity. So data of one benchmark are refused on the task of the other.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from dmm.base.fields import check_fields

FREE = {".", "r", "g"}  # letters of free cells: any, the start's, the goal's. A wall is "#"
INSIDE = 0.01  # the largest share of data's steps that may be inside walls
STEP = 0.3  # the largest relative difference between data's step and the maze's


@dataclass(frozen=True, kw_only=True)
class Maze:
    """Square cells with walls. A state begins with the position x, y."""

    rows: tuple[str, ...]  # a letter a cell: # wall, . free, r start, g goal
    cell: float  # side of a cell, in metres
    origin: tuple[float, float]  # x and y of the centre of the first cell of the first row
    upwards: bool  # whether y grows from row to row. Otherwise it falls
    seconds: float  # of a step of the environment
    velocity: int  # the place of the velocity along x in a state. That along y follows

    def __post_init__(self) -> None:
        check_fields(self)
        if {len(row) for row in self.rows} != {len(self.rows[0])} or not set("".join(self.rows)) <= FREE | {"#"}:
            raise ValueError(f"Maze.rows is {self.rows}; it takes rows of one length, with the letters # . r g")

    @property
    def walls(self) -> Bool[np.ndarray, "rows columns"]:
        """Whether a cell is a wall."""
        return np.array([[letter == "#" for letter in row] for row in self.rows])

    @property
    def map(self) -> tuple[tuple[int | str, ...], ...]:
        """The maze as gymnasium-robotics has it: 1 for a wall, 0 for a free cell, and the letters r and g."""
        return tuple(tuple({"#": 1, ".": 0}.get(letter, letter) for letter in row) for row in self.rows)

    def centre(self, letter: str) -> Float[np.ndarray, "2"]:
        """The x and y of the centre of the only cell with a letter."""
        ((row, column),) = [
            (i, j) for i, text in enumerate(self.rows) for j, found in enumerate(text) if found == letter
        ]
        return np.array(self.origin) + self.cell * np.array([column, row if self.upwards else -row])

    def inside(self, positions: Float[np.ndarray, "N 2"]) -> Bool[np.ndarray, " N"]:
        """Whether positions are inside a wall, or outside the maze."""
        column, row = (
            np.floor((positions - self.origin) / self.cell * [1, 1 if self.upwards else -1] + 0.5).astype(int).T
        )
        walls = np.pad(self.walls, 1, constant_values=True)
        return walls[np.clip(row, -1, len(self.rows)) + 1, np.clip(column, -1, len(self.rows[0])) + 1]

    def objections(self, states: Float[np.ndarray, "N S"], steps: Float[np.ndarray, " N"]) -> str:
        """Why data cannot come from this maze, or "". `steps` has the number of each row in its episode."""
        if states.shape[1] < self.velocity + 2:
            return ""  # the dimensions are wrong, and another check says so
        found, seconds = [], seconds_of_a_step(states[:, :2], states[:, self.velocity : self.velocity + 2], steps)
        if (share := self.inside(states[:, :2]).mean()) > INSIDE:
            found.append(f"{share:.0%} of its positions are inside walls")
        if abs(seconds / self.seconds - 1) > STEP:
            found.append(f"its steps last {seconds:.3f} seconds, not {self.seconds:g}")
        return " and ".join(found)


def seconds_of_a_step(
    positions: Float[np.ndarray, "N 2"], velocities: Float[np.ndarray, "N 2"], steps: Float[np.ndarray, " N"]
) -> float:
    """The seconds between rows: the median of distance by velocity, over the faster half. NaN if nothing moves."""
    follows = steps[1:] > steps[:-1]
    moved, velocity = np.diff(positions, axis=0)[follows], ((velocities[1:] + velocities[:-1]) / 2)[follows]
    square = np.square(velocity).sum(1)
    fast = (square > 0) & (square >= (np.median(square) if len(square) else 0))
    return float(np.median((moved * velocity).sum(1)[fast] / square[fast])) if fast.any() else np.nan
