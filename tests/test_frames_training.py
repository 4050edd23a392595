"""Training on frames: the rates of the Atari scripts, the parameters that decay, passes over the data, and exact resumes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.reacher import REACHER, parts

from dmm import data
from dmm.architectures import build_model, find_model
from dmm.config import Training, Trial
from dmm.contract.running import episodes
from dmm.contract.subject import FRAMES
from dmm.data.trajectories import assemble
from dmm.data.windows import pass_rows, read_windows
from dmm.schema import from_json, to_json
from dmm.tasks import find_task
from dmm.training.fit import fit
from dmm.training.optimizer import init_optimizer, learning_rate
from dmm.trials.storage import load_checkpoint, save_checkpoint
from dmm.trials.train import training_data

STEPS, PASSES = 500_000, 10
KZL = Training(
    context_length=30, batch_size=128, updates=PASSES * STEPS // 128, learning_rate=6e-4, schedule="cosine", warmup=0,
    warmup_actions=10_240, cosine_passes=6.0, weight_decay=0.1, decay="matrices", betas=(0.9, 0.95), grad_clip_norm=1.0,
    sampling="passes", window_anchor="shifted", padding="right",
)  # fmt: skip
TASK = replace(REACHER, name="frames", spaces=FRAMES, return_scale=1.0)


def trial(arch: str = "dt", preset: str = "DT, Atari", **changes) -> Trial:
    settings = parts(
        context_length=5, batch_size=4, schedule="cosine", warmup=0, sampling="passes", window_anchor="shifted",
        padding="right", decay="matrices", **{"updates": 12, "num_evaluations": 3, **changes},
    )  # fmt: skip
    overrides = {**find_model(arch).presets[preset], "width": 8, "layers": 1}
    return Trial(arch=arch, task=TASK, dataset=("contract",), seed=0, overrides=tuple(overrides.items()), **settings)


def test_rates_after_each_pass_are_those_of_the_scripts_with_their_rebound():
    expected = [0.933, 0.75, 0.5, 0.25, 0.1, 0.1, 0.1, 0.25, 0.5, 0.75]
    for training in (KZL, replace(KZL, batch_size=64, context_length=20)):
        after = [round(number * STEPS / training.batch_size) for number in range(1, PASSES + 1)]
        found = [learning_rate(training, update, STEPS) / 6e-4 for update in after]
        assert found == pytest.approx(expected, abs=1e-3)


def test_the_first_update_has_the_whole_rate_and_then_actions_are_counted():
    found = [learning_rate(KZL, update, STEPS) / 6e-4 for update in range(4)]
    assert found == pytest.approx([1, 3840 / 10_240, 7680 / 10_240, 1], abs=1e-6)


def test_a_plain_cosine_is_lowest_at_the_end():
    plain = replace(KZL, cosine_passes=0.0, rate_floor=0.0, warmup_actions=0)
    half, last = (learning_rate(plain, update, STEPS) / 6e-4 for update in (plain.updates // 2, plain.updates - 1))
    assert half == pytest.approx(0.5, abs=1e-4) and last == pytest.approx(0, abs=1e-4)


def test_a_constant_rate_is_as_it_was():
    training = Training()
    assert [learning_rate(training, update, 7) for update in (0, 4_999, 9_999, 99_999)] == [1e-8, 5e-5, 1e-4, 1e-4]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"warmup_actions": 5}, "Training.warmup_actions is 5; it needs schedule 'cosine'"),
        ({"cosine_passes": 6}, "Training.cosine_passes is 6.0; it needs"),
        ({"rate_floor": 0.2}, "Training.rate_floor is 0.2; it needs"),
        ({"schedule": "cosine"}, "Training.warmup is 10,000; the schedule 'cosine' takes 0"),
        ({"schedule": "cosine", "warmup": 0, "rate_floor": 2}, "rate_floor is 2.0; it must be from 0 to 1"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"window_anchor": "whole", "sampling": "passes"}, "needs sampling 'episodes'; it has 'passes'"),
    ],
)
def test_settings_without_effect_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        Training(**changes)


def test_new_settings_are_in_a_record_only_if_they_are_not_the_default():
    assert not {"schedule", "warmup_actions", "cosine_passes", "rate_floor", "decay"} & set(to_json(Training()))
    assert from_json(Training, to_json(KZL)) == KZL and to_json(KZL)["schedule"] == "cosine"
    assert "reward_clip" not in to_json(REACHER) and to_json(find_task("pong"))["reward_clip"] == 1.0
    record = trial().weights_record
    assert "squash" in record.config and "global_step" not in record.config


@pytest.mark.parametrize(
    "arch, preset, decay, decayed, others",
    [
        ("dt", "DT, Atari", "matrices", "blocks.0.mlp.up.weight embed.states.first.weight head.linear.weight",
         "embed.actions.weight embed.places.weight embed.states.first.bias blocks.0.mlp_norm.weight"),
        ("dc", "DC, Atari", "matrices", "blocks.0.mixer.weight", "blocks.0.mixer.bias"),
        ("decision_mamba", "DMamba, Atari", "matrices", "blocks.0.ssm.dt_proj.weight",
         "blocks.0.ssm.A_log blocks.0.ssm.D blocks.0.ssm.dt_proj.bias"),
        ("metamamba", "DMM-C, Atari", "matrices and SSM", "ssms.0.A_log ssms.0.D mixers.0.weight", "mixers.0.bias"),
        ("dt", "DT", "all", "head.linear.bias", ""),
    ],
)  # fmt: skip
def test_what_decays_is_what_the_scripts_let_decay(arch, preset, decay, decayed, others):
    spaces = FRAMES if "Atari" in preset else REACHER.spaces
    model = build_model(arch, {**find_model(arch).presets[preset], "width": 8, "layers": 1}, spaces, 5)
    groups = init_optimizer(model, Training(decay=decay, weight_decay=0.1)).param_groups
    found = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert set(found) == {id(parameter) for parameter in model.parameters()}
    for names, value in ((decayed, 0.1), (others, 0.0)):
        assert {found[id(model.get_parameter(name))] for name in names.split()} <= {value}


def test_updates_take_the_rows_of_passes_with_the_settings_of_the_trial(monkeypatch):
    seen, made = [], episodes(FRAMES)

    def record(trajectories, rows, *settings):
        seen.append(rows.clone())
        return read_windows(trajectories, rows, *settings)

    monkeypatch.setattr("dmm.training.fit.read_windows", record)
    one = replace(trial(), seed=3)
    fit(one, made)
    expected = [pass_rows(made.steps, 4, 3, update) for update in range(12)]
    assert all(map(torch.equal, seen, expected)) and len(seen) == 12
    assert torch.cat(seen).unique().numel() == 48, "no row comes twice in less than a pass"


@pytest.mark.parametrize("arch, preset", [("dt", "DT, Atari"), ("metamamba", "DMM-C, Atari")])
def test_a_run_on_frames_learns_and_resumes_with_the_same_bits(arch, preset):
    one, made, states = trial(arch, preset, learning_rate=1e-2), episodes(FRAMES), []

    def visit(model, state):
        save_checkpoint(one, state)
        states.append(load_checkpoint(one))

    _, whole = fit(one, made, visit, wanted=lambda update: update == 6)
    state = states[0]
    assert state.progress.update == 6
    _, resumed = fit(one, made, state=state)
    assert all(torch.equal(value, resumed.model[name]) for name, value in whole.model.items())
    losses = [point.loss for point in whole.progress.loss]
    assert losses == [point.loss for point in resumed.progress.loss]
    assert losses[0] == pytest.approx(math.log(3), abs=0.4)


def test_micro_batches_add_up_to_the_batch():
    """The masks of dropout are those of the whole batch, and the parts have different numbers of real steps."""
    whole, made = trial(updates=1, num_evaluations=1), episodes(FRAMES)
    parted = replace(whole, training=replace(whole.training, micro_batch_size=3))
    (one, first), (other, second) = (fit(each, made) for each in (whole, parted))
    assert second.progress.loss[0].loss == pytest.approx(first.progress.loss[0].loss, rel=1e-6)
    for name, value in one.named_parameters():
        if value.grad is not None:
            torch.testing.assert_close(other.get_parameter(name).grad, value.grad, rtol=1e-4, atol=1e-6)
    assert whole.weights_id != parted.weights_id and "micro_batch_size" not in to_json(whole.training)


def test_rewards_are_clipped_to_the_limit_of_the_task():
    rewards, offsets = np.array([0.5, 4, -3, 2, 1], np.float32), np.array([0, 3, 5])
    made = assemble("raw", np.zeros((5, 0)), np.zeros((5, 1)), rewards, offsets, np.ones(2, bool), num_actions=2)
    clipped = made.clip_rewards(1.0)
    assert clipped.rewards.tolist() == [0.5, 1, -1, 1, 1] and clipped.returns_to_go.tolist() == [0.5, 0, -1, 2, 1]
    assert made.returns_to_go.tolist() == [1.5, 1, -3, 3, 1] and clipped.sha256 == made.sha256
    assert clipped.clip_rewards(1.0) is clipped and made.clip_rewards(None) is made
    with pytest.raises(ValueError, match="reward_clip of frames is 0.0; it must be above 0"):
        replace(TASK, reward_clip=0)


def test_a_trial_trains_on_clipped_rewards_and_has_another_id(monkeypatch):
    made = episodes(FRAMES)
    made.table[:-1, -3] *= 5
    monkeypatch.setattr(data, "load", lambda ids: made)
    raw = replace(trial(), dataset=("clipped",))
    clipped = replace(raw, task=replace(TASK, reward_clip=1.0))
    assert np.abs(training_data(raw).rewards).max() > 4 and np.abs(training_data(clipped).rewards).max() == 1
    assert raw.weights_id != clipped.weights_id and "reward_clip" in to_json(clipped.weights_record)
