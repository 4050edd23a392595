"""The tracking store: one flat MLflow run for each trial. It is found by the trial's second id, and read back for reports.

The driver is the only writer. Everything may be sent twice. A run is found by its tag, and points that were sent are not sent
again. A point's timestamp is derived from its step, so a store drops a point that arrives twice all the same.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from dmm.base import provenance
from dmm.base.lock import hold
from dmm.base.paths import home
from dmm.config import Table
from dmm.results.score import summarise
from dmm.schema import ReportSource, TrialResult, TrialSummary, to_json
from dmm.tracking.content import Point, curve_metrics, final_metrics, pack, params, run_name, unpack
from dmm.tracking.view import ablation_view

EXPERIMENT = "dmm"
STATUS = {"running": "RUNNING", "finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
PAGE = 200  # runs in one answer, so that it arrives well within the timeout
BATCH = 800  # metrics in one request. With params and tags this is below MLflow's limit of 1,000
HINT = (
    ". A tracking URI is http://HOST:PORT of a running server, sqlite:////PATH or postgresql://USER@HOST/NAME; "
    "without one, results are recorded in DMM_HOME"
)


class TrackingError(ValueError):
    """MLflow does not answer, or refuses a request."""


@dataclass
class StoredRun:
    """A trial's run in MLflow."""

    run_id: str
    status: str  # of MLflow
    start: int  # milliseconds
    tags: dict[str, str]


class Recorder:
    """A tracking store with its one experiment. Both are created here, once, by the driver."""

    def __init__(self, uri: str | None = None) -> None:
        uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"
        self.uri = without_password(uri)
        self._runs: dict[str, StoredRun] | None = None
        remote = uri.startswith(("http://", "https://", "databricks"))
        home().mkdir(parents=True, exist_ok=True)
        # a database is made by its first user, and corrupted by two at once
        with self._errors(HINT), nullcontext() if remote else FileLock(home() / ".mlflow.lock"):
            if not remote:
                check_database(uri)
            # sqlite allows one write at a time. Others wait, by sqlite's default for 5 s
            self._client = MlflowClient(f"{uri}?timeout=60" if uri.startswith("sqlite:") and "?" not in uri else uri)
            self.experiment = self._experiment(None if remote else (home() / "mlartifacts").as_uri())

    def _experiment(self, place: str | None) -> str:
        """The experiment's id. If there is none, one of several processes makes it."""
        if not (found := self._client.get_experiment_by_name(EXPERIMENT)):
            try:
                return self._client.create_experiment(EXPERIMENT, artifact_location=place)
            except MlflowException:  # another process was faster
                if not (found := self._client.get_experiment_by_name(EXPERIMENT)):
                    raise
        if found.lifecycle_stage == "deleted":
            raise TrackingError(f"experiment {EXPERIMENT!r} of {self.uri} is deleted; restore it or delete it for good")
        return found.experiment_id

    def push(self, result: TrialResult, tables: Sequence[str] = ()) -> None:
        """Sends the part of a result that MLflow does not have yet. A finished run stays finished.

        Raises TrackingError if the store does not take it.
        """
        with self._errors():
            stored = self._stored(result.id)
            summary, status = summarise(result), STATUS[result.status]
            sha256 = summary.data.sha256
            if stored and "dmm.summaries" in stored.tags and unpack(stored.tags).data.sha256 != sha256:
                self._client.delete_run(stored.run_id)  # made with other data, its curves would stay among the new ones
                del self._runs[result.id]  # pyright: ignore[reportOptionalSubscript]  looked up just now
                stored = None
            stored = stored or self._create(result)
            losses, *evaluated = map(int, stored.tags.get("dmm.sent", "0").split())
            tags = {f"dmm.table.{table}": "yes" for table in tables} | pack(summary)
            updates = dict.fromkeys(entry.update for entry in result.evaluations)
            tags["dmm.sent"] = " ".join(map(str, [len(result.training.loss), *updates]))
            tags = {key: value for key, value in tags.items() if stored.tags.get(key) != value}
            if not tags and stored.status == status:
                return
            points = curve_metrics(result, losses, evaluated)
            if status == "FINISHED" and stored.status != status:
                points += final_metrics(summary)
            self._log(stored, points, params(result.trial) if "dmm.sent" not in stored.tags else {}, tags)
            if status != stored.status:
                if status == "FINISHED":
                    self._client.log_dict(stored.run_id, to_json(result.evaluations), "episodes.json")
                if status == "RUNNING":
                    self._client.update_run(stored.run_id, status)
                else:
                    self._client.set_terminated(stored.run_id, status)
                stored.status = status

    def summaries(self, table: Table) -> dict[str, TrialSummary]:
        """The summaries of a table's trials by second id, each with its `run_id`, from one paginated search."""
        with self._errors():
            found = self._search(self.query(table.name))
        wanted = [trial.returns_id for trial in table.trials()]
        return {id_: replace(unpack(found[id_].tags), run_id=found[id_].run_id) for id_ in wanted if id_ in found}

    def query(self, table: str | None = None) -> str:
        """The filter that finds the runs of one table, or of all. Runs of results before version 5 have no second id."""
        return (f"tags.`dmm.table.{table}` = 'yes' and " if table else "") + "tags.`dmm.returns_id` != ''"

    def source(self, table: Table) -> ReportSource:
        """Where a report is read from, and by which code."""
        return ReportSource(
            uri=self.uri,
            experiment=EXPERIMENT,
            query=self.query(table.name),
            commit=provenance.commit(),
            versions=provenance.versions(),
        )

    def upload(self, folder: Path, table: Table) -> None:
        """Stores a report's files as artifacts. Each table has one run for them, with the tag dmm.report."""
        with self._errors():
            found = self._client.search_runs([self.experiment], f"tags.`dmm.report` = '{table.name}'", max_results=1)
            run = found[0] if found else self._client.create_run(
                self.experiment, run_name=f"report {table.name}", tags={"dmm.report": table.name}
            )  # fmt: skip
            self._client.log_artifacts(run.info.run_id, str(folder))
            self._client.set_terminated(run.info.run_id)

    def view_link(self, table: str | None = None) -> str:
        """Stores the ablation view of one table, or of all trials. Returns how to open it."""
        key = f"ablation-{table}" if table else "ablation"
        with self._errors():
            self._client.set_experiment_tag(
                self.experiment, f"mlflow.sharedViewState.{key}", json.dumps(ablation_view(self.query(table)))
            )
        path = f"/#/experiments/{self.experiment}/runs?viewStateShareKey={key}&compareRunsMode=CHART"
        if self.uri.startswith("http"):
            return self.uri.rstrip("/") + path
        # without the variable the server starts ten processes
        serve = f"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --backend-store-uri {self.uri} --port 5000"
        return f"{serve}\nthen open http://127.0.0.1:5000{path}"

    @contextmanager
    def _errors(self, hint: str = "") -> Iterator[None]:
        """Turns every failure of a store into a TrackingError."""
        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
            cause = without_password(" ".join(str(error).split()).split("Caused by ")[-1])[:300]
            raise TrackingError(f"MLflow at {self.uri} cannot be used: {cause}{hint}") from error

    def _stored(self, trial_id: str) -> StoredRun | None:
        """The run of a trial. All runs are looked up once."""
        if self._runs is None:
            self._runs = self._search(self.query())
        return self._runs.get(trial_id)

    def _search(self, query: str) -> dict[str, StoredRun]:
        """Runs by trial. If a trial has two runs, which should not happen, the older one."""
        found: dict[str, StoredRun] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment], query, max_results=PAGE, order_by=["attributes.start_time ASC"], page_token=token
            )
            for run in page:
                found.setdefault(run.data.tags["dmm.returns_id"], stored_run(run))
            token = page.token
            if not token:
                return found

    def _create(self, result: TrialResult) -> StoredRun:
        """Makes a run, unless another sweep has made it since runs were looked up. One process at a time makes runs.

        The tag is part of the same request, so no run is ever without it.
        """
        assert self._runs is not None
        with hold(home() / "mlflow.lock", "MLflow", wait=True, say=lambda text: None):
            self._runs |= self._search(f"tags.`dmm.returns_id` = '{result.id}'")
            if result.id not in self._runs:
                tags = {"dmm.returns_id": result.id, "dmm.weights_id": result.training.weights_id}
                run = self._client.create_run(self.experiment, run_name=run_name(result.trial), tags=tags)
                self._runs[result.id] = stored_run(run)
        return self._runs[result.id]

    def _log(self, stored: StoredRun, points: list[Point], params: dict[str, object], tags: dict[str, str]) -> None:
        """Sends metrics. The tags, which say that they were sent, are part of the last request."""
        metrics = [Metric(point.key, point.value, stored.start + point.step, point.step) for point in points]
        settings, last = [Param(key, str(value)) for key, value in params.items()], max(len(metrics) - 1, 0)
        for first in range(0, last + 1, BATCH):
            self._client.log_batch(
                stored.run_id,
                metrics=metrics[first : first + BATCH],
                params=settings if first == 0 else (),
                tags=[RunTag(key, value) for key, value in tags.items()] if first + BATCH > last else (),
            )
        stored.tags |= tags


def stored_run(run: Run) -> StoredRun:
    """The part of MLflow's run that is used here."""
    return StoredRun(run.info.run_id, run.info.status, run.info.start_time, dict(run.data.tags))


def check_database(uri: str) -> None:
    """Raises an error if a database cannot be opened or written. MLflow itself would retry for minutes."""
    if uri.startswith("sqlite:///"):
        path = Path(sqlalchemy.make_url(uri).database or "")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    engine = sqlalchemy.create_engine(uri)
    sqlalchemy.inspect(engine).get_table_names()
    engine.dispose()


def without_password(text: str) -> str:
    """The same text with the user and password of its URIs hidden."""
    return re.sub(r"//[^/@\s]+@", "//***@", text)
