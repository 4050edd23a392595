"""What happens to MLflow's store: a damaged database, edited tags, deleted runs, rows that change."""

import shlex
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from helpers import handmade_results as handmade
from helpers.tracking import RESULTS, edit, runs
from mlflow import MlflowClient
from typer.testing import CliRunner

from dmm.base.paths import home
from dmm.cli import app
from dmm.config import Table
from dmm.results.score import summarise
from dmm.sweeps.progress import SweepProgress
from dmm.sweeps.sync import sync
from dmm.tracking import database
from dmm.tracking.database import open_database, sqlite_uri, tables_of
from dmm.tracking.mlflow_store import Recorder, TrackingError


def test_the_way_out_of_a_half_made_database_works(store):
    edit(store, "DELETE FROM alembic_version", "DELETE FROM runs", "DROP TABLE logged_models")
    with pytest.raises(TrackingError, match="half made") as error:
        Recorder()
    words = shlex.split(str(error.value).split("Move it away: ")[1].split(". `dmm")[0])
    assert words == ["mv", str(store), f"{store}.damaged"]
    shutil.move(*words[1:])
    assert sync(handmade.TABLE) == 4 and len(runs()) == 4


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)  # all pages but the first
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [cut, overwrite, lambda path: path.write_text("a text, and no database\n" * 50)])
def test_the_way_out_of_a_damaged_database_works(store, harm):
    harm(store)
    with pytest.raises(TrackingError, match="damaged, or no database") as error:
        Recorder().summaries(handmade.TABLE)
    words = shlex.split(str(error.value).split("Move it away: ")[1].split(". `dmm")[0])
    assert words == ["mv", str(store), f"{store}.damaged"]
    shutil.move(*words[1:])
    assert sync(handmade.TABLE) == 4 and len(runs()) == 4


@pytest.mark.parametrize("content", [b"", None], ids=["empty", "without tables"])
def test_an_empty_file_becomes_a_database(content, empty_store, monkeypatch):
    monkeypatch.setattr(database, "make", lambda path: shutil.copy(empty_store, path))
    if content is None:
        edit(home() / "mlflow.db", "CREATE TABLE alembic_version (version_num VARCHAR(32))")
    else:
        (home() / "mlflow.db").write_bytes(content)
    assert Recorder().summaries(handmade.TABLE) == {}


# a database of another version, of another program, or with a loss


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE alembic_version SET version_num = 'zzz'", "a newer MLflow than .* made it .schema zzz.. Install that one"),
        ("UPDATE alembic_version SET version_num = '451aebb31d03'", "an older MLflow made it.*: mlflow db upgrade sqlite"),
        ("DROP TABLE alembic_version", "it has lost the version of its schema. Move it away: mv .*`dmm sync TABLE`"),
        ("DROP TABLE tags", "it has lost table tags. Move it away: mv .*`dmm sync TABLE`"),
        ("DROP TABLE logged_models", "it has lost table logged_models. Move it away"),
    ],
)  # fmt: skip
def test_a_database_that_this_mlflow_cannot_use_is_one_line_with_the_way_out(statement, told, store):
    edit(store, statement)
    before = store.read_bytes()
    for start in (Recorder, lambda: sync(handmade.TABLE)):
        with pytest.raises(TrackingError, match=told) as error:
            start()
        assert "\n" not in str(error.value)
    assert store.read_bytes() == before


def test_a_database_of_another_program_is_not_filled(tmp_path):
    path = tmp_path / "photos.db"
    edit(path, "CREATE TABLE photos (name TEXT)")
    with pytest.raises(TrackingError, match="belongs to another program, because it has a table photos"):
        Recorder(f"sqlite:///{path}")
    assert tables_of(f"sqlite:///{path}") == {"photos"}


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///:memory:"])
def test_a_store_that_would_forget_is_refused(uri):
    with pytest.raises(TrackingError, match="names no file: results would be lost"):
        Recorder(uri)


@pytest.mark.parametrize("uri", ["sqlite:mlflow.db", "sqlite:/tmp/x.db", "sqlite//x.db", "sqlite:"])
def test_a_wrong_uri_of_sqlite_is_one_line_with_the_right_form(uri):
    with pytest.raises(TrackingError, match=f"{uri} is no tracking URI of sqlite. For a file it is sqlite:////PATH"):
        Recorder(uri)


# tags and runs that someone has edited on MLflow's page

FIRST = f"run_uuid = (SELECT run_uuid FROM tags WHERE key = 'dmm.returns_id' AND value = '{RESULTS[0].id}')"
EDITS = {
    "a cut summary": f"UPDATE tags SET value = substr(value, 1, 50) WHERE key = 'dmm.summary.0' AND {FIRST}",
    "another number": f"UPDATE tags SET value = replace(value, '700000', '700001') WHERE key = 'dmm.summary.0' AND {FIRST}",
    "a lost summary": f"DELETE FROM tags WHERE key = 'dmm.summary.0' AND {FIRST}",
    "no number of summaries": f"UPDATE tags SET value = 'x' WHERE key = 'dmm.summaries' AND {FIRST}",
    "a huge number of summaries": f"UPDATE tags SET value = '999999999' WHERE key = 'dmm.summaries' AND {FIRST}",
    "no number of points": f"UPDATE tags SET value = 'x' WHERE key = 'dmm.sent' AND {FIRST}",
    "more points than were sent": f"UPDATE tags SET value = '99 10 20 30' WHERE key = 'dmm.sent' AND {FIRST}",
    "a lost checksum": f"DELETE FROM tags WHERE key = 'dmm.sha256' AND {FIRST}",
    "the id of another trial": (
        f"UPDATE tags SET value = '{RESULTS[0].id}' WHERE key = 'dmm.returns_id' AND value = '{RESULTS[2].id}'"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_tag_is_one_line_with_the_run_and_sync_mends_it(name, store):
    run_ids = {run.data.tags["dmm.returns_id"]: run.info.run_id for run in runs()}
    edit(store, EDITS[name])
    with pytest.raises(TrackingError, match=f"MLflow's run .* of trial {RESULTS[0].id} .*dmm sync") as error:
        Recorder().summaries(handmade.TABLE)
    assert run_ids[RESULTS[0].id] in str(error.value) and "\n" not in str(error.value)
    assert sync(handmade.TABLE) == 4
    found = Recorder().summaries(handmade.TABLE)
    assert {id_: replace(summary, run_id=None) for id_, summary in found.items()} == {
        result.id: summarise(result) for result in RESULTS
    }
    client = MlflowClient(sqlite_uri(store))
    for summary in found.values():
        assert client.get_run(summary.run_id or "").info.status == "FINISHED"
        assert [point.step for point in client.get_metric_history(summary.run_id or "", "eval/score_x1")] == [
            10,
            20,
            30,
        ]


def test_a_summary_of_an_unfinished_push_is_no_damage(store):
    recorder = Recorder()
    run = runs()[0]
    for tag in ("dmm.sent", "dmm.sha256", "dmm.summaries"):
        MlflowClient(sqlite_uri(store)).delete_tag(run.info.run_id, tag)
    assert len(recorder.summaries(handmade.TABLE)) == 3


def test_a_run_in_the_trash_is_told_of_and_sync_makes_it_again(store):
    gone = runs()[0]
    MlflowClient(sqlite_uri(store)).delete_run(gone.info.run_id)
    said: list[str] = []
    assert len(Recorder(say=said.append).summaries(handmade.TABLE)) == 3
    (line,) = said
    assert gone.info.run_id in line and gone.data.tags["dmm.returns_id"] in line and "dmm sync" in line
    assert sync(handmade.TABLE) == 4
    assert len(Recorder(say=said.append).summaries(handmade.TABLE)) == 4 and len(said) == 1


def test_a_run_that_is_deleted_during_a_sweep_is_made_again(store, capfd):
    recorder = Recorder()
    recorder.keep_only(handmade.TABLE)  # it looks up all runs
    gone = next(run for run in runs() if run.data.tags["dmm.returns_id"] == RESULTS[0].id)
    MlflowClient(sqlite_uri(store)).delete_run(gone.info.run_id)
    recorder.push(RESULTS[0], {"handmade": "DT", "other": "DT"})
    (new,) = [run for run in runs() if run.data.tags["dmm.returns_id"] == RESULTS[0].id]
    assert new.info.run_id != gone.info.run_id and new.info.status == "FINISHED"
    assert "Traceback" not in "".join(capfd.readouterr())


def test_of_two_runs_of_a_trial_sync_keeps_one(store):
    client, run = MlflowClient(sqlite_uri(store)), runs()[0]
    second = client.create_run(run.info.experiment_id, tags=run.data.tags)
    id_ = run.data.tags["dmm.returns_id"]
    with pytest.raises(TrackingError, match=f"trial {id_} has a second run, {second.info.run_id}"):
        Recorder().summaries(handmade.TABLE)
    sync(handmade.TABLE)
    assert Recorder().summaries(handmade.TABLE)[id_].run_id == run.info.run_id


def test_an_experiment_in_the_trash_is_restored_as_the_error_says(store):
    client = MlflowClient(sqlite_uri(store))
    client.delete_experiment("1")
    with pytest.raises(
        TrackingError, match="mlflow experiments restore --experiment-id 1.*mlflow gc .*--experiment-ids 1"
    ):
        Recorder()
    client.restore_experiment("1")
    assert len(Recorder().summaries(handmade.TABLE)) == 4


# rows


def report(table: Table) -> None:
    """`dmm report` of a table. It finds the table by a file in this folder."""
    Path("smaller.py").write_text(
        "from dataclasses import replace\nfrom helpers.handmade_results import TABLE as WHOLE\n"
        f"TABLE = replace(WHOLE, rows=WHOLE.rows[:{len(table.rows)}])\n"
    )
    assert CliRunner().invoke(app, ["report", "./smaller.py"]).exit_code == 0


def start(table: Table) -> None:
    """The start of a sweep."""
    SweepProgress(table, table.trials(), Recorder(), print).start()


@pytest.mark.parametrize("command", [sync, start, report])
def test_a_trial_that_left_a_table_leaves_its_view(command, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    smaller = replace(handmade.TABLE, rows=handmade.TABLE.rows[:1])
    Recorder().keep_only(smaller.select(seeds=[0]))  # a part says nothing of the rest
    assert sum("dmm.row.handmade" in run.data.tags for run in runs()) == 4
    command(smaller)
    left = {run.data.tags["dmm.returns_id"] for run in runs() if "dmm.row.handmade" in run.data.tags}
    assert left == {trial.returns_id for trial in smaller.trials()}
    assert sync(handmade.TABLE) == 4  # the row is back
    assert sum("dmm.row.handmade" in run.data.tags for run in runs()) == 4


def test_a_row_with_another_label_has_it_in_the_view(store):
    first, second = handmade.TABLE.rows
    sync(replace(handmade.TABLE, rows=(replace(first, label="DT, as in 2021"), second)))
    assert sorted(run.data.tags["dmm.row.handmade"] for run in runs()) == ["DMM", "DMM", *["DT, as in 2021"] * 2]


# the database's own words


def test_a_fault_of_the_database_is_said_without_its_statement(store, monkeypatch):
    edit(store, "ALTER TABLE runs RENAME COLUMN user_id TO user_name")
    with pytest.raises(TrackingError, match="no such column: runs.user_id. The file is damaged, .* mv ") as error:
        Recorder().summaries(handmade.TABLE)
    assert "SELECT" not in str(error.value) and "sqlite3" not in str(error.value)
    edit(
        store,
        "ALTER TABLE runs RENAME COLUMN user_name TO user_id",
        "ALTER TABLE metrics RENAME COLUMN value TO number",
    )
    with pytest.raises(
        TrackingError, match="cannot be used: (table metrics has )?no.* column.* The file is damaged"
    ) as error:
        Recorder().push(replace(RESULTS[0], training=replace(RESULTS[0].training, weights_id="0123456789abcdef")), {})
        Recorder().summaries(handmade.TABLE)
    assert "autoflush" not in str(error.value)


def test_a_database_that_another_program_writes_is_waited_for(store, monkeypatch):
    monkeypatch.setattr(database, "LOCK_SECONDS", 1)
    with closing(sqlite3.connect(store)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingError, match="locked. Another program is writing to .*mlflow.db. Wait for its end"):
            Recorder()


def test_who_waits_for_the_database_is_told_so(monkeypatch):
    monkeypatch.setattr("dmm.base.lock.HELD_SECONDS", 0.05)
    home().mkdir(parents=True, exist_ok=True)
    lines, lock = [], FileLock(home() / ".mlflow.db.lock")
    lock.acquire()

    def say(line: str) -> None:
        lines.append(line)
        lock.release()  # the other one goes on

    open_database(sqlite_uri(home() / "mlflow.db"), say)
    assert lines == [f"another process holds {home() / '.mlflow.db.lock'}; waiting"]
