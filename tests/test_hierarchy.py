"""HDM and HDT against Mamba and GPT-2 of transformers, and against the published procedures, one episode at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.models import batch, make
from helpers.reacher import REACHER, parts
from helpers.synthetic_episodes import episodes
from test_parity import copy_transformer, linear, mamba_twin, norm
from torch import nn

import dmm.models.hdt
from dmm.architectures import build_model
from dmm.base.seeds import derive_seed
from dmm.config import Trial
from dmm.data.windows import read_windows, sample_batch
from dmm.layers import attention_bias
from dmm.rollouts.history import StateStatistics, WindowedHistory
from dmm.training.fit import fit, init_model
from tune_spaces.protocols import CORREIA, CORREIA_HDT

transformers = pytest.importorskip("transformers")
SPACES = REACHER.spaces
S, A, K, HIDDEN = SPACES.state_dim, SPACES.action_dim, 4, 32
TRAINING = CORREIA.with_overrides(context_length=K).training
LOW = ("goals", "states", "previous_actions")
HIGH = {"hdm": ("previous_goals", "states"), "hdt": ("states", "previous_goals")}
BOTH = pytest.mark.parametrize("name", ["hdm", "hdt"])


def shaken(name, **overrides):
    """A model in which every parameter has an effect."""
    torch.manual_seed(0)
    model = build_model(name, {"width": HIDDEN, "layers": 2, **overrides}, SPACES, K).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model


class Twin:
    """A level with the trunk of transformers. It predicts n steps without padding."""

    def __init__(self, name, level, fields, tanh):
        self.level, self.fields, self.tanh, self.time = level, fields, tanh, name == "hdt"
        if name == "hdm":
            self.trunk = mamba_twin(level.blocks, level.norm, HIDDEN)
            return
        config = transformers.GPT2Config(
            vocab_size=1, n_embd=HIDDEN, n_layer=2, n_head=1, n_positions=64, activation_function="relu"
        )
        self.trunk = transformers.GPT2Model(config).eval()
        self.trunk.wpe.weight.data.zero_()
        copy_transformer(level.blocks, self.trunk.h)
        self.trunk.ln_f.load_state_dict(level.norm.state_dict())

    @torch.no_grad()
    def __call__(self, values: dict, steps) -> torch.Tensor:
        tokens = []
        for k, step in enumerate(steps):
            for field in self.fields:
                token = linear(self.level.embed[field], values[field][k])
                tokens.append(token + self.level.time.weight[step] if self.time else token)
        x = norm(self.level.embed_norm, torch.stack(tokens)).unsqueeze(0)
        hidden = self.trunk(inputs_embeds=x).last_hidden_state[0]
        said = linear(self.level.head, hidden[1 :: len(self.fields)])
        return torch.tanh(said) if self.tanh else said


def twins(name, model) -> tuple[Twin, Twin]:
    return Twin(name, model.high, HIGH[name], tanh=name == "hdm"), Twin(name, model.low, LOW, tanh=True)


@pytest.mark.parametrize("name, overrides", [("hdm", {}), ("hdt", {}), ("hdt", {"time_steps": "aligned"})])
def test_both_levels_are_their_twins_of_transformers(name, overrides):
    """Training windows, each cut to its real steps, so padding has no effect. HDT's time steps are padded on the left."""
    model, data = shaken(name, **overrides), episodes()
    high, low = twins(name, model)
    rows = torch.tensor([0, 2, 3, 20, 30, 33, 87, 99])  # windows of 1, 3, 4, 4, 1, 4, 1 and 4 steps
    windows = read_windows(data, rows, TRAINING, 1.0, SPACES, model.needs)
    assert windows.mask.sum(1).tolist() == [1, 3, 4, 4, 1, 4, 1, 4] and windows.mask[:, 0].all()
    actions, goals = model(windows)
    for row, real in enumerate(windows.mask.sum(1).tolist()):
        values = {field: getattr(windows, field)[row] for field in {*HIGH[name], *LOW}}
        steps = windows.steps[row, :real].tolist()
        if overrides.get("time_steps") != "aligned":
            steps = ([0] * (K - real) + steps)[:real]
        torch.testing.assert_close(goals[row, :real], high(values, steps), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(actions[row, :real], low(values, steps), rtol=1e-4, atol=1e-5)
    assert actions.std() > 0.1 and goals.std() > 0.1


def procedure(high, low, states):
    """The published evaluation of one episode. Lists start with zeros, grow, and are cut to their last K entries."""
    seen, times, goals, actions = [], [], [torch.zeros(S)], [torch.zeros(A)]
    for t, state in enumerate(states):
        seen.append(torch.tensor(state, dtype=torch.float32))
        times.append(t)
        seen, times, goals, actions = seen[-K:], times[-K:], goals[-K:], actions[-K:]
        goals.append(high({"states": seen, "previous_goals": goals}, times)[-1])
        actions.append(low({"states": seen, "goals": goals[1:], "previous_actions": actions}, times)[-1])
        yield actions[-1].numpy(), goals[-1].numpy()


@BOTH
def test_rollouts_are_the_published_procedure(name):
    """Three lanes over more than three windows. One lane ends halfway."""
    model = shaken(name)
    generator = np.random.default_rng(0)
    norms = StateStatistics(generator.normal(size=S), generator.uniform(0.5, 2, S))
    states = generator.normal(0, 2, (3, 3 * K + 3, S))
    expected = [list(procedure(*twins(name, model), (lane - norms.mean) / norms.std)) for lane in states]
    settings = {"training": TRAINING, "evaluation": CORREIA.evaluation}
    trial = Trial(arch=name, task=REACHER, dataset=("none",), seed=0, **settings)
    history, live = WindowedHistory(trial, norms, [-5.0] * 3, model.needs), [0, 1, 2]
    for t in range(states.shape[1]):
        if t == K + 2:
            history.drop_finished(np.array([True, False, True]))
            live = [0, 2]
        history.observe(states[live, t])
        with torch.inference_mode():
            actions = history.choose(history.predict(model))
        history.record_rewards(np.ones(len(live)))
        for place, lane in enumerate(live):
            np.testing.assert_allclose(actions[place], expected[lane][t][0], atol=1e-4)
            np.testing.assert_allclose(history.goals[place, history.row], expected[lane][t][1], atol=1e-4)
    assert np.std([action for action, _ in expected[0]]) > 0.1


@BOTH
def test_a_goal_sees_the_goal_before_it_and_its_state(name):
    model, data = make(name, {"width": 16}), batch(rows=1)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    before = model(data)[1]
    for field in ("states", "previous_goals", "goals", "returns_to_go", "actions", "previous_actions"):
        for step in range(before.shape[1]):
            value = getattr(data, field).clone()
            value[:, step + 1 :] += 1
            after = model(replace(data, **{field: value}))[1]
            torch.testing.assert_close(after[:, step], before[:, step], rtol=0, atol=1e-6)
            value[:, step] += 1
            moved = (model(replace(data, **{field: value}))[1][:, step] - before[:, step]).abs().max()
            assert moved > 1e-5 if field in HIGH[name] else moved < 1e-6, (field, step)


@BOTH
def test_the_loss_is_that_of_actions_and_of_goals_over_real_steps(name):
    model, data = make(name, {"width": 16}), batch(padding="right")
    actions, goals = model(data)
    total = {"actions": [], "goals": []}
    for row in range(4):
        for k in range(data.mask.shape[1] - row):
            total["actions"] += (actions[row, k] - data.actions[row, k]).square().tolist()
            total["goals"] += (goals[row, k] - data.goals[row, k]).square().tolist()
    expected = sum(float(np.mean(errors)) for errors in total.values())
    assert model.loss((actions, goals), data).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name, overrides", [("hdm", ()), ("hdt", (("dropout", 0.0),))])
def test_one_optimiser_is_as_good_as_two(name, overrides):
    """fit() against the published loop, where each level has its own optimiser, schedule and clipped gradient."""
    changed = parts(updates=6, num_evaluations=1, window_anchor="end", padding="right", pad_action=0.0)
    overrides = (("width", 16), ("layers", 2), *overrides)
    trial = Trial(arch=name, task=REACHER, dataset=("golden",), seed=0, overrides=overrides, **changed)
    found, _ = fit(trial, episodes())
    model = init_model(trial).train()
    levels = [model.high, model.low]
    optimisers = [torch.optim.AdamW(level.parameters(), lr=1e-3, weight_decay=1e-4) for level in levels]
    schedules = [torch.optim.lr_scheduler.LambdaLR(one, lambda step: min((step + 1) / 2, 1)) for one in optimisers]
    generator, norms = torch.Generator().manual_seed(derive_seed(0, "windows")), []
    for _ in range(6):
        drawn = sample_batch(episodes(), trial.training, REACHER.return_scale, SPACES, generator, 8, model.needs)
        actions, goals = model(drawn)
        errors = (goals - drawn.goals)[drawn.mask], (actions - drawn.actions)[drawn.mask]
        for level, optimiser, schedule, error in zip(levels, optimisers, schedules, errors, strict=True):
            optimiser.zero_grad()
            error.square().mean().backward()
            norms.append(float(nn.utils.clip_grad_norm_(level.parameters(), 0.25)))
            optimiser.step()
            schedule.step()
    assert max(norms) > 0.25  # clipping has a part
    for key, value in found.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[key], rtol=1e-4, atol=1e-6)


def test_steps_move_to_the_end_of_the_window_by_hand():
    data = batch(rows=3, padding="right")
    steps = torch.tensor([[4, 5, 6, 7, 8, 9], [0, 1, 2, 3, 4, 0], [7, 8, 9, 10, 0, 0]])
    moved = dmm.models.hdt.left_padded_steps(replace(data, steps=steps))
    assert moved.tolist() == [[4, 5, 6, 7, 8, 9], [0, 0, 1, 2, 3, 4], [0, 0, 7, 8, 9, 10]]
    left = batch(rows=3, padding="left")
    assert torch.equal(dmm.models.hdt.left_padded_steps(left), left.steps)


def test_no_number_of_hdt_tells_whether_right_padding_is_masked(monkeypatch):
    model, data = shaken("hdt"), read_windows(episodes(), torch.arange(12), TRAINING, 1.0, SPACES, shaken("hdt").needs)
    masked = model(data)
    monkeypatch.setattr(dmm.models.hdt, "attention_bias", lambda real, x: attention_bias(torch.ones_like(real), x))
    for one, other in zip(masked, model(data), strict=True):
        assert torch.equal(one[data.mask], other[data.mask]) and not torch.equal(one, other)


def test_goals_are_bounded_in_hdm_alone():
    for name, overrides, bounded in [("hdm", {}, True), ("hdm", {"goal_tanh": False}, False), ("hdt", {}, False)]:
        model = shaken(name, **overrides)
        for part in model.gradient_clip_groups():
            part.head.weight.data.mul_(100)
        actions, goals = model(read_windows(episodes(), torch.arange(9), TRAINING, 1.0, SPACES, model.needs))
        assert actions.abs().max() <= 1 and (goals.abs().max() <= 1) == bounded


def test_hdt_starts_as_a_later_gpt2():
    model = make("hdt", {"width": 64, "layers": 8})
    for level in model.gradient_clip_groups():
        for name, module in level.blocks.named_modules():
            if isinstance(module, nn.Linear):
                std = 0.02 / 4 if name.endswith(("attention.out", "mlp.down")) else 0.02
                assert module.weight.std().item() == pytest.approx(std, rel=0.05) and not module.bias.any()
        assert level.time.weight.shape == (4096, 64) and level.time.weight.std().item() == pytest.approx(1, rel=0.02)
        for module in (*level.embed.values(), level.head):
            bound = module.in_features**-0.5
            assert 0.9 * bound < module.weight.abs().max() <= bound and module.bias.any()


def test_steps_beyond_the_time_table_of_hdt_share_its_last_entry():
    model = make("hdt", {"width": 16})
    a, b, c = (model(replace(batch(), steps=torch.full((4, 6), t)))[1] for t in (4094, 4095, 9000))
    assert torch.equal(b, c) and not torch.equal(a, b)


def test_protocols_are_those_of_the_scripts():
    training, evaluation, hdt = CORREIA.training, CORREIA.evaluation, CORREIA_HDT.training
    assert (training.updates, training.batch_size, evaluation.episodes_per_evaluation) == (100_000, 16, 10)
    assert evaluation.updates(training) == tuple(range(1000, 100_001, 1000))
    assert (hdt.updates, hdt.batch_size) == (10_000, 64)
    assert CORREIA_HDT.evaluation.updates(hdt) == tuple(range(1000, 10_001, 1000))
    assert (training.learning_rate, training.warmup) == (1e-4, 10_000)
    assert (training.weight_decay, training.grad_clip_norm) == (1e-4, 0.25)
    assert (training.pad_state, evaluation.rollout_pad_state) == ("raw zero", "normalised zero")
