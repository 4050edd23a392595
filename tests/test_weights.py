"""Kept weights: whole in themselves, with the returns that were rolled while training; and what stays of them."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from dmm.base.paths import home
from dmm.rollouts.rollout import evaluate
from dmm.trials import run, train, weights
from dmm.trials.storage import load_training, returns_path, trial_folder
from dmm.trials.weights import kept_updates, load_weights, missing_weights, statistics_of, weights_folder


def with_evaluation(trial, **changes):
    return replace(trial, evaluation=replace(trial.evaluation, **changes))


def trained(trial) -> int:
    """How often a trial's training has begun."""
    return (trial_folder(trial) / "log.txt").read_text().count("training from")


def test_kept_weights_give_the_returns_that_were_rolled_while_training(tiny_trial):
    done = run.run(tiny_trial)
    assert kept_updates(tiny_trial) == [4, 8]
    rolled = []
    for update in (4, 8):
        model, card = load_weights(weights_folder(tiny_trial, update))
        rolled += evaluate(model, tiny_trial, statistics_of(card), update, weights_sha256=card.sha256)
    assert rolled == done.evaluations


def test_kept_weights_need_neither_data_nor_checkpoint(tiny_trial, tmp_path, monkeypatch):
    run.run(tiny_trial)
    statistics = train.training_data(tiny_trial)
    folder = tmp_path / "moved"
    shutil.copytree(weights_folder(tiny_trial, 8), folder)
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "elsewhere"))
    model, card = load_weights(folder)
    assert card.update == 8 and card.task == tiny_trial.task and card.weights == tiny_trial.weights_record
    assert card.parameters == sum(value.numel() for value in model.parameters())
    assert np.array_equal(statistics_of(card).mean, statistics.state_mean)
    assert np.array_equal(statistics_of(card).std, statistics.state_std + 1e-6)
    assert card.data.return_max == float(statistics.episode_returns.max())


@pytest.mark.parametrize("name", ["model.safetensors", "card.json"])
def test_damaged_weights_are_refused(tiny_trial, name):
    run.run(tiny_trial)
    path = weights_folder(tiny_trial, 8) / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        load_weights(path.parent)


def test_another_evaluation_trains_nothing(tiny_trial, monkeypatch):
    run.run(tiny_trial)
    monkeypatch.setattr(run, "train", None)  # nothing may call it
    monkeypatch.setattr(run, "training_data", None)
    monkeypatch.setattr(run.data, "is_present", lambda name: False)
    other = with_evaluation(tiny_trial, num_evaluations=1, episodes_per_evaluation=2)
    assert other.weights_id == tiny_trial.weights_id and other.returns_id != tiny_trial.returns_id
    assert not missing_weights(other)
    done = run.run(other)
    assert done.status == "finished" and [entry.update for entry in done.evaluations] == [8, 8] and trained(other) == 1


def test_the_trainer_keeps_the_union_of_what_evaluations_want(tiny_trial):
    other = with_evaluation(tiny_trial, num_evaluations=4)
    weights.note(other)
    run.run(tiny_trial)
    assert kept_updates(tiny_trial) == [2, 4, 6, 8]
    assert run.run(other).status == "finished" and trained(other) == 1


def test_an_evaluation_that_is_noted_while_a_trial_trains_is_seen(tiny_trial):
    other, late = with_evaluation(tiny_trial, num_evaluations=4), []

    def note(result):
        if result.update == 4:
            weights.note(other)
            late.append(result.update)

    run.run(tiny_trial, on_progress=note)
    assert late == [4] and kept_updates(tiny_trial) == [4, 6, 8]


def test_weights_that_training_has_passed_are_trained_again_only_if_asked_for(tiny_trial):
    run.run(tiny_trial)
    other = with_evaluation(tiny_trial, num_evaluations=4)
    before = {path: path.read_bytes() for path in trial_folder(tiny_trial).glob("weights/*/*.safetensors")}
    with pytest.raises(ValueError, match="trained up to update 8.*at update 2, 6 are not kept; --retrain"):
        run.run(other)
    assert trained(other) == 1
    done = run.run(other, retrain=True)
    assert done.status == "finished" and trained(other) == 2 and kept_updates(other) == [2, 4, 6, 8]
    assert all(path.read_bytes() == data for path, data in before.items())
    assert load_training(other).status == "finished"


def test_weights_are_on_disk_before_the_first_episode_and_before_a_checkpoint_that_passes_them(tiny_trial, monkeypatch):
    order = []
    keep, save, roll = train.keep_weights, train.save_checkpoint, run.evaluate
    monkeypatch.setattr(train, "keep_weights", lambda *a: (keep(*a), order.append("weights"))[0])
    monkeypatch.setattr(train, "save_checkpoint", lambda *a: order.append("checkpoint") or save(*a))
    monkeypatch.setattr(run, "evaluate", lambda *a, **k: order.append("episodes") or roll(*a, **k))
    run.run(tiny_trial)
    assert order == ["weights", "checkpoint", "episodes"] * 2


@pytest.mark.parametrize(("keep", "left"), [("all", [2, 4, 6, 8]), ("last", [8])])
def test_what_stays(tiny_trial, keep, left):
    trial = with_evaluation(tiny_trial, num_evaluations=4)
    run.run(trial, keep=keep)
    assert kept_updates(trial) == left


def test_the_best_weights_stay(tiny_trial):
    trial = with_evaluation(tiny_trial, num_evaluations=4)
    done = run.run(trial, keep="last and best")
    means = {entry.update: np.mean(entry.returns) for entry in done.evaluations if entry.target == "x1"}
    assert kept_updates(trial) == sorted({8, max(means, key=lambda update: means[update])})


def test_weights_stay_while_an_unfinished_evaluation_wants_them(tiny_trial):
    other = with_evaluation(tiny_trial, num_evaluations=4)
    weights.note(other)
    run.run(tiny_trial, keep="last")
    assert kept_updates(tiny_trial) == [2, 4, 6, 8]
    run.run(other, keep="last")
    assert kept_updates(tiny_trial) == [8]


def test_weights_stay_while_a_damaged_evaluation_needs_them(tiny_trial):
    other = with_evaluation(tiny_trial, num_evaluations=4)
    run.run(other)
    returns_path(other).write_bytes(b"{")
    assert run.run(tiny_trial, keep="last").status == "finished"
    assert kept_updates(tiny_trial) == [2, 4, 6, 8]


def test_half_deleted_weights_do_not_count_as_kept(tiny_trial, monkeypatch):
    def die(folder, **_):
        if folder.exists():
            (folder / "card.json").unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr(weights.shutil, "rmtree", die)
    with pytest.raises(KeyboardInterrupt):
        run.run(tiny_trial, keep="last")
    assert kept_updates(tiny_trial) == [8]


def test_an_evaluation_file_holds_whole_entries(tiny_trial, monkeypatch):
    """It is written only after all episodes of an update, at every target."""
    seen = []
    roll = run.evaluate

    def look(*arguments, **options):
        content = json.loads(returns_path(tiny_trial).read_bytes())["content"]
        seen.append([(entry["update"], entry["target"], len(entry["returns"])) for entry in content["evaluations"]])
        return roll(*arguments, **options)

    monkeypatch.setattr(run, "evaluate", look)
    run.run(tiny_trial)
    assert seen == [[], [(4, "x1", 5), (4, "x2", 5)]]


def test_a_target_may_be_a_share_of_the_data(tiny_trial):
    from dmm.config import Target

    trial = with_evaluation(tiny_trial, targets=(Target(0.5, "data"), Target(-7.0, "return")))
    done = run.run(trial)
    highest = train.training_data(trial).episode_returns.max()
    assert {entry.target: entry.asked for entry in done.evaluations} == {
        "0.5 of max": pytest.approx(0.5 * highest),
        "-7": -7.0,
    }


def test_evaluations_of_two_homes_agree(tiny_trial, monkeypatch):
    """Trained with one evaluation and measured with another gives what training with the other gives."""
    other = with_evaluation(tiny_trial, num_evaluations=4, targets=(0.5,))
    weights.note(other)
    run.run(tiny_trial)
    after = run.run(other)
    monkeypatch.setenv("DMM_HOME", str(home() / "second"))
    assert run.run(other).evaluations == after.evaluations


def test_kept_weights_act_as_the_trial_says_and_not_as_the_trainer_did(tiny_trial, monkeypatch):
    small = {"width": 16, "layers": 1, "return_low": -6.0, "return_high": 0.0}
    expectile = replace(tiny_trial, arch="edt", overrides=tuple(small.items()))
    sampled = replace(expectile, overrides=tuple({**small, "inverse_temperature": 25.0, "stride": 3}.items()))
    assert sampled.weights_id == expectile.weights_id
    trained_as_expectile = run.run(expectile)
    measured = run.run(sampled)
    assert trained(sampled) == 1
    monkeypatch.setenv("DMM_HOME", str(home() / "second"))
    assert run.run(sampled).evaluations == measured.evaluations
    assert [e.returns for e in measured.evaluations] != [e.returns for e in trained_as_expectile.evaluations]


@pytest.mark.parametrize("name", ["model.safetensors", "card.json"])
@pytest.mark.parametrize("cut", [True, False])
def test_damaged_weights_that_are_needed_count_as_missing_and_can_be_trained_again(tiny_trial, name, cut):
    done = run.run(tiny_trial)
    path = weights_folder(tiny_trial, 4) / name
    returns_path(tiny_trial).unlink()
    if cut:
        path.write_bytes(b"")
    else:
        path.unlink()
    with pytest.raises(ValueError, match="at update 4 are not kept; --retrain"):
        run.run(tiny_trial)
    again = run.run(tiny_trial, retrain=True)
    assert again.evaluations == done.evaluations and kept_updates(tiny_trial) == [4, 8]
    assert weights_folder(tiny_trial, 4).with_name(".4.damaged").is_dir()


def test_training_replaces_damaged_weights_that_nobody_reads(tiny_trial):
    run.run(tiny_trial)
    path = weights_folder(tiny_trial, 8) / "model.safetensors"
    good = path.read_bytes()
    path.write_bytes(good + b"x")
    run.run(with_evaluation(tiny_trial, num_evaluations=4), retrain=True)
    assert path.read_bytes() == good


def test_a_folder_that_a_user_renamed_is_no_kept_weights(tiny_trial):
    run.run(tiny_trial)
    weights_folder(tiny_trial, 4).rename(weights_folder(tiny_trial, 4).with_name("4.old"))
    assert kept_updates(tiny_trial) == [8]


def test_a_damaged_note_is_written_anew_by_its_evaluation_and_named_by_others(tiny_trial):
    path = weights.note_path(tiny_trial)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert run.run(tiny_trial).status == "finished"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=f"{path.name} is damaged .*; delete it"):
        run.run(with_evaluation(tiny_trial, num_evaluations=4), retrain=True)


def test_show_says_how_far_a_trial_is_trained_before_its_own_evaluation_has_begun(toy_data, monkeypatch, capsys):
    from pathlib import Path

    from dmm.cli import catalogue
    from dmm.tables import find_table

    for name, value in {"DATA": toy_data, "UPDATES": 6, "EVALUATIONS": 1, "SEEDS": 1}.items():
        monkeypatch.setenv(f"DMM_TOY_{name}", str(value))
    path = str(Path(__file__).parent / "helpers" / "toy_table.py")
    run.run(find_table(path).trials()[0])
    monkeypatch.setenv("DMM_TOY_EVALUATIONS", "2")
    catalogue.show(path, rows=["DT"])
    (line,) = [line.split() for line in capsys.readouterr().out.splitlines() if "6/6" in line]
    assert "reacher-random" in line and line[line.index("6/6") + 1] == "pending"
