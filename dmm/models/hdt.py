"""Hierarchical Decision Transformer (HDT).

Paper: Correia and Alexandre 2023, Hierarchical Decision Transformer, arXiv 2209.10447.
Official: meowatthemoon/HDT (3c9d052).
Tokens: high (s, previous goal), low (goal, s, previous a)
Mixers: self-attention
Differs: actions are scaled from the environment's box to [-1, 1], so there is no factor for their range. One AdamW trains both
    levels. That is equivalent, because AdamW treats each parameter on its own. The gradients of the levels are clipped
    separately (`gradient_clip_groups`). Both levels mask padding. The official low level does not. Padding is on the right,
    where causality hides it, so the numbers are the same.
Quirk: short windows are padded on the right, but their time steps on the left. So in training the first steps of an episode
    have time step 0. Rollouts have the true time steps (`time_steps`). A goal is read off the token of the previous goal, an
    action off the state token. The goal before the first step is a raw zero in training and a normalised zero in rollouts.
    Each level has an unused word table, and the high level has an unused embedding of returns. They are counted.
Note: the low level learns from the labels of dmm/data/goals.py, and acts on the goals of the high level. Output projections
    of residual branches start at N(0, 0.02) over sqrt(2 layers), because this GPT-2 is a later copy than that of dt. The
    official --dropout does not change the dropout of tokens, which is 0.1. No return is asked for, so targets have no effect.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from dmm.batch import Batch, Spaces
from dmm.layers import (
    Dropout,
    HierarchicalModel,
    Level,
    TransformerBlock,
    Trunk,
    attention_bias,
    check_at_least_one,
    check_divides,
    initialise,
    scale_residual_projections,
)
from dmm.models import DecisionModel

TIME_STEPS = 4096  # entries of the learned time table; later steps share the last entry


class HierarchicalDecisionTransformer(HierarchicalModel, DecisionModel):
    """A level that sets goals and a level that acts on them. `forward` returns actions and goals."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 128  # of each level; so is `layers`
        layers: int = 3
        heads: int = 1
        dropout: float = 0.1  # of tokens, attention weights, and the outputs of attention and MLP
        time_steps: Literal["published", "aligned"] = "published"

        def __post_init__(self) -> None:
            check_at_least_one(self, "width", "layers", "heads")
            check_divides(self, "heads", "width")

    needs = frozenset({"previous_actions", "goals", "previous_goals"})

    def __init__(self, config: Config, spaces: Spaces, context_length: int) -> None:
        super().__init__(config, spaces, context_length)
        fields = ("states", "previous_goals")
        self.high = TransformerLevel(config, fields, spaces, spaces.state_dim, tanh=False)
        self.high.embed_returns = nn.Linear(1, config.width)
        fields = ("goals", "states", "previous_actions")
        self.low = TransformerLevel(config, fields, spaces, spaces.action_dim, tanh=True)

    def unused_parameters(self) -> tuple[str, ...]:
        return "high.embed_returns", "high.word_table", "low.word_table"

    def forward(self, batch: Batch) -> tuple[Float[Tensor, "B K A"], Float[Tensor, "B K S"]]:
        if self.config.time_steps == "published":
            batch = replace(batch, steps=left_padded_steps(batch))
        return super().forward(batch)


def left_padded_steps(batch: Batch) -> Int[Tensor, "B K"]:
    """The steps of a batch, moved to the end of the window. Zeros come before them."""
    length = batch.mask.shape[1]
    shift = length - 1 - rearrange(batch.last_step, "b -> b 1")
    source = torch.arange(length, device=batch.steps.device) - shift  # B K
    return batch.steps.gather(1, source.clamp(min=0)) * (source >= 0)


class TransformerLevel(Level):
    """GPT-2 blocks. All tokens of a step have the embedding of its time step."""

    def __init__(
        self,
        config: HierarchicalDecisionTransformer.Config,
        fields: tuple[str, ...],
        spaces: Spaces,
        output: int,
        tanh: bool,
    ) -> None:
        width, layers = config.width, config.layers
        super().__init__(fields, spaces, width, tanh)
        self.time = nn.Embedding(TIME_STEPS, width)
        self.embed_norm = nn.LayerNorm(width)
        self.dropout = Dropout(config.dropout)
        self.blocks = Trunk(
            TransformerBlock(width, config.heads, config.dropout, activation="relu") for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, output)
        self.word_table = nn.Embedding(1, width)
        initialise(self.blocks)
        scale_residual_projections(self.blocks, branches=2 * layers)

    def forward(self, batch: Batch) -> Float[Tensor, "B K output"]:
        time = self.time(batch.steps.clamp(max=TIME_STEPS - 1))
        tokens = [token + time for token in self.embedded(batch)]  # B K H each
        x = self.dropout(self.embed_norm(rearrange(tokens, "m b k h -> b (k m) h")))
        bias = attention_bias(repeat(batch.mask, "b k -> b (k m)", m=len(tokens)), x)
        return self.predict(self.blocks(x, bias, read=self.predicting_tokens()))
