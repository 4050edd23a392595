"""Spaces and Batch: what data, models and rollouts share.

Axes, everywhere in dmm: B batch, K context length in environment steps, T tokens (3 K for R, s, a; 3 K - 1 without the last
action), S state dimension, A action dimension, H embedding width, L layers.
State-space models: D inner width, N state size, R rank of the step size of Mamba-1, P channels of a head of Mamba-2, M pairs of
conjugate poles of S4 (N / 2).
Other axes have words as names, for example `read`: the tokens that are read later.
"""

from collections.abc import Hashable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Protocol as Interface
from typing import runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Int64, UInt8
from torch import Tensor

from dmm.base.fields import check_fields


@dataclass(frozen=True, kw_only=True)
class Spaces:
    """The states and actions of a task. For models, the actions of a box are scaled to [-1, 1].

    Raises ValueError for sizes that are not positive, and for bounds that do not make a box.
    """

    states: tuple[int, ...]  # (S,) a vector, or (C, H, W) a stack of frames
    actions: int  # A dimensions of a box, or V discrete actions
    discrete: bool = False
    low: tuple[float, ...] = ()  # bounds of the box, one per dimension. Default: -1
    high: tuple[float, ...] = ()  # default: 1. Discrete actions have no bounds

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.states) not in (1, 3) or min(*self.states, self.actions) < 1:
            raise ValueError(
                f"Spaces has states {self.states} and {self.actions} actions; states are (S,) or (C, H, W), and every size "
                "is at least 1"
            )
        if self.discrete:
            if self.low or self.high:
                raise ValueError(f"discrete actions have no bounds; Spaces has low {self.low} and high {self.high}")
            return
        for name, value in (("low", -1.0), ("high", 1.0)):
            object.__setattr__(self, name, getattr(self, name) or (value,) * self.actions)
        sizes = len(self.low), len(self.high)
        if sizes != (self.actions, self.actions):
            raise ValueError(
                f"a box of {self.actions} actions has as many bounds; low has {sizes[0]}, high has {sizes[1]}"
            )
        with np.errstate(over="ignore"):
            bounds = zip(*self.bounds, strict=True)
        for dimension, (low, high) in enumerate(bounds):
            if not -np.inf < low < high < np.inf:
                raise ValueError(
                    f"action dimension {dimension} of Spaces has low {self.low[dimension]} and high {self.high[dimension]}; in "
                    "float32, low must be below high, and both must be finite"
                )

    @property
    def state_dim(self) -> int:
        """S, the dimensions of a vector. Raises ValueError for frames."""
        if self.has_frames:
            raise ValueError(f"states {self.states} are frames; this takes vectors only")
        return self.states[0]

    @property
    def has_frames(self) -> bool:
        """Whether a state is a stack of frames."""
        return len(self.states) == 3

    @property
    def action_dim(self) -> int:
        """A, the dimensions of a box. Raises ValueError for discrete actions."""
        if self.discrete:
            raise ValueError(f"the {self.actions} actions are discrete; this takes a box only")
        return self.actions

    @property
    def bounds(self) -> tuple[Float32[np.ndarray, " A"], Float32[np.ndarray, " A"]]:
        """The low and high bounds of the box, as data and environments have them."""
        return np.array(self.low, np.float32), np.array(self.high, np.float32)

    @cached_property
    def middle(self) -> Float[np.ndarray, " A"]:
        """The middle of the box in each dimension."""
        return (np.array(self.high) + np.array(self.low)) / 2

    @cached_property
    def half_width(self) -> Float[np.ndarray, " A"]:
        """Half of the box's width in each dimension."""
        return (np.array(self.high) - np.array(self.low)) / 2

    @cached_property
    def is_scaled(self) -> bool:
        """Whether the box is already [-1, 1] in every dimension."""
        return not self.middle.any() and bool((self.half_width == 1).all())

    def to_box(self, actions: Float[np.ndarray, "B A"]) -> Float[np.ndarray, "B A"]:
        """Maps actions from [-1, 1] to the box. The dtype stays the same."""
        if self.is_scaled:
            return actions
        return (self.middle + self.half_width * actions).astype(actions.dtype)


@dataclass(frozen=True)
class Batch:
    """K consecutive steps of B trajectories, padded on the side that the Protocol says."""

    # vectors, normalised. Or K + C - 1 single frames, oldest first: C frames are a state, and step k's begins with frame k
    states: Float[Tensor, "B K S"] | UInt8[Tensor, "B frames height width"]
    actions: Float[Tensor, "B K A"] | Int64[Tensor, "B K"]  # in a box, or numbers of discrete actions
    returns_to_go: Float[Tensor, "B K"]  # return-to-go before the step, divided by the task's scale
    steps: Int[Tensor, "B K"]  # index in the episode
    mask: Bool[Tensor, "B K"]  # True where real
    # the fields up to uniform_samples are None unless the model's `needs` names them
    rewards: Float[Tensor, "B K"] | None = None
    next_states: Float[Tensor, "B K S"] | None = None  # normalised; an episode's last step has its own state
    # an episode's first step has zeros, as pads do
    previous_actions: Float[Tensor, "B K A"] | Int64[Tensor, "B K"] | None = None
    goals: Float[Tensor, "B K S"] | None = None  # the state to reach from the step, normalised: dmm/data/goals.py
    previous_goals: Float[Tensor, "B K S"] | None = None  # an episode's first step has the value of a padded state
    uniform_samples: Float[Tensor, "B K"] | None = (
        None  # uniform in [0, 1), for a model that acts at random; new at each step
    )
    # of frames, from `DecisionModel.embed_frames`. A rollout fills them. Where they are given, nothing reads `states`
    state_embeddings: Float[Tensor, "B K H"] | None = None
    dropout_key: Int64[Tensor, ""] | None = None  # of the update. The masks of dropout depend on it
    first_row: int = 0  # index of the first row in the whole batch of all workers

    @property
    def last_step(self) -> Int[Tensor, " B"]:
        """Index of the last real step of each row."""
        return self.mask.shape[1] - 1 - self.mask.flip(1).int().argmax(1)

    def at_last_step(self, values: Float[Tensor, "B K size"]) -> Float[Tensor, "B size"]:
        """The entry of the last real step of each row."""
        return values[torch.arange(len(values), device=values.device), self.last_step]

    def take_rows(self, rows: slice) -> "Batch":
        """Some consecutive rows, for example those of one of several workers."""
        taken = {name: value[rows] for name, value in self.tensors().items() if value.ndim}
        return replace(self, **taken, first_row=self.first_row + rows.start)

    def to(self, device) -> "Batch":
        """The same batch on a device."""
        return replace(self, **{name: value.to(device) for name, value in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """The fields that hold a tensor, by name."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}


class RecurrentState(dict[Hashable, Tensor]):
    """The memory of a recurrent rollout: one tensor per layer, episodes first.

    A layer that is given a RecurrentState receives only the new tokens. It continues from its entry and replaces the entry.
    """

    token_offset = 0  # place of the first new token in the order R, s, a
    layer_index = 0  # index of the running layer, if layers share a module
    attention_span = 0  # number of tokens that a token attends to, itself included

    def drop_finished(self, live) -> None:
        """Keeps the episodes that `live` selects. `live` is a mask or indices. The other episodes are over."""
        for layer, value in self.items():
            self[layer] = value[live]


@runtime_checkable
class WindowSettings(Interface):
    """The fields of dmm.config.Training that windows of data depend on. That class explains them."""

    @property
    def context_length(self) -> int: ...
    @property
    def window_anchor(self) -> str: ...
    @property
    def sampling(self) -> str: ...
    @property
    def padding(self) -> str: ...
    @property
    def pad_state(self) -> str: ...
    @property
    def pad_action(self) -> float: ...
    @property
    def std_offset(self) -> float: ...
