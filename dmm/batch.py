"""Batch: what data, models and rollouts share.

Axes, everywhere in dmm: B batch, K context length in environment steps, T tokens (3K for R, s, a), S state dimension,
A action dimension, H embedding width, D inner width of an SSM, N SSM state size, L layers.
"""

from collections.abc import Hashable
from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """K consecutive steps of B trajectories, padded on the side that the Protocol says."""

    states: Float[Tensor, "B K S"]  # normalised
    actions: Float[Tensor, "B K A"]
    returns_to_go: Float[Tensor, "B K"]  # return-to-go before the step, divided by the task's scale
    steps: Int[Tensor, "B K"]  # index in the episode
    mask: Bool[Tensor, "B K"]  # True where real
    # what follows is here only where the model's `needs` names it
    rewards: Float[Tensor, "B K"] | None = None
    next_states: Float[Tensor, "B K S"] | None = None  # normalised; an episode's last step has its own state
    previous_actions: Float[Tensor, "B K A"] | None = None  # an episode's first step has zeros, as pads do
    goals: Float[Tensor, "B K S"] | None = None  # the state to strive for at the step, normalised: dmm/data/goals.py
    previous_goals: Float[Tensor, "B K S"] | None = None  # an episode's first step has what a padded state has
    uniform_samples: Float[Tensor, "B K"] | None = (
        None  # uniform in [0, 1), for a model that acts at random; new at each step
    )

    @property
    def now(self) -> Int[Tensor, " B"]:
        """Index of the last real step of each row."""
        return self.mask.shape[1] - 1 - self.mask.flip(1).int().argmax(1)

    def last(self, values: Float[Tensor, "B K M"]) -> Float[Tensor, "B M"]:
        """The entry of the last real step of each row."""
        return values[torch.arange(len(values), device=values.device), self.now]

    def to(self, device) -> "Batch":
        """The same batch on a device."""
        return Batch(**{f.name: v.to(device) for f in fields(self) if (v := getattr(self, f.name)) is not None})


class RecurrentState(dict[Hashable, Tensor]):
    """What a recurrent rollout keeps of the tokens so far: for each layer what it wants, lanes first.

    A layer that is given one goes on from its entry and renews it; it is given the tokens that have come since.
    """

    token_offset = 0  # place of the first of these tokens in the order R, s, a
    layer_index = 0  # of the layer at work, where layers share a module
    attention_span = 0  # tokens that attention looks at, a token's own included

    def drop_finished(self, live) -> None:
        """Drops the lanes whose episode is over."""
        for layer, value in self.items():
            self[layer] = value[live]


@runtime_checkable
class WindowSettings(Protocol):
    """The fields of dmm.config.Protocol that windows of data depend on. That class explains them."""

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
