"""Trajectories: a dataset in memory, as one flat table with episode offsets, and the windows that are drawn from it.

Every source ends here. A batch is one gather from a table with precomputed returns-to-go: no loop over episodes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int, Int64
from torch import Tensor
from torch.nn.functional import embedding

from dmm.batch import Batch
from dmm.data.goals import goal_rows
from dmm.kernels.sampling import gather_windows
from dmm.tasks import Task

GOALS = {"goals", "previous_goals"}
NEEDS = {"rewards", "next_states", "previous_actions", *GOALS}  # what a window may hold on demand
ARRAYS = ("states", "actions", "rewards", "offsets", "terminated")  # what a dataset is; all else follows


class DeviceTable(NamedTuple):
    """The table on one device, with the constants that turn its rows into a batch's."""

    table: Tensor
    offsets: Tensor
    place: Tensor  # 0 .. K - 1
    shift: Tensor  # a row of a batch is (row - shift) / divisor
    divisor: Tensor
    pad: Tensor  # added where the mask is False, whose raw rows are zeros, so -mean / std
    goals: Tensor  # the row of each row's goal; empty unless a model wants goals


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Trajectories:
    """Whole episodes end to end: step t of episode e is row offsets[e] + t, of N rows and E episodes."""

    id: str
    sha256: str  # of ARRAYS: the same data under two names are one
    table: Float32[np.ndarray, "rows columns"]  # state, action, reward, return-to-go, step; last: zeros, for pads
    terminated: Bool[np.ndarray, " E"]  # by the environment; else cut by its time limit
    offsets: Int64[np.ndarray, " E+1"]
    state_mean: Float64[np.ndarray, " S"]
    state_std: Float64[np.ndarray, " S"]  # Protocol.std_offset is added where it is used
    device_tables: dict[tuple, DeviceTable] = field(default_factory=dict, init=False)

    @property
    def state_dim(self) -> int:
        """S."""
        return len(self.state_mean)

    @property
    def action_dim(self) -> int:
        """A."""
        return self.table.shape[1] - self.state_dim - 3

    @property
    def states(self) -> Float32[np.ndarray, "N S"]:
        """States, as recorded."""
        return self.table[:-1, : self.state_dim]

    @property
    def actions(self) -> Float32[np.ndarray, "N A"]:
        """Actions."""
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
        """Return of each episode."""
        return self.returns_to_go[self.offsets[:-1]]

    @cached_property
    def goals(self) -> Int64[np.ndarray, " rows"]:
        """The row of each row's goal, found when first wanted; that of the row of zeros is itself."""
        return np.append(goal_rows(self.rewards, self.offsets), self.steps)

    def summary(self) -> str:
        """One line: id, size, returns, identity."""
        returns = self.episode_returns
        return (
            f"{self.id}: {self.episodes:,} episodes, {self.steps:,} steps, return {returns.mean():.0f} +- "
            f"{returns.std():.0f} [{returns.min():.0f}, {returns.max():.0f}], sha256 {self.sha256[:12]}"
        )

    def best(self, fraction: float) -> "Trajectories":
        """The episodes of highest return whose steps fit into a fraction of all steps, at least one, in their order.

        The identity and the statistics of states stay those of all the data.
        """
        if fraction == 1:
            return self
        ranked = np.argsort(-self.episode_returns, kind="stable")
        fit = (np.cumsum(self.lengths[ranked]) <= fraction * self.steps).sum()
        kept = np.sort(ranked[: max(fit, 1)])
        rows = np.isin(np.repeat(np.arange(self.episodes), self.lengths), kept)
        offsets = np.concatenate([[0], np.cumsum(self.lengths[kept])])
        table = self.table[np.append(rows, True)]  # the row of zeros stays last
        return replace(self, table=table, terminated=self.terminated[kept], offsets=offsets)

    def on_device(self, device: torch.device, protocol, scale: float, with_goals: bool = False) -> DeviceTable:
        """The table and a protocol's constants on a device: a view on the CPU, elsewhere copied there once."""
        values = (protocol.context_length, protocol.std_offset, protocol.pad_state, protocol.pad_action)
        key = (device, *values, scale, with_goals)
        if key not in self.device_tables:
            others = self.action_dim + 3
            shift = np.array([*self.state_mean, *[0.0] * others])
            divisor = np.array([*(self.state_std + protocol.std_offset), *[1.0] * others])
            divisor[-2] = scale
            shift, divisor = shift.astype(np.float32), divisor.astype(np.float32)
            pad = shift / divisor if protocol.pad_state == "normalised zero" else np.zeros_like(shift)
            pad[self.state_dim : -3] = protocol.pad_action
            constants = (torch.from_numpy(row) for row in (shift, divisor, pad))
            views = (torch.from_numpy(array) for array in (self.table, self.offsets))
            place = torch.arange(protocol.context_length)
            goals = torch.from_numpy(self.goals if with_goals else self.offsets[:0])
            self.device_tables[key] = DeviceTable(*(tensor.to(device) for tensor in (*views, place, *constants, goals)))
        return self.device_tables[key]

    def window(self, drawn: Int[Tensor, " B"], protocol, scale: float, needs: frozenset[str] = frozenset()) -> Batch:
        """The K steps from each drawn row on, or up to it, cut at the episode's bounds and padded as the protocol says.

        It runs where `drawn` lies. Padded returns, steps and rewards are 0.
        """
        needs = needs - {"uniform_samples"}  # those are for rollouts
        assert needs <= NEEDS, f"no such field of Batch to be read from data: {set(needs) - NEEDS}"
        device_table, k = (
            self.on_device(drawn.device, protocol, scale, not needs.isdisjoint(GOALS)),
            protocol.context_length,
        )
        following = torch.searchsorted(device_table.offsets, drawn, right=True)  # the episode after a row's own
        if protocol.window_anchor != "end":
            start, end = drawn, device_table.offsets.index_select(0, following)
        else:
            end = drawn + 1
            start = torch.maximum(end - k, device_table.offsets.index_select(0, following - 1))

        split = self.state_dim, self.action_dim, 3

        def gather(rows: Tensor, real: Tensor) -> tuple[Tensor, ...]:
            found = embedding(rows, device_table.table).sub_(device_table.shift).div_(device_table.divisor)
            found.addcmul_(device_table.pad, (~real)[..., None].float())  # an eighth of the time of torch.where
            return found.split(split, -1)

        left, simple = protocol.padding == "left", needs <= {"rewards"}
        made = (
            gather_windows(
                device_table.table, start, end, k, left, (device_table.shift, device_table.divisor, device_table.pad)
            )
            if simple
            else None
        )
        if made is not None:
            (states, actions, rest), mask = made[0].split(split, -1), made[1]
        else:
            if left:
                rows = torch.minimum(start, end - k)[:, None] + device_table.place  # B K
                mask = rows >= start[:, None]
            else:
                rows = start[:, None] + device_table.place
                mask = rows < end[:, None]
            rows = torch.where(mask, rows, self.steps)
            states, actions, rest = gather(rows, mask)
        rewards, returns, steps = rest.unbind(-1)
        batch = Batch(states, actions, returns, steps.long(), mask, rewards if "rewards" in needs else None)
        if simple:
            return batch
        more = {}
        before = mask & (batch.steps > 0)
        earlier = torch.where(before, rows - 1, self.steps)
        if "next_states" in needs:
            last = device_table.offsets.index_select(0, following)[:, None] - 1
            later = torch.where(mask, (rows + 1).minimum(last), rows)
            more["next_states"] = gather(later, mask)[0]
        if "previous_actions" in needs:
            more["previous_actions"] = torch.where(before[..., None], gather(earlier, before)[1], 0.0)
        if needs & GOALS:
            more["goals"] = gather(device_table.goals[rows], mask)[0]
            more["previous_goals"] = gather(device_table.goals[earlier], before)[0]
        return replace(batch, **{name: value for name, value in more.items() if name in needs})


def sample(
    trajectories: Trajectories,
    protocol,
    scale: float,
    generator: torch.Generator,
    batch_size: int,
    needs: frozenset[str] = frozenset(),
) -> Batch:
    """Draws a batch of windows, on the generator's device.

    A window's first step (or its last, as the protocol says) is uniform over an episode's steps, or over those that a whole
    window begins with; the episode is drawn by its length (`steps`: then every step of the data is as likely as any other)
    or uniformly (`episodes`).
    """
    device = generator.device
    if protocol.sampling == "steps":
        drawn = torch.randint(trajectories.steps, (batch_size,), generator=generator, device=device)
    else:
        offsets = trajectories.on_device(device, protocol, scale).offsets
        episode = torch.randint(trajectories.episodes, (batch_size,), generator=generator, device=device)
        part = torch.rand(batch_size, generator=generator, device=device, dtype=torch.float64)
        choices = offsets[episode + 1] - offsets[episode]
        if protocol.window_anchor == "whole":
            choices = (choices - protocol.context_length + 1).clamp(min=1)
        drawn = offsets[episode] + (part * choices).long()
    return trajectories.window(drawn, protocol, scale, needs)


def assemble(
    dataset_id: str,
    states: np.ndarray,
    actions: np.ndarray,
    rewards: np.ndarray,
    offsets: np.ndarray,
    terminated: np.ndarray,
) -> Trajectories:
    """Makes trajectories of what a source holds: returns-to-go, statistics and identity are computed here."""
    kinds = (np.float32, np.float32, np.float32, np.int64, np.bool_)
    arrays = [
        np.ascontiguousarray(value, kind)
        for value, kind in zip((states, actions, rewards, offsets, terminated), kinds, strict=True)
    ]
    states, actions, rewards, offsets, terminated = arrays
    assert offsets[0] == 0 and offsets[-1] == len(states) and (np.diff(offsets) > 0).all(), "offsets do not fit"
    table = np.zeros((len(states) + 1, states.shape[1] + actions.shape[1] + 3), np.float32)
    table[:-1, :-2] = np.concatenate([states, actions, rewards[:, None]], 1)
    for start, end in pairwise(offsets):
        table[start:end, -2] = np.cumsum(rewards[start:end][::-1], dtype=np.float64)[::-1]
        table[start:end, -1] = np.arange(end - start)
    return Trajectories(
        id=dataset_id,
        sha256=identity(arrays),
        table=table,
        terminated=terminated,
        offsets=offsets,
        state_mean=states.mean(0, dtype=np.float64),
        state_std=states.std(0, dtype=np.float64),
    )


def identity(arrays: Sequence[np.ndarray]) -> str:
    """The sha256 of ARRAYS in their order: name, type and shape of each, then its bytes."""
    digest = hashlib.sha256()
    for name, array in zip(ARRAYS, arrays, strict=True):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def join(parts: Sequence[Trajectories]) -> Trajectories:
    """Several datasets read as one, in their order: how the DC family makes medium-expert."""
    dims = {part.id: (part.state_dim, part.action_dim) for part in parts}
    if len(set(dims.values())) > 1:
        found = "; ".join(f"{name} has states ({s},) and actions ({a},)" for name, (s, a) in dims.items())
        raise ValueError(f"datasets of different dimensions cannot be read as one: {found}")
    return assemble(
        " + ".join(part.id for part in parts),
        np.concatenate([part.states for part in parts]),
        np.concatenate([part.actions for part in parts]),
        np.concatenate([part.rewards for part in parts]),
        np.cumsum(np.concatenate([[0], *(part.lengths for part in parts)])),
        np.concatenate([part.terminated for part in parts]),
    )


def check_task(trajectories: Trajectories, task: Task) -> None:
    """Refuses data whose dimensions are not the task's."""
    found = {"observations": trajectories.state_dim, "actions": trajectories.action_dim}
    for (key, dim), expected in zip(found.items(), (task.state_dim, task.action_dim), strict=True):
        if dim != expected:
            raise ValueError(
                f"{trajectories.id}: {key!r} has {dim} dimensions; task {task.name} ({task.environment}) has {expected}"
            )


def check_vectors(where: str, key: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuses observations or actions that are not a vector of floats a step."""
    if len(shape) != 2 or not np.issubdtype(dtype, np.floating):
        raise ValueError(
            f"{where}: {key!r} is {dtype} of shape {shape}; only vectors of floats can be read so far, "
            "discrete actions and pixels come later"
        )


def check_finite(where: str, key: str, values: np.ndarray) -> None:
    """Refuses NaN, infinity and what is infinite in float32, naming the first place."""
    with np.errstate(over="ignore"):
        places = np.argwhere(~np.isfinite(values.astype(np.float32)))
    if len(places):
        row, *column = map(int, places[0])
        where_in = f"row {row}" + (f", column {column[0]}" if column else "")
        raise ValueError(f"{where}: {key!r} is not finite at {where_in}: {values[tuple(places[0])]}")
