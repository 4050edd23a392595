"""The S4 kernel against a dense recurrence and the definition of HiPPO. Decision S4 against its equations written out."""

import dataclasses
import math
from statistics import fmean

import numpy as np
import pytest
import torch
from helpers.models import SPACES, K, batch, make
from helpers.reacher import REACHER, parts
from helpers.synthetic_episodes import episodes
from scipy.special import erf

from dmm.architectures import build_model
from dmm.config import Trial
from dmm.kernels.s4 import diagonalised, hippo, parallel, reference, resume
from dmm.models.ds4 import DYNAMICS
from dmm.training.fit import fit

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}  # of a tensor's L2 norm


def close(ours, truth, tolerance):
    assert (ours.to(truth.dtype) - truth).norm() <= tolerance * truth.norm()


# HiPPO-LegS


def test_hippo_is_legs():
    A, B = hippo(6)
    for n in range(6):
        for k in range(6):
            above = math.sqrt((2 * n + 1) * (2 * k + 1))
            assert A[n, k] == pytest.approx(-above if n > k else -(n + 1) if n == k else 0)
        assert B[n] == pytest.approx(math.sqrt(2 * n + 1))


@pytest.mark.parametrize("size", [2, 4, 16, 96])
def test_hippo_is_normal_plus_low_rank(size):
    """A = V (diag(poles) - P P*) V* with V unitary, over both poles of each pair."""
    half = diagonalised(size)
    poles, P, B = (torch.cat([value, value.conj()]) for value in half[:3])
    V = torch.cat([half[3], half[3].conj()], 1)
    torch.testing.assert_close(V @ V.mH, torch.eye(size).to(V), rtol=0, atol=1e-11)
    A = V @ (torch.diag(poles) - torch.outer(P, P.conj())) @ V.mH
    torch.testing.assert_close(A, hippo(size)[0].to(V), rtol=1e-11, atol=1e-10)
    torch.testing.assert_close(V @ B, hippo(size)[1].to(V), rtol=1e-11, atol=1e-11)
    assert (half[0].real == -0.5).all() and (half[0].imag > 0).all()
    assert (half[1].real > 0).all() and half[1].imag.abs().max() < 1e-12  # no library's choice of phases


# the kernel


def drawn(M, steps=(1e-4, 1e-3, 0.1, 1.0), dtype=torch.float64, seed=0):
    """The inputs of the layer: HiPPO with random changes, and step sizes beyond those at the start of training."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape):
        return torch.view_as_complex(torch.randn(*shape, 2, generator=generator, dtype=torch.float64))

    poles, P, B, _ = diagonalised(2 * M)
    poles = poles - 0.4 * torch.rand(M, generator=generator, dtype=torch.float64) + 0.1j * noise(M).real
    values = [torch.tensor(steps, dtype=torch.float64), poles, P + noise(M), B + noise(M), noise(len(steps), M)]
    values.append(torch.randn(len(steps), generator=generator, dtype=torch.float64))
    return in_precision(values, dtype)


def in_precision(values, dtype):
    kinds = {True: torch.complex(*torch.zeros(2, 1, dtype=dtype)).dtype, False: dtype}
    return [value.detach().to(kinds[value.is_complex()]).requires_grad_() for value in values]


def inputs(length, H, padding, dtype):
    u = torch.randn(3, length, H, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for row, pads in enumerate(padding):
        u[row, :pads] = 0
    return u.to(dtype).requires_grad_()


def with_gradients(form, values):
    y = form(*values)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(y.dtype)
    return [y, *torch.autograd.grad((y * weight).sum(), values)]


def test_the_reference_is_hippo_itself_in_real_numbers():
    """One real dense system per channel, in numpy, without conjugate pairs and without a change of basis."""
    M, dt = 4, (0.01, 0.3)
    poles, P, B, V = diagonalised(2 * M)
    _, _, _, _, C, D = drawn(M, dt)
    u = inputs(12, 2, (0, 0, 5), torch.float64)
    y = reference(u, torch.tensor(dt, dtype=torch.float64), poles, P, B, C, D).detach().numpy()
    A, B = (value.numpy() for value in hippo(2 * M))
    for channel, step in enumerate(dt):
        c = 2 * (C[channel] @ V.mH).real.detach().numpy()
        for row in range(3):
            x = np.zeros(2 * M)
            for t in range(12):
                now = u[row, t, channel].item()
                x = np.linalg.solve(np.eye(2 * M) - step / 2 * A, (np.eye(2 * M) + step / 2 * A) @ x + step * B * now)
                assert y[row, t, channel] == pytest.approx(c @ x + D[channel].item() * now, rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("form", [reference, parallel])
def test_the_memory_of_a_constant_is_the_constant(form):
    """The state of LegS holds Legendre coefficients: for a constant input 1 and zeros. Channel i reads coefficient i."""
    poles, P, B, V = diagonalised(8)
    one = torch.ones(4, dtype=torch.float64)
    y = form(torch.ones(1, 300, 4, dtype=torch.float64), 0.2 * one, poles, P, B, V[:4], 0 * one)
    torch.testing.assert_close(y[0, -1], torch.tensor([1.0, 0, 0, 0], dtype=torch.float64), rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    "length, M, padding",
    [(1, 48, ()), (8, 48, ()), (20, 48, (0, 5, 19)), (33, 1, ()), (101, 48, (0, 60, 100)), (1000, 48, (0, 500, 999))],
)
def test_the_convolution_is_the_recurrence(length, M, padding, dtype):
    values = [inputs(length, 4, padding, dtype), *drawn(M, dtype=dtype)]
    exact = with_gradients(reference, in_precision(values, torch.float64))
    for ours, truth in zip(with_gradients(parallel, values), exact, strict=True):
        assert ours.dtype in (dtype, torch.complex(*torch.zeros(2, 1, dtype=dtype)).dtype)
        close(ours, truth, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_poles_without_damping_are_on_no_point(dtype):
    """They put the poles of Abar on the unit circle. With radius 1 the points of the kernel would be there too."""
    values = [inputs(100, 4, (), dtype), *drawn(8, dtype=dtype)]
    values[2] = torch.complex(0 * values[2].real, values[2].imag).detach().requires_grad_()
    values[3] = (0 * values[3]).detach().requires_grad_()
    exact = with_gradients(reference, in_precision(values, torch.float64))
    for ours, truth in zip(with_gradients(parallel, values), exact, strict=True):
        close(ours, truth, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=str)
def test_the_recurrence_resumes(dtype, tolerance):
    """200 steps in parts equal the dense recurrence in one run."""
    u, *values = [inputs(200, 4, (0, 50, 199), dtype), *drawn(48, dtype=dtype)]
    x, parts = None, []
    for part in u.split([1, 1, 98, 100], 1):
        y, x = resume(part, *values, x)
        parts.append(y)
    exact = in_precision([u, *values], torch.float64)
    close(torch.cat(parts, 1), reference(*exact), tolerance)
    for ours, truth in zip(
        with_gradients(lambda *every: resume(*every)[0], [u, *values]), with_gradients(reference, exact), strict=True
    ):
        close(ours, truth, 10 * tolerance)


# Decision S4


def written_out(model, data):
    """The equations of the model, step by step, in numpy."""
    weights = {name: value.detach().double().numpy() for name, value in model.named_parameters()}

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)

    def gelu(x):
        return x * 0.5 * (1 + erf(x / 2**0.5))

    parts = [
        linear("embed_states", data.states.double().numpy()),
        linear("embed_actions", data.previous_actions.double().numpy()),
        linear("embed_returns", data.returns_to_go.double().numpy()[..., None]),
    ]
    x = linear("project", np.concatenate([np.tanh(part) if model.config.tanh else part for part in parts], -1))
    for layer in range(model.config.layers):
        ssm = {name.split(".")[-1]: value for name, value in weights.items() if f"blocks.{layer}.s4." in name}
        P, B, C = (ssm[name][..., 0] + 1j * ssm[name][..., 1] for name in "PBC")
        poles = -np.exp(ssm["log_decay"]) + 1j * ssm["frequency"]
        poles, P, B, C = (np.concatenate([v, v.conj()], -1) for v in (poles, P, B, C))
        dynamics, y, one = np.diag(poles) - np.outer(P, P.conj()), np.zeros_like(x), np.eye(len(P))
        for channel, dt in enumerate(np.exp(ssm["log_dt"])):
            for row in range(len(x)):
                state = np.zeros(len(P), complex)
                for t in range(x.shape[1]):
                    state = np.linalg.solve(
                        one - dt / 2 * dynamics, (one + dt / 2 * dynamics) @ state + dt * B * x[row, t, channel]
                    )
                    y[row, t, channel] = (C[channel] @ state).real + ssm["D"][channel] * x[row, t, channel]
        y = gelu(linear(f"blocks.{layer}.linear", gelu(y)))
        x = x + y if model.config.residual else y
    return torch.from_numpy(linear("head", x))


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("overrides", [{}, {"residual": False, "tanh": True}], ids=str)
def test_ds4_is_its_equations(overrides, padding):
    model = make("ds4", {"width": 6, "layers": 2, "state_size": 4, "embedding": 5, **overrides}).train()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.3)
    model.head.weight.data.mul_(10)  # some actions to clip
    data = batch(rows=3, padding=padding)  # pads hold tokens like any other
    expected = written_out(model, data)
    close(model(data), expected, 1e-5)
    wide = dataclasses.replace(
        data, **{name: getattr(data, name).double() for name in ("states", "returns_to_go", "previous_actions")}
    )
    close(model.double()(wide), expected, 1e-8)
    torch.testing.assert_close(model.eval()(wide), expected.clamp(-1, 1))
    assert expected.abs().max() > 1


def test_the_pads_of_ds4():
    """On the right no real step sees them. On the left they run through the layers."""
    model = make("ds4", {"width": 16})
    for padding in ("left", "right"):
        data = batch(padding=padding)
        other = dataclasses.replace(data, states=torch.where(data.mask.unsqueeze(2), data.states, 9.0))
        unmoved = (model(data) - model(other))[data.mask].abs().max() < 1e-5
        assert unmoved == (padding == "right")


def test_ds4_starts_at_hippo_with_log_uniform_steps():
    torch.manual_seed(0)
    model = build_model("ds4", {"width": 400, "layers": 2}, SPACES, K)
    poles, P, B, _ = diagonalised(96)
    for block in model.blocks:
        dt = block.s4.log_dt.exp()
        assert dt.min() >= 0.999e-3 and dt.max() <= 0.1001
        quarters = torch.histc(dt.log10(), 4, -3, -1) / 400  # 4 sigma of a quarter
        assert (quarters - 0.25).abs().max() < 4 * math.sqrt(0.25 * 0.75 / 400)
        torch.testing.assert_close(-block.s4.log_decay.exp().double(), poles.real)
        torch.testing.assert_close(block.s4.frequency.double(), poles.imag)
        for name, value in (("P", P), ("B", B)):
            torch.testing.assert_close(
                getattr(block.s4, name).double(), torch.view_as_real(value), rtol=1e-6, atol=1e-6
            )
        count = block.s4.C.numel()
        assert block.s4.C.shape == (400, 48, 2)  # complex normal: real and imaginary part have half the variance each
        assert abs(block.s4.C.square().mean() - 0.5) < 4 * 0.5 * math.sqrt(2 / count)
        assert abs(block.s4.C.mean()) < 4 * math.sqrt(0.5 / count)
        assert abs(block.s4.D.mean()) < 0.2 and abs(block.s4.D.std() - 1) < 0.15
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())  # complex ones are pairs


def test_frozen_dynamics_leave_c_and_d_to_learn():
    model = make("ds4", {"width": 16, "layers": 1, "dynamics": "frozen"})
    learn = {name for name, value in model.blocks[0].s4.named_parameters() if value.requires_grad}
    assert learn == {"C", "D"} and len(model.unused_parameters()) == len(DYNAMICS)


def test_the_loss_of_ds4_falls():
    overrides = (("width", 32), ("layers", 2))
    settings = parts(updates=50, num_evaluations=1)
    trial = Trial(arch="ds4", task=REACHER, dataset=("golden",), seed=0, overrides=overrides, **settings)
    _, state = fit(trial, episodes())
    losses = [point.loss for point in state.progress.loss]
    assert fmean(losses[-5:]) < 0.5 * fmean(losses[:5])
