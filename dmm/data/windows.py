"""Windows: K consecutive steps of an episode in K slots, padded on one side.

`assemble_windows` makes the windows of training and of rollouts. Only the source of the steps differs. Training reads a
dataset's table (`read_windows`, `sample_batch`). A rollout reads the steps that it has seen so far.
Frames of a window are read once each: `gather_frames` gives K + STACK - 1 frames of which K states are made.
"""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar, runtime_checkable
from typing import Protocol as Interface
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Int64, UInt8
from torch import Tensor
from torch.nn.functional import embedding

from dmm.base.seeds import derive_seed
from dmm.batch import Batch, Spaces, WindowSettings
from dmm.data.frames import STACK
from dmm.data.trajectories import Trajectories
from dmm.kernels.sampling import gather_windows

GOALS = {"goals", "previous_goals"}
PREVIOUS = {"previous_actions", "previous_goals"}
NEEDS = {"rewards", "next_states", *PREVIOUS, *GOALS}  # the fields of a Batch that only some models need
Array = TypeVar("Array", Tensor, np.ndarray)
Rows = TypeVar("Rows", Tensor, np.ndarray, contravariant=True)


@dataclass(frozen=True)
class Slots(Generic[Array]):
    """The row of each slot of W windows. A row is the number of a step in the source. Pads have the source's pad row."""

    rows: Array  # [W, K] int64
    mask: Array  # [W, K] bool. False: a pad
    earlier: Array | None = None  # [W, K] int64, the row of the step before
    has_earlier: Array | None = None  # [W, K] bool. False: a pad, or the first step of an episode
    later: Array | None = None  # [W, K] int64, the row of the step after. The last step of an episode has its own row

    @property
    def neighbours(self) -> tuple[Array | None, Array | None, Array | None]:
        """The slots of the steps before and after."""
        return self.earlier, self.has_earlier, self.later

    def window(self, index: int) -> "Slots[Array]":
        """The slots of one window."""
        one = slice(index, index + 1)
        earlier, has_earlier, later = [None if part is None else part[one] for part in self.neighbours]
        return Slots(self.rows[one], self.mask[one], earlier, has_earlier, later)

    def numpy(self: "Slots[Tensor]") -> "Slots[np.ndarray]":
        """The same slots as arrays, whose small operations are faster than a tensor's."""
        earlier, has_earlier, later = [None if part is None else part.numpy() for part in self.neighbours]
        return Slots(self.rows.numpy(), self.mask.numpy(), earlier, has_earlier, later)


class Steps(NamedTuple):
    """The values of steps, as a Batch has them."""

    states: Float[Tensor, "B K S"]
    actions: Float[Tensor, "B K A"] | Int64[Tensor, "B K"]
    returns_to_go: Float[Tensor, "B K"]
    steps: Int64[Tensor, "B K"]
    mask: Bool[Tensor, "B K"]
    rewards: Float[Tensor, "B K"] | None


@runtime_checkable
class StepSource(Interface[Rows]):
    """A source of steps. Rows are [W, K]. W is B, the size of the batch, or W is 1 and B episodes share the rows."""

    def read(self, rows: Rows, mask: Rows) -> Steps:
        """The values of rows. Where the mask is False, these are the source's pads, and 0 as return-to-go, step and reward."""
        ...

    def read_actions(self, rows: Rows, mask: Rows) -> Tensor:
        """The actions of rows [B, K, A]. 0 where the mask is False."""
        ...

    def read_goals(self, rows: Rows, mask: Rows) -> Tensor:
        """The goals of rows [B, K, S]. The pad of states where the mask is False."""
        ...


def fill_slots(
    start: Int64[Tensor, " W"],
    end: Int64[Tensor, " W"],
    place: Int64[Tensor, " K"],
    padding: str,
    pad_row: int,
    episode_start: Int64[Tensor, " W"] | None = None,
    episode_end: Int64[Tensor, " W"] | None = None,
) -> Slots[Tensor]:
    """Places rows start .. end - 1, at most K of them, into the K slots of each window. `place` is 0 .. K - 1.

    `episode_start` is the first row of each window's episode. Earlier rows are filled only if it is given.
    `episode_end` is the row after the episode's last. Later rows are filled only if it is given.
    """
    if padding == "left":
        rows = torch.minimum(start, end - len(place))[:, None] + place
        mask = rows >= start[:, None]
    else:
        rows = start[:, None] + place
        mask = rows < end[:, None]
    earlier = has_earlier = later = None
    if episode_start is not None:
        has_earlier = mask & (rows > episode_start[:, None])
        earlier = torch.where(has_earlier, rows - 1, pad_row)
    if episode_end is not None:
        later = torch.where(mask, (rows + 1).minimum(episode_end[:, None] - 1), pad_row)
    return Slots(torch.where(mask, rows, pad_row), mask, earlier, has_earlier, later)


def assemble_windows(
    source: StepSource[Array],
    slots: Slots[Array],
    needs: frozenset[str],
    uniform_samples: Float[Tensor, "B K"] | None = None,
) -> Batch:
    """Reads the steps of windows. `needs` names the optional fields of the Batch.

    The slots need earlier rows for PREVIOUS and later rows for next_states.
    """
    steps = source.read(slots.rows, slots.mask)
    next_states = previous_actions = goals = previous_goals = None
    if "next_states" in needs:
        assert slots.later is not None, "slots have no later rows"
        next_states = source.read(slots.later, slots.mask).states
    if needs & PREVIOUS:
        assert slots.earlier is not None and slots.has_earlier is not None, "slots have no earlier rows"
        if "previous_actions" in needs:
            previous_actions = source.read_actions(slots.earlier, slots.has_earlier)
        if "previous_goals" in needs:
            previous_goals = source.read_goals(slots.earlier, slots.has_earlier)
    if "goals" in needs:
        goals = source.read_goals(slots.rows, slots.mask)
    rewards = steps.rewards if "rewards" in needs else None
    return Batch(*steps[:-1], rewards, next_states, previous_actions, goals, previous_goals, uniform_samples)


@dataclass(frozen=True)
class DeviceTable:
    """A dataset's table on one device, with the constants that turn its rows into a batch's."""

    table: Float32[Tensor, "rows C"]  # C columns: state, action, reward, return-to-go, step; the last row is zeros
    offsets: Int64[Tensor, " bounds"]
    place: Int64[Tensor, " K"]  # 0 .. K - 1
    shift: Float32[Tensor, " C"]  # a row of a batch is (row - shift) / divisor
    divisor: Float32[Tensor, " C"]
    pad: Float32[Tensor, " C"]  # added where the mask is False. A raw pad is 0, so it is -shift / divisor before
    goals: Int64[Tensor, " goals"]  # the row of each row's goal; empty where no model needs goals
    split: tuple[int, int, int]  # columns of states, of actions and of scalars
    discrete: bool  # actions are whole numbers

    def gather(self, rows: Int64[Tensor, "B K"], mask: Bool[Tensor, "B K"]) -> tuple[Tensor, ...]:
        """States, actions and scalars of rows."""
        found = embedding(rows, self.table).sub_(self.shift).div_(self.divisor)
        found.addcmul_(self.pad, (~mask)[..., None].float())  # an eighth of the time of torch.where
        return found.split(self.split, -1)

    def read(self, rows: Int64[Tensor, "B K"], mask: Bool[Tensor, "B K"]) -> Steps:
        """The values of rows."""
        return as_steps(self.gather(rows, mask), mask, self.discrete)

    def read_actions(self, rows: Int64[Tensor, "B K"], mask: Bool[Tensor, "B K"]) -> Float[Tensor, "B K A"]:
        """The actions of rows."""
        return torch.where(mask[..., None], self.gather(rows, mask)[1], 0.0)

    def read_goals(self, rows: Int64[Tensor, "B K"], mask: Bool[Tensor, "B K"]) -> Float[Tensor, "B K S"]:
        """The goals of rows."""
        return self.gather(self.goals[rows], mask)[0]


def as_steps(columns: tuple[Tensor, ...], mask: Bool[Tensor, "B K"], discrete: bool) -> Steps:
    """Names the columns of gathered rows: states, actions, and rewards, returns-to-go and steps."""
    states, actions, scalars = columns
    rewards, returns_to_go, steps = scalars.unbind(-1)
    actions = actions.squeeze(-1).long() if discrete else actions
    return Steps(states, actions, returns_to_go, steps.long(), mask, rewards)


TABLES: WeakKeyDictionary[Trajectories, dict[Hashable, DeviceTable]] = WeakKeyDictionary()


def device_table(
    trajectories: Trajectories,
    device: torch.device,
    settings: WindowSettings,
    scale: float,
    spaces: Spaces,
    with_goals: bool = False,
) -> DeviceTable:
    """A dataset's table on a device. On the CPU it is a view. To another device it is copied once.

    States are normalised, returns-to-go are divided by `scale`, and actions are scaled from the box of `spaces` to [-1, 1].
    Frames and discrete actions stay as they are. The pad of a discrete action is 0.
    """
    values = (settings.context_length, settings.std_offset, settings.pad_state, settings.pad_action)
    key = (device, *values, scale, spaces, with_goals)
    tables = TABLES.setdefault(trajectories, {})
    if key not in tables:
        split = (trajectories.state_dim, trajectories.action_dim, 3)
        states, actions = slice(split[0]), slice(split[0], -3)
        std = trajectories.state_std + settings.std_offset
        middle, half_width = ([0.0], [1.0]) if spaces.discrete else (spaces.middle, spaces.half_width)
        shift = np.concatenate([trajectories.state_mean, middle, [0.0, 0.0, 0.0]]).astype(np.float32)
        divisor = np.concatenate([std, half_width, [1.0, scale, 1.0]]).astype(np.float32)
        pad = np.zeros_like(shift)
        if not spaces.discrete:
            pad[actions] = settings.pad_action + shift[actions] / divisor[actions]
        if settings.pad_state == "normalised zero":
            pad[states] = shift[states] / divisor[states]
        goals = trajectories.goals if with_goals else trajectories.offsets[:0]
        place = np.arange(settings.context_length)
        arrays = (trajectories.table, trajectories.offsets, place, shift, divisor, pad, goals)
        tensors = (torch.from_numpy(array).to(device) for array in arrays)
        tables[key] = DeviceTable(*tensors, split=split, discrete=spaces.discrete)
    return tables[key]


class DeviceFrames(NamedTuple):
    """A dataset's frames on one device."""

    frames: UInt8[Tensor, "F height width"]
    starts: Int64[Tensor, " E"]  # the row of the first black frame before each episode


FRAMES: WeakKeyDictionary[Trajectories, dict[torch.device, DeviceFrames]] = WeakKeyDictionary()


def device_frames(trajectories: Trajectories, device: torch.device) -> DeviceFrames | None:
    """A dataset's frames on a device. On the CPU they stay mapped. To another device they are copied once.

    None if states are vectors.
    """
    if trajectories.frames is None:
        return None
    found = FRAMES.setdefault(trajectories, {})
    if device not in found:
        arrays = (trajectories.frames, trajectories.frame_starts)
        found[device] = DeviceFrames(*(torch.from_numpy(array).to(device) for array in arrays))
    return found[device]


def gather_frames(
    frames: UInt8[Tensor, "F height width"],
    first: Int64[Tensor, " B"],
    count: Int64[Tensor, " B"],
    length: int,
    left: bool,
) -> UInt8[Tensor, "B frames height width"]:
    """The frames of windows of K = `length` steps: K + STACK - 1 each, oldest first. Padded frames are black.

    A window has `count` real steps. Its first state begins with the frame `first`.
    """
    offset = length - count if left else torch.zeros_like(count)  # the number of black frames on the left
    gather = copy_frames if frames.device.type == "cpu" else index_frames
    return gather(frames, first, offset, count + STACK - 1, length + STACK - 1)


def copy_frames(
    frames: UInt8[Tensor, "F height width"],
    first: Int64[Tensor, " B"],
    offset: Int64[Tensor, " B"],
    count: Int64[Tensor, " B"],
    width: int,
) -> UInt8[Tensor, "B frames height width"]:
    """`gather_frames` of mapped frames. A window is one block of them. index_select would take three times as long."""
    found = frames.new_empty(len(first), width, *frames.shape[1:])
    source, target = frames.numpy(), found.numpy()
    for row, (begin, at, size) in enumerate(zip(first.tolist(), offset.tolist(), count.tolist(), strict=True)):
        target[row, :at] = 0
        target[row, at : at + size] = source[begin : begin + size]
        target[row, at + size :] = 0
    return found


def index_frames(
    frames: UInt8[Tensor, "F height width"],
    first: Int64[Tensor, " B"],
    offset: Int64[Tensor, " B"],
    count: Int64[Tensor, " B"],
    width: int,
) -> UInt8[Tensor, "B frames height width"]:
    """`gather_frames` on any device, without a wait for it."""
    place = torch.arange(width, device=frames.device) - offset[:, None]
    real = (place >= 0) & (place < count[:, None])
    rows = torch.where(real, first[:, None] + place, 0)
    return frames.index_select(0, rows.flatten()).view(*rows.shape, *frames.shape[1:]).mul_(real[..., None, None])


def read_windows(
    trajectories: Trajectories,
    drawn: Int[Tensor, " B"],
    settings: WindowSettings,
    scale: float,
    spaces: Spaces,
    needs: frozenset[str] = frozenset(),
) -> Batch:
    """The window of each drawn row, on the device of `drawn`. `device_table` says what `scale` and `spaces` do.

    A window has the K steps from its row on, or up to its row (`window_anchor`). It never leaves the row's episode. With the
    anchor `shifted` it begins earlier where fewer than K steps follow, so it is whole. kzl's Atari scripts have this rule.
    Raises ValueError if `needs` names a field that frames and discrete actions do not have.
    """
    needs = needs - {"uniform_samples"}  # only rollouts have them
    assert needs <= NEEDS, f"data have no such field of Batch: {set(needs) - NEEDS}"
    if (trajectories.frames is not None or spaces.discrete) and (missing := needs - {"rewards"}):
        raise ValueError(
            f"{trajectories.id} has frames or discrete actions; a model that needs {', '.join(sorted(missing))} takes vectors "
            "and boxes only"
        )
    table = device_table(trajectories, drawn.device, settings, scale, spaces, not needs.isdisjoint(GOALS))
    k, offsets = settings.context_length, table.offsets
    following = torch.searchsorted(offsets, drawn, right=True)  # the episode after the row's own
    if settings.window_anchor == "end":
        end = drawn + 1
        start = torch.maximum(end - k, offsets.index_select(0, following - 1))
    else:
        start, end = drawn, offsets.index_select(0, following)
        if settings.window_anchor == "shifted":
            start = torch.maximum(torch.minimum(drawn, end - k), offsets.index_select(0, following - 1))
    pixels = None
    if (store := device_frames(trajectories, drawn.device)) is not None:
        first = start + (store.starts - offsets[:-1]).index_select(0, following - 1)
        pixels = gather_frames(store.frames, first, (end - start).clamp(max=k), k, settings.padding == "left")
    if needs <= {"rewards"}:
        constants = (table.shift, table.divisor, table.pad)
        found = gather_windows(table.table, start, end, k, settings.padding == "left", constants)
        if found is not None:
            steps = as_steps(found[0].split(table.split, -1), found[1], spaces.discrete)
            states = steps.states if pixels is None else pixels
            return Batch(states, *steps[1:-1], rewards=steps.rewards if "rewards" in needs else None)
    episode_start = offsets.index_select(0, following - 1) if needs & PREVIOUS else None
    episode_end = offsets.index_select(0, following) if "next_states" in needs else None
    slots = fill_slots(start, end, table.place, settings.padding, trajectories.steps, episode_start, episode_end)
    batch = assemble_windows(table, slots, needs)
    return batch if pixels is None else replace(batch, states=pixels)


def sample_batch(
    trajectories: Trajectories,
    settings: WindowSettings,
    scale: float,
    spaces: Spaces,
    generator: torch.Generator,
    batch_size: int,
    needs: frozenset[str] = frozenset(),
) -> Batch:
    """Draws a batch of windows, on the generator's device.

    With sampling `steps` the drawn row is uniform over all rows. With sampling `episodes` the episode is uniform, then the
    row is uniform over its steps. With window anchor `whole`, a row is drawn only if a full window starts at it. In an
    episode that is too short, the first row is drawn. The rows of sampling `passes` are known without a draw: `pass_rows`.
    """
    assert settings.sampling != "passes", "pass_rows gives the rows"
    device = generator.device
    if settings.sampling == "steps":
        drawn = torch.randint(trajectories.steps, (batch_size,), generator=generator, device=device)
    else:
        offsets = device_table(trajectories, device, settings, scale, spaces).offsets
        episode = torch.randint(trajectories.episodes, (batch_size,), generator=generator, device=device)
        part = torch.rand(batch_size, generator=generator, device=device, dtype=torch.float64)
        choices = offsets[episode + 1] - offsets[episode]
        if settings.window_anchor == "whole":
            choices = (choices - settings.context_length + 1).clamp(min=1)
        drawn = offsets[episode] + (part * choices).long()
    return read_windows(trajectories, drawn, settings, scale, spaces, needs)


@lru_cache(2)  # a batch may have rows of two passes
def permutation(steps: int, seed: int, number: int) -> Int64[Tensor, " N"]:
    """All rows in the order of one pass over the data."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "windows", number))
    return torch.randperm(steps, generator=generator)


def pass_rows(steps: int, batch_size: int, seed: int, update: int) -> Int64[Tensor, " B"]:
    """The rows of update 0, 1, ... if each pass over the data takes every row once, in an order of its own.

    The order of a pass depends on (seed, number of the pass) only, so a run resumes from the number of its update. A batch is
    always full: it goes on in the next pass.
    """
    places = torch.arange(update * batch_size, (update + 1) * batch_size)
    found = [
        permutation(steps, seed, number)[places[places // steps == number] % steps]
        for number in (places // steps).unique().tolist()
    ]
    return torch.cat(found)
