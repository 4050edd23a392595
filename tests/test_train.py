"""fit and run: what a protocol says happens, an interruption changes no bit, and nothing outside is disturbed."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from dmm.base import paths as home
from dmm.layers import Dropout
from dmm.schema import EvaluationResult, Seconds, to_json
from dmm.training.fit import fit, init_model
from dmm.trials.run import dataset, run
from dmm.trials.storage import load_result, trial_folder


def entries(model, evaluation: int, update: int) -> list[EvaluationResult]:
    """An evaluation without an environment: a number that depends on all weights."""
    total = float(sum(value.detach().double().abs().sum() for value in model.parameters()))
    return [EvaluationResult(update=update, target=1.0, asked=1.0, returns=[total], lengths=[evaluation])]


@pytest.mark.parametrize("dropout", [Dropout, nn.Dropout])
def test_an_interrupted_fit_gives_the_same_bits(dropout, tiny_trial, monkeypatch):
    """With a layer of torch too, which draws from the global generator."""
    monkeypatch.setattr("dmm.layers.embedding.Dropout", dropout)
    data, states = dataset(tiny_trial.dataset), []
    model, whole = fit(tiny_trial, data, entries, save=lambda state: states.append(copy.deepcopy(state)))
    assert [state.progress.update for state in states] == [4, 8]
    torch.manual_seed(99)  # what the world did meanwhile
    again, resumed = fit(tiny_trial, data, entries, state=states[0])
    assert type(model.embed.dropout) is dropout and model.embed.dropout.p == 0.1
    assert replace(resumed.progress, seconds=Seconds()) == replace(whole.progress, seconds=Seconds())
    assert resumed.progress.evaluations and resumed.progress.loss
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_fit_is_deterministic_in_its_seed_and_leaves_the_generators_alone(tiny_trial):
    data = dataset(tiny_trial.dataset)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    _, first = fit(tiny_trial, data, entries)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    _, second = fit(tiny_trial, data, entries)
    _, other = fit(replace(tiny_trial, seed=1), data, entries)
    assert first.progress.loss == second.progress.loss != other.progress.loss


def test_the_first_update_is_the_learning_rate_over_the_warm_up(tiny_trial):
    """AdamW's first step moves each weight that has a gradient by the learning rate, whatever the gradient's size."""
    protocol = tiny_trial.protocol.with_overrides(
        updates=1, num_evaluations=1, warmup=10, learning_rate=0.01, weight_decay=0.0
    )
    trial = replace(tiny_trial, protocol=protocol)
    start = init_model(trial)
    model, _ = fit(trial, dataset(trial.dataset), entries)
    moved = [float((a - b).detach().abs().max()) for a, b in zip(model.parameters(), start.parameters(), strict=True)]
    assert max(moved) == pytest.approx(0.01 / 10, rel=1e-3)


def test_a_loss_that_is_not_finite_ends_the_trial_with_its_place(tiny_trial):
    trial = replace(
        tiny_trial, protocol=tiny_trial.protocol.with_overrides(learning_rate=1e30, warmup=1, grad_clip_norm=1e30)
    )
    with pytest.raises(FloatingPointError, match="between updates"):
        run(trial)
    kept = load_result(trial)
    assert kept.status == "failed" and kept.error.startswith("FloatingPointError: the loss is nan")


def test_run_keeps_every_episode_and_is_not_run_again(tiny_trial):
    seen = []
    done = run(tiny_trial, on_progress=lambda found: seen.append(found.update))
    assert seen == [4, 8]
    assert done == load_result(tiny_trial)
    assert to_json(done) == json.loads((trial_folder(tiny_trial) / "result.json").read_text())
    assert done.status == "finished" and done.id == tiny_trial.id
    assert [(e.update, e.target) for e in done.evaluations] == [(4, 1.0), (4, 2.0), (8, 1.0), (8, 2.0)]
    assert all(len(e.returns) == len(e.lengths) == 5 and e.lengths == [50] * 5 for e in done.evaluations)
    (trial_folder(tiny_trial) / "checkpoint.pt").unlink()
    assert run(tiny_trial) == done  # without a checkpoint a second run would have to begin anew


def test_a_fraction_is_learnt_from_and_the_data_stay_the_same(tiny_trial):
    whole = dataset(tiny_trial.dataset)
    trial = replace(
        tiny_trial, protocol=tiny_trial.protocol.with_overrides(top_fraction=0.25)
    )  # of twelve episodes of 50 steps
    done = run(trial)
    assert (done.data.episodes, done.data.steps, done.data.sha256) == (3, 150, whole.sha256)
    best = sorted(whole.episode_returns.tolist())[-3:]
    assert done.data.return_mean == pytest.approx(sum(best) / 3, rel=1e-5)
    assert done.status == "finished" and done.loss != run(tiny_trial).loss


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
    assert (resumed.evaluations, resumed.loss) == (whole.evaluations, whole.loss)


def test_a_damaged_checkpoint_is_named_and_kept(tiny_trial):
    trial_folder(tiny_trial).mkdir(parents=True)
    checkpoint = trial_folder(tiny_trial) / "checkpoint.pt"
    checkpoint.write_bytes(b"half a checkpoint")
    with pytest.raises(ValueError, match="checkpoint.pt is damaged.*move its folder away"):
        run(tiny_trial)
    assert checkpoint.read_bytes() == b"half a checkpoint"


def test_other_data_are_refused(tiny_trial):
    run(tiny_trial)
    path = trial_folder(tiny_trial) / "result.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "data": {**kept["data"], "sha256": "0" * 64}}))
    with pytest.raises(ValueError, match="other data.*000000000000"):
        run(tiny_trial)


def test_a_result_holds_numbers_only(tiny_trial, monkeypatch):
    """NaN is not JSON: a result that would hold one is refused, and the one before stays."""
    wrong = EvaluationResult(update=4, target=1.0, asked=1.0, returns=[float("nan")], lengths=[1])
    monkeypatch.setattr("dmm.trials.run.evaluate", lambda *_: [wrong])
    with pytest.raises(ValueError, match="JSON"):
        run(tiny_trial)
