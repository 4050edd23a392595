"""Every architecture with every preset and switch, at small sizes, and the batches of the contract."""

import pytest
import torch

from dmm.architectures import build_model, find_model, list_models
from dmm.contract.subject import SPACES as SPACES
from dmm.contract.subject import A as A
from dmm.contract.subject import K, random_batch
from dmm.contract.subject import S as S

batch = random_batch
SMALL = {"width": 16}
EXTRAS = {  # beyond defaults and presets: what no table row would otherwise build
    "dc": {
        "no action tokens": {"action_tokens": False},
        "hybrid": {"last": "attention", "heads": 2, "idle_mixers": True, "projection": True, "unused_table": True},
    },
    "dt": {"two heads": {"heads": 2, "activation": "gelu", "unused_heads": False, "unused_table": False}},
    "attention_ssm": {"two heads": {"heads": 2, "time_table": False, "dt_init": "stock"}},
    "decision_mamba": {"stock dt": {"dt_init": "stock"}},
    "decision_mamba_correia": {"mlp": {"mlp": True}},
    "ds4": {"tanh": {"tanh": True}, "odd": {"embedding": 7, "state_size": 2}},
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
CASES, ON_FRAMES = (
    [
        pytest.param(name, {**overrides, **SMALL, **sizes}, id=f"{name} {label}".strip())
        for name in list_models()
        for label, overrides in ((dict(find_model(name).presets) or {"": {}}) | EXTRAS.get(name, {})).items()
        if label.endswith("Atari") == on_frames
    ]
    for on_frames, sizes in ((False, {}), (True, {"layers": 2}))
)
assert {name for name, _ in (case.values for case in CASES)} == set(list_models())
EVERY = pytest.mark.parametrize("name, overrides", CASES)


def make(name, overrides, seed=0):
    torch.manual_seed(seed)
    return build_model(name, overrides, SPACES, K).eval()
