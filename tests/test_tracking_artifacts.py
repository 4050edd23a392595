"""The artifacts of MLflow: their place when a folder is moved, copied or oddly named, and episodes that are lost or damaged."""

import shlex
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import handmade_results as handmade
from helpers.tracking import RESULTS, edit, runs
from mlflow import MlflowClient

from dmm.base.paths import home
from dmm.sweeps.sync import sync
from dmm.tracking.database import sqlite_uri
from dmm.tracking.mlflow_store import Recorder, TrackingError


def test_a_copied_folder_writes_to_itself_and_a_moved_one_too(store, tmp_path, monkeypatch):
    old, copy, moved = home(), tmp_path / "a copy", tmp_path / "moved"
    said: list[str] = []
    Recorder()
    recorded = sorted(path.relative_to(old) for path in old.rglob("*"))
    shutil.copytree(old, copy)
    monkeypatch.setenv("DMM_HOME", str(copy))
    report = tmp_path / "report"
    report.mkdir()
    (report / "table.md").write_text("a table")
    Recorder(say=said.append).upload(report, handmade.TABLE, {})
    assert said == [f"{copy / 'mlflow.db'} was moved or copied: its artifacts were in {(old / 'mlartifacts').as_uri()} and "
                    f"are now in {(copy / 'mlartifacts').as_uri()}"]  # fmt: skip
    assert sorted(path.relative_to(old) for path in old.rglob("*")) == recorded
    assert [path.parents[2].parent for path in copy.rglob("table.md")] == [copy]

    old.rename(moved)
    monkeypatch.setenv("DMM_HOME", str(moved))
    Recorder(say=said.append)
    run = runs()[0]
    assert run.info.artifact_uri.startswith(moved.as_uri())
    text = MlflowClient(sqlite_uri(moved / "mlflow.db")).download_artifacts(run.info.run_id, "episodes.json")
    assert '"returns"' in Path(text).read_text()
    Recorder(say=said.append)
    assert len(said) == 2 and not old.exists()


def test_a_server_whose_artifacts_lay_in_a_folder_that_is_gone_is_refused(store, tmp_path):
    """A database server is shared by several DMM_HOMEs, so the place is not corrected."""
    recorder, gone = Recorder(), tmp_path / "old home" / "mlartifacts"
    edit(store, f"UPDATE experiments SET artifact_location = '{gone.as_uri()}' WHERE name = 'dmm'")
    with pytest.raises(TrackingError, match=f"keeps its artifacts in {gone}, and .*: ln -s {home()} '{gone.parent}'"):
        recorder._experiment((home() / "mlartifacts").as_uri())
    gone.parent.mkdir()
    assert recorder._experiment((home() / "mlartifacts").as_uri()) == recorder.experiment


NAMES = ["what?", "100%41", "a#b", "with space", "o'neil", 'a "b"', "ann@lab:x", "50%"]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_any_name_holds_its_database(name, empty_store, tmp_path, monkeypatch):
    place = tmp_path / "homes" / name
    place.mkdir(parents=True)
    shutil.copy(empty_store, place / "mlflow.db")
    monkeypatch.setenv("DMM_HOME", str(place))
    monkeypatch.chdir(place)
    recorder = Recorder()
    recorder.push(RESULTS[0], {"handmade": "DT"})
    with closing(sqlite3.connect(place / "mlflow.db")) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    assert len(list(place.rglob("episodes.json"))) == 1
    assert [path.name for path in place.parent.iterdir()] == [name]
    words = shlex.split(recorder.view_link(handmade.TABLE).splitlines()[0])
    client = MlflowClient(words[words.index("--backend-store-uri") + 1])
    assert len(client.search_runs([recorder.experiment])) == 1


def test_episodes_of_a_tracking_store_are_those_of_the_files(store):
    recorder = Recorder()
    summaries = recorder.summaries(handmade.TABLE)
    found = recorder.episodes(summaries.values())
    assert found == {result.id: result.evaluations for result in RESULTS}
    running = replace(summaries[RESULTS[0].id], status="running")
    assert recorder.episodes([running]) == {}


def test_episodes_that_are_not_those_of_their_run_are_refused(store):
    recorder = Recorder()
    summary = recorder.summaries(handmade.TABLE)[RESULTS[0].id]
    (path,) = home().rglob(f"{summary.run_id}/**/episodes.json")
    for content, said in {
        "[]": "do not have the means of its summary",
        '[{"update": 10}]': "has no target",
        "{": "cannot be read",
    }.items():
        path.write_text(content)
        with pytest.raises(TrackingError, match=f"run {summary.run_id} of trial {summary.id} .*{said}"):
            recorder.episodes([summary])
    path.unlink()
    with pytest.raises(TrackingError, match="cannot be used"):
        recorder.episodes([summary])


HARMS = {
    "lost": lambda path: path.unlink(),
    "empty": lambda path: path.write_text("[]"),
    "a byte": lambda path: path.write_bytes(path.read_bytes()[:40] + b"\xb1" + path.read_bytes()[41:]),
    "nested": lambda path: path.write_text("[" * 100_000),
    "a length": lambda path: path.write_text(path.read_text().replace('"lengths": [\n', '"lengths": [\n 1,', 1)),
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_sync_sends_lost_and_damaged_episodes_again(store, harm, capsys):
    summaries = Recorder().summaries(handmade.TABLE).values()
    before = sorted(home().rglob("episodes.json"))
    harm(before[1])
    if harm is not HARMS["a length"]:  # no table has it
        with pytest.raises(TrackingError, match="`dmm sync` of its table sends"):
            Recorder().episodes(summaries)
    capsys.readouterr()
    assert sync(handmade.TABLE) == 4
    said = capsys.readouterr()
    assert said.out.count("was lost or damaged; it is sent again") == 1 and "Downloading" not in said.err
    assert len(Recorder().episodes(summaries)) == 4 and sorted(home().rglob("episodes.json")) == before
    assert sync(handmade.TABLE) == 4 and capsys.readouterr().out == ""
