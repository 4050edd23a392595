"""Batch: what data, models and rollouts share.

Axes, everywhere in dmm: B batch, K context length in environment steps, T tokens (3K for R, s, a), S state dimension,
A action dimension, H embedding width, D inner width of an SSM, N SSM state size, L layers.
"""

from dataclasses import dataclass, fields

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """K consecutive steps of B trajectories, padded on the side that the Protocol says."""

    states: Float[Tensor, "B K S"]  # normalised
    actions: Float[Tensor, "B K A"]
    returns: Float[Tensor, "B K"]  # return-to-go before the step, divided by the task's scale
    steps: Int[Tensor, "B K"]  # index in the episode
    mask: Bool[Tensor, "B K"]  # True where real
    rewards: Float[Tensor, "B K"] | None = None  # only where the model's `needs` names them

    @property
    def now(self) -> Int[Tensor, " B"]:
        """Index of the last real step of each row."""
        return self.mask.shape[1] - 1 - self.mask.flip(1).int().argmax(1)

    def to(self, device) -> "Batch":
        """The same batch on a device."""
        return Batch(**{f.name: v.to(device) for f in fields(self) if (v := getattr(self, f.name)) is not None})
