"""A database of MLflow is made whole or not at all, and one that an older version has left half made is recognised."""

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy
from helpers import handmade_results as handmade
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from dmm.tracking import database
from dmm.tracking.database import tables_of
from dmm.tracking.mlflow_store import Recorder, TrackingError


@contextmanager
def before_each_statement(act: Callable):
    """Calls a function before each SQL statement of this process."""
    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", act)
    try:
        yield
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", act)


def files(folder: Path) -> set[str]:
    """The files of a folder, without locks."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_at_no_step_of_its_making_there_is_a_file_of_its_name(tmp_path):
    path, steps = tmp_path / "mlflow.db", 0

    def look(*statement) -> None:
        nonlocal steps
        steps += 1
        assert not path.exists()

    with before_each_statement(look):
        database.make(path)
    assert steps > 1000 and files(tmp_path) == {"mlflow.db"}


def killed_at(step: int, path: Path) -> int:
    """Makes a database in a process that ends at a step: an SQL statement, or a file opened, renamed or removed.

    Returns the number of steps that were begun.
    """
    log = path.with_name("steps.lock")
    if (pid := os.fork()) == 0:
        steps = 0

        def count(*_) -> None:
            nonlocal steps
            steps += 1
            if steps == step:
                end()

        def end() -> None:
            os.write(descriptor, str(steps).encode())
            os._exit(9)

        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        sys.addaudithook(
            lambda event, arguments: count() if event in ("open", "os.rename", "os.mkdir", "os.remove") else None
        )
        try:
            with before_each_statement(count):
                database.make(path)
        finally:
            end()
    os.waitpid(pid, 0)
    return int(log.read_text())


def test_a_start_that_is_killed_leaves_no_database_or_a_whole_one(tmp_path):
    path = tmp_path / "mlflow.db"
    assert killed_at(1000, path) == 1000 and not path.exists()
    assert Recorder(f"sqlite:///{path}").experiment == "1" and tables_of(f"sqlite:///{path}") >= database.TABLES


@pytest.mark.faults
def test_a_start_can_be_killed_at_any_step(tmp_path):
    (tmp_path / "undisturbed").mkdir()
    database.make(tmp_path / "first.db")  # what it imports is no step of the others
    total = killed_at(-1, tmp_path / "undisturbed" / "mlflow.db")
    steps = sorted({*range(1, total, total // 6), *range(total - 5, total + 2)})  # the last one is not reached
    whole = []
    for step in steps:
        folder = tmp_path / str(step)
        folder.mkdir()
        killed_at(step, folder / "mlflow.db")
        whole.append((folder / "mlflow.db").exists())
        recorder = Recorder(f"sqlite:///{folder / 'mlflow.db'}")
        assert recorder.summaries(handmade.TABLE) == {}
    assert whole == [*[False] * (len(steps) - 1), True]  # the rename is the last step


@pytest.mark.parametrize("step", [1, 700])
def test_ctrl_c_while_a_database_is_made_leaves_nothing(step, tmp_path):
    steps = 0

    def stop(*statement) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            raise KeyboardInterrupt

    path = tmp_path / "mlflow.db"
    with before_each_statement(stop), pytest.raises(KeyboardInterrupt):
        Recorder(f"sqlite:///{path}")
    assert files(tmp_path) == set()


def halves(folder: Path, every: int) -> list[Path]:
    """Copies of a database that MLflow makes in its place, taken after every so many statements."""
    path, steps, copies = folder / "mlflow.db", 0, []

    def hurry(connection, record) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    def copy(*statement) -> None:
        nonlocal steps
        steps += 1
        if steps % every == 0 and path.exists():
            copies.append(folder / str(steps))
            copies[-1].mkdir()
            for part in folder.glob("mlflow.db*"):  # with its journal
                shutil.copy(part, copies[-1])

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", hurry)
    try:
        with before_each_statement(copy):
            SqlAlchemyStore(f"sqlite:///{path}", "file:///nowhere").engine.dispose()
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "connect", hurry)
    return [copy / "mlflow.db" for copy in copies]


def check_halves(paths: list[Path]) -> None:
    """Each is made anew because it is empty, or refused with the way out, or whole."""
    refused = 0
    for path in paths:
        uri = f"sqlite:///{path}"
        if not tables_of(uri):
            continue
        try:
            database.check(uri)
            assert tables_of(uri) >= database.TABLES
        except TrackingError as error:
            assert "half made: its making was interrupted, and it has no run. Move it away: mv " in str(error)
            assert "\n" not in str(error) and str(path) in str(error)
            refused += 1
    assert refused > len(paths) * 0.8


def test_a_database_that_an_older_version_left_half_made_is_recognised(tmp_path):
    check_halves(halves(tmp_path, every=90))


@pytest.mark.faults
def test_a_database_that_was_left_at_any_fifth_statement_is_recognised(tmp_path):
    check_halves(halves(tmp_path, every=5))
