"""A trial's files on a bad day: cut, damaged, on a full disk, wanted by two. Nothing begins anew in silence."""

import errno
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dmm.base import paths
from dmm.base.checksums import dump_json, load_json, seal, unseal
from dmm.base.lock import Held, LockLost, describe, hold, is_held
from dmm.base.paths import aside, home, write_atomic
from dmm.schema import TrialResult
from dmm.trials import run, storage, train, weights
from dmm.trials.storage import load_checkpoint, load_result, returns_path, training_lock, trial_folder


class Killed(BaseException):
    pass


@pytest.fixture
def trial(tiny_trial):
    """A trial of four evaluations."""
    return replace(tiny_trial, evaluation=replace(tiny_trial.evaluation, num_evaluations=4))


@pytest.fixture
def whole(trial, monkeypatch) -> TrialResult:
    """What an undisturbed run gives; its files are elsewhere."""
    done = run.run(trial)
    monkeypatch.setenv("DMM_HOME", str(home() / "second"))
    return done


def stop_at(trial, update: int) -> None:
    """Runs a trial until it has evaluated at an update."""

    def die(found):
        if found.update == update:
            raise Killed

    with pytest.raises(Killed):
        run.run(trial, on_progress=die)


def curves(found: TrialResult) -> tuple:
    return found.status, found.update, found.training.loss, found.evaluations


def go_on(trial) -> tuple[list[int], TrialResult]:
    """Runs a trial to its end; returns the updates of its evaluations and its result."""
    seen = []
    done = run.run(trial, on_progress=lambda found: seen.append(found.update))
    return seen, done


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """One bit in the middle of the largest tensor: torch alone would not notice."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(trial, whole, damage):
    stop_at(trial, 6)
    damage(trial_folder(trial) / "checkpoint.pt")
    seen, done = go_on(trial)
    assert seen == [6, 8] and curves(done) == curves(whole)
    log = (trial_folder(trial) / "log.txt").read_text()
    assert "training from update 4" in log
    assert damage is Path.unlink or ("checkpoint.pt is damaged" in log and "the one before, at update 4" in log)


def test_a_damaged_checkpoint_never_takes_the_place_of_the_whole_one(trial, whole):
    stop_at(trial, 6)
    flip(trial_folder(trial) / "checkpoint.pt")
    stop_at(trial, 6)  # writes one more
    cut(trial_folder(trial) / "checkpoint.pt")
    seen, done = go_on(trial)
    assert seen == [6, 8] and curves(done) == curves(whole)


def test_two_damaged_checkpoints_are_an_error_and_stay(trial):
    stop_at(trial, 6)
    for name in storage.CHECKPOINTS:
        cut(trial_folder(trial) / name)
    kept = {path.name: path.read_bytes() for path in trial_folder(trial).glob("*.pt")}
    with pytest.raises(ValueError, match="checkpoint.pt is damaged.*checkpoint-before.pt is damaged.*move its folder"):
        run.run(trial)
    assert kept == {path.name: path.read_bytes() for path in trial_folder(trial).glob("*.pt")}


def test_a_trial_whose_checkpoints_are_gone_does_not_begin_anew(trial):
    stop_at(trial, 6)
    for name in storage.CHECKPOINTS:
        (trial_folder(trial) / name).unlink()
    with pytest.raises(ValueError, match="was at update 6, and its checkpoints are gone"):
        run.run(trial)
    assert load_result(trial).update == 6


@pytest.mark.parametrize("update", [4, 8])
def test_a_cut_training_file_is_rebuilt_from_the_checkpoint(trial, whole, update, capsys):
    stop_at(trial, update)
    cut(trial_folder(trial) / "training.json")
    assert load_result(trial) is None
    seen, done = go_on(trial)
    assert seen == [step for step in (2, 4, 6, 8) if step > update] and curves(done) == curves(whole)
    assert curves(load_result(trial)) == curves(whole)
    assert "training.json is damaged; it is rebuilt from the checkpoint" in capsys.readouterr().err


def test_a_kill_between_the_last_weights_and_the_checkpoint_loses_no_loss(trial, whole, monkeypatch):
    save = train.save_checkpoint

    def die(trial, state):
        if state.progress.update == 8:
            raise Killed
        save(trial, state)

    monkeypatch.setattr(train, "save_checkpoint", die)
    with pytest.raises(Killed):
        run.run(trial)
    monkeypatch.setattr(train, "save_checkpoint", save)
    assert load_result(trial).update == 6 and not weights.missing_weights(trial)
    assert curves(go_on(trial)[1]) == curves(whole)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_a_damaged_evaluation_is_rolled_out_again_from_the_kept_weights(trial, whole, damage, capsys):
    stop_at(trial, 6)
    damage(returns_path(trial))
    assert curves(go_on(trial)[1]) == curves(whole)
    log = (trial_folder(trial) / "log.txt").read_text()
    assert log.count("training from") == 2 and "training from update 6" in log
    aside = returns_path(trial).with_suffix(".damaged")
    said = capsys.readouterr().err
    for text in (log, said):
        assert damage is Path.unlink or (aside.exists() and "its episodes are rolled out again" in text)


def test_a_file_that_is_a_folder_is_set_aside_as_often_as_needed(trial, whole):
    for path in (returns_path(trial), trial_folder(trial) / "training.json"):
        for _ in range(2):
            run.run(trial)
            path.unlink()
            (path / "inside").mkdir(parents=True)
    assert curves(run.run(trial)) == curves(whole)
    with pytest.raises(ValueError, match="the next `dmm run` or `dmm sweep` of the trial rolls its episodes out again"):
        cut(returns_path(trial))
        load_result(trial)


def test_a_cut_result_without_a_checkpoint_is_an_error(trial):
    stop_at(trial, 4)
    for name in ("checkpoint.pt", "checkpoint-before.pt"):
        (trial_folder(trial) / name).unlink()
    cut(trial_folder(trial) / "training.json")
    with pytest.raises(ValueError, match="training.json is damaged.*no checkpoint"):
        run.run(trial)


def test_a_checkpoint_made_with_other_data_is_refused_without_a_result_too(trial, monkeypatch):
    stop_at(trial, 4)
    (trial_folder(trial) / "training.json").unlink()
    state = load_checkpoint(trial)
    storage.save_checkpoint(trial, replace(state, data_sha256="0" * 64))
    with pytest.raises(ValueError, match="other data.*000000000000"):
        run.run(trial)


def test_a_full_disk_at_a_checkpoint_is_said_and_leaves_usable_files(trial, whole, monkeypatch):
    fsync, written = os.fsync, []

    def full(descriptor):
        written.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        if sum("checkpoint" in name for name in written) >= 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="cannot write checkpoint.pt.*No space left"):
        run.run(trial)
    monkeypatch.setattr(os, "fsync", fsync)
    assert load_result(trial).update == 4 and not list(trial_folder(trial).glob(".*"))
    assert "No space left" in (trial_folder(trial) / "log.txt").read_text()
    seen, done = go_on(trial)
    assert seen == [6, 8] and curves(done) == curves(whole)


def test_a_failed_trial_keeps_to_its_last_checkpoint(trial, whole, monkeypatch):
    evaluate = run.evaluate

    def broken(model, trial, statistics, update, **options):
        if update == 6:
            raise FloatingPointError("the loss is nan")
        return evaluate(model, trial, statistics, update, **options)

    monkeypatch.setattr(run, "evaluate", broken)
    with pytest.raises(FloatingPointError):
        run.run(trial)
    found = load_result(trial)
    assert (found.status, found.error, found.update) == ("failed", "FloatingPointError: the loss is nan", 6)
    assert found.training.loss == [point for point in whole.training.loss if point.update <= 6]
    assert found.evaluations == [entry for entry in whole.evaluations if entry.update <= 4]
    monkeypatch.setattr(run, "evaluate", evaluate)
    assert curves(run.run(trial)) == curves(whole)


def test_a_trial_that_died_is_marked_from_outside(trial):
    assert run.fail(trial, "its process died").update == 0
    assert load_result(trial).status == "failed"
    stop_at(trial, 4)
    assert load_result(trial).error is None
    run.fail(trial, "its process died")
    assert (load_result(trial).update, load_result(trial).error) == (4, "its process died")


@pytest.mark.parametrize("entry", [b"data.pkl", b"data/0"])
def test_an_entry_of_a_checkpoint_that_is_flagged_as_a_folder_is_refused(trial, entry):
    """torch takes such an entry for empty and leaves its tensor as the memory was. Its checksum is right here."""
    stop_at(trial, 4)
    path = trial_folder(trial) / "checkpoint.pt"
    content = bytearray(unseal(path.read_bytes()))
    place = content.index(b"PK\x01\x02")
    while not content[place + 46 :].startswith(b"archive/" + entry):
        place = content.index(b"PK\x01\x02", place + 1)
    content[place + 38] |= 0x10
    path.write_bytes(seal(bytes(content)))
    with pytest.raises(ValueError, match=f"its entry archive/{entry.decode()} is a folder"):
        storage.read_checkpoint(path)


def test_names_aside_never_collide_and_are_never_too_long(tmp_path):
    names = {aside(tmp_path / name) for name in ("x", "x", "x" * 255)}
    assert len(names) == 3
    for path in names:
        path.touch()
        assert path.parent == tmp_path and path.name.startswith(".x")
    write_atomic(tmp_path / ("y" * 255), b"1")
    assert (tmp_path / ("y" * 255)).read_bytes() == b"1"


def test_what_killed_processes_leave_is_deleted_a_day_later(trial, monkeypatch):
    run.run(trial)
    folder = trial_folder(trial) / "weights"
    file, half = aside(folder / "4"), aside(folder / "2")
    file.touch()
    (half / "deep").mkdir(parents=True)
    (half / "deep" / "model.safetensors").touch()
    (folder / ".4.damaged").mkdir()
    paths.delete_stale.cache_clear()
    run.run(trial)
    assert file.exists() and half.exists()  # a process may be at work there
    monkeypatch.setattr(paths, "STALE_SECONDS", -1)
    paths.delete_stale.cache_clear()
    run.run(trial)
    assert not file.exists() and not half.exists()
    assert {path.name for path in folder.iterdir()} == {"2", "4", "6", "8", ".4.damaged"}


def test_a_damaged_holder_loses_the_lock_in_words(tmp_path):
    with pytest.raises(LockLost, match="the thing: .*lock.holder is damaged or gone"):
        with hold(tmp_path / "lock", "the thing") as assert_lock_held:
            cut(tmp_path / "lock.holder")
            assert_lock_held()
    with hold(tmp_path / "lock", "the thing") as assert_lock_held:
        assert_lock_held()


def test_atomic_writes_keep_the_one_before(tmp_path):
    path, before = tmp_path / "a", tmp_path / "b"
    for text in (b"1", b"2", b"3"):
        write_atomic(path, text, keep=before)
    assert (path.read_bytes(), before.read_bytes()) == (b"3", b"2") and len(list(tmp_path.iterdir())) == 2


def grip(path: str, ready, seconds: float) -> None:
    with hold(Path(path), "the thing"):
        ready.set()
        time.sleep(seconds)


@pytest.fixture
def other():
    """Starts another process that holds a lock."""
    context, started = multiprocessing.get_context("spawn"), []

    def start(path: Path, seconds: float = 600):
        ready = context.Event()
        process = context.Process(target=grip, args=(str(path), ready, seconds))
        process.start()
        started.append(process)
        assert ready.wait(60)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def test_a_lock_says_who_holds_it_and_a_dead_holders_is_free(tmp_path, other):
    path = tmp_path / "lock"
    assert not is_held(path)
    process = other(path)
    with pytest.raises(Held, match=rf"the thing is run by \w+@\S+, process {process.pid}, since 20\d\d-"):
        with hold(path, "the thing"):
            pass
    assert is_held(path)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not is_held(path)
    with hold(path, "the thing") as assert_lock_held:
        assert_lock_held()
        assert f"process {os.getpid()}" in describe(path)


def test_who_waits_gets_the_lock(tmp_path, other):
    other(tmp_path / "lock", seconds=3)
    said = []
    with hold(tmp_path / "lock", "the thing", wait=said.append) as assert_lock_held:
        assert_lock_held()
    assert len(said) == 2 and said[0].startswith("the thing is run by ") and said[1] == ""


def test_a_trial_that_another_process_took_over_is_not_written(trial, monkeypatch):
    def stolen(found):
        if found.update == 4:
            thief = load_json(training_lock(trial).with_suffix(".holder").read_bytes()) | {"token": "x", "host": "far"}
            write_atomic(training_lock(trial).with_suffix(".holder"), dump_json(thief))

    with pytest.raises(RuntimeError, match="was taken over by .*@far"):
        run.run(trial, on_progress=stolen)
    assert load_result(trial).update == 4 and load_result(trial).status == "running"


def race(trial, ready) -> None:
    ready.set()
    run.run(trial)


def test_two_at_once_run_a_trial_once(trial):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=race, args=(trial, ready))
    process.start()
    assert ready.wait(60)
    here = run.run(trial)
    process.join(60)
    assert process.exitcode == 0 and here.status == "finished" and load_result(trial) == here
    assert (trial_folder(trial) / "log.txt").read_text().count("training from") == 1


def test_json_that_is_nested_too_deeply_is_damaged():
    with pytest.raises(ValueError, match="nested too deeply"):
        load_json(b"[" * 200_000)


def test_an_empty_variable_is_none(monkeypatch, tmp_path):
    from dmm.data.readers import d4rl

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DMM_HOME", "")
    monkeypatch.setenv("DMM_D4RL", "")
    assert home() == tmp_path / ".dmm" and d4rl.folder() == tmp_path / ".dmm" / "d4rl"
