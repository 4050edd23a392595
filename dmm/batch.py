"""Batch: what data, models and rollouts share.

Axes, everywhere in dmm: B batch, K context length in environment steps, T tokens (3 K for R, s, a; 3 K - 1 without the last
action), S state dimension, A action dimension, H embedding width, L layers.
State-space models: D inner width, N state size, R rank of the step size of Mamba-1, P channels of a head of Mamba-2, M pairs of
conjugate poles of S4 (N / 2).
Other axes have words as names, for example `read`: the tokens that are read later.
"""

from collections.abc import Hashable
from dataclasses import dataclass, fields, replace
from typing import Protocol as Interface
from typing import runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Int64
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
    dropout_key: Int64[Tensor, ""] | None = None  # of the update: what the masks of dropout depend on
    first_row: int = 0  # index of the first row in the whole batch of all workers

    @property
    def last_step(self) -> Int[Tensor, " B"]:
        """Index of the last real step of each row."""
        return self.mask.shape[1] - 1 - self.mask.flip(1).int().argmax(1)

    def at_last_step(self, values: Float[Tensor, "B K size"]) -> Float[Tensor, "B size"]:
        """The entry of the last real step of each row."""
        return values[torch.arange(len(values), device=values.device), self.last_step]

    def to(self, device) -> "Batch":
        """The same batch on a device."""
        return replace(self, **{name: value.to(device) for name, value in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that are here, by field."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}


class RecurrentState(dict[Hashable, Tensor]):
    """The memory of a recurrent rollout: one tensor per layer, episodes first.

    A layer that is given a RecurrentState receives only the new tokens. It continues from its entry and replaces the entry.
    """

    token_offset = 0  # place of the first new token in the order R, s, a
    layer_index = 0  # index of the layer that runs, where layers share a module
    attention_span = 0  # number of tokens that a token attends to, itself included

    def drop_finished(self, live) -> None:
        """Keeps the episodes that `live` selects: a mask or indices. The others are over."""
        for layer, value in self.items():
            self[layer] = value[live]


@runtime_checkable
class WindowSettings(Interface):
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
