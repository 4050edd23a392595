"""Rights: what a user who may only read can do, what is said where a right is missing, and how several users share DMM_HOME."""

import fcntl
import os
import shutil
import stat
import sys
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import handmade_results as handmade
from helpers.rights import read_only, without_override

import dmm
from dmm import cli
from dmm.base.lock import hold, is_held
from dmm.base.paths import home
from dmm.sweeps.status import status_lines
from dmm.tracking.mlflow_store import Recorder, TrackingError
from dmm.trials import run
from dmm.trials.storage import returns_path, table_lock, trial_folder

TABLE = handmade.__file__


@pytest.fixture(scope="session")
def recorded_home(tmp_path_factory) -> Path:
    """A DMM_HOME with the results of the handmade table, also in MLflow, after a sweep."""
    folder = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DMM_HOME", str(folder))
        recorder = Recorder()
        for result in handmade.results():
            handmade.write(result, home() / "trials")
            recorder.push(result, {"handmade": result.trial.weights.arch})
        with hold(table_lock(handmade.TABLE), "table"):
            pass
    return folder


@pytest.fixture
def recorded(recorded_home):
    """The same results in this test's own DMM_HOME."""
    shutil.copytree(recorded_home, home(), dirs_exist_ok=True)


def dmm_words(*words: str) -> int:
    """Runs a command. Returns its exit code."""
    sys.argv = ["dmm", *words]
    with pytest.raises(SystemExit) as ended:
        cli.run()
    return ended.value.code


def test_who_may_only_read_sees_status_results_and_reports(recorded, tmp_path, capsys):
    with read_only(home()), chdir(tmp_path):
        assert "no sweep of it is running" in status_lines(handmade.TABLE)[-1]
        assert "4/4 done" in status_lines(handmade.TABLE, f"sqlite:///{home() / 'mlflow.db'}")[0]
        assert len(dmm.load_results(TABLE)) == 24
        assert dmm_words("report", TABLE) == 0
        said = capsys.readouterr().out
        assert "not stored in MLflow: Permission denied" in said and "belongs to" in said
        assert (tmp_path / "reports" / "handmade" / "table.md").exists()


def test_who_may_only_read_cannot_write_in_one_line(recorded, capsys):
    before = sorted(home().rglob("*"))
    with read_only(home()):
        for command in ("sync", "sweep"):
            assert dmm_words(command, TABLE) == 2
            said = capsys.readouterr().err.strip()
            assert said.startswith("error: ") and "\n" not in said
            assert "Permission denied" in said and str(home()) in said and "belongs to" in said
        with pytest.raises(TrackingError, match="Permission denied.*belongs to"):
            Recorder()
    assert sorted(home().rglob("*")) == before


def test_who_may_only_read_loads_and_rolls_out_a_model(trained):
    with read_only(home()):
        assert run.run(trained).status == "finished"
        assert dmm.rollout(dmm.load(trained.returns_id).policy(), episodes=1).returns.shape == (1,)


def test_a_lock_that_one_may_only_read_is_held_only_while_it_is_held(tmp_path):
    with hold(tmp_path / "lock", "the thing"), read_only(tmp_path):
        assert is_held(tmp_path / "lock")
    with read_only(tmp_path):
        assert not is_held(tmp_path / "lock")
        with (tmp_path / "lock").open("rb") as other:
            fcntl.flock(other, fcntl.LOCK_SH)  # as in `is_held`, at the same moment
            assert not is_held(tmp_path / "lock")
    (tmp_path / "lock").chmod(0o200)
    with without_override(), pytest.raises(PermissionError):  # neither answer is known
        is_held(tmp_path / "lock")


def test_a_group_can_read_and_write_all_files_of_a_sweep(tiny_trial):
    before = os.umask(0o002)
    try:
        run.run(tiny_trial)
        Recorder()
        with hold(table_lock(handmade.TABLE), "table"):
            pass
    finally:
        os.umask(before)
    made = list(home().rglob("*"))
    assert len(made) > 20
    for path in made:
        mode, wanted = path.stat().st_mode, 0o070 if path.is_dir() else 0o060
        assert mode & wanted == wanted, f"{stat.filemode(mode)} {path}"


@pytest.fixture
def reports(monkeypatch) -> list[dict]:
    """What a trial reports to Tune."""
    from ray import tune

    found = []
    monkeypatch.setattr(tune, "report", found.append)
    return found


@pytest.mark.parametrize("place", ["trial", "evaluations", "lock"])
def test_a_trial_without_rights_fails_at_once_with_the_path(tiny_trial, reports, place):
    from dmm.sweeps.place import Place
    from dmm.sweeps.profile import find_profile
    from dmm.sweeps.sweep import prepare
    from dmm.sweeps.workers import train_trial

    assert prepare(tiny_trial)
    folder = trial_folder(tiny_trial)
    denied = {"trial": folder, "evaluations": returns_path(tiny_trial).parent, "lock": folder / "lock"}[place]
    (folder / "lock").touch()
    denied.chmod(0o500)
    with without_override():
        assert prepare(tiny_trial)  # others of its sweep go on
        train_trial(
            {"trial": tiny_trial.returns_id},
            {tiny_trial.returns_id: tiny_trial},
            find_profile("laptop"),
            Place.here([tiny_trial]),
        )
    assert "Permission denied" in reports[-1]["failed"] and str(denied) in reports[-1]["failed"]
    assert "belongs to" in reports[-1]["failed"]
    denied.chmod(0o700)


def test_why_a_trial_failed_is_in_the_status_if_its_folder_cannot_take_it(recorded):
    from dmm.sweeps.progress import SweepProgress
    from dmm.sweeps.sweep import callback

    trial = handmade.TABLE.trials()[0]
    returns_path(trial).unlink()
    said = []
    progress = SweepProgress(handmade.TABLE, handmade.TABLE.trials(), Recorder(), said.append)
    progress.start()
    ended = SimpleNamespace(config={"trial": trial.returns_id}, last_result={"failed": "Permission denied: /a/folder"})
    with read_only(trial_folder(trial)):
        callback(progress).on_trial_complete(0, [], ended)
        progress.close()
    assert any(line.startswith("failed: ") and line.endswith("Permission denied: /a/folder") for line in said)
    (line,) = [line for line in status_lines(handmade.TABLE) if line.startswith("failed")]
    assert line.endswith(f"({trial.returns_id}): Permission denied: /a/folder")
    assert Recorder().summaries(handmade.TABLE)[trial.returns_id].error == "Permission denied: /a/folder"


def test_the_reason_of_a_trial_that_was_given_up_is_the_last_line_of_its_error(tmp_path):
    from dmm.sweeps.sweep import callback

    died, file = {}, tmp_path / "error.txt"
    file.write_text("Failure # 3\nTraceback\nOSError: [Errno 5] Input/output error: '/a/file'\n")
    progress = SimpleNamespace(died=died.__setitem__, line=lambda: None)
    callback(progress).on_trial_error(0, [], SimpleNamespace(config={"trial": "x"}, error_file=str(file)))
    assert died == {"x": "given up after 3 attempts: OSError: [Errno 5] Input/output error: '/a/file'"}


def test_the_files_of_one_trial_that_one_may_not_read_do_not_hide_the_others(recorded):
    file: Path = returns_path(handmade.TABLE.trials()[0])
    file.chmod(0o200)
    with without_override():
        lines = status_lines(handmade.TABLE)
    assert "3/4 done" in lines[0] and any(f"Permission denied: {file}" in line for line in lines)
