"""The scan of Mamba-2 against its equations, written out scalar by scalar. The matrix form against the loop."""

import numpy as np
import pytest
import torch

from dmm.kernels import scan
from dmm.kernels.ssd import dual, reference

PATHS = pytest.mark.parametrize("form", [reference, dual])


def inputs(batch, T, heads, P, N, dtype=torch.float64, seed=0):
    """x, dt, A, B, C, D. All require a gradient."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, T, heads, P), (batch, T, heads), (heads,), (batch, T, N), (batch, T, N), (heads,)]
    values = [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]
    values[2] = -values[2].exp()
    return [value.requires_grad_() for value in values]


def literal(x, dt, A, B, C, D):
    """The recurrence in scalars, without broadcasting. It shares nothing with the code under test."""
    y = np.zeros_like(x)
    for b, head, p in np.ndindex(x.shape[0], *x.shape[2:]):
        h = [0.0] * B.shape[2]
        for t in range(x.shape[1]):
            step = np.log1p(np.exp(dt[b, t, head]))
            y[b, t, head, p] = D[head] * x[b, t, head, p]
            for n in range(len(h)):
                h[n] = np.exp(step * A[head]) * h[n] + step * B[b, t, n] * x[b, t, head, p]
                y[b, t, head, p] += C[b, t, n] * h[n]
    return y


@pytest.mark.parametrize("sizes", [(2, 7, 3, 2, 4), (1, 1, 2, 5, 3), (2, 9, 1, 1, 1)])
@PATHS
def test_values_are_the_literal_recurrence(form, sizes):
    values = inputs(*sizes)
    expected = literal(*(value.detach().numpy() for value in values))
    np.testing.assert_allclose(form(*values).detach().numpy(), expected, rtol=1e-12, atol=1e-13)


@PATHS
def test_two_steps_by_hand(form):
    """dt = ln 2 and A = -1 halve the state: h_1 = 3, h_2 = 3 / 2 + 5 = 6.5, read by 1 and 2, with a skip of 10."""
    one = torch.ones(1, dtype=torch.float64)
    step = np.log(2)
    x = torch.tensor([3.0, 5.0], dtype=torch.float64).view(1, 2, 1, 1) / step
    C = torch.tensor([1.0, 2.0], dtype=torch.float64).view(1, 2, 1)
    y = form(x, torch.zeros(1, 2, 1, dtype=torch.float64), -one, torch.ones_like(C), C, 10 * step * one)
    torch.testing.assert_close(y.flatten(), torch.tensor([33.0, 63.0], dtype=torch.float64))


@PATHS
def test_with_one_channel_a_head_it_is_mamba_1_with_one_decay_a_channel(form):
    x, dt, A, B, C, D = inputs(2, 11, 3, 1, 4)
    gate = torch.full((2, 11, 3), 50.0, dtype=torch.float64)  # silu(50) = 50
    expected = scan.reference(x.squeeze(3), gate, dt, A.unsqueeze(1).expand(3, 4), B, C, D) / 50
    torch.testing.assert_close(form(x, dt, A, B, C, D).squeeze(3), expected)


@PATHS
def test_gradients_are_finite_differences(form):
    assert torch.autograd.gradcheck(form, inputs(2, 4, 2, 2, 3), atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("T, shift, pads", [(24, -4.0, 0), (180, -4.0, 0), (60, 3.0, 0), (60, -4.0, 9)])
def test_dual_is_the_loop_in_float64_at_the_size_of_a_model(T, shift, pads):
    """Small steps as at the start of training (a long memory), or large ones (a short memory). The first tokens are zeros."""
    values = inputs(4, T, 4, 16, 128, torch.float32)
    with torch.no_grad():
        for value in (values[index] for index in (0, 1, 3, 4)):
            value[:2, :pads] = 0
        values[1] += shift
        values[2].copy_(-torch.linspace(1, 16, 4))
    weight = torch.randn(values[0].shape, generator=torch.Generator().manual_seed(1))
    exact = [value.detach().double().requires_grad_() for value in values]
    for ours, truth in zip(
        with_gradients(dual, values, weight), with_gradients(reference, exact, weight.double()), strict=True
    ):
        assert ours.dtype == torch.float32
        assert (ours - truth).norm() < 1e-5 * truth.norm()


def with_gradients(form, values, weight):
    y = form(*values)
    return [y, *torch.autograd.grad((y * weight).sum(), values)]


def test_a_strong_decay_stays_finite():
    """dt |A| over the sequence is 60 * 20 * 16: a form that divides by cumulative products would overflow."""
    x, dt, A, B, C, D = inputs(1, 60, 2, 3, 4, torch.float32)
    values = [x, torch.full_like(dt, 20.0).requires_grad_(), (A * 0 - 16).detach().requires_grad_(), B, C, D]
    for ours, truth in zip(
        with_gradients(dual, values, x.detach()), with_gradients(reference, values, x.detach()), strict=True
    ):
        torch.testing.assert_close(ours, truth)
        assert ours.isfinite().all()
