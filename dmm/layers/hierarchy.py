"""What models of two levels share."""

from dataclasses import replace

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from dmm.batch import Batch


def act_towards_goals(
    high: nn.Module, low: nn.Module, batch: Batch
) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B S"]]:
    """The action of the last real step of each row, and its goal: the high level sets it, the low level acts on it."""
    assert batch.goals is not None
    goal = batch.last(high(batch))
    now = torch.arange(batch.mask.shape[1], device=goal.device) == rearrange(batch.now, "b -> b 1")  # B K
    goals = torch.where(rearrange(now, "b k -> b k 1"), rearrange(goal, "b s -> b 1 s"), batch.goals)
    return batch.last(low(replace(batch, goals=goals))), goal
