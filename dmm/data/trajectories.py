"""Trajectories: a dataset in memory. All sources give this form: one flat table with precomputed returns-to-go."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from dmm.base.fields import LARGEST_FLOAT, SMALLEST_FLOAT
from dmm.batch import Spaces
from dmm.data.frames import STACK, Frames, FrameWriter, frame_starts
from dmm.data.goals import goal_rows
from dmm.tasks import TASKS, Task
from dmm.tasks.view import MARK, split_id

OUTSIDE = 1e-3  # largest allowed distance of an action from its box. Files of float32 are at least this exact
BLOCK = 4096  # rows that are converted to float64 at once
STILL = 1e-6  # a state dimension with a smaller standard deviation counts as constant
ARRAYS = ("states", "actions", "rewards", "offsets", "terminated")  # a dataset's content. The rest is computed


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Trajectories:
    """N steps of E whole episodes, one after the other: step t of episode e is row offsets[e] + t.

    Actions are in the environment's units. Models see them scaled: dmm/data/windows.py. A discrete action is its number.
    States are vectors in the table, or stacks of frames. With frames S is 0.
    """

    id: str
    sha256: str  # of ARRAYS: the same data have the same hash under every id
    # the columns are state, action, reward, return-to-go and step. The last row is zeros, for pads
    table: Float32[np.ndarray, "rows columns"]
    terminated: Bool[np.ndarray, " E"]  # True: the environment ended the episode. False: its time limit cut it
    offsets: Int64[np.ndarray, " E+1"]
    state_mean: Float64[np.ndarray, " S"]
    state_std: Float64[np.ndarray, " S"]  # Protocol.std_offset is added where it is used
    num_actions: int = 0  # V, the number of discrete actions. 0: actions are in a box
    actions_counted: bool = False  # the source does not say V. It is the largest action of the data, plus 1
    frames: UInt8[np.ndarray, "F height width"] | None = None  # dmm/data/frames.py
    frame_starts: Int64[np.ndarray, " E"] | None = None  # the row of the first black frame before each episode

    @property
    def discrete(self) -> bool:
        """Whether `actions` is one column, with the number of a discrete action."""
        return self.num_actions > 0

    @property
    def state_dim(self) -> int:
        """S, the dimensions of a state."""
        return len(self.state_mean)

    @property
    def state_shape(self) -> tuple[int, ...]:
        """The shape of a state as Spaces has it: (S,) or (STACK, height, width)."""
        return (self.state_dim,) if self.frames is None else (STACK, *self.frames.shape[1:])

    @property
    def action_dim(self) -> int:
        """A, the dimensions of an action. 1 for discrete actions."""
        return self.table.shape[1] - self.state_dim - 3

    @property
    def states(self) -> Float32[np.ndarray, "N S"]:
        """States, not normalised."""
        return self.table[:-1, : self.state_dim]

    @property
    def actions(self) -> Float32[np.ndarray, "N A"]:
        """Actions, not scaled."""
        return self.table[:-1, self.state_dim : -3]

    @property
    def rewards(self) -> Float32[np.ndarray, " N"]:
        """Rewards."""
        return self.table[:-1, -3]

    @property
    def returns_to_go(self) -> Float32[np.ndarray, " N"]:
        """Returns-to-go, undiscounted and unscaled."""
        return self.table[:-1, -2]

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return len(self.terminated)

    @property
    def steps(self) -> int:
        """Number of steps in all episodes."""
        return len(self.table) - 1

    @property
    def lengths(self) -> Int64[np.ndarray, " E"]:
        """Steps of each episode."""
        return np.diff(self.offsets)

    @property
    def episode_returns(self) -> Float32[np.ndarray, " E"]:
        """Return of each episode, undiscounted."""
        return self.returns_to_go[self.offsets[:-1]]

    @cached_property
    def goals(self) -> Int64[np.ndarray, " rows"]:
        """The row of each row's goal. The row of zeros is its own goal. Computed at the first call."""
        return np.append(goal_rows(self.rewards, self.offsets), self.steps)

    @property
    def still_states(self) -> list[int]:
        """The dimensions of states that never change, except for rounding."""
        return np.flatnonzero(self.state_std < STILL).tolist()

    def summary(self) -> str:
        """One line with id, size, returns and hash."""
        returns = self.episode_returns
        digits = 0 if np.abs(returns).max() >= 10 else 2  # a success is 1
        mean, std, low, high = (
            f"{value:.{digits}f}" for value in (returns.mean(), returns.std(), returns.min(), returns.max())
        )
        return (
            f"{self.id}: {self.episodes:,} episodes, {self.steps:,} steps, return {mean} +- {std} [{low}, {high}], "
            f"sha256 {self.sha256[:12]}"
        )

    def __repr__(self) -> str:
        states = ", ".join(map(str, (self.steps, *self.state_shape)))
        return f"Trajectories({self.summary()}, states [{states}], actions [{self.steps}, {self.action_dim}])"

    def best_episodes(self, fraction: float) -> "Trajectories":
        """The episodes of highest return whose steps fit into a fraction of all steps. At least one, in their old order.

        Id, hash and state statistics are still those of the whole dataset.
        """
        if fraction == 1:
            return self
        ranked = np.argsort(-self.episode_returns, kind="stable")
        fit = (np.cumsum(self.lengths[ranked]) <= fraction * self.steps).sum()
        kept = np.sort(ranked[: max(fit, 1)])
        rows = np.isin(np.repeat(np.arange(self.episodes), self.lengths), kept)
        offsets = np.concatenate([[0], np.cumsum(self.lengths[kept])])
        table = self.table[np.append(rows, True)]  # the row of zeros stays last
        starts = None if self.frame_starts is None else self.frame_starts[kept]
        return replace(self, table=table, terminated=self.terminated[kept], offsets=offsets, frame_starts=starts)

    def clip_actions(self, spaces: Spaces) -> "Trajectories":
        """The same steps with actions clipped to the box. Id, hash and everything else stay the same."""
        table = self.table.copy()
        actions = table[:-1, self.state_dim : -3]
        np.clip(actions, *spaces.bounds, out=actions)
        return replace(self, table=table)

    def clip_rewards(self, limit: float | None) -> "Trajectories":
        """The same steps with rewards clipped to +- limit, and with their returns-to-go. Id, hash and the rest stay the same.

        Data that have no larger reward are returned as they are.
        """
        if limit is None or np.abs(self.rewards).max() <= limit:
            return self
        table = self.table.copy()
        table[:-1, -3] = np.clip(self.rewards, -limit, limit)
        table[:-1, -2] = sum_ahead(table[:-1, -3], self.offsets)
        return replace(self, table=table)


def sum_ahead(rewards: Float32[np.ndarray, " N"], offsets: Int64[np.ndarray, " bounds"]) -> Float64[np.ndarray, " N"]:
    """Returns-to-go: at each row the sum of the rewards from there to the episode's end."""
    found = np.empty(len(rewards))
    for start, end in pairwise(offsets):
        found[start:end] = np.cumsum(rewards[start:end][::-1], dtype=np.float64)[::-1]
    return found


def assemble(
    dataset_id: str,
    states: np.ndarray,
    actions: np.ndarray,
    rewards: np.ndarray,
    offsets: np.ndarray,
    terminated: np.ndarray,
    frames: Frames | None = None,
    num_actions: int = 0,
    actions_counted: bool = False,
) -> Trajectories:
    """Makes trajectories from a source's arrays: states [N, S], actions [N, A], rewards [N], offsets [E + 1], terminated [E].

    With `frames`, S is 0. With `num_actions`, actions are whole numbers below it, and A is 1.
    Computes returns-to-go, state statistics and the hash. Raises ValueError if a return-to-go overflows float32.
    """
    kinds = (np.float32, np.float32, np.float32, np.int64, np.bool_)
    arrays = [
        np.ascontiguousarray(value, kind)
        for value, kind in zip((states, actions, rewards, offsets, terminated), kinds, strict=True)
    ]
    states, actions, rewards, offsets, terminated = arrays
    assert offsets[0] == 0 and offsets[-1] == len(states) and (np.diff(offsets) > 0).all(), "offsets do not fit"
    table = np.zeros((len(states) + 1, states.shape[1] + actions.shape[1] + 3), np.float32)
    table[:-1, : states.shape[1]], table[:-1, states.shape[1] : -3], table[:-1, -3] = states, actions, rewards
    with np.errstate(over="ignore"):
        table[:-1, -2] = sum_ahead(rewards, offsets)
    table[:-1, -1] = np.arange(len(rewards)) - np.repeat(offsets[:-1], np.diff(offsets))
    if not (finite := np.isfinite(table[:, -2])).all():
        row = int(np.argmin(finite))
        episode = int(np.searchsorted(offsets, row, side="right")) - 1
        raise ValueError(
            f"{dataset_id}: the return-to-go at row {row}, in episode {episode}, overflows float32, because the rewards from "
            "there to the episode's end add up to more than 3.4e38"
        )
    if frames is not None:
        assert len(frames.array) == len(states) + (STACK - 1) * len(terminated), "frames do not fit"
    mean, std = moments(states)
    return Trajectories(
        id=dataset_id,
        sha256=content_hash(arrays, frames),
        table=table,
        terminated=terminated,
        offsets=offsets,
        state_mean=mean,
        state_std=std,
        num_actions=num_actions,
        actions_counted=actions_counted,
        frames=None if frames is None else frames.array,
        frame_starts=None if frames is None else frame_starts(offsets),
    )


def moments(states: Float32[np.ndarray, "N S"]) -> tuple[Float64[np.ndarray, " S"], Float64[np.ndarray, " S"]]:
    """The mean and the standard deviation of each dimension, of sums in the order of the rows. It needs little memory."""

    def total(part: Callable[[Float32[np.ndarray, "b S"]], np.ndarray]) -> Float64[np.ndarray, " S"]:
        """The sum of a function of the rows."""
        found = np.zeros(states.shape[1])
        for first in range(0, len(states), BLOCK):
            found = np.concatenate([found[None], part(states[first : first + BLOCK])]).sum(0)
        return found

    mean = total(lambda rows: rows) / len(states)
    return mean, np.sqrt(total(lambda rows: np.square(rows - mean)) / len(states))


def content_hash(arrays: Sequence[np.ndarray], frames: Frames | None = None) -> str:
    """The sha256 of ARRAYS in their order: of each its name, type and shape, then its bytes. Frames have their own sha256."""
    digest = hashlib.sha256()
    for name, array in zip(ARRAYS, arrays, strict=True):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    if frames is not None:
        digest.update(f"frames {frames.array.shape} {frames.sha256}\n".encode())
    return digest.hexdigest()


def join(parts: Sequence[Trajectories]) -> Trajectories:
    """Several datasets as one, in their order. The DC family makes medium-expert in this way.

    Raises ValueError for datasets of different dimensions.
    """
    dims = {part.id: (part.state_shape, part.discrete or (part.action_dim,)) for part in parts}
    if len(set(dims.values())) > 1:
        kinds = {name: (s, "discrete actions" if a is True else f"actions {a}") for name, (s, a) in dims.items()}
        found = "; ".join(f"{name} has states {s} and {a}" for name, (s, a) in kinds.items())
        raise ValueError(f"datasets of different dimensions cannot be read as one: {found}")
    return assemble(
        " + ".join(part.id for part in parts),
        np.concatenate([part.states for part in parts]),
        np.concatenate([part.actions for part in parts]),
        np.concatenate([part.rewards for part in parts]),
        np.cumsum(np.concatenate([[0], *(part.lengths for part in parts)])),
        np.concatenate([part.terminated for part in parts]),
        join_frames(parts),
        max(part.num_actions for part in parts),
        all(part.actions_counted for part in parts),
    )


def join_frames(parts: Sequence[Trajectories]) -> Frames | None:
    """The frames of several datasets, in their order. None for datasets of vectors."""
    if parts[0].frames is None:
        return None
    with FrameWriter(*parts[0].frames.shape[1:]) as writer:
        for part in parts:
            assert part.frames is not None, "parts of different kinds"
            for first in range(0, len(part.frames), 1000):
                writer.add(part.frames[first : first + 1000])
        return writer.finish()


def check_task(trajectories: Trajectories, task: Task, actions_outside: Literal["refuse", "clip"] = "refuse") -> None:
    """Raises ValueError if data have another view, other dimensions or other actions than the task, or too large returns.

    A return is too large if it overflows float32 in the task's scale. Data of a maze are refused on a task of another one.

    With "refuse" it also raises ValueError for the first action that is outside the task's box by more than OUTSIDE.
    """
    spaces, where = task.spaces, f"task {task.name} ({task.environment})"
    check_maze(trajectories, task, where)
    for dataset_id in trajectories.id.split(" + "):
        if (view := split_id(dataset_id)[1]) != task.view:
            raise ValueError(
                f"{dataset_id} has the view {view!r}; {where} has {task.view!r}. A view says which keys of observations make "
                f"the state. That of a dataset is at the end of its id, as in {MARK}observation+desired_goal"
            )
    counts = trajectories.num_actions, spaces.actions if spaces.discrete else 0
    if counts[0] != counts[1] and not (trajectories.actions_counted and counts[0] < counts[1]):
        said = [f"{count} discrete actions" if count else "a box of actions" for count in counts]
        raise ValueError(f"{trajectories.id} has {said[0]}; {where} has {said[1]}")
    shapes = {"observations": (trajectories.state_shape, spaces.states)}
    if not spaces.discrete:
        shapes["actions"] = (trajectories.action_dim,), (spaces.actions,)
    for key, (shape, expected) in shapes.items():
        if len(shape) != len(expected):
            raise ValueError(f"{trajectories.id}: {key!r} has the shape {shape}; {where} has {expected}")
        if shape != expected:
            have, want = ("x".join(map(str, sizes)) for sizes in (shape, expected))
            raise ValueError(f"{trajectories.id}: {key!r} has {have} dimensions; {where} has {want}")
    largest = float(np.abs(trajectories.returns_to_go).max()) / task.return_scale
    if largest > LARGEST_FLOAT:
        raise ValueError(
            f"{trajectories.id}: the largest return-to-go, divided by the return_scale {task.return_scale:g} of {where}, is "
            f"{largest:g}, which overflows float32"
        )
    if spaces.discrete:
        return
    actions, (low, high) = trajectories.actions, spaces.bounds
    outside = (actions < low - OUTSIDE) | (actions > high + OUTSIDE)
    if actions_outside == "refuse" and outside.any():
        row, dimension = map(int, np.argwhere(outside)[0])
        raise ValueError(
            f"{trajectories.id}: 'actions' at row {row}, dimension {dimension} is {actions[row, dimension]:g}; {where} takes "
            f"{spaces.low[dimension]:g} to {spaces.high[dimension]:g}. {np.count_nonzero(outside.any(1)):,} of "
            f'{trajectories.steps:,} rows are outside. Training.actions_outside = "clip" clips them'
        )


def check_divisors(trajectories: Trajectories, std_offset: float) -> None:
    """Raises ValueError if a state would be divided by 0, or nearly so: one that never changes, without an offset."""
    divisors = trajectories.state_std + std_offset
    if len(zero := np.flatnonzero(divisors < SMALLEST_FLOAT)):
        raise ValueError(
            f"{trajectories.id}: state dimensions {', '.join(map(str, zero))} never change in these data, and "
            f"Training.std_offset is {std_offset:g}, so they would be divided by 0; another offset is 1e-6"
        )


def check_maze(trajectories: Trajectories, task: Task, where: str) -> None:
    """Raises ValueError if data cannot come from the task's maze. The error names the tasks from which they can come."""
    if task.maze is None:
        return
    rows = trajectories.states, trajectories.table[:-1, -1]
    if found := task.maze.objections(*rows):
        alike = [other for other in TASKS.values() if other.spaces.states == trajectories.state_shape]
        others = [other.name for other in alike if other.maze and not other.maze.objections(*rows)]
        raise ValueError(
            f"{trajectories.id} cannot come from {where}: {found}. It was made in another maze or with other dynamics, and "
            f"what is learnt from it cannot be scored here. It fits {' and '.join(others) or 'no task'}"
        )


def check_vectors(where: str, key: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raises ValueError if observations or actions are not one vector of floats per step."""
    if len(shape) == 2 and np.issubdtype(dtype, np.floating):
        return
    reason = "they have no vector a step"
    if len(shape) > 2 or dtype.kind == "O":  # an object is a compressed frame
        reason = "images are read from Minari's datasets of Atari only"
    elif len(shape) == 1 and dtype.kind in "iu":
        reason = "discrete ones are read from Minari's datasets only"
    elif len(shape) == 2 and dtype.kind in "biu":
        reason = "convert these whole numbers to float32"
    raise ValueError(
        f"{where}: {key!r} is {dtype} of shape {shape}; only vectors of floats can be read so far: {reason}"
    )


def check_finite(where: str, key: str, values: np.ndarray) -> None:
    """Raises ValueError with the first place of a value that is not finite in float32."""
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.astype(np.float32, copy=False))
    if not finite.all():
        places = np.argwhere(~finite)
        row, *column = map(int, places[0])
        where_in = f"row {row}" + (f", column {column[0]}" if column else "")
        raise ValueError(f"{where}: {key!r} is not finite at {where_in}: {values[tuple(places[0])]}")


def check_flags(where: str, key: str, values: np.ndarray) -> None:
    """Raises ValueError for flags that are not one 0 or 1 a step. Other numbers may count something else."""
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise ValueError(f"{where}: {key!r} is {values.dtype} of shape {values.shape}; it takes one flag a step")
    if (wrong := (values != 0) & (values != 1)).any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{where}: {key!r} is {values[row]} at row {row}; it takes 0 and 1")
