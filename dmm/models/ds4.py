"""Decision S4 (DS4), re-interpreted: no code of its authors is known.

Paper: Bar-David, Zimerman, Nachmani, Wolf 2023, Decision S4: Efficient Sequence-Based RL via State Spaces Layers, arXiv
    2306.05167; the layer: Gu, Goel, Re 2021, arXiv 2111.00396.
Official: none. Sizes and the order of layers are those of ashmita695/MADS4 (e1be62f), a multi-agent descendant of DS4's code.
Tokens: (s, previous a, R) as one
Mixers: S4
Differs: only the off-policy stage is implemented. MADS4 learns C (I - Abar^K) in the place of C. Its poles are 0.001 further
    left, and it does not train on the first step of an episode. Its actions are logits. Here actions are clipped to [-1, 1],
    except in training. The on-policy rollouts of MADS4 clip too.
Quirk: MADS4 has no residual by default. Its script passes no list of the parameters to train in an S4 layer, so only C and D
    are trained there (`residual`, `dynamics`; preset MADS4). It applies weight decay to these two as to any weight, because
    the helpers that exempt the S4 kernel are not called. Protocol decays all trained parameters. MADS4 decays by 1e-4. With
    its learning rate of 1e-4, 100,000 updates shrink a weight by a thousandth.
Note: the paper trains on whole trajectories, and its rollouts are recurrent. The matching protocol has its context_length at
    the horizon and rollout "recurrent". MADS4 pads on the right, so no real step sees the padding. Padding on the left runs
    through the layers as tokens, as in dc. There are no positions, no dropout and no norm. No published size exists to
    check against.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from dmm.batch import Batch, RecurrentState, Spaces
from dmm.kernels.s4 import diagonalised, parallel, resume
from dmm.layers import Trunk, action_embedding, check_at_least_one, state_embedding
from dmm.models import DecisionModel

DYNAMICS = ("log_dt", "log_decay", "frequency", "P", "B")  # parameters of an S4 layer: all but C and D


class DecisionS4(DecisionModel):
    """S4 layers over one token per step."""

    recurrent = True
    needs = frozenset({"previous_actions"})
    presets = {"DS4": {}, "MADS4": {"residual": False, "dynamics": "frozen"}}

    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 96
        layers: int = 3
        state_size: int = 96  # N, poles per channel
        embedding: int = 128  # width of each of the three parts of a token
        residual: bool = True  # around each block
        tanh: bool = False  # on the embeddings, as in the older class of MADS4
        dynamics: Literal["learned", "frozen"] = "learned"  # step sizes, poles, P and B of the S4 layers

        def __post_init__(self) -> None:
            check_at_least_one(self, "width", "layers", "embedding", "state_size")
            if self.state_size % 2:
                raise ValueError(f"state_size is {self.state_size}; it must be even: poles come in conjugate pairs")

    def __init__(self, config: Config, spaces: Spaces, context_length: int) -> None:
        super().__init__(config, spaces, context_length)
        self.embed_states = state_embedding(spaces, config.embedding)
        self.embed_actions = action_embedding(spaces, config.embedding)
        self.embed_returns = nn.Linear(1, config.embedding)
        self.project = nn.Linear(3 * config.embedding, config.width)
        self.blocks = Trunk(Block(config) for _ in range(config.layers))
        self.head = nn.Linear(config.width, spaces.action_dim, bias=False)
        for name in self.unused_parameters():
            self.get_parameter(name).requires_grad_(False)

    def unused_parameters(self) -> tuple[str, ...]:
        if self.config.dynamics == "learned":
            return ()
        return tuple(f"blocks.{layer}.s4.{name}" for layer in range(self.config.layers) for name in DYNAMICS)

    def sees(self) -> dict[str, int]:
        return {"states": 0, "returns_to_go": 0, "previous_actions": 0}

    def forward(self, batch: Batch, state: RecurrentState | None = None) -> Float[Tensor, "B K A"]:
        returns = rearrange(batch.returns_to_go, "b k -> b k 1")
        parts = self.embed_states(batch.states), self.embed_actions(batch.previous_actions), self.embed_returns(returns)
        x = torch.cat(parts, -1)  # B K 3*embedding
        x = self.project(x.tanh() if self.config.tanh else x)  # B K H
        actions = self.head(self.blocks(x, state))
        return actions if self.training else actions.clamp(-1, 1)


class Block(nn.Module):
    """S4 mixes steps, then a linear layer mixes channels. A GELU follows each."""

    def __init__(self, config: DecisionS4.Config) -> None:
        super().__init__()
        self.s4 = S4(config.width, config.state_size)
        self.linear = nn.Linear(config.width, config.width)
        self.residual = config.residual

    def forward(self, x: Float[Tensor, "B K H"], state: RecurrentState | None = None) -> Float[Tensor, "B K H"]:
        y = F.gelu(self.linear(F.gelu(self.s4(x, state))))
        return x + y if self.residual else y


class S4(nn.Module):
    """A linear state space per channel.

    Each channel has its own step size, C and D. All channels share the poles, P and B, which start at HiPPO-LegS. A complex
    parameter is stored as pairs of real numbers.
    """

    def __init__(self, width: int, state_size: int) -> None:
        super().__init__()
        poles, P, B, _ = diagonalised(state_size)
        self.log_dt = nn.Parameter(torch.empty(width).uniform_(math.log(1e-3), math.log(1e-1)))
        # the logarithm keeps a pole in the left half-plane
        self.log_decay = nn.Parameter((-poles.real).log().float())  # M
        self.frequency = nn.Parameter(poles.imag.float())
        self.P = nn.Parameter(torch.view_as_real(P).float())  # M 2
        self.B = nn.Parameter(torch.view_as_real(B).float())
        self.C = nn.Parameter(torch.randn(width, state_size // 2, 2) / math.sqrt(2))  # H M 2
        self.D = nn.Parameter(torch.randn(width))

    def forward(self, x: Float[Tensor, "B K H"], state: RecurrentState | None = None) -> Float[Tensor, "B K H"]:
        P, B, C = map(torch.view_as_complex, (self.P, self.B, self.C))
        values = x, self.log_dt.exp(), torch.complex(-self.log_decay.exp(), self.frequency), P, B, C, self.D
        if state is None:
            return parallel(*values)
        y, state[self] = resume(*values, state.get(self))
        return y
