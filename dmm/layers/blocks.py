"""Dropout, MLPs and the convolution of tokens."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dmm.batch import RecurrentState
from dmm.kernels.conv import causal_shifts, depthwise
from dmm.kernels.sampling import dropout_mask
from dmm.layers.trimming import TokenSubset


class Dropout(nn.Dropout):
    """Dropout under which some tokens have the mask that they have in the whole sequence: fewer tokens, same numbers."""

    def forward(self, x: Float[Tensor, "B M H"], subset: TokenSubset | None = None) -> Float[Tensor, "B M H"]:
        if not (self.training and self.p):
            return x
        if subset is None:
            return x * dropout_mask(*x.shape, p=self.p, like=x)
        return x * dropout_mask(len(x), subset.tokens, x.shape[2], p=self.p, like=x)[:, subset.index]


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

    def forward(self, x: Float[Tensor, "B T H"], state: RecurrentState | None = None) -> Float[Tensor, "B T H"]:
        if state is None:
            return depthwise(x, self.weight, self.bias)
        key = self, state.layer_index
        shifts, state[key] = causal_shifts(x, self.weight.shape[2], state.get(key))
        order = [(state.token_offset + token) % len(self.weight) for token in range(x.shape[1])]
        weights = self.weight[order].unbind(2)  # T H each
        return self.bias[order] + sum(values * weight for values, weight in zip(shifts, weights, strict=True))
