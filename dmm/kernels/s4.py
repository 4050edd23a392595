"""The S4 layer: a linear state space per channel, x' = A x + B u, y = 2 Re(C x) + D u. A is normal plus low rank.

In a basis that makes the normal part diagonal, A = diag(poles) - P P*. HiPPO-LegS has this form. Poles come in conjugate
pairs, so M = N / 2 entries represent N. A sum over all N is 2 Re of the sum over these M. P is a vector here, not an axis.
Each channel has a step size dt, and the bilinear rule gives

    Abar = (I - dt/2 A)^-1 (I + dt/2 A)        Bbar = (I - dt/2 A)^-1 dt B
    x_t  = Abar x_{t-1} + Bbar u_t             y_t  = 2 Re(C x_t) + D u_t

`reference` computes these equations with dense matrices. `parallel` is a convolution with the kernel C Abar^j Bbar. By
Woodbury's identity the kernel follows from Cauchy sums at points of a circle. `resume` is the recurrence in O(N), because
Abar too is diagonal plus rank one.
"""

import torch
from einops import einsum, rearrange
from jaxtyping import Complex, Float
from torch import Tensor


def hippo(size: int) -> tuple[Float[Tensor, "N N"], Float[Tensor, " N"]]:
    """A and B of HiPPO-LegS, in float64. Its state holds the Legendre coefficients of a past that decays."""
    root = (2 * torch.arange(size, dtype=torch.float64) + 1).sqrt()
    return -(torch.outer(root, root).tril(-1) + torch.diag(torch.arange(1.0, size + 1).double())), root


def diagonalised(size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """HiPPO-LegS as A = V (diag(poles) - P P*) V*: poles, P, B (each [M]) and V [N M], in complex128.

    Each conjugate pair has one entry. A + p p^T with p_n = sqrt(n + 1/2) is -I/2 plus a skew-symmetric matrix, so V is
    unitary, P = V* p and B = V* B. The phases of V are chosen so that P is positive. Otherwise they would depend on the
    linear algebra library.
    """
    assert size >= 2 and size % 2 == 0, f"{size} poles cannot be paired"
    A, B = hippo(size)
    p = (torch.arange(size, dtype=torch.float64) + 0.5).sqrt()
    frequencies, V = torch.linalg.eigh(-1j * (A + torch.outer(p, p) + torch.eye(size) / 2))  # ascending
    frequencies, V = frequencies[size // 2 :], V[:, size // 2 :]  # the positive frequencies
    V = V * torch.sgn(V.mH @ p.to(V))
    return torch.complex(torch.full_like(frequencies, -0.5), frequencies), V.mH @ p.to(V), V.mH @ B.to(V), V


def reference(
    u: Float[Tensor, "batch T H"],
    dt: Float[Tensor, " H"],
    poles: Complex[Tensor, " M"],
    P: Complex[Tensor, " M"],
    B: Complex[Tensor, " M"],
    C: Complex[Tensor, "H M"],
    D: Float[Tensor, " H"],
) -> Float[Tensor, "batch T H"]:
    """The equations, one line each, on dense matrices of all N entries. The others are tested against it."""
    poles, P, B, C = (torch.cat([half, half.conj()], -1) for half in (poles, P, B, C))
    A, one, half = torch.diag(poles) - torch.outer(P, P.conj()), torch.eye(len(P)).to(P), dt.view(-1, 1, 1) / 2
    Abar = torch.linalg.solve(one - half * A, one + half * A)  # H N N
    Bbar = torch.linalg.solve(one - half * A, dt.unsqueeze(1) * B)  # H N
    x, y = torch.zeros_like(C).expand(len(u), -1, -1), []
    for t in range(u.shape[1]):
        x = einsum(Abar, x, "h n m, b h m -> b h n") + einsum(Bbar, u[:, t].to(Bbar), "h n, b h -> b h n")
        y.append(einsum(C, x, "h n, b h n -> b h").real)
    return torch.stack(y, 1) + D * u


def kernel(length: int, dt, poles, P, B, C) -> Float[Tensor, "T H"]:
    """C Abar^j Bbar for j = 0 .. length - 1, in float64.

    Sum_j k_j z^j = 2 / (1 + z) C (g - A)^-1 B with g = 2/dt (1 - z) / (1 + z). From its values at n points of the circle of
    radius r, an inverse FFT gives k_j r^j plus the aliases k_{j+n} r^{j+n}. With r < 1 no point is a pole. n = 2 length and
    r^length = eps^(1/3) make the aliases and the rounding error about eps^(2/3) = 4e-11 each.
    """
    dt, poles, P, B, C = (v.to(torch.complex128 if v.is_complex() else torch.float64) for v in (dt, poles, P, B, C))
    count = 2 * length
    r = torch.finfo(torch.float64).eps ** (1 / (3 * length))
    turn = -2 * torch.pi / count * torch.arange(length + 1, dtype=torch.float64, device=dt.device)
    z = torch.polar(torch.full_like(turn, r), turn)  # F points: half of the circle; the rest is its conjugate
    g = rearrange(2 / dt, "h -> h 1 1") * rearrange((1 - z) / (1 + z), "f -> f 1")  # H F 1

    # v / (g - pole) and its conjugate pair: 2 (g Re v - Re(v conj(pole))) / ((g - pole) (g - conj(pole)))
    cauchy = 1 / ((g - 2 * poles.real) * g + poles.abs().square())  # H F M
    shared = torch.stack([P.conj() * B, P.conj() * P]).expand(len(C), -1, -1)
    v = torch.cat([torch.stack([C * B, C * P], 1), shared], 1)  # H 4 M
    weights = 2 * torch.cat([v.real, (v * poles.conj()).real], 1).mT  # H M 8
    numerator, constant = torch.complex(cauchy.real @ weights, cauchy.imag @ weights).chunk(2, 2)
    CB, CP, PB, PP = (g * numerator - constant).unbind(2)  # H F each
    spectrum = 2 / (1 + z) * (CB - CP * PB / (1 + PP))
    decay = r ** torch.arange(length, dtype=torch.float64, device=dt.device)
    return (torch.fft.irfft(spectrum, count)[:, :length] / decay).T


def parallel(u, dt, poles, P, B, C, D) -> Float[Tensor, "batch T H"]:
    """`reference` as a convolution."""
    length = u.shape[1]
    k = kernel(length, dt, poles, P, B, C).to(u.dtype)  # T H
    y = torch.fft.irfft(torch.fft.rfft(u, 2 * length, 1) * torch.fft.rfft(k, 2 * length, 0), 2 * length, 1)
    return y[:, :length] + D * u


def resume(u, dt, poles, P, B, C, D, x=None) -> tuple[Tensor, Tensor]:
    """`reference` from the state x [batch H M] after earlier tokens. Returns y and the new state.

    With R = 1 / (2/dt - poles) and s = 1 + P* R P, Abar = diag(R (2/dt + poles)) - (R P) (4/dt P* R) / s.
    """
    rate = 2 / dt.unsqueeze(1)
    R = 1 / (rate - poles)  # H M
    RP = R * P
    s = 1 + 2 * (P.conj() * RP).real.sum(1, keepdim=True)
    decay, read, write = R * (rate + poles), 2 * rate * P.conj() * R, RP / s
    Bbar = 2 * (R * B - write * 2 * (P.conj() * R * B).real.sum(1, keepdim=True))
    x = torch.zeros_like(C).expand(len(u), -1, -1) if x is None else x
    y = []
    for token in u.unbind(1):  # batch H
        low_rank = 2 * einsum(read, x, "h m, b h m -> b h").real
        x = decay * x - write * low_rank.unsqueeze(2) + Bbar * token.unsqueeze(2)
        y.append(2 * einsum(C, x, "h m, b h m -> b h").real)
    return torch.stack(y, 1) + D * u, x
