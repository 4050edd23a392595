"""Layers of more than one block: MLPs, and the causal convolution of tokens."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dmm.batch import RecurrentState
from dmm.kernels.conv import causal_shifts, depthwise
from dmm.layers.dropout import Dropout


class MLP(nn.Module):
    """A linear layer to four times the width, an activation, a linear layer back, and dropout."""

    def __init__(self, width: int, dropout: float, activation: str = "gelu") -> None:
        super().__init__()
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.dropout = Dropout(dropout)
        self.activation = getattr(F, activation)

    def forward(self, x: Float[Tensor, "B tokens H"]) -> Float[Tensor, "B tokens H"]:
        """Maps each token on its own."""
        return self.dropout(self.down(self.activation(self.up(x))))


class GatedMLP(nn.Module):
    """An MLP with a SiLU gate. Its inner width is the outer width, rounded up to a multiple of 128."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = 128 * math.ceil(width / 128)
        self.up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Float[Tensor, "B tokens H"]) -> Float[Tensor, "B tokens H"]:
        """Maps each token on its own."""
        x, gate = self.up(x).chunk(2, dim=-1)
        return self.down(x * F.silu(gate))


class ConvMixer(nn.Module):
    """Causal depthwise convolution over the last `kernel_size` tokens. Token t takes filter t mod `filters`.

    With one filter per modality each filter still reads all modalities, but writes only at the tokens of its own. With a
    single filter this is the convolution of a stock Mamba block.
    """

    def __init__(self, width: int, kernel_size: int, filters: int) -> None:
        super().__init__()
        bound = kernel_size**-0.5  # the initialisation of nn.Conv1d
        self.weight = nn.Parameter(torch.empty(filters, width, kernel_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(filters, width).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "B T H"], state: RecurrentState | None = None) -> Float[Tensor, "B T H"]:
        """Mixes all tokens, or the new tokens with those that the state keeps for this layer."""
        if state is None:
            return depthwise(x, self.weight, self.bias)
        key = self, state.layer_index
        shifts, state[key] = causal_shifts(x, self.weight.shape[2], state.get(key))
        order = [(state.token_offset + token) % len(self.weight) for token in range(x.shape[1])]
        weights = self.weight[order].unbind(2)  # T H each
        return self.bias[order] + sum(values * weight for values, weight in zip(shifts, weights, strict=True))
