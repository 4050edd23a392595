"""The database behind MLflow. It is made whole or not at all, it is checked before its use, and its stored paths are right.

MLflow makes its tables in about 1,700 statements. A process that dies between two of them leaves a file that MLflow can
neither use nor mend. So a sqlite file is made in memory, and written when it is complete. MLflow also fills gaps in an old
database silently. For example, it replaces a lost table by an empty one. So a database is checked before MLflow sees it.
"""

import re
import shlex
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path

import mlflow
import sqlalchemy
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from mlflow import MlflowClient
from mlflow.store.db.base_sql_model import Base
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import NullPool, make_url, text

from dmm.base.lock import hold_unsigned, say_wait
from dmm.base.paths import home, probe, write_atomic
from dmm.base.secrets import masked_uri

TABLES = frozenset(Base.metadata.tables)  # of MLflow
EXPERIMENT = "dmm"
AGAIN = "`dmm sync TABLE` then sends the results of DMM_HOME again"
# words of sqlite
DAMAGED = "malformed", "file is not a database", "no such column", "no such table", "has no column named"
LOCKED = "database is locked"
LOCK_SECONDS = 60  # that a writer of sqlite waits for another writer. sqlite's default is 5


class TrackingError(ValueError):
    """MLflow does not answer, or refuses a request, or what it has stored is damaged."""


def sqlite_uri(path: Path) -> str:
    """The tracking URI of a sqlite file. Raises TrackingError for a path that no URI can hold."""
    plain = f"sqlite:///{path}"
    if make_url(plain).database == str(path):
        return plain
    # With the short scheme, MLflow would make a folder of the encoded name beside the right one
    encoded = f"sqlite+pysqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"
    if make_url(encoded).database == str(path):
        return encoded
    raise TrackingError(f"{path} has a character that a database's address cannot hold: use a folder without ? and %")


def sqlite_file(uri: str) -> Path | None:
    """The file of a sqlite URI. None for other databases. Raises TrackingError for a sqlite URI without a file."""
    if not uri.startswith("sqlite"):
        return None
    try:
        database = make_url(uri).database or ""
    except sqlalchemy.exc.ArgumentError:
        raise TrackingError(
            f"{masked_uri(uri)} is no tracking URI of sqlite. For a file it is sqlite:////PATH"
        ) from None
    if not database or database == ":memory:" or database.startswith("file:"):
        raise TrackingError(f"{uri} names no file: results would be lost. A file is sqlite:////PATH")
    return Path(database).resolve()


def open_database(uri: str, say: Callable[[str], None]) -> MlflowClient:
    """A client of a database. Makes the database if there is none, one process at a time.

    A sqlite file keeps its artifacts beside it. If it was moved or copied, the stored places are corrected, and `say` gets
    a line about it.
    Raises TrackingError if the database is half made, damaged or of another version of MLflow, and OSError if a sqlite file
    cannot be written.
    """
    path = sqlite_file(uri)
    lock = path.with_name(f".{path.name}.lock") if path else home() / ".mlflow.lock"
    with hold_unsigned(lock, lambda: f"another process holds {lock}", lambda whom: say_wait(whom, say)):
        if path:
            if not path.exists() or not tables_of(uri):
                make(path)
            probe(path.parent)  # sqlite writes a journal there
            path.open("ab").close()
        check(uri)
        if path:
            move_artifacts(uri, artifacts_of(path), say)
        return client(uri)


def read_database(uri: str) -> MlflowClient:
    """A client of a database that this process only reads. It needs no right to write, and corrects nothing.

    Raises TrackingError if there is no database, or if it is half made, damaged or of another version of MLflow.
    """
    path = sqlite_file(uri)
    if (path and not path.exists()) or not tables_of(uri):
        raise TrackingError(f"{masked_uri(uri)} is empty")
    check(uri)
    return client(uri)


def client(uri: str) -> MlflowClient:
    """MLflow's client of a database that exists."""
    path = sqlite_file(uri)
    if path and "?" not in uri:
        # MLflow keeps the connections of each URI, also to a file that was replaced. So each file has its own URI
        uri += f"?timeout={LOCK_SECONDS}.{path.stat().st_ino}"
    return MlflowClient(uri)


def artifacts_of(path: Path) -> str:
    """The URI of the folder for artifacts of a sqlite file."""
    return (path.parent / "mlartifacts").as_uri()


def make(path: Path) -> None:
    """Writes a new sqlite file with MLflow's tables and an empty experiment, whole or not at all."""
    # a name of its own, because MLflow keeps the connections of each URI
    store = SqlAlchemyStore(f"sqlite:///file:{uuid.uuid4().hex}?mode=memory&uri=true", artifacts_of(path))
    store.create_experiment(EXPERIMENT, artifact_location=artifacts_of(path))
    with store.engine.connect() as connection:
        memory = connection.connection.driver_connection
        assert isinstance(memory, sqlite3.Connection)
        data = memory.serialize()
    store.engine.dispose()
    write_atomic(path, data)


def engine(uri: str) -> sqlalchemy.Engine:
    """SQLAlchemy's engine for a database. A sqlite file that another process writes is waited for."""
    wait = {"timeout": LOCK_SECONDS} if sqlite_file(uri) else {}
    return sqlalchemy.create_engine(uri, poolclass=NullPool, connect_args=wait)


def tables_of(uri: str) -> set[str]:
    """The tables of a database, without the note of MLflow's schema version."""
    return set(sqlalchemy.inspect(engine(uri)).get_table_names()) - {"alembic_version"}


def check(uri: str) -> None:
    """Raises TrackingError, with a remedy, if a database has tables that are not those of this MLflow."""
    if not (found := tables_of(uri)):
        return
    migrations = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    with engine(uri).connect() as connection:
        version = ", ".join(MigrationContext.configure(connection).get_current_heads())
        of_runs = found & {"runs", "_alembic_tmp_runs"}  # the second one while MLflow changes the first
        is_used = any(connection.scalar(text(f"SELECT count(*) FROM {table}")) for table in of_runs)
    missing, is_current = sorted(TABLES - found), version == migrations.get_current_head()
    if not missing and is_current:
        return
    path = sqlite_file(uri)
    away = move_away(path) if path else "Empty it"
    if not TABLES & found:
        problem = f"it belongs to another program, because it has a table {min(found)}. Name another database"
    elif not is_used:
        problem = f"it is half made: its making was interrupted, and it has no run. {away}. {AGAIN}"
    elif is_current or not version:
        lost = f"table {missing[0]}" if missing else "the version of its schema"
        problem = f"it has lost {lost}. {away}. {AGAIN}"
    elif version in {script.revision for script in migrations.walk_revisions()}:
        upgrade = f"mlflow db upgrade {shlex.quote(masked_uri(uri))}"
        problem = f"an older MLflow made it. Copy it to a safe place, then: {upgrade}"
    else:
        newer = f"a newer MLflow than {mlflow.__version__} made it (schema {version}). Install that one"
        problem = f"{newer}, or begin a new database. {away}. {AGAIN}"
    raise TrackingError(f"MLflow at {masked_uri(uri)} cannot be used: {problem}")


def move_away(path: Path) -> str:
    """The command that moves a damaged sqlite file away, as a sentence."""
    return f"Move it away: mv {shlex.quote(str(path))} {shlex.quote(f'{path}.damaged')}"


def in_words(problem: str) -> str:
    """A problem of a database without the statement that met it."""
    without = r"\(\w+\.\w+\) |\(raised as a result of Query-invoked autoflush.*?\)\s*"
    return re.sub(without, "", problem.split("[SQL: ")[0], flags=re.DOTALL).strip()


def way_out(uri: str, problem: str) -> str:
    """What to do about a problem, in sqlite's words: a damaged file, or a lock. "" if it is another one."""
    path = sqlite_file(uri)
    if path and LOCKED in problem:
        return f". Another program is writing to {path}. Wait for its end, and try again"
    if path and any(word in problem for word in DAMAGED):
        return f". The file is damaged, or no database. {move_away(path)}. {AGAIN}"
    return ""


def move_artifacts(uri: str, place: str, say: Callable[[str], None]) -> None:
    """Corrects the places of artifacts that a sqlite file has stored, if it was moved or copied since."""
    with engine(uri).begin() as connection:
        query = text("SELECT artifact_location FROM experiments WHERE name = :name")
        before = connection.scalar(query, {"name": EXPERIMENT}) or place
        if before == place or not before.startswith("file:"):  # a server has places of its own
            return
        values = {"before": before, "place": place, "inside": f"{before}/", "length": len(before) + 1}
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            connection.execute(
                text(
                    f"UPDATE {table} SET {column} = :place || substr({column}, :length) "
                    f"WHERE {column} = :before OR substr({column}, 1, :length) = :inside"
                ),
                values,
            )
    say(f"{sqlite_file(uri)} was moved or copied: its artifacts were in {before} and are now in {place}")
