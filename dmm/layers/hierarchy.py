"""Models of two levels: the high level sets goals, and the low level acts on them."""

from dataclasses import replace

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from dmm.batch import Batch, Spaces
from dmm.layers.embedding import action_embedding, state_embedding
from dmm.layers.losses import masked_mse


class HierarchicalModel:
    """The first base class of a model of two levels. Its attributes `high` and `low` map a batch to goals and actions."""

    high: nn.Module
    low: nn.Module

    def gradient_clip_groups(self) -> tuple[nn.Module, ...]:
        """The two levels. The gradient of each is clipped by its own norm."""
        return self.high, self.low

    def sees(self) -> dict[str, int]:
        """The entries that an action reads. The action before a step comes after its state."""
        return {"states": 0, "goals": 0, "previous_actions": 1}

    def forward(self, batch: Batch) -> tuple[Float[Tensor, "B K A"], Float[Tensor, "B K S"]]:
        """Actions and goals. The low level reads the goals of the batch, not those of the high level."""
        return self.low(batch), self.high(batch)

    def loss(self, pred: tuple[Tensor, Tensor], batch: Batch) -> Float[Tensor, ""]:
        """The mean squared error of actions plus that of goals. No parameter is in both."""
        actions, goals = pred
        assert batch.goals is not None
        return masked_mse(actions, batch.actions, batch) + masked_mse(goals, batch.goals, batch)

    def act(self, batch: Batch) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B S"]]:
        """The action and the goal of the last real step of each row. The high level sets the goal, the low level acts on it."""
        assert batch.goals is not None
        goal = batch.at_last_step(self.high(batch))
        is_last = torch.arange(batch.mask.shape[1], device=goal.device) == rearrange(batch.last_step, "b -> b 1")  # B K
        goals = torch.where(rearrange(is_last, "b k -> b k 1"), rearrange(goal, "b s -> b 1 s"), batch.goals)
        return batch.at_last_step(self.low(replace(batch, goals=goals))), goal


class Level(nn.Module):
    """Blocks over some fields of a batch, one token per field and step. The prediction is read off the second token.

    The fields are states, goals or actions. A goal is a state too.

    A subclass makes `embed_norm`, `blocks`, `norm` and `head`, in the order in which it draws its weights.
    """

    embed_norm: nn.Module
    blocks: nn.Module
    norm: nn.Module
    head: nn.Module

    def __init__(self, fields: tuple[str, ...], spaces: Spaces, width: int, tanh: bool) -> None:
        super().__init__()
        kinds = {"actions": action_embedding, "previous_actions": action_embedding}
        self.embed = nn.ModuleDict({field: kinds.get(field, state_embedding)(spaces, width) for field in fields})
        self.tanh = tanh  # of the prediction

    def forward(self, batch: Batch) -> Float[Tensor, "B K output"]:
        """The prediction of every step."""
        x = self.embed_norm(rearrange(self.embedded(batch), "m b k h -> b (k m) h"))
        return self.predict(self.blocks(x, read=self.predicting_tokens()))

    def embedded(self, batch: Batch) -> list[Float[Tensor, "B K H"]]:
        """The fields of the batch, each embedded."""
        return [embed(getattr(batch, field)) for field, embed in self.embed.items()]

    def predicting_tokens(self) -> slice:
        """The second token of every step."""
        return slice(1, None, len(self.embed))

    def predict(self, x: Float[Tensor, "B K H"]) -> Float[Tensor, "B K output"]:
        """The prediction of each token."""
        output = self.head(self.norm(x))
        return torch.tanh(output) if self.tanh else output
