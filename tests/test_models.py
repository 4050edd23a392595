"""The contract for every file of dmm/models and every preset. Then the switches that can move a published number."""

import dataclasses
import math

import pytest
import torch
from helpers.models import EVERY, SMALL, SPACES, A, K, batch, make

from dmm.models import build_model, find_model, list_models, make_config


def answer(model, data) -> tuple[torch.Tensor, ...]:
    """The predictions of a model, actions first."""
    predicted = model(data)
    return predicted if isinstance(predicted, tuple) else (predicted,)


def predict(model, data) -> torch.Tensor:
    """The actions that a model predicts [B K A]."""
    return answer(model, data)[0]


@EVERY
@pytest.mark.parametrize("padding", ["left", "right"])
def test_shapes_and_loss(name, overrides, padding):
    model, data = make(name, overrides), batch(padding=padding)
    loss, predictions = model.loss(model(data), data), predict(model, data)
    assert predictions.shape == (4, K, A) and predictions.isfinite().all() and predictions.abs().max() <= 1
    assert loss.shape == () and loss.isfinite()
    if isinstance(model(data), tuple):
        return
    last = [K - 1] * 4 if padding == "left" else [K - 1, K - 2, K - 3, K - 4]
    torch.testing.assert_close(model.act(data), torch.stack([predictions[row, k] for row, k in enumerate(last)]))


@pytest.mark.parametrize("name", list_models())
def test_the_loss_is_the_mean_over_real_steps(name):
    model, data = make(name, SMALL), batch(rows=2)
    predictions = model(data)
    if isinstance(predictions, tuple):
        return  # its own test says what its loss is
    real = [(predictions[b, k] - data.actions[b, k]).square().mean() for b in range(2) for k in range(b, K)]
    torch.testing.assert_close(model.loss(predictions, data), torch.stack(real).mean())


@EVERY
@pytest.mark.parametrize("step", [0, 2, K - 1])
def test_no_step_sees_the_future(name, overrides, step):
    model, data = make(name, overrides), batch(rows=1)
    before = predict(model, data)
    states, actions, returns = data.states.clone(), data.actions.clone(), data.returns_to_go.clone()
    states[:, step + 1 :] += 1
    returns[:, step + 1 :] += 1
    actions[:, step:] += 1
    after = predict(model, dataclasses.replace(data, states=states, actions=actions, returns_to_go=returns))
    torch.testing.assert_close(after[:, : step + 1], before[:, : step + 1], rtol=0, atol=1e-6)


def sees(name, overrides) -> dict[str, int]:
    """The fields that a prediction reads. Each has the number of steps from the prediction back to its latest entry."""
    if name == "bc":
        return {"states": 0}
    if name in ("hdm", "hdt"):
        return {"states": 0, "goals": 0, "previous_actions": 1}
    if name == "decision_mamba_correia":  # the action before a step comes after its state
        return {"states": 0, "previous_actions": 1} | ({"returns_to_go": 0} if overrides.get("return_tokens") else {})
    if name == "ds4":
        return {"states": 0, "returns_to_go": 0, "previous_actions": 0}
    return {"states": 0, "returns_to_go": 0} | ({"actions": 1} if overrides.get("action_tokens", True) else {})


@EVERY
def test_every_step_sees_what_it_may(name, overrides):
    """The present state and return-to-go, and the previous action. A mixer that is shifted by one token fails."""
    model, data = make(name, overrides), batch(rows=1)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    before = predict(model, data)
    for field in ("states", "returns_to_go", "actions", "previous_actions", "goals", "previous_goals"):
        first = sees(name, overrides).get(field, K)
        for step in range(K):
            value = getattr(data, field).clone()
            value[:, max(step - first + 1, 0) :] += 1  # later than what it sees
            unseen = predict(model, dataclasses.replace(data, **{field: value}))
            torch.testing.assert_close(unseen[:, step], before[:, step], rtol=0, atol=1e-6)
            if step >= first:
                value[:, step - first] += 1
                after = predict(model, dataclasses.replace(data, **{field: value}))
                assert (after[:, step] - before[:, step]).abs().max() > 1e-5, (field, step)


@EVERY
def test_every_parameter_learns_but_the_unread(name, overrides):
    model, data = make(name, overrides), batch()
    model.loss(model(data), data).backward()
    names = dict(model.named_parameters())
    for prefix in model.unused_parameters():
        assert any(parameter.startswith(prefix) for parameter in names), f"{prefix} names no parameter"
    for parameter, value in names.items():
        learns = value.grad is not None and bool(value.grad.count_nonzero())
        assert learns != parameter.startswith(model.unused_parameters()), parameter


@EVERY
def test_a_checkpoint_is_the_whole_model(name, overrides, tmp_path):
    model, other, data = make(name, overrides), make(name, overrides, seed=1), batch()
    assert not torch.allclose(predict(other, data), predict(model, data))
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other.load_state_dict(torch.load(tmp_path / "model.pt"))
    assert all(map(torch.equal, answer(other, data), answer(model, data)))


@EVERY
def test_a_checkpoint_holds_everything_once(name, overrides):
    """A shared layer is in the checkpoint once, because safetensors refuses aliases."""
    pointers = [value.data_ptr() for value in make(name, overrides).state_dict().values()]
    assert len(set(pointers)) == len(pointers)


@EVERY
def test_it_can_memorise_a_batch(name, overrides):
    model, data = make(name, {**overrides, "width": 32, "layers": 2}), batch(rows=3)
    model.train(name == "ds4")  # out of training it clips actions, and one that is clipped has no gradient
    optimiser, losses = torch.optim.Adam(model.parameters(), lr=5e-3), []
    for _ in range(60):
        losses.append(model.loss(model(data), data))
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.1 * losses[0]


@EVERY
def test_the_seed_decides_the_weights(name, overrides):
    one, same, other = (make(name, overrides, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


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


@pytest.mark.parametrize("name", list_models())
def test_every_field_of_a_config_has_an_effect(name):
    """Another value of any field gives another model or another answer (for dropout: in training)."""

    def fingerprint(overrides):
        torch.manual_seed(0)
        model = build_model(name, {"width": 32, **overrides}, SPACES, K).train()
        shapes = {key: value.shape for key, value in model.named_parameters()}
        data = batch(padding="right")
        torch.manual_seed(0)
        pred, acted = model(data), model.act(data)
        parts = *(pred if isinstance(pred, tuple) else [pred]), *(acted if isinstance(acted, tuple) else [acted])
        return (
            shapes,
            model.unused_parameters(),
            torch.cat([part.flatten() for part in (*parts, model.loss(pred, data))]),
        )

    default = fingerprint({})
    for field in dataclasses.fields(find_model(name).Config):
        overrides = {field.name: another(find_model(name).Config, field)}
        shapes, unused_parameters, found = fingerprint(overrides)
        same = shapes == default[0] and unused_parameters == default[1] and torch.allclose(found, default[2], atol=1e-7)
        assert not same, overrides


def another(config, field):
    """A valid value of a field that is not its default."""
    import typing

    kind = typing.get_type_hints(config)[field.name]
    if typing.get_origin(kind) is typing.Literal:
        return next(value for value in typing.get_args(kind) if value != field.default)
    return {bool: not field.default, int: 2 * field.default, float: field.default / 2 or 9.0}[type(field.default)]


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
