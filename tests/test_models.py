"""The contract for every file of dmm/models and every preset. Then the switches that can move a published number."""

import dataclasses
import math

import pytest
import torch
from helpers.models import EVERY, SMALL, SPACES, K, batch, make

from dmm.architectures import build_model, list_models, make_config
from dmm.contract import RULES, check_rule
from dmm.contract.subject import Subject, as_tuple


def predict(model, data) -> torch.Tensor:
    """The actions that a model predicts [B K A]."""
    return as_tuple(model(data))[0]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@EVERY
def test_every_model_keeps_the_contract(name, overrides, rule):
    outcome = check_rule(rule, Subject(name, overrides))
    assert not outcome.failure, outcome.failure


@pytest.mark.parametrize("name", list_models())
def test_the_loss_is_the_mean_over_real_steps(name):
    model, data = make(name, SMALL), batch(rows=2)
    predictions = model(data)
    if isinstance(predictions, tuple):
        return  # its own test says what its loss is
    real = [(predictions[b, k] - data.actions[b, k]).square().mean() for b in range(2) for k in range(b, K)]
    torch.testing.assert_close(model.loss(predictions, data), torch.stack(real).mean())


@pytest.mark.parametrize("padding, last", [("left", [K - 1] * 4), ("right", [K - 1, K - 2, K - 3, K - 4])])
def test_a_model_acts_by_its_prediction_for_the_last_real_step(padding, last):
    model, data = make("dt", SMALL), batch(padding=padding)
    predictions = model(data)
    torch.testing.assert_close(model.act(data), torch.stack([predictions[row, k] for row, k in enumerate(last)]))


# switches


def test_attention_alone_and_bc_ignore_padding_and_the_others_do_not():
    data = batch()
    filled = torch.where(data.mask.unsqueeze(2), data.states, 7.0)
    for name in list_models():
        model = make(name, SMALL)
        before, after = (predict(model, d)[data.mask] for d in (data, dataclasses.replace(data, states=filled)))
        assert torch.equal(before, after) == (name in ("dt", "hdt", "bc", "edt")), name


def test_dt_with_no_real_step_is_finite():
    data = dataclasses.replace(batch(), mask=torch.zeros(4, K, dtype=torch.bool))
    assert make("dt", SMALL)(data).isfinite().all()


def test_the_last_block_of_dc_reads_one_filter():
    model, data = make("dc", SMALL), batch()
    model.loss(model(data), data).backward()
    reached = [[bool(g.count_nonzero()) for g in block.mixer.weight.grad] for block in model.blocks]
    assert reached == [[True, True, True], [True, True, True], [False, True, False]]


def test_steps_beyond_the_time_table_share_its_last_entry():
    for name, entries in {"dt": 1000, "dc": 1000, "decision_mamba": 1000, "attention_ssm": 1000, "edt": 4096}.items():
        model, steps = make(name, SMALL), (entries - 2, entries - 1, 2 * entries)
        a, b, c = (predict(model, dataclasses.replace(batch(), steps=torch.full((4, K), t))) for t in steps)
        assert torch.equal(b, c) and not torch.equal(a, b)


def trunk_linears(model):
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.startswith(("embed", "head", "state_head", "return_head"))
    }


@pytest.mark.parametrize("name", ["dt", "dc", "decision_mamba", "metamamba", "attention_ssm"])
def test_trunks_start_at_a_normal_of_002(name):
    torch.manual_seed(0)
    model = build_model(name, {"width": 64}, SPACES, K)
    for module in trunk_linears(model).values():
        count = module.weight.numel()
        assert abs(module.weight.std() - 0.02) < 4 * 0.02 / math.sqrt(2 * count)
        assert abs(module.weight.mean()) < 4 * 0.02 / math.sqrt(count)
        assert module.weight.abs().max() > 0.04  # normal, not uniform
        assert module.bias is None or not module.bias.any()
    for module in (model.embed.states, model.head.linear):  # PyTorch's default: uniform, with a bias
        bound = module.in_features**-0.5
        assert 0.9 * bound < module.weight.abs().max() <= bound and module.bias.any()
    for block in model.modules():
        if hasattr(block, "A_log"):
            torch.testing.assert_close(block.A_log.exp(), torch.arange(1.0, 17).expand(len(block.A_log), 16))
            assert (block.D == 1).all()


@pytest.mark.parametrize("name", ["decision_mamba", "metamamba", "attention_ssm"])
def test_dt_starts_as_published_or_as_in_mamba(name):
    torch.manual_seed(0)
    published = make(name, {"width": 128, "layers": 2})
    stock = make(name, {"width": 128, "layers": 2, "dt_init": "stock"})
    for module_name, module in trunk_linears(published).items():
        if not module_name.endswith("dt_proj"):
            continue
        torch.testing.assert_close(torch.nn.functional.softplus(module.bias), torch.full_like(module.bias, math.log(2)))
        kept = stock.get_submodule(module_name)
        dt = torch.nn.functional.softplus(kept.bias)
        assert dt.min() >= 0.999e-3 and dt.max() <= 0.1001
        assert abs(dt.log().mean() - math.log(1e-2)) < 0.4  # log-uniform: its middle is the geometric mean
        assert 0.99 * 8**-0.5 < kept.weight.abs().max() <= 8**-0.5  # rank 8
    others = {n: m for n, m in trunk_linears(stock).items() if not n.endswith("dt_proj")}
    assert all(m.weight.std() < 0.025 for m in others.values())


def test_mamba2_starts_as_in_mamba_but_for_its_linears():
    torch.manual_seed(0)
    model = make("metamamba", {"width": 1024, "layers": 1, "ssm": "mamba2"})
    (ssm,) = model.ssms
    decay, dt = ssm.A_log.exp(), torch.nn.functional.softplus(ssm.dt_bias)
    assert len(decay) == len(dt) == len(ssm.D) == 1024 // 16
    assert 1 <= decay.min() < 2.5 and 14.5 < decay.max() <= 16 and abs(decay.mean() - 8.5) < 2  # uniform
    assert dt.min() >= 0.999e-3 and dt.max() <= 0.1001 and abs(dt.log().mean() - math.log(1e-2)) < 0.6
    assert (ssm.D == 1).all() and (ssm.norm.weight == 1).all()
    assert abs(ssm.in_proj.weight.std() - 0.02) < 1e-4 and abs(ssm.out_proj.weight.std() - 0.02) < 1e-4


@pytest.mark.parametrize(
    "name, overrides", [("decision_mamba_correia", {"unused_heads": True, "return_tokens": True}), ("hdm", {})]
)
def test_dm_starts_as_pytorch_with_a_smaller_way_back(name, overrides):
    model = make(name, {"width": 128, "layers": 4, "mlp": True, **overrides})
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            rank = name.endswith("dt_proj")
            assert module.bias is None or bool(module.bias.any()) == rank, name
            back = name.endswith(("out_proj", "down"))
            bound = module.in_features**-0.5 * (0.5 if back else 1)
            assert 0.9 * bound < module.weight.abs().max() <= bound, name
            if rank:
                dt = torch.nn.functional.softplus(module.bias)
                assert dt.min() >= 0.999e-3 and dt.max() <= 0.1001


def test_a_frozen_mixer_keeps_the_initialisation_of_pytorch():
    model = make("metamamba", {"width": 64, "mixer_sharing": "frozen-shared"})
    (weight,) = model.mixers.parameters()
    bound = (6 * 64) ** -0.5
    assert 0.99 * bound < weight.abs().max() <= bound and abs(weight.std() - bound / math.sqrt(3)) < 0.02 * bound
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    data, before = batch(), weight.clone()
    model.loss(model(data), data).backward()
    optimiser.step()
    assert torch.equal(weight, before)


def test_the_residual_of_metamamba_is_around_the_ssm():
    """If the SSMs return zeros, nothing is left without the residual. With it the mixed tokens are left."""
    for residual in (True, False):
        model = make("metamamba", {**SMALL, "residual": residual})
        for ssm in model.ssms:
            ssm.out_proj.weight.data.zero_()
        one, two = model(batch(seed=1)), model(batch(seed=2))
        assert torch.equal(one, two) == (not residual)


def test_switches_of_metamamba_share_what_they_say():
    def lengths(**overrides):
        model = make("metamamba", {**SMALL, "layers": 4, **overrides})
        return len(model.mixer_norms), len(model.mixers), len(model.ssms)

    assert lengths() == (1, 4, 4)
    assert lengths(shared_norms=False) == (4, 4, 4)
    assert lengths(mixer_sharing="shared") == (1, 1, 4)
    assert lengths(mixer_sharing="frozen-shared", shared_norms=False) == (4, 1, 4)


@pytest.mark.parametrize(
    "name, overrides, words",
    [
        ("metamanba", {}, ["metamanba", "decision_mamba", "Did you mean 'metamamba'"]),
        ("metamamba", {"widht": 3}, ["widht", "layers", "Did you mean 'width'"]),
        ("metamamba", {"width": 0}, ["width is 0", "at least 1"]),
        ("metamamba", {"width": "64"}, ["'64'", "int"]),
        ("metamamba", {"mixer": "convolution"}, ["convolution", "dense", "linear", "Did you mean 'conv'"]),
        ("metamamba", {"mixer_sharing": "shared", "double": True}, ["shared", "double=False"]),
        ("metamamba", {"mixer_sharing": "shared", "layers": 1}, ["shared", "one layer"]),
        ("metamamba", {"linear_over": "channels"}, ["linear_over='channels'", "mixer='linear'", "'dense'"]),
        ("metamamba", {"ssm": "mamba2", "width": 40}, ["16", "40"]),
        ("metamamba", {"ssm": "mamba2", "double": True}, ["mamba2", "double=False"]),
        ("metamamba", {"ssm": "mamba2", "dt_init": "stock"}, ["dt_init", "mamba2"]),
        ("metamamba", {"ssm_conv": True, "double": True}, ["ssm_conv", "double=False"]),
        ("attention_ssm", {"width": 10, "heads": 3}, ["10", "3 heads"]),
        ("dt", {"width": 10, "heads": 3}, ["10", "3 heads"]),
        ("hdm", {"layers": 0}, ["layers is 0"]),
        ("hdt", {"width": 10, "heads": 3}, ["10", "3 heads"]),
        ("hdt", {"time_steps": "algned"}, ["algned", "published", "Did you mean 'aligned'"]),
        ("dt", {"activation": "silu"}, ["silu", "gelu", "relu"]),
        ("dc", {"layers": -1}, ["layers is -1"]),
        ("ds4", {"state_size": 5}, ["state_size is 5", "even"]),
        ("ds4", {"embedding": 0}, ["embedding is 0"]),
        ("edt", {"width": 10, "heads": 3}, ["10", "3 heads"]),
        ("edt", {"stride": 0}, ["stride is 0"]),
        ("edt", {"bins": 1}, ["1 bins", "at least 2"]),
        ("edt", {"return_low": 4}, ["4.0", "3.2343", "below return_high"]),
        ("edt", {"expectile": 1}, ["expectile is 1.0", "between 0 and 1"]),
    ],
)
def test_errors_name_what_exists(name, overrides, words):
    with pytest.raises(ValueError) as error:
        make_config(name, overrides)
    for word in words:
        assert word in str(error.value)
