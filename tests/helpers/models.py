"""Every architecture with every preset and switch, at small sizes, and a random batch."""

import pytest
import torch

from dmm.batch import Batch
from dmm.models import build_model, find_model, list_models
from helpers.spaces import box

S, A, K = 5, 3, 6
SPACES = box(S, A)
SMALL = {"width": 16}
EXTRAS = {  # beyond defaults and presets: what no table row would otherwise build
    "dc": {"no action tokens": {"action_tokens": False}},
    "dt": {"two heads": {"heads": 2, "activation": "gelu", "unused_heads": False, "unused_table": False}},
    "attention_ssm": {"two heads": {"heads": 2, "time_table": False, "dt_init": "stock"}},
    "decision_mamba": {"stock dt": {"dt_init": "stock"}},
    "decision_mamba_correia": {"mlp": {"mlp": True}},
    "ds4": {"tanh": {"tanh": True}, "odd": {"embedding": 7, "state_size": 2}},
    "edt": {"uniform_samples": {"inverse_temperature": 25.0}},
    "hdm": {"mlp": {"mlp": True, "goal_tanh": False}},
    "hdt": {"two heads": {"heads": 2, "time_steps": "aligned"}},
    "metamamba": {
        "frozen": {"mixer_sharing": "frozen-shared"},
        "shared": {"mixer_sharing": "shared"},
        "conv": {"mixer": "conv", "activation": "gelu", "dt_init": "stock"},
        "stock conv": {"ssm_conv": True},
        "mamba2 conv": {"ssm": "mamba2", "ssm_conv": True, "activation": "gelu", "expand": 2},
    },
}
CASES = [
    pytest.param(name, {**overrides, **SMALL}, id=f"{name} {label}".strip())
    for name in list_models()
    for label, overrides in ({"": {}} | dict(find_model(name).presets) | EXTRAS.get(name, {})).items()
]
EVERY = pytest.mark.parametrize("name, overrides", CASES)


def make(name, overrides, seed=0):
    torch.manual_seed(seed)
    return build_model(name, overrides, SPACES, K).eval()


def batch(rows=4, padding="left", seed=1) -> Batch:
    """Windows with 0, 1, ... padded steps and random values."""
    torch.manual_seed(seed)
    steps = torch.arange(K).expand(rows, K)
    mask = steps >= torch.arange(rows).unsqueeze(1)
    mask = mask if padding == "left" else mask.flip(1)
    values = torch.randn(rows, K, S), torch.rand(rows, K, A) * 2 - 1, torch.rand(rows, K)
    extras = {name: torch.randn(rows, K, S) for name in ("next_states", "goals", "previous_goals")}
    return Batch(
        *values,
        steps=steps,
        mask=mask,
        rewards=torch.randn(rows, K),
        previous_actions=torch.rand(rows, K, A) * 2 - 1,
        **extras,
        uniform_samples=torch.rand(rows, K),
    )
