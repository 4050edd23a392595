"""Self-attention and the Transformer block."""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dmm.batch import RecurrentState
from dmm.layers.blocks import MLP
from dmm.layers.dropout import Dropout, drop
from dmm.layers.trimming import ACTIVE, trim

# kzl/decision-transformer masks padded tokens by this score (trajectory_gpt2.py, from transformers' GPT-2)
PADDED = -1e4


def attention_bias(real: Bool[Tensor, "B tokens"], like: Float[Tensor, "B T H"]) -> Float[Tensor, "B 1 T T"]:
    """Additive attention mask for the first T tokens of `real`.

    Future tokens get -inf. Padded tokens get -1e4, so that a row of padding alone still has a finite softmax.
    """
    real = real[:, : like.shape[1]]
    future = torch.full((real.shape[1],) * 2, -torch.inf, dtype=like.dtype, device=like.device).triu(1)
    return future + rearrange(torch.where(real, 0.0, PADDED).to(like.dtype), "b t -> b 1 1 t")


class Attention(nn.Module):
    """Multi-head self-attention under an additive mask. Dropout acts on the attention weights or on the heads' output."""

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
        state: RecurrentState | None = None,
    ) -> Float[Tensor, "B read H"]:
        """The tokens attend to all tokens that the bias allows. With a state they attend to earlier tokens too.

        Needs a bias or a state. Inside `trimmed_to` only the tokens that are read have a query.
        """
        if ACTIVE.get() is None:
            q, k, v = self.qkv(x).chunk(3, -1)
        else:
            weights, biases = (
                value.tensor_split((self.out.in_features,)) for value in (self.qkv.weight, self.qkv.bias)
            )
            q = F.linear(trim(x), weights[0], biases[0])
            k, v = F.linear(x, weights[1], biases[1]).chunk(2, -1)
        q, k, v = (rearrange(value, "b t (heads e) -> b heads t e", heads=self.heads) for value in (q, k, v))
        if state is not None:
            k, v, bias = self.extend(k, v, state)
        assert bias is not None
        bias = trim(bias, axis=2)
        if self.training and self.weight_dropout:
            scores = torch.softmax(q * q.shape[3] ** -0.5 @ k.mT + bias, -1)
            x = drop(scores, self.weight_dropout, axis=2) @ v
        else:
            x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = self.value_dropout(rearrange(x, "b heads t e -> b t (heads e)"))
        return self.dropout(self.out(x))

    def extend(self, k: Tensor, v: Tensor, state: RecurrentState) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values of earlier tokens followed by the new ones, and the mask of the attention span."""
        tokens, kept = k.shape[2], torch.stack([k, v], 1)  # B 2 heads T e, e = H / heads
        if self in state:
            kept = torch.cat([state[self], kept], 3)
        state[self] = kept[:, :, :, max(kept.shape[3] - state.attention_span + 1, 0) :]
        age = torch.arange(kept.shape[3] - tokens, kept.shape[3]).unsqueeze(1) - torch.arange(kept.shape[3])
        span = torch.where((age >= 0) & (age < state.attention_span), 0.0, -torch.inf)
        return kept[:, 0], kept[:, 1], span.to(k)[None, None]


class TransformerBlock(nn.Module):
    """Self-attention, then an MLP. Each is behind a LayerNorm and beside a residual."""

    trims = True

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
        state: RecurrentState | None = None,
    ) -> Float[Tensor, "B read H"]:
        """The tokens that are read: all of them outside `trimmed_to`."""
        x = trim(x) + self.attention(self.attention_norm(x), bias, state)
        return x + self.mlp(self.mlp_norm(x))
