"""The selective scan in PyTorch: a loop to read, and the same loop with a hand-written gradient, about twice as fast.

dt is the step size after the softplus. The state h has D channels x N entries, and h_0 = 0:

    h_t = exp(dt_t A) h_{t-1} + (dt_t x_t) B_t        decay the state, write the input into it
    y_t = (h_t C_t + D x_t) silu(z_t)                 read it, skip it, gate it

B is discretised by the first-order rule dt B, as in mamba-ssm. The papers print the exact zero-order hold.
"""

import torch
import torch.nn.functional as F
from einops import einsum
from jaxtyping import Float
from torch import Tensor


def reference(
    x: Float[Tensor, "B T D"],
    z: Float[Tensor, "B T D"],  # gate
    dt: Float[Tensor, "B T D"],  # step size before the softplus, bias included
    A: Float[Tensor, "D N"],
    B: Float[Tensor, "B T N"],
    C: Float[Tensor, "B T N"],
    D: Float[Tensor, " D"],  # skip
) -> Float[Tensor, "B T D"]:
    """The equations, one line each. Other paths are tested against it."""
    return resume(x, z, dt, A, B, C, D)[0]


def resume(x, z, dt, A, B, C, D, h=None) -> tuple[Tensor, Tensor]:
    """`reference` from the state h [B D N] after earlier tokens. Returns y and the new state."""
    dt = F.softplus(dt)
    h = x.new_zeros(x.shape[0], *A.shape) if h is None else h
    y = []
    for t in range(x.shape[1]):
        decay = torch.exp(einsum(dt[:, t], A, "b d, d n -> b d n"))
        h = decay * h + einsum(dt[:, t] * x[:, t], B[:, t], "b d, b n -> b d n")
        y.append(einsum(h, C[:, t], "b d n, b n -> b d"))
    return (torch.stack(y, 1) + D * x) * F.silu(z), h


def fast(x, z, dt, A, B, C, D) -> Float[Tensor, "B T D"]:
    """`reference` with the recurrence and its gradient in one node of the graph."""
    dt = F.softplus(dt)
    y = Recurrence.apply(dt * x, dt, A, B, C)
    return (y + D * x) * F.silu(z)


class Recurrence(torch.autograd.Function):
    """y_t = C_t h_t with h_t = exp(dt_t A) h_{t-1} + u_t B_t.

    Time is the first axis and the state is N x D. So each step works on whole rows of D in a block that fits the cache.
    Only h is saved for the gradient. The decay is computed again.
    """

    @staticmethod
    def forward(ctx, u, dt, A, B, C):
        u, dt, B, C = (value.transpose(0, 1).contiguous() for value in (u, dt, B, C))
        A = A.T.contiguous()
        T, batch, D = u.shape
        h = u.new_empty(T + 1, batch, len(A), D)
        h[0] = 0
        decay, y = torch.empty_like(h[0]), torch.empty_like(u)
        for t in range(T):
            torch.mul(row(dt[t]), A, out=decay).exp_()
            torch.mul(row(u[t]), column(B[t]), out=h[t + 1]).addcmul_(decay, h[t])
            torch.bmm(row(C[t]), h[t + 1], out=row(y[t]))
        ctx.save_for_backward(u, dt, A, B, C, h)
        return y.transpose(0, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_y):
        u, dt, A, B, C, h = ctx.saved_tensors
        grad_y = grad_y.transpose(0, 1).contiguous()
        grad_u, grad_dt, grad_B, grad_C = (torch.empty_like(value) for value in (u, dt, B, C))
        grad_h, grad_A = torch.zeros_like(h[0]), torch.zeros_like(h[0])  # grad_A is summed over the batch at the end
        decay, ones = torch.empty_like(grad_h), row(torch.ones_like(B[0]))
        for t in reversed(range(len(u))):
            grad_h.addcmul_(column(C[t]), row(grad_y[t]))
            torch.bmm(row(grad_y[t]), h[t + 1].mT, out=row(grad_C[t]))
            torch.bmm(row(B[t]), grad_h, out=row(grad_u[t]))
            torch.bmm(row(u[t]), grad_h.mT, out=row(grad_B[t]))
            grad_h.mul_(torch.mul(row(dt[t]), A, out=decay).exp_())  # from here on the gradient of h_{t-1}
            exponent = torch.mul(grad_h, h[t], out=decay)  # gradient of dt_t A
            grad_A.addcmul_(exponent, row(dt[t]))
            torch.bmm(ones, exponent.mul_(A), out=row(grad_dt[t]))
        grad_u, grad_dt, grad_B, grad_C = (value.transpose(0, 1) for value in (grad_u, grad_dt, grad_B, grad_C))
        return grad_u, grad_dt, grad_A.sum(0).T, grad_B, grad_C


def row(value: Float[Tensor, "B size"]) -> Float[Tensor, "B 1 size"]:
    """A view with one row per batch entry."""
    return value.unsqueeze(1)


def column(value: Float[Tensor, "B size"]) -> Float[Tensor, "B size 1"]:
    """A view with one column per batch entry."""
    return value.unsqueeze(2)
