"""Decision Mamba of Correia and Alexandre, without returns (DM) and with them (DM+R).

Paper: Correia and Alexandre 2024, Hierarchical Decision Mamba, arXiv 2405.07943.
Official: meowatthemoon/DecisionMamba (ed0316f) is DM+R. DM is its class without the return token.
Tokens: (s, previous a); DM+R: (R, s, previous a)
Mixers: Mamba-1
Differs: actions are scaled from the environment's box to [-1, 1], so the head has no factor for their range.
Quirk: the previous action is placed after the state of its step, and the action is read off the state token. So step k sees
    actions up to k - 2. DM+R has a state head and a return head that are unused (`unused_heads`). Output projections of
    residual branches start at PyTorch's initialisation over sqrt(layers). With `mlp` the trunk first scales them for two
    branches per block, but the scaling of the whole model overwrites that.
Note: `mlp` came into the repository after the paper. Windows are drawn by their last step (Protocol.window_anchor) and padded
    on the right. There are no positions, no dropout and no mask.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from dmm.batch import Batch, RecurrentState, Spaces
from dmm.layers import (
    MambaBlock,
    Trunk,
    action_embedding,
    check_at_least_one,
    scale_residual_projections,
    state_embedding,
    zero_biases,
)
from dmm.models import DecisionModel


class DecisionMambaCorreia(DecisionModel):
    """Stock Mamba blocks with RMSNorms over states and previous actions, and returns-to-go if wanted."""

    recurrent = True

    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 128
        layers: int = 6
        return_tokens: bool = False
        mlp: bool = False  # a gated MLP in each block
        unused_heads: bool = False

        def __post_init__(self) -> None:
            check_at_least_one(self, "width", "layers")

    needs = frozenset({"previous_actions"})
    presets = {"DM": {}, "DM+R": {"return_tokens": True, "unused_heads": True}}

    def __init__(self, config: Config, spaces: Spaces, context_length: int) -> None:
        super().__init__(config, spaces, context_length)
        width = config.width
        if config.return_tokens:
            self.embed_returns = nn.Linear(1, width)
        self.embed_states = state_embedding(spaces, width)
        self.embed_actions = action_embedding(spaces, width)
        self.embed_norm = nn.LayerNorm(width)
        self.blocks = Trunk(MambaBlock(width, config.mlp) for _ in range(config.layers))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.head = nn.Linear(width, spaces.action_dim)
        if config.unused_heads:
            self.state_head = nn.Linear(width, spaces.state_dim)
            self.return_head = nn.Linear(width, 1)
        zero_biases(self)
        scale_residual_projections(self, branches=config.layers)

    def unused_parameters(self) -> tuple[str, ...]:
        return ("state_head", "return_head") if self.config.unused_heads else ()

    def sees(self) -> dict[str, int]:
        """The action before a step comes after its state."""
        seen = {"states": 0, "previous_actions": 1}
        return seen | {"returns_to_go": 0} if self.config.return_tokens else seen

    def forward(self, batch: Batch, state: RecurrentState | None = None) -> Float[Tensor, "B K A"]:
        tokens = [self.embed_states(batch.states), self.embed_actions(batch.previous_actions)]
        if self.config.return_tokens:
            tokens.insert(0, self.embed_returns(rearrange(batch.returns_to_go, "b k -> b k 1")))
        x = self.embed_norm(rearrange(tokens, "m b k h -> b (k m) h"))  # B T H, T = 2 K, or 3 K with returns
        states = self.blocks(x, state, read=slice(len(tokens) - 2, None, len(tokens)))  # B K H
        return torch.tanh(self.head(self.norm(states)))
