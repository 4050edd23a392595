"""Live parameters against gradients, and fields of a Config that change how a model acts but not its weights."""

import dataclasses

import pytest
import torch
from helpers.models import EVERY, SMALL, SPACES, A, K, S, batch, make
from helpers.spaces import box

from dmm.batch import Batch
from dmm.models import acting_config, build_model, find_model, list_models, make_config, training_config

ENTRIES = {"edt": 4096, "hdt": 4096}  # of the time table, where it has more than 1000


def every_step(entries: int) -> Batch:
    """Full windows that have every time step that a table holds."""
    torch.manual_seed(5)
    rows = entries // K + 1
    steps = torch.arange(rows * K).reshape(rows, K)
    states, actions, scalars = (rows, K, S), (rows, K, A), (rows, K)
    return Batch(
        torch.randn(states).double(),
        torch.rand(actions).double() * 2 - 1,
        torch.rand(scalars).double() * 3,
        steps,
        torch.ones(scalars, dtype=torch.bool),
        torch.randn(scalars).double(),
        *(torch.randn(shape).double() for shape in (states, actions, states, states)),
        uniform_samples=torch.rand(scalars).double(),
    )


@EVERY
def test_live_parameters_are_those_that_get_a_gradient(name, overrides):
    """Entry by entry, in float64. A dead entry has a gradient of exactly zero at all weights: a ReLU may be idle at some."""
    data, dead = every_step(ENTRIES.get(name, 1000)), {}
    for seed in range(2):
        model = make(name, overrides, seed).double().train()
        for parameter in model.parameters():  # away from zeros and ones, which may hide a path
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
        model.loss(model(data), data).backward()
        for key, value in model.named_parameters():
            still = torch.ones_like(value, dtype=torch.bool) if value.grad is None else value.grad == 0
            dead[key] = still & dead.get(key, still)
    found = {key: int(still.sum()) for key, still in dead.items()}
    said, unused = model.dead_entries(), model.unused_parameters()
    assert found == {key: still.numel() if key.startswith(unused) else said.get(key, 0) for key, still in dead.items()}
    assert model.live_parameters() == sum(still.numel() for still in dead.values()) - sum(found.values())
    assert set(said) <= set(found)


@pytest.mark.parametrize(
    "arch, preset, expected",
    [
        ("metamamba", "DMM-L, as published", 645_251),
        ("metamamba", "DMM-L, as meant", 1_235_075),
        ("metamamba", "DMM-DL, as published", 467_011),
        ("metamamba", "DMM-DL, as meant", 1_204_291),
    ],
)
def test_live_parameters_on_hopper(arch, preset, expected):
    assert build_model(arch, find_model(arch).presets[preset], box(11, 3), 8).live_parameters() == expected


def test_a_frozen_mixer_has_no_dead_entries_of_its_own():
    overrides = {"mixer": "linear", "linear_over": "channels", "mixer_sharing": "frozen-shared", **SMALL}
    model = make("metamamba", overrides)
    live = sum(value.numel() for key, value in model.named_parameters() if not key.startswith("mixers"))
    assert model.live_parameters() == live


# acting fields


def test_the_acting_fields_are_edt_s():
    found = {name: set(acting_config(make_config(name, {}))) for name in list_models()}
    assert {name: fields for name, fields in found.items() if fields} == {"edt": {"stride", "inverse_temperature"}}


@pytest.mark.parametrize("name", list_models())
def test_a_config_is_its_training_and_its_acting_fields(name):
    config = make_config(name, {})
    training, acting = training_config(config), acting_config(config)
    assert not set(training) & set(acting)
    assert {**training, **acting} == dataclasses.asdict(config)


def trained(overrides) -> dict[str, torch.Tensor]:
    """The weights of EDT after a few updates."""
    torch.manual_seed(0)
    model = build_model("edt", {**SMALL, **overrides}, SPACES, K).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for seed in range(3):
        data = batch(seed=seed)
        optimiser.zero_grad()
        model.loss(model(data), data).backward()
        optimiser.step()
    return model.state_dict()


def test_acting_fields_leave_the_weights_and_others_do_not():
    plain, acting, other = (
        trained(fields) for fields in ({}, {"stride": 1, "inverse_temperature": 25.0}, {"expectile": 0.5})
    )
    assert all(torch.equal(plain[key], acting[key]) for key in plain)
    assert any(not torch.equal(plain[key], other[key]) for key in plain)


class Hidden:
    """A Config without its acting fields."""

    def __init__(self, config):
        vars(self).update(training_config(config))


@EVERY
def test_no_prediction_and_no_loss_reads_an_acting_field(name, overrides):
    model, data = make(name, overrides), batch()
    before = model.loss(model(data), data)
    for module in model.modules():
        if dataclasses.is_dataclass(config := getattr(module, "config", None)):
            module.config = Hidden(config)
    assert torch.equal(model.loss(model(data), data), before)
