"""fit and run: what the settings say happens, an interruption changes no bit, and nothing outside is disturbed."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from helpers.reacher import parts
from torch import nn

from dmm.base import paths as home
from dmm.config import Evaluation, Target
from dmm.layers import Dropout
from dmm.rollouts.history import StateStatistics
from dmm.rollouts.rollout import evaluate
from dmm.schema import EvaluationResult, TrainingResult, to_json
from dmm.training import fit as fit_module
from dmm.training.fit import fit, init_model
from dmm.training.state import TrainingState
from dmm.trials.run import check, run
from dmm.trials.storage import load_result, read_checked, returns_path, training_path, trial_folder, write_checked
from dmm.trials.train import dataset
from dmm.trials.weights import read_weights, weights_folder


@pytest.fixture
def tiny_trial(tiny_trial):
    """Without dropout."""
    return replace(tiny_trial, overrides=(*tiny_trial.overrides, ("dropout", 0.0)))


def kept(states: list[TrainingState]) -> Callable:
    """A visit that keeps every state."""
    return lambda model, state: states.append(copy.deepcopy(state))


def assert_same_training(found: TrainingState, expected: TrainingState) -> None:
    """Weights, optimiser, generators and losses have the same bits. The seconds and the memory may differ."""
    cost = {"train_seconds": 0.0, "peak_memory": 0.0}
    assert replace(found.progress, **cost) == replace(expected.progress, **cost)
    for name, value in expected.model.items():
        assert torch.equal(found.model[name], value), name
    for key, moments in expected.optimizer["state"].items():
        for name, value in moments.items():
            assert torch.equal(found.optimizer["state"][key][name], value), (key, name)
    assert torch.equal(found.sampler, expected.sampler) and torch.equal(found.loss_sum, expected.loss_sum)


@pytest.mark.parametrize("dropout", [Dropout, nn.Dropout])
def test_an_interrupted_fit_gives_the_same_bits(dropout, tiny_trial, monkeypatch):
    """With a layer of torch too, which draws from the global generator."""
    monkeypatch.setattr("dmm.layers.embedding.Dropout", dropout)
    tiny_trial = replace(tiny_trial, overrides=(*tiny_trial.overrides, ("dropout", 0.1)))
    data, states = dataset(tiny_trial.dataset), []
    model, whole = fit(tiny_trial, data, kept(states), wanted=lambda update: update == 3)
    assert [state.progress.update for state in states] == [3, 8]  # the last one is visited unasked
    torch.manual_seed(99)  # what the world did meanwhile
    _, resumed = fit(tiny_trial, data, state=states[0])
    assert type(model.embed.dropout) is dropout and model.embed.dropout.p == 0.1
    assert len(resumed.progress.loss) == 8
    assert_same_training(resumed, whole)


def test_a_fit_that_is_interrupted_between_two_points_of_the_curve_gives_the_same_bits(tiny_trial, monkeypatch):
    """A point is a mean over four updates, and the interruption is after the sixth."""
    monkeypatch.setattr(fit_module, "LOSS_POINTS", 2)
    data, states = dataset(tiny_trial.dataset), []
    _, whole = fit(tiny_trial, data, kept(states), wanted=lambda update: update == 6)
    assert [point.update for point in whole.progress.loss] == [4, 8] and states[0].loss_sum > 0
    _, resumed = fit(tiny_trial, data, state=states[0])
    assert_same_training(resumed, whole)


def test_the_loss_curve_has_a_hundred_means_at_equal_distances(tiny_trial):
    def curve(updates: int):
        trial = replace(tiny_trial, **parts(updates=updates, num_evaluations=1))
        return fit(trial, dataset(trial.dataset))[1].progress.loss

    every, pairs = curve(99), curve(205)
    assert [point.update for point in every] == list(range(1, 100))
    assert [point.update for point in pairs] == [*range(2, 205, 2), 205]
    for i in range(49):
        assert pairs[i].loss == pytest.approx((every[2 * i].loss + every[2 * i + 1].loss) / 2, rel=1e-5)


def test_neither_visits_nor_saves_nor_the_evaluation_move_a_bit_of_training(tiny_trial, monkeypatch):
    data = dataset(tiny_trial.dataset)
    _, expected = fit(tiny_trial, data)
    often = replace(tiny_trial, evaluation=replace(tiny_trial.evaluation, num_evaluations=8, episodes_per_evaluation=1))
    assert often.weights_id == tiny_trial.weights_id and often.updates == tuple(range(1, 9))
    statistics = StateStatistics(data.state_mean, data.state_std)
    visited, saved = [], []

    def visit(model, state):
        torch.rand(5)
        evaluate(model, often, statistics, state.progress.update)
        visited.append(state.progress.update)

    for wanted in (lambda update: True, lambda update: update == 5, lambda update: update % 3 == 0):
        _, found = fit(often, data, visit, wanted=wanted)
        assert_same_training(found, expected)
    assert visited == [*range(1, 9), 5, 8, 3, 6, 8]
    monkeypatch.setattr(fit_module, "SAVE_SECONDS", -1)  # so it saves after every update that it does not visit
    _, found = fit(tiny_trial, data, save=lambda state: saved.append(state.progress.update))
    assert saved == list(range(1, 8))
    assert_same_training(found, expected)


def test_two_evaluations_get_the_same_weights_and_curve(tiny_trial, monkeypatch):
    """Each trains in a home of its own. Every field of Evaluation differs."""
    other = Evaluation(
        num_evaluations=4, episodes_per_evaluation=1, targets=(Target(0.5, "data"),), rollout_batch_size=1,
        rollout_pad_state="raw zero", rollout_pad_action=1.0, rollout="recurrent",
    )  # fmt: skip
    second = replace(tiny_trial, evaluation=other)
    one = run(tiny_trial)
    kept_before = [read_weights(weights_folder(tiny_trial, update))[0].sha256 for update in (4, 8)]
    monkeypatch.setenv("DMM_HOME", str(home.home() / "second"))
    two = run(second)
    assert two.training.loss == one.training.loss and two.id != one.id
    assert [read_weights(weights_folder(second, update))[0].sha256 for update in (4, 8)] == kept_before


def test_a_fit_is_deterministic_in_its_seed_and_leaves_the_generators_alone(tiny_trial):
    data = dataset(tiny_trial.dataset)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    _, first = fit(tiny_trial, data)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    _, second = fit(tiny_trial, data)
    _, other = fit(replace(tiny_trial, seed=1), data)
    assert first.progress.loss == second.progress.loss != other.progress.loss


def test_the_first_update_is_the_learning_rate_over_the_warm_up(tiny_trial):
    """AdamW's first step moves each weight that has a gradient by the learning rate, whatever the gradient's size."""
    settings = parts(updates=10, num_evaluations=1, warmup=10, learning_rate=0.01, weight_decay=0.0)
    trial, states = replace(tiny_trial, **settings), []
    start = dict(init_model(trial).named_parameters())
    fit(trial, dataset(trial.dataset), kept(states), wanted=lambda update: update == 1)
    moved = [float((states[0].model[name] - value).detach().abs().max()) for name, value in start.items()]
    assert max(moved) == pytest.approx(0.01 / 10, rel=1e-3)


def test_a_loss_that_is_not_finite_ends_the_trial_with_its_place(tiny_trial):
    trial = replace(tiny_trial, **parts(learning_rate=1e30, warmup=1, grad_clip_norm=1e30))
    with pytest.raises(FloatingPointError, match="between updates"):
        run(trial)
    failed = load_result(trial)
    assert failed.status == failed.training.status == "failed"
    assert failed.error.startswith("FloatingPointError: the loss is nan")


def test_run_keeps_every_episode_and_is_not_run_again(tiny_trial):
    seen = []
    done = run(tiny_trial, on_progress=lambda found: seen.append(found.update))
    assert seen == [4, 8]
    assert done == load_result(tiny_trial)
    for path, part in ((training_path(tiny_trial), done.training), (returns_path(tiny_trial), done.returns)):
        assert json.loads(path.read_text())["content"] == to_json(part)
    assert done.status == done.training.status == "finished"
    assert (done.id, done.training.weights_id) == (tiny_trial.returns_id, tiny_trial.weights_id)
    assert [(e.update, e.target) for e in done.evaluations] == [(4, "x1"), (4, "x2"), (8, "x1"), (8, "x2")]
    assert all(len(e.returns) == len(e.lengths) == 5 and e.lengths == [50] * 5 for e in done.evaluations)
    (trial_folder(tiny_trial) / "checkpoint.pt").unlink()
    assert run(tiny_trial) == done  # without a checkpoint a second run would have to begin anew


def test_a_fraction_is_learnt_from_and_the_data_stay_the_same(tiny_trial):
    whole = dataset(tiny_trial.dataset)
    done = run(replace(tiny_trial, **parts(top_fraction=0.25)))  # of twelve episodes of 50 steps
    data = done.training.data
    assert (data.episodes, data.steps, data.sha256) == (3, 150, whole.sha256)
    best = sorted(whole.episode_returns.tolist())[-3:]
    assert data.return_mean == pytest.approx(sum(best) / 3, rel=1e-5)
    assert (data.return_min, data.return_max) == pytest.approx((best[0], best[-1]), rel=1e-6)
    assert done.status == "finished" and done.training.loss != run(tiny_trial).training.loss


def test_run_goes_on_from_its_checkpoint(tiny_trial, monkeypatch):
    whole = run(tiny_trial)
    monkeypatch.setenv("DMM_HOME", str(home.home() / "second"))

    class Killed(BaseException):
        pass

    def die(found):
        if found.update == 4:
            raise Killed

    with pytest.raises(Killed):
        run(tiny_trial, on_progress=die)
    assert load_result(tiny_trial).status == "running"
    seen = []
    resumed = run(tiny_trial, on_progress=lambda found: seen.append(found.update))
    assert seen == [8]
    assert (resumed.evaluations, resumed.training.loss) == (whole.evaluations, whole.training.loss)


def test_a_damaged_checkpoint_is_named_and_kept(tiny_trial):
    trial_folder(tiny_trial).mkdir(parents=True)
    checkpoint = trial_folder(tiny_trial) / "checkpoint.pt"
    checkpoint.write_bytes(b"half a checkpoint")
    with pytest.raises(ValueError, match="checkpoint.pt is damaged.*move its folder away"):
        run(tiny_trial)
    assert checkpoint.read_bytes() == b"half a checkpoint"


def test_other_data_are_refused(tiny_trial):
    run(tiny_trial)
    found = read_checked(TrainingResult, training_path(tiny_trial))
    write_checked(training_path(tiny_trial), replace(found, data=replace(found.data, sha256="0" * 64)))
    with pytest.raises(ValueError, match="other data.*000000000000"):
        run(replace(tiny_trial, **parts(targets=(3.0,))))  # the weights are kept, and its episodes are missing


def test_the_check_before_any_work_refuses_a_model_that_does_not_take_the_states(tiny_trial):
    state = torch.get_rng_state()
    check(tiny_trial)
    with pytest.raises(ValueError, match="pixel_mean=0.3 needs frames; the states are vectors of 10"):
        check(replace(tiny_trial, overrides=(*tiny_trial.overrides, ("pixel_mean", 0.3))))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_result_holds_numbers_only(tiny_trial, monkeypatch):
    """NaN is not JSON: a result that would hold one is refused, and the one before stays."""
    wrong = EvaluationResult(update=4, target="x1", asked=1.0, returns=[float("nan")], lengths=[1], weights_sha256="")
    monkeypatch.setattr("dmm.trials.run.evaluate", lambda *_, **__: [wrong])
    with pytest.raises(ValueError, match="JSON"):
        run(tiny_trial)
    found = load_result(tiny_trial)
    assert found.status == "failed" and found.evaluations == []
