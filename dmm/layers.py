"""What two or more architectures share: the frame of a trunk (tokens in, actions out), its initialisation, layers."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dmm.batch import Batch
from dmm.kernels import selective_scan

TIME_STEPS = 1000  # entries of the learned time table; later steps share the last one


def at_least_one(config, *names: str) -> None:
    """Refuses a Config in which one of these counts is below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be at least 1")


class TokenEmbedding(nn.Module):
    """Embeds returns-to-go, states and actions, and lines them up as R_1 s_1 a_1 R_2 s_2 a_2 ..."""

    def __init__(
        self,
        state_dim: int,
        action_dim: int,
        width: int,
        dropout: float,
        time_table: bool = False,
        action_tokens: bool = True,  # False: R_1 s_1 R_2 ...; the embedding of actions stays, unread, as published
    ) -> None:
        super().__init__()
        self.returns = nn.Linear(1, width)
        self.states = nn.Linear(state_dim, width)
        self.actions = nn.Linear(action_dim, width)
        self.time = nn.Embedding(TIME_STEPS, width) if time_table else None
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.action_tokens = action_tokens

    def forward(self, batch: Batch) -> Float[Tensor, "B T H"]:
        tokens = [self.returns(rearrange(batch.returns, "b k -> b k 1")), self.states(batch.states)]
        if self.action_tokens:
            tokens.append(self.actions(batch.actions))
        tokens = torch.stack(tokens, 2)  # B K M H, M tokens a step
        if self.time is not None:
            tokens = tokens + rearrange(self.time(batch.steps.clamp(max=TIME_STEPS - 1)), "b k h -> b k 1 h")
        return self.dropout(self.norm(rearrange(tokens, "b k m h -> b (k m) h")))


class ActionHead(nn.Module):
    """Reads an action in [-1, 1] off each state token."""

    def __init__(self, width: int, action_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, action_dim)

    def forward(self, tokens: Float[Tensor, "B T H"], steps: int) -> Float[Tensor, "B K A"]:
        states = rearrange(tokens, "b (k m) h -> b k m h", k=steps)[:, :, 1]  # B K H
        return torch.tanh(self.linear(self.norm(states)))


def initialise(trunk: nn.Module, dt_init: str = "published") -> None:
    """Draws every Linear weight of a trunk from N(0, 0.02), zeroes its bias; `stock` spares the SSM's step size."""
    for name, module in trunk.named_modules():
        if isinstance(module, nn.Linear) and not (dt_init == "stock" and name.endswith("dt_proj")):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class MLP(nn.Module):
    """Widens fourfold and comes back."""

    def __init__(self, width: int, dropout: float, activation: str = "gelu") -> None:
        super().__init__()
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)
        self.activation = getattr(F, activation)

    def forward(self, x: Float[Tensor, "B T H"]) -> Float[Tensor, "B T H"]:
        return self.dropout(self.down(self.activation(self.up(x))))


def attention_bias(real: Bool[Tensor, "B T"], like: Float[Tensor, "B T H"]) -> Float[Tensor, "B 1 T T"]:
    """Added to attention scores: never the future, and padding only where there is nothing else: no row is empty."""
    future = torch.full((real.shape[1],) * 2, -torch.inf, dtype=like.dtype, device=like.device).triu(1)
    return future + rearrange(torch.where(real, 0.0, -1e4).to(like.dtype), "b t -> b 1 1 t")


class Attention(nn.Module):
    """Multi-head self-attention under an additive mask."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.weight_dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B T H"], bias: Float[Tensor, "B 1 T T"]) -> Float[Tensor, "B T H"]:
        q, k, v = rearrange(self.qkv(x), "b t (three heads e) -> three b heads t e", three=3, heads=self.heads)
        dropout = self.weight_dropout if self.training else 0.0
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        return self.dropout(self.out(rearrange(x, "b heads t e -> b t (heads e)")))


class ConvMixer(nn.Module):
    """Causal depthwise convolution over the last `window` tokens, with token t taking filter t mod `filters`.

    With one filter per modality each filter still sees all modalities, but writes only at its own. With a single filter
    it is the convolution of a stock Mamba block.
    """

    def __init__(self, width: int, window: int, filters: int) -> None:
        super().__init__()
        bound = window**-0.5  # that of nn.Conv1d
        self.weight = nn.Parameter(torch.empty(filters, width, window).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(filters, width).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "B T H"]) -> Float[Tensor, "B T H"]:
        # a sum over taps: nn.Conv1d with stride `filters` is three times slower on a CPU at these sizes
        y = self.bias
        for tap, weight in zip(shifted(x, self.weight.shape[2]), self.weight.unbind(2)):
            y = y + rearrange(tap, "b (k m) h -> b k m h", m=len(weight)) * weight
        return rearrange(y, "b k m h -> b (k m) h")


def shifted(x: Float[Tensor, "B T H"], window: int) -> list[Tensor]:
    """The sequence delayed by window - 1, ..., 1, 0 tokens, zeros moving in."""
    padded = F.pad(x, (0, 0, window - 1, 0))  # B T+window-1 H
    return [padded[:, start : start + x.shape[1]] for start in range(window)]


def stock_dt_bias(count: int) -> Float[Tensor, " count"]:
    """Draws biases of a step size as mamba-ssm does: their softplus is log-uniform in [0.001, 0.1]."""
    dt = torch.empty(count).uniform_(math.log(1e-3), math.log(1e-1)).exp()
    return dt + torch.log(-torch.expm1(-dt))


class SelectiveSSM(nn.Module):
    """The Mamba-1 block, with whatever token mixer is given in the place of its convolution."""

    def __init__(
        self,
        width: int,
        expand: int,
        mixer: nn.Module | None = None,  # of width expand * width
        activation: str = "silu",
        state_size: int = 16,
    ) -> None:
        super().__init__()
        inner, rank = expand * width, math.ceil(width / 16)
        self.sizes = [rank, state_size, state_size]
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.mixer = nn.Identity() if mixer is None else mixer
        self.x_proj = nn.Linear(inner, sum(self.sizes), bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, state_size + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        self.activation = getattr(F, activation)

        # as in mamba-ssm; `initialise` may draw them anew
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        self.dt_proj.bias.data = stock_dt_bias(inner)

    def forward(self, x: Float[Tensor, "B T H"]) -> Float[Tensor, "B T H"]:
        x, z = self.in_proj(x).chunk(2, dim=-1)  # B T D
        x = self.activation(self.mixer(x))
        dt, B, C = self.x_proj(x).split(self.sizes, dim=-1)  # B T rank, B T N, B T N
        return self.out_proj(selective_scan(x, z, self.dt_proj(dt), -self.A_log.exp(), B, C, self.D))
