"""What two or more architectures share: the frame of a trunk (tokens in, actions out), its initialisation, layers."""

import math
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dmm.batch import Batch, RecurrentState
from dmm.kernels import resume, selective_scan
from dmm.kernels.conv import depthwise, narrow_linear
from dmm.kernels.sampling import dropout_mask

TIME_STEPS = 1000  # entries of the learned time table; later steps share the last one


def check_at_least_one(config, *names: str) -> None:
    """Refuses a Config in which one of these counts is below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be at least 1")


class TokenSubset(NamedTuple):
    """TokenSubset tokens of a longer sequence: those that anything reads further on."""

    index: slice
    tokens: int  # of the whole sequence


def select_tokens(x: Float[Tensor, "B T H"], subset: TokenSubset | None) -> Float[Tensor, "B M H"]:
    """Those tokens, or all."""
    return x if subset is None else x[:, subset.index]


class Dropout(nn.Dropout):
    """Dropout under which some tokens have the mask that they have in the whole sequence: fewer tokens, same numbers."""

    def forward(self, x: Float[Tensor, "B M H"], subset: TokenSubset | None = None) -> Float[Tensor, "B M H"]:
        if not (self.training and self.p):
            return x
        if subset is None:
            return x * dropout_mask(*x.shape, p=self.p, like=x)
        return x * dropout_mask(len(x), subset.tokens, x.shape[2], p=self.p, like=x)[:, subset.index]


class TokenEmbedding(nn.Module):
    """Embeds returns-to-go, states and actions, and lines them up as R_1 s_1 a_1 R_2 s_2 a_2 ... R_K s_K.

    The last action is left out: nothing that a causal trunk is asked for reads it. (A window of one step keeps it, so that
    every parameter has a gradient.)
    """

    last_action = False

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
        self.returns_to_go = nn.Linear(1, width)
        self.states = nn.Linear(state_dim, width)
        self.actions = nn.Linear(action_dim, width)
        self.time = nn.Embedding(TIME_STEPS, width) if time_table else None
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)
        self.action_tokens = action_tokens

    def forward(self, batch: Batch, past: RecurrentState | None = None) -> Float[Tensor, "B T H"]:
        """With a RecurrentState, the new tokens: the action before (except at the first step), return and state."""
        tokens = [self.returns_to_go(rearrange(batch.returns_to_go, "b k -> b k 1")), self.states(batch.states)]
        if self.action_tokens and past is None:
            tokens.append(self.actions(batch.actions))
        tokens = torch.stack(tokens, 2)  # B K M H, M tokens a step
        if self.time is not None:
            tokens = tokens + rearrange(self.time(batch.steps.clamp(max=TIME_STEPS - 1)), "b k h -> b k 1 h")
        tokens = rearrange(tokens, "b k m h -> b (k m) h")
        if self.action_tokens and past is None and batch.mask.shape[1] > 1 and not self.last_action:
            tokens = tokens[:, :-1]
        if past is not None:
            past.token_offset = 2 if past and self.action_tokens else 0
            if past.token_offset:
                action = self.actions(batch.previous_actions)  # B 1 H
                if self.time is not None:
                    action = action + self.time((batch.steps - 1).clamp(max=TIME_STEPS - 1))
                tokens = torch.cat([action, tokens], 1)
        return self.dropout(self.norm(tokens))


class ActionHead(nn.Module):
    """Reads an action in [-1, 1] off each state token, the second of a step's."""

    def __init__(self, width: int, action_dim: int, tokens: int = 3) -> None:
        super().__init__()
        self.tokens = tokens  # of a step
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, action_dim)

    def reads(self, x: Float[Tensor, "B T H"], past: RecurrentState | None = None) -> TokenSubset:
        """The state tokens of a sequence; with a RecurrentState the last token."""
        return TokenSubset(slice(1, None, self.tokens) if past is None else slice(-1, None), x.shape[1])

    def forward(self, x: Float[Tensor, "B T H"], past: RecurrentState | None = None) -> Float[Tensor, "B K A"]:
        return self.read(select_tokens(x, self.reads(x, past)))

    def read(self, states: Float[Tensor, "B K H"]) -> Float[Tensor, "B K A"]:
        """The actions of state tokens."""
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
        self.dropout = Dropout(dropout)
        self.activation = getattr(F, activation)

    def forward(self, x: Float[Tensor, "B M H"], subset: TokenSubset | None = None) -> Float[Tensor, "B M H"]:
        return self.dropout(self.down(self.activation(self.up(x))), subset)


def attention_bias(real: Bool[Tensor, "B R"], like: Float[Tensor, "B T H"]) -> Float[Tensor, "B 1 T T"]:
    """Added to attention scores: never the future, and padding only where there is nothing else: no row is empty.

    The first T tokens' places count.
    """
    real = real[:, : like.shape[1]]
    future = torch.full((real.shape[1],) * 2, -torch.inf, dtype=like.dtype, device=like.device).triu(1)
    return future + rearrange(torch.where(real, 0.0, -1e4).to(like.dtype), "b t -> b 1 1 t")


class Attention(nn.Module):
    """Multi-head self-attention under an additive mask; dropout is of the weights, or of what the heads give by them."""

    def __init__(
        self, width: int, heads: int, dropout: float, dropped: Literal["weights", "values"] = "weights"
    ) -> None:
        super().__init__()
        self.heads, self.weight_dropout = heads, dropout if dropped == "weights" else 0.0
        self.value_dropout = Dropout(dropout if dropped == "values" else 0.0)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "B T H"],
        bias: Float[Tensor, "B 1 T T"] | None,
        past: RecurrentState | None = None,
        subset: TokenSubset | None = None,
    ) -> Float[Tensor, "B M H"]:
        """All tokens, or some of them, attend to all."""
        if subset is None:
            subset = TokenSubset(slice(None), x.shape[1])
            q, k, v = self.qkv(x).chunk(3, -1)
        else:
            weights, biases = (
                value.tensor_split((self.out.in_features,)) for value in (self.qkv.weight, self.qkv.bias)
            )
            q = F.linear(x[:, subset.index], weights[0], biases[0])
            k, v = F.linear(x, weights[1], biases[1]).chunk(2, -1)
        q, k, v = (rearrange(value, "b t (heads e) -> b heads t e", heads=self.heads) for value in (q, k, v))
        if past is not None:
            k, v, bias = self.extend(k, v, past)
        assert bias is not None
        bias = bias[:, :, subset.index]
        if self.training and self.weight_dropout:
            scores = torch.softmax(q * q.shape[3] ** -0.5 @ k.mT + bias, -1)
            mask = dropout_mask(*k.shape[:3], k.shape[2], p=self.weight_dropout, like=scores)[:, :, subset.index]
            x = scores * mask @ v
        else:
            x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = self.value_dropout(rearrange(x, "b heads t e -> b t (heads e)"), subset)
        return self.dropout(self.out(x), subset)

    def extend(self, k: Tensor, v: Tensor, past: RecurrentState) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values with those of earlier tokens before them, and the band of them that each token looks at."""
        tokens, kept = k.shape[2], torch.stack([k, v], 1)  # B 2 heads T e
        if self in past:
            kept = torch.cat([past[self], kept], 3)
        past[self] = kept[:, :, :, max(kept.shape[3] - past.attention_span + 1, 0) :]
        age = torch.arange(kept.shape[3] - tokens, kept.shape[3]).unsqueeze(1) - torch.arange(kept.shape[3])
        band = torch.where((age >= 0) & (age < past.attention_span), 0.0, -torch.inf)
        return kept[:, 0], kept[:, 1], band.to(k)[None, None]


class ConvMixer(nn.Module):
    """Causal depthwise convolution over the last `kernel_size` tokens, with token t taking filter t mod `filters`.

    With one filter per modality each filter still sees all modalities, but writes only at its own. With a single filter
    it is the convolution of a stock Mamba block.
    """

    def __init__(self, width: int, kernel_size: int, filters: int) -> None:
        super().__init__()
        bound = kernel_size**-0.5  # that of nn.Conv1d
        self.weight = nn.Parameter(torch.empty(filters, width, kernel_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(filters, width).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "B T H"], past: RecurrentState | None = None) -> Float[Tensor, "B T H"]:
        if past is None:
            return depthwise(x, self.weight, self.bias)
        order = [(past.token_offset + token) % len(self.weight) for token in range(x.shape[1])]
        taps, weights = shifted(x, self.weight.shape[2], past, self), self.weight[order].unbind(2)  # T H each
        return self.bias[order] + sum(tap * weight for tap, weight in zip(taps, weights, strict=True))


def shifted(x: Float[Tensor, "B T H"], kernel_size: int, past: RecurrentState | None, layer: nn.Module) -> list[Tensor]:
    """The sequence delayed by kernel_size - 1, ..., 1, 0 tokens; zeros move in, or what `past` kept for the layer."""
    key = (layer, past.layer_index) if past is not None else None
    if past is not None and key in past:
        padded = torch.cat([past[key], x], 1)  # B T+kernel_size-1 H
    else:
        padded = F.pad(x, (0, 0, kernel_size - 1, 0))
    if past is not None:
        past[key] = padded[:, x.shape[1] :]
    return [padded[:, start : start + x.shape[1]] for start in range(kernel_size)]


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
        self.mixer = mixer
        self.x_proj = nn.Linear(inner, sum(self.sizes), bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, state_size + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        self.activation = getattr(F, activation)

        # as in mamba-ssm; `initialise` may draw them anew
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        self.dt_proj.bias.data = stock_dt_bias(inner)

    def forward(
        self, x: Float[Tensor, "B T H"], past: RecurrentState | None = None, subset: TokenSubset | None = None
    ) -> Float[Tensor, "B M H"]:
        """All tokens are read; the gate is computed, and led back, where something reads it further on."""
        weight, gate = self.in_proj.weight.chunk(2)
        z = F.linear(select_tokens(x, subset), gate)
        x = F.linear(x, weight)  # B T D
        if subset is not None:
            read, z = z, torch.zeros_like(x)
            z[:, subset.index] = read
        x = self.activation(x if self.mixer is None else self.mixer(x, past))
        dt, B, C = self.x_proj(x).split(self.sizes, dim=-1)  # B T rank, B T N, B T N
        values = x, z, narrow_linear(dt, self.dt_proj.weight, self.dt_proj.bias), -self.A_log.exp(), B, C, self.D
        if past is None:
            y = selective_scan(*values)
        else:
            y, past[self] = resume(*values, h=past.get(self))
        return self.out_proj(select_tokens(y, subset))


class TransformerBlock(nn.Module):
    """Self-attention, then an MLP, each behind a LayerNorm and beside a residual."""

    def __init__(self, width: int, heads: int, dropout: float, activation: str) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = MLP(width, dropout, activation)

    def forward(
        self,
        x: Float[Tensor, "B T H"],
        bias: Float[Tensor, "B 1 T T"] | None,
        past: RecurrentState | None = None,
        subset: TokenSubset | None = None,
    ) -> Float[Tensor, "B M H"]:
        x = select_tokens(x, subset) + self.attention(self.attention_norm(x), bias, past, subset)
        return x + self.mlp(self.mlp_norm(x), subset)


class MambaBlock(nn.Module):
    """Stock Mamba and, if wanted, a gated MLP, each behind an RMSNorm and beside a residual."""

    def __init__(self, width: int, mlp: bool) -> None:
        super().__init__()
        self.ssm_norm = nn.RMSNorm(width, eps=1e-5)
        self.ssm = SelectiveSSM(width, expand=2, mixer=ConvMixer(2 * width, kernel_size=4, filters=1))
        if mlp:
            self.mlp_norm = nn.RMSNorm(width, eps=1e-5)
            self.mlp = GatedMLP(width)

    def forward(
        self, x: Float[Tensor, "B T H"], past: RecurrentState | None = None, subset: TokenSubset | None = None
    ) -> Float[Tensor, "B M H"]:
        x = select_tokens(x, subset) + self.ssm(self.ssm_norm(x), past, subset)
        return x + self.mlp(self.mlp_norm(x)) if hasattr(self, "mlp") else x


class GatedMLP(nn.Module):
    """A SiLU-gated MLP; its inner width is the outer one, rounded up to a multiple of 128."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = 128 * math.ceil(width / 128)
        self.up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Float[Tensor, "B T H"]) -> Float[Tensor, "B T H"]:
        x, gate = self.up(x).chunk(2, dim=-1)
        return self.down(x * F.silu(gate))


def scale_residual_projections(model: nn.Module, branches: int) -> None:
    """Divides what leads back into the residual stream by the square root of its branches, as GPT-2 and mamba-ssm do."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name.endswith((".out", ".out_proj", ".down")):
            module.weight.data /= math.sqrt(branches)


def zero_biases(model: nn.Module) -> None:
    """Zeroes the bias of every Linear but that of an SSM's step size, as mamba-ssm does."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module.bias is not None and not name.endswith("dt_proj"):
            nn.init.zeros_(module.bias)


def act_towards_goals(
    high: nn.Module, low: nn.Module, batch: Batch
) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B S"]]:
    """The action of the last real step of each row, and its goal: the high level sets it, the low level acts on it."""
    assert batch.goals is not None
    goal = batch.last(high(batch))
    now = torch.arange(batch.mask.shape[1], device=goal.device) == rearrange(batch.now, "b -> b 1")  # B K
    goals = torch.where(rearrange(now, "b k -> b k 1"), rearrange(goal, "b s -> b 1 s"), batch.goals)
    return batch.last(low(replace(batch, goals=goals))), goal
