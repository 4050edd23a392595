"""On a CUDA device: every architecture trains there, and with mamba-ssm's kernels it is what the readable scan says.

Needs torch, numpy, einops, jaxtyping and pytest alone; mamba-ssm and causal-conv1d where they are built.
"""

from dataclasses import replace
from statistics import fmean

import pytest
import torch
from helpers.models import CASES, batch, make
from helpers.reacher import REACHER, parts
from helpers.synthetic_episodes import episodes

from dmm import kernels
from dmm.architectures import find_model, list_models
from dmm.config import Trial
from dmm.contract.running import episodes as frames_episodes
from dmm.contract.subject import FRAMES
from dmm.training.fit import fit

pytestmark = pytest.mark.gpu


def uses_the_scan(name: str, overrides: dict) -> bool:
    return any(type(module).__name__ == "SelectiveSSM" for module in make(name, overrides).modules())


def gradients(model, data) -> dict[str, torch.Tensor]:
    loss = model.loss(model(data), data)
    loss.backward()
    found = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach().cpu(), **found}


@pytest.mark.parametrize("name, overrides", CASES)
def test_forward_and_gradients_are_those_of_the_readable_path(name, overrides, monkeypatch):
    """The same weights and windows on the CPU in float64 with the PyTorch scan, error relative to each tensor's norm."""
    if uses_the_scan(name, overrides):
        assert kernels.path("cuda") == "mamba-ssm", kernels.active("cuda")
    data = batch()
    model = make(name, overrides)
    found = gradients(make(name, overrides).cuda(), data.to("cuda"))
    doubles = {name: value.double() for name, value in data.tensors().items() if value.is_floating_point()}
    monkeypatch.setenv("DMM_SCAN", "torch")
    expected = gradients(model.double(), replace(data, **doubles))
    assert set(found) == set(expected)
    for name, value in expected.items():
        error = (found[name].double() - value).norm() / value.norm().clamp(min=1e-6)
        assert error < 1e-3, (name, float(error))


@pytest.mark.parametrize("arch", list_models())
def test_a_hundred_updates(arch):
    changed = parts(updates=100, num_evaluations=1, learning_rate=3e-3)
    trial = Trial(arch=arch, task=REACHER, dataset=("golden",), seed=0, overrides=(("width", 32),), **changed)
    model, state = fit(trial, episodes(), device="cuda")
    losses = [point.loss for point in state.progress.loss]
    assert next(model.parameters()).is_cuda and fmean(losses[-10:]) < fmean(losses[:10])


def frames_trial(arch: str, preset: str, updates: int) -> Trial:
    settings = parts(context_length=5, updates=updates, num_evaluations=1, sampling="passes", window_anchor="shifted",
                     padding="right", schedule="cosine", warmup=0, learning_rate=3e-3, decay="matrices")  # fmt: skip
    overrides = {**find_model(arch).presets[preset], "width": 32, "layers": 2, "dropout": 0.0}
    task = replace(REACHER, spaces=FRAMES, return_scale=1.0)
    return Trial(arch=arch, task=task, dataset=("contract",), seed=0, overrides=tuple(overrides.items()), **settings)


@pytest.mark.parametrize(
    "arch, preset", [("dt", "DT, Atari"), ("dc", "DC hybrid, Atari"), ("metamamba", "DMM-C, Atari")]
)
def test_updates_on_frames_are_those_of_the_cpu(arch, preset):
    """The frames are on the device, and the fourth update and later ones are one CUDA graph."""
    trial, made = frames_trial(arch, preset, 8), frames_episodes(FRAMES)
    curves = [fit(trial, made, device=device)[1].progress.loss for device in ("cpu", "cuda")]
    for one, other in zip(*curves, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-2)


def test_causal_conv1d_is_built():
    """Not used by dmm, whose convolutions are sums over taps; it is part of the recipe that the README gives."""
    pytest.importorskip("causal_conv1d")
