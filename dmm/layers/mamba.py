"""The selective SSM of Mamba-1 and its stock block."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dmm.batch import RecurrentState
from dmm.kernels import resume, selective_scan
from dmm.kernels.conv import narrow_linear
from dmm.layers.blocks import ConvMixer, GatedMLP
from dmm.layers.trimming import ACTIVE, trim


def stock_dt_bias(count: int) -> Float[Tensor, " count"]:
    """Draws biases of a step size as mamba-ssm does: their softplus is log-uniform in [0.001, 0.1]."""
    dt = torch.empty(count).uniform_(math.log(1e-3), math.log(1e-1)).exp()
    return dt + torch.log(-torch.expm1(-dt))


class SelectiveSSM(nn.Module):
    """The inner layer of Mamba-1: projections, mixer, scan and gate. It has no norm and no residual.

    A token mixer may take the place of its convolution.
    """

    def __init__(
        self,
        width: int,
        expand: int,
        mixer: nn.Module | None = None,  # of width expand * width, called as mixer(x, state)
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

        # as in mamba-ssm; `initialise` may draw them again
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        self.dt_proj.bias.data = stock_dt_bias(inner)

    def forward(self, x: Float[Tensor, "B T H"], state: RecurrentState | None = None) -> Float[Tensor, "B read H"]:
        """The scan reads all tokens. In `trimmed_to` the gate is computed only where a token is read later."""
        weight, gate = self.in_proj.weight.chunk(2)
        z = F.linear(trim(x), gate)
        x = F.linear(x, weight)  # B T D
        if ACTIVE.get() is not None:
            read, z = z, torch.zeros_like(x)
            trim(z)[:] = read
        x = self.activation(x if self.mixer is None else self.mixer(x, state))
        dt, B, C = self.x_proj(x).split(self.sizes, dim=-1)  # B T R, B T N, B T N
        values = x, z, narrow_linear(dt, self.dt_proj.weight, self.dt_proj.bias), -self.A_log.exp(), B, C, self.D
        if state is None:
            y = selective_scan(*values)
        else:
            y, state[self] = resume(*values, h=state.get(self))
        return self.out_proj(trim(y))


class MambaBlock(nn.Module):
    """Stock Mamba and, if wanted, a gated MLP. Each is behind an RMSNorm and beside a residual."""

    trims = True

    def __init__(self, width: int, mlp: bool) -> None:
        super().__init__()
        self.ssm_norm = nn.RMSNorm(width, eps=1e-5)
        self.ssm = SelectiveSSM(width, expand=2, mixer=ConvMixer(2 * width, kernel_size=4, filters=1))
        if mlp:
            self.mlp_norm = nn.RMSNorm(width, eps=1e-5)
            self.mlp = GatedMLP(width)

    def forward(self, x: Float[Tensor, "B T H"], state: RecurrentState | None = None) -> Float[Tensor, "B read H"]:
        """The tokens that are read: all of them outside `trimmed_to`."""
        x = trim(x) + self.ssm(self.ssm_norm(x), state)
        return x + self.mlp(self.mlp_norm(x)) if hasattr(self, "mlp") else x
