"""The selective scan against its equations, written out scalar by scalar. Its fast paths against the reference."""

import importlib
import os
import subprocess
import sys
from shutil import which

import numpy as np
import pytest
import torch

from dmm import kernels
from dmm.kernels import active, channels_first, cuda_kernel, path, scan, selective_scan
from dmm.kernels import build as compiled
from dmm.kernels.build import CompiledScan
from dmm.kernels.scan import Recurrence, fast, reference

PATHS = pytest.mark.parametrize("scan", [reference, fast, selective_scan])
SIZES = pytest.mark.parametrize("batch, T, D, N", [(2, 7, 3, 4), (1, 1, 5, 16), (3, 24, 1, 2), (2, 4, 6, 1)])


def inputs(batch, T, D, N, dtype=torch.float64, device="cpu", seed=0):
    """x, z, dt, A, B, C, D. All require a gradient."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, T, D)] * 3 + [(D, N)] + [(batch, T, N)] * 2 + [(D,)]
    values = [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]
    values[3] = -values[3].exp()
    return [value.to(device).requires_grad_() for value in values]


def literal(x, z, dt, A, B, C, D):
    """The recurrence in scalars, without broadcasting. It shares nothing with the code under test."""
    y = np.zeros_like(x)
    for b in range(x.shape[0]):
        for d in range(x.shape[2]):
            h = [0.0] * A.shape[1]
            for t in range(x.shape[1]):
                step = np.log1p(np.exp(dt[b, t, d]))
                total = D[d] * x[b, t, d]
                for n in range(A.shape[1]):
                    h[n] = np.exp(step * A[d, n]) * h[n] + step * B[b, t, n] * x[b, t, d]
                    total += C[b, t, n] * h[n]
                y[b, t, d] = total * z[b, t, d] / (1 + np.exp(-z[b, t, d]))
    return y


@SIZES
@PATHS
def test_values_are_the_literal_recurrence(scan, batch, T, D, N):
    values = inputs(batch, T, D, N)
    expected = literal(*(value.detach().numpy() for value in values))
    np.testing.assert_allclose(scan(*values).detach().numpy(), expected, rtol=1e-12, atol=1e-13)


@PATHS
def test_two_steps_by_hand(scan):
    """One channel, one state: h_1 = 3, h_2 = 3 exp(-ln 2) + 5 = 6.5 with dt = ln 2 / softplus of 0."""
    one = torch.ones(1, dtype=torch.float64)
    dt, step = torch.zeros(1, 2, 1, dtype=torch.float64), np.log(2)  # softplus(0) = ln 2
    x = torch.tensor([3.0, 5.0], dtype=torch.float64).view(1, 2, 1) / step
    z = torch.full((1, 2, 1), 50.0, dtype=torch.float64)  # silu(50) = 50
    B, C = torch.ones(1, 2, 1, dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64).view(1, 2, 1)
    y = scan(x, z, dt, -one.view(1, 1), B, C, 0 * one).flatten() / 50
    torch.testing.assert_close(y, torch.tensor([3.0, 13.0], dtype=torch.float64))


@PATHS
def test_gradients_are_finite_differences(scan):
    assert torch.autograd.gradcheck(scan, inputs(2, 5, 3, 4), atol=1e-7, rtol=1e-5)


def test_recurrence_gradients_are_finite_differences():
    x, _, dt, A, B, C, _ = inputs(2, 5, 3, 2)
    assert torch.autograd.gradcheck(Recurrence.apply, (x, dt, A, B, C), atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-5), (torch.float64, 1e-12)])
def test_fast_is_the_reference_at_the_size_of_a_model(dtype, tolerance):
    values = inputs(8, 60, 64, 16, dtype)
    weight = torch.randn(8, 60, 64, generator=torch.Generator().manual_seed(1), dtype=dtype)
    for ours, truth in zip(
        with_gradients(fast, values, weight), with_gradients(reference, values, weight), strict=True
    ):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours, truth, rtol=tolerance, atol=tolerance * truth.abs().max().item())


def with_gradients(scan, values, weight):
    y = scan(*values)
    return [y, *torch.autograd.grad((y * weight).sum(), values)]


@pytest.mark.parametrize("pads", [0, 9])
@pytest.mark.parametrize("scan", [fast, selective_scan])
def test_float32_is_the_loop_in_float64_with_and_without_pads(scan, pads):
    """The first half of the rows begins with tokens of zeros, like a padded window whose embedding gives zeros."""
    values = inputs(8, 60, 64, 16, torch.float32)
    with torch.no_grad():
        for value in (values[index] for index in (0, 1, 2, 4, 5)):
            value[:4, :pads] = 0
    weight = torch.randn(8, 60, 64, generator=torch.Generator().manual_seed(1))
    exact = [value.detach().double().requires_grad_() for value in values]
    for ours, truth in zip(
        with_gradients(scan, values, weight), with_gradients(reference, exact, weight.double()), strict=True
    ):
        assert ours.dtype == torch.float32 and (ours - truth).norm() < 1e-5 * truth.norm()


def test_a_long_memory_and_a_strong_decay_stay_finite():
    """dt |A| over the sequence is 60 * 20 * 16: a scan that divides by cumulative products would overflow."""
    x, z, dt, A, B, C, D = inputs(1, 60, 2, 16, torch.float32)
    A = -torch.arange(1.0, 17).repeat(2, 1)
    values = [x, z, torch.full_like(dt, 20.0), A, B, C, D]
    torch.testing.assert_close(selective_scan(*values), reference(*values))
    assert selective_scan(*values).isfinite().all()


def test_the_future_does_not_reach_the_past():
    values = inputs(1, 6, 2, 3)
    before = selective_scan(*values)
    for index in (0, 1, 2, 4, 5):
        values[index] = torch.cat([values[index][:, :4], values[index][:, 4:] + 1], 1)
    after = selective_scan(*values)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.isclose(before[:, 4:], after[:, 4:]).any()


def test_mamba_ssm_is_called_channels_first():
    """A stand-in with the signature and layout of mamba-ssm equals the reference."""

    def kernel(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
        assert delta_softplus and delta_bias is None and u.shape == (2, 3, 7) and B.shape == C.shape == (2, 4, 7)
        u, z, delta, B, C = (value.detach().numpy().transpose(0, 2, 1) for value in (u, z, delta, B, C))
        y = literal(u, z, delta, A.detach().numpy(), B, C, D.detach().numpy())
        return torch.from_numpy(y.transpose(0, 2, 1).copy())

    values = inputs(2, 7, 3, 4)
    torch.testing.assert_close(channels_first(kernel, *values), reference(*values))


@pytest.fixture
def can_build():
    """If there are a compiler and ninja, the kernel must exist. A skip would hide that it no longer builds."""
    if not (which(os.environ.get("CXX", "c++")) and which("ninja")):
        pytest.skip("no C++ compiler or no ninja")
    assert compiled.library()[0], compiled.library()[1]


@pytest.mark.parametrize("batch, T, D, N", [(1, 1, 1, 1), (3, 7, 17, 5), (50, 3, 64, 16), (2, 6, 33, 16)])
def test_a_scan_goes_on_where_it_stopped(batch, T, D, N, can_build):
    """Pieces, each from the state after the previous one, equal the whole. A given state is not changed."""
    values = [value.detach() for value in inputs(batch, T, D, N, torch.float32)]
    expected, state = scan.resume(*values)
    with torch.inference_mode():
        pieces, h = [], None
        for part in (slice(0, T // 2), slice(T // 2, T)):
            before = None if h is None else h.clone()
            cut = [value[:, part] if value.dim() == 3 else value for value in values]
            y, following = compiled.resume(*cut, h=h)
            assert before is None or torch.equal(h, before)
            pieces.append(y)
            h = following
    torch.testing.assert_close(torch.cat(pieces, 1), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(h, state, rtol=1e-4, atol=1e-5)


def test_what_wants_a_gradient_goes_on_in_pytorch():
    values = inputs(2, 3, 4, 2, torch.float32)
    y, h = kernels.resume(*values, h=torch.ones(2, 4, 2))
    expected, state = scan.resume(*values, torch.ones(2, 4, 2))
    assert torch.equal(y, expected) and torch.equal(h, state) and y.requires_grad


SHAPES = [(1, 1, 1, 1), (2, 1, 17, 5), (3, 7, 1, 16), (2, 24, 17, 5), (2, 9, 5, 3), (64, 24, 64, 16), (2, 60, 256, 16)]


@pytest.mark.parametrize("shape", [*SHAPES, (2, 300, 33, 7)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_compiled_values_and_gradients_are_the_references(can_build, shape, dtype):
    """One block of channels and several, whole and partial. One tile of states and several."""
    values = inputs(*shape, torch.float32)
    weight = torch.randn(shape[:3], generator=torch.Generator().manual_seed(1))
    ours = with_gradients(CompiledScan.apply, values, weight)
    truth = with_gradients(reference, [value.detach().to(dtype).requires_grad_() for value in values], weight.to(dtype))
    for name, one, other in zip("y x z dt A B C D".split(), ours, truth, strict=True):
        assert one.dtype == torch.float32 and one.shape == other.shape
        assert (one - other).norm() <= 3e-6 * other.norm(), name


@SIZES
def test_compiled_values_are_the_literal_recurrence(can_build, batch, T, D, N):
    values = inputs(batch, T, D, N, torch.float32)
    expected = literal(*(value.detach().double().numpy() for value in values))
    ours = CompiledScan.apply(*values).detach().numpy()
    assert np.linalg.norm(ours - expected) <= 1e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize("size", [30.0, 1000.0])
def test_compiled_is_the_reference_far_from_zero(can_build, size):
    """Values for which exp overflows or vanishes in the softplus, the gate and the decay."""
    x, z, dt, A, B, C, D = inputs(2, 12, 20, 4, torch.float32)
    values = [x, z * size, dt * size, A * size, B, C, D]
    for one, other in zip(
        with_gradients(CompiledScan.apply, values, x), with_gradients(reference, values, x), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * other.abs().max().item())


def test_compiled_shows_what_is_not_a_number(can_build):
    for index in range(7):
        values = [value.detach() for value in inputs(1, 3, 2, 2, torch.float32)]
        values[index].view(-1)[0] = torch.nan
        assert torch.equal(CompiledScan.apply(*values).isnan(), reference(*values).isnan())


def test_compiled_is_the_same_to_the_bit_for_views_and_in_each_call(can_build):
    """The model passes halves and slices of its projections."""
    x, z, dt, A, B, C, D = (value.detach() for value in inputs(4, 10, 24, 16, torch.float32))
    left, right = torch.cat([x, z], -1).chunk(2, -1)
    _, *sliced = torch.cat([dt, B, C], -1).split([24, 16, 16], -1)
    weight = torch.ones(4, 10, 1).expand(4, 10, 24)
    whole, again, views = (
        with_gradients(CompiledScan.apply, [value.requires_grad_() for value in values], weight)
        for values in ([x, z, dt, A, B, C, D], [x, z, dt, A, B, C, D], [left, right, dt, A, *sliced, D])
    )
    for one, two, three in zip(whole, again, views, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)


def test_compiled_refuses_shapes_that_it_would_read_past(can_build):
    x, z, dt, A, B, C, D = inputs(2, 3, 4, 2, torch.float32)
    with pytest.raises(AssertionError):
        CompiledScan.apply(x, z, dt[:1], A, B, C, D)


def test_float32_takes_the_compiled_path_and_the_rest_the_loop(can_build, monkeypatch):
    values = inputs(2, 3, 4, 2, torch.float32)
    assert path("cpu") == "C++" and "C++" in active("cpu")
    assert "CompiledScan" in selective_scan(*values).grad_fn.name()
    assert "CompiledScan" not in selective_scan(*inputs(2, 3, 4, 2)).grad_fn.name()
    assert "CompiledScan" not in selective_scan(*values[:4], values[4].bfloat16(), *values[5:]).grad_fn.name()


def test_dmm_scan_keeps_to_pytorch(monkeypatch):
    values = inputs(2, 3, 4, 2, torch.float32)
    monkeypatch.setenv("DMM_SCAN", "torch")
    assert path("cpu") == path("cuda") == "PyTorch" and "DMM_SCAN" in active("cpu")
    assert torch.equal(selective_scan(*values), fast(*values))
    monkeypatch.setenv("DMM_SCAN", "cuda")
    with pytest.raises(ValueError, match="DMM_SCAN=cuda"):
        selective_scan(*values)


SCRIPT = """
import torch
from dmm.kernels import active, path, selective_scan
values = [torch.ones(shape) for shape in [(2, 3, 4)] * 3 + [(4, 2)] + [(2, 3, 2)] * 2 + [(4,)]]
print(path("cpu"), float(selective_scan(*values).sum()), active("cpu"), sep="|")
"""


def start(folder, **variables):
    env = {**os.environ, "TORCH_EXTENSIONS_DIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_without_a_compiler_pytorch_is_taken_and_this_is_said_once(tmp_path):
    process = start(tmp_path, CXX="no-such-compiler")
    out, err = process.communicate()
    name, total, why = out.strip().split("|")
    shapes = [(2, 3, 4)] * 3 + [(4, 2)] + [(2, 3, 2)] * 2 + [(4,)]
    assert process.returncode == 0 and name == "PyTorch" and "no-such-compiler" in why
    assert err.count("\n") == err.count("no-such-compiler") == 1
    assert float(total) == pytest.approx(reference(*map(torch.ones, shapes)).sum().item(), rel=1e-5)


def test_processes_may_build_at_once(can_build, tmp_path):
    """One file is left: no lock and no partial file."""
    processes = [start(tmp_path) for _ in range(2)]
    for process in processes:
        out, err = process.communicate()
        assert process.returncode == 0 and out.startswith("C++|") and not err, err
    assert [file.suffix for file in tmp_path.rglob("*") if file.is_file()] == [".so"]


def test_a_build_is_kept_for_its_processor_only(can_build, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    first = compiled.built()
    monkeypatch.setattr(compiled, "which", lambda name: None)  # from here on nothing can be built
    assert compiled.built() == first
    monkeypatch.setattr(compiled, "processor", lambda: ("x86_64", "flags: sse2"))
    with pytest.raises(FileNotFoundError, match="compiler"):
        compiled.built()


def test_active_says_which_path_and_why(monkeypatch):
    def absent(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(kernels, "cuda_kernel", cuda_kernel.__wrapped__)
    monkeypatch.setattr(importlib, "import_module", absent)
    assert "PyTorch" in active("cuda") and "No module named 'selective_scan_cuda'" in active("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_is_the_reference():
    """The path that is active on the GPU."""
    values = inputs(8, 60, 64, 16, torch.float32, "cuda")
    weight = torch.ones(8, 60, 64, device="cuda")
    for ours, truth in zip(
        with_gradients(selective_scan, values, weight), with_gradients(reference, values, weight), strict=True
    ):
        torch.testing.assert_close(ours, truth, rtol=1e-3, atol=1e-4 * truth.abs().max().item())
