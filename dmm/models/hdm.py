"""Hierarchical Decision Mamba (HDM).

Paper: Correia and Alexandre 2024, Hierarchical Decision Mamba, arXiv 2405.07943.
Official: meowatthemoon/HierarchicalDecisionMamba (42b1f0f).
Tokens: high (previous goal, s), low (goal, s, previous a)
Mixers: Mamba-1
Differs: actions are in [-1, 1] in all tasks, so the factor of the environment's range is left out. One AdamW trains both
    levels, since its steps are each parameter's own; their gradients are clipped apart (`gradient_clip_groups`).
Quirk: goals are normalised states and pass a tanh, so that none beyond one standard deviation can be set (`goal_tanh`).
    The low level learns from the labels of dmm/data/goals.py and acts on what the high level sets. The goal before the
    first is a raw zero in training and a normalised one in rollouts (Protocol.pad_state, rollout_pad_state). The action
    before a step stands after its state, as in dm, whose trunk and initialisation these are.
Note: `mlp` came into the repository after the paper. No return is asked for: targets have no effect. No positions, no
    dropout, no mask.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from dmm.batch import Batch
from dmm.layers import (
    MambaBlock,
    TokenSubset,
    act_towards_goals,
    check_at_least_one,
    scale_residual_projections,
    zero_biases,
)
from dmm.models import DecisionModel, masked_mse


class HierarchicalDecisionMamba(DecisionModel):
    """A level that sets goals and a level that acts on them; `forward` gives actions and goals."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 128  # of each level, as are the layers
        layers: int = 6
        mlp: bool = False  # a gated one in each block
        goal_tanh: bool = True

        def __post_init__(self) -> None:
            check_at_least_one(self, "width", "layers")

    needs = frozenset({"previous_actions", "goals", "previous_goals"})

    def __init__(self, config: Config, state_dim: int, action_dim: int, context_length: int) -> None:
        super().__init__(config, state_dim, action_dim, context_length)
        sizes = {"previous_goals": state_dim, "states": state_dim}
        self.high = Level(config, sizes, state_dim, config.goal_tanh)
        sizes = {"goals": state_dim, "states": state_dim, "previous_actions": action_dim}
        self.low = Level(config, sizes, action_dim, tanh=True)
        zero_biases(self)
        scale_residual_projections(self, branches=config.layers)

    def gradient_clip_groups(self) -> tuple[nn.Module, ...]:
        return self.high, self.low

    def forward(self, batch: Batch) -> tuple[Float[Tensor, "B K A"], Float[Tensor, "B K S"]]:
        return self.low(batch), self.high(batch)

    def loss(self, pred: tuple[Tensor, Tensor], batch: Batch) -> Float[Tensor, ""]:
        """The mean squared errors of actions and of goals, added; no parameter is in both."""
        actions, goals = pred
        assert batch.goals is not None
        return masked_mse(actions, batch.actions, batch) + masked_mse(goals, batch.goals, batch)

    def act(self, batch: Batch) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B S"]]:
        return act_towards_goals(self.high, self.low, batch)


class Level(nn.Module):
    """Stock Mamba blocks over some fields of a batch, one token each; what it says is read off a step's second token."""

    def __init__(
        self, config: HierarchicalDecisionMamba.Config, sizes: dict[str, int], output: int, tanh: bool
    ) -> None:
        super().__init__()
        self.embed = nn.ModuleDict({field: nn.Linear(size, config.width) for field, size in sizes.items()})
        self.embed_norm = nn.LayerNorm(config.width)
        self.blocks = nn.ModuleList(MambaBlock(config.width, config.mlp) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, eps=1e-5)
        self.head = nn.Linear(config.width, output)
        self.tanh = tanh

    def forward(self, batch: Batch) -> Float[Tensor, "B K M"]:
        tokens = [embed(getattr(batch, field)) for field, embed in self.embed.items()]  # B K H each
        x = self.embed_norm(rearrange(tokens, "m b k h -> b (k m) h"))
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        output = self.head(self.norm(last(x, subset=TokenSubset(slice(1, None, len(tokens)), x.shape[1]))))
        return torch.tanh(output) if self.tanh else output
