"""Live parameters, and fields of a Config that change how a model acts but not its weights."""

import pytest
import torch
from helpers.models import SMALL, SPACES, K, batch, make
from helpers.spaces import box

from dmm.architectures import build_model, find_model, list_models, make_config
from dmm.base.fields import recorded
from dmm.models import acting_config, training_config


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
    assert {**training, **acting} == recorded(config)


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
