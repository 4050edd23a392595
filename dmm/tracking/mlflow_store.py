"""The tracking store: one flat MLflow run for each trial. It is found by the trial's second id, and read back for reports.

The driver is the only writer. Everything may be sent twice. A run is found by its tag, and points that were sent are not sent
again. A point's timestamp is derived from its step. So if a point does arrive twice, the store drops the second one.
"""

import json
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import DatasetInput, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path
from sqlalchemy.exc import SQLAlchemyError

from dmm.base import provenance
from dmm.base.errors import NO_RIGHT, explain
from dmm.base.lock import hold, print_wait
from dmm.base.paths import home
from dmm.base.secrets import masked, masked_uri
from dmm.config import Table
from dmm.results.episodes import check_episodes
from dmm.results.score import summarise
from dmm.schema import EvaluationResult, ReportSource, TrialResult, TrialSummary, read, to_json
from dmm.tracking.content import (
    Point,
    curve_metrics,
    final_metrics,
    pack,
    params,
    row_tag,
    run_name,
    unpack,
)
from dmm.tracking.database import EXPERIMENT, TrackingError, in_words, open_database, read_database, sqlite_uri, way_out
from dmm.tracking.inputs import data_input, inputs_of, names, report_inputs
from dmm.tracking.view import table_view

STATUS = {"running": "RUNNING", "finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
PAGE = 200  # runs in one answer, so that it arrives well within the timeout
BATCH = 800  # metrics in one request. With params and tags this is below MLflow's limit of 1,000
EPISODES = "episodes.json"  # the artifact with the evaluations of a finished trial
AGAIN = "`dmm sync` of its table sends the trial again"
HINT = (
    ". A tracking URI is http://HOST:PORT of a running server, sqlite:////PATH or postgresql://HOST/NAME; "
    "without one, results are recorded in DMM_HOME"
)
GONE = ("INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST")  # MLflow's answers about a deleted run


@dataclass
class StoredRun:
    """A trial's run in MLflow."""

    run_id: str
    status: str  # of MLflow
    start: int  # milliseconds
    end: int | None  # milliseconds. None until it first ended
    tags: dict[str, str]
    has_data: bool  # whether its inputs name the data
    doubles: list[str] = field(default_factory=list)  # further runs of the same trial, which should not exist


class Recorder:
    """A tracking store with its one experiment. Both are created here, once, by the driver.

    `say` takes a line whenever something stored is corrected. A recorder that need not write also reads a database for
    which this user has no right to write. Then `unwritable` says why nothing can be sent.
    """

    def __init__(self, uri: str | None = None, say: Callable[[str], None] = print, must_write: bool = True) -> None:
        uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(home() / "mlflow.db")
        self.uri, self._given, self._say = masked_uri(uri), uri, say
        self._runs: dict[str, StoredRun] | None = None
        self._of_table: dict[str, dict[str, StoredRun]] = {}  # the runs that `summaries` found
        self.unwritable = ""
        is_remote = uri.startswith(("http://", "https://", "databricks"))
        with self._errors(HINT):
            self._client = MlflowClient(uri) if is_remote else self._open(uri, must_write)
            is_local = not (is_remote or self.unwritable)
            self.experiment = self._experiment((home() / "mlartifacts").as_uri() if is_local else None)

    def _open(self, uri: str, must_write: bool) -> MlflowClient:
        """A client of a database."""
        try:
            return open_database(uri, self._say)
        except OSError as error:
            if must_write or error.errno not in NO_RIGHT:
                raise
            self.unwritable = explain(error)
            return read_database(uri)

    def _experiment(self, place: str | None) -> str:
        """The experiment's id. If there is none, one of several processes makes it."""
        if not (found := self._client.get_experiment_by_name(EXPERIMENT)):
            try:
                return self._client.create_experiment(EXPERIMENT, artifact_location=place)
            except MlflowException:  # another process was faster
                if not (found := self._client.get_experiment_by_name(EXPERIMENT)):
                    raise
        if found.lifecycle_stage == "deleted":
            store = shlex.quote(self.uri)
            raise TrackingError(
                f"experiment {EXPERIMENT!r} of {self.uri} is in MLflow's trash. To restore it: MLFLOW_TRACKING_URI={store} "
                f"mlflow experiments restore --experiment-id {found.experiment_id}. To delete it for good: "
                f"mlflow gc --backend-store-uri DATABASE --experiment-ids {found.experiment_id}"
            )
        if place and found.artifact_location.startswith("file:"):
            folder = Path(local_file_uri_to_path(found.artifact_location))
            if not folder.parent.exists():  # a DMM_HOME that was moved, or that is on another machine
                raise TrackingError(
                    f"experiment {EXPERIMENT!r} of {self.uri} keeps its artifacts in {folder}, and {folder.parent} is gone. "
                    f"If it was moved, link it: ln -s {shlex.quote(str(home()))} {shlex.quote(str(folder.parent))}"
                )
        return found.experiment_id

    def push(self, result: TrialResult, rows: Mapping[str, str]) -> None:
        """Sends the part of a result that MLflow does not have yet. A finished run stays finished.

        `rows` has the label of the trial's row for each table that needs it. Raises TrackingError if the store does not take
        the result.
        """
        with self._errors():
            try:
                self._push(result, rows)
            except MlflowException as error:
                if error.error_code not in GONE:
                    raise
                self._runs = None  # after the run was looked up, someone has deleted it on MLflow's page
                self._push(result, rows)

    def _push(self, result: TrialResult, rows: Mapping[str, str]) -> None:
        summary, status = summarise(result), STATUS[result.status]
        stored = self._intact(summary) or self._create(result)
        # the work's time, however long ago the run was made. A run that goes on keeps its last end
        end = stored.end if status == "RUNNING" else stored.start + round(summary.seconds.total * 1000)
        losses, *evaluated = map(int, stored.tags.get("dmm.sent", "0").split())
        tags = {row_tag(table): label for table, label in rows.items()} | pack(result, summary)
        tags = {key: value for key, value in tags.items() if stored.tags.get(key) != value}
        if not tags and (stored.status, stored.end) == (status, end):
            return
        if not stored.has_data:
            self._client.log_inputs(stored.run_id, [data_input(summary.data)])
            stored.has_data = True
        points = curve_metrics(result, losses, evaluated)
        if status == "FINISHED" and "dmm.sha256" in tags:
            points += final_metrics(summary)
        self._log(stored, points, params(result.trial) if "dmm.sent" not in stored.tags else {}, tags)
        if status == "FINISHED" and stored.status != status:
            self._client.log_dict(stored.run_id, to_json(result.evaluations), EPISODES)
        if status == "RUNNING" and stored.status != status:
            self._client.update_run(stored.run_id, status)
        elif (stored.status, stored.end) != (status, end):
            self._client.set_terminated(stored.run_id, status, end)
        stored.status, stored.end = status, end

    def _intact(self, summary: TrialSummary) -> StoredRun | None:
        """The run of a trial. A run is deleted if it was edited or made with other data. A second run is deleted too."""
        stored = self._stored().get(summary.id)
        if stored is None:
            return None
        for run_id in stored.doubles:
            self._delete(run_id, f"is a second one of trial {summary.id}")
        stored.doubles.clear()
        try:
            found = unpack(stored.tags)
            if found is None or found.data.sha256 == summary.data.sha256:
                return stored
            why = "was made with other data"  # its curves would stay among the new ones
        except ValueError as error:
            why = f"is damaged, because {error}"
        del self._stored()[summary.id]
        self._delete(stored.run_id, f"{why}; trial {summary.id} is sent again")
        return None

    def _delete(self, run_id: str, why: str) -> None:
        """Moves a run to MLflow's trash."""
        self._say(f"MLflow's run {run_id} {why}; it is deleted")
        self._client.delete_run(run_id)

    def keep_only(self, table: Table) -> None:
        """Takes the table's tag from the runs of trials that are not in the table any more."""
        key, ids = row_tag(table.name), {trial.returns_id for trial in table.trials()}
        with self._errors():
            for id_, stored in (self._of_table.get(table.name) or self._stored()).items():
                if key in stored.tags and id_ not in ids and not table.part:
                    self._client.delete_tag(stored.run_id, key)
                    del stored.tags[key]

    def summaries(self, table: Table) -> dict[str, TrialSummary]:
        """The summaries of a table's trials by second id, each with its `run_id`, from one paginated search.

        `say` gets a line about a run in MLflow's trash. Raises TrackingError with the run if one is damaged.
        """
        with self._errors():
            runs = self._of_table[table.name] = self._search(self.query(table.name))
            wanted = [trial.returns_id for trial in table.trials()]
            trash = self._search(self.query(table.name), ViewType.DELETED_ONLY) if set(wanted) - set(runs) else {}
        for id_ in wanted:
            if id_ in trash and id_ not in runs:
                self._say(f"MLflow's run {trash[id_].run_id} of trial {id_} is in its trash. {AGAIN}")
        found = {id_: self._summary(id_, runs[id_]) for id_ in wanted if id_ in runs}
        return {id_: summary for id_, summary in found.items() if summary}

    def _summary(self, trial_id: str, stored: StoredRun) -> TrialSummary | None:
        """The summary in a run's tags. None if nothing was sent yet. Raises TrackingError if it cannot be trusted."""
        try:
            if stored.doubles:
                raise ValueError(f"trial {trial_id} has a second run, {stored.doubles[0]}")
            summary = unpack(stored.tags)
        except ValueError as error:
            raise TrackingError(
                f"MLflow's run {stored.run_id} of trial {trial_id} at {self.uri} cannot be read: {error}. {AGAIN}"
            ) from error
        return summary and replace(summary, run_id=stored.run_id)

    def episodes(self, summaries: Iterable[TrialSummary]) -> dict[str, list[EvaluationResult]]:
        """The evaluations of finished trials by second id, with every episode, from the artifacts of their runs.

        `summaries` are those of this store. Raises TrackingError if an artifact is missing, or if it has other episodes than
        those of the summary.
        """
        found = {}
        for summary in summaries:
            if summary.status != "finished" or summary.run_id is None:
                continue
            with self._errors(f". {AGAIN}"):
                text = self._download(summary.run_id)
            try:
                found[summary.id] = read(list[EvaluationResult], json.loads(text), EPISODES)
                check_episodes(summary, found[summary.id])
            except (ValueError, RecursionError) as error:
                raise TrackingError(
                    f"{EPISODES} of MLflow's run {summary.run_id} of trial {summary.id} at {self.uri} cannot be read: {error}. "
                    "`dmm sync` of its table sends it again"
                ) from error
        return found

    def _download(self, run_id: str) -> bytes:
        """The artifact with a run's evaluations. Raises MlflowException or OSError."""
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar for each trial
        with TemporaryDirectory() as folder:
            return Path(self._client.download_artifacts(run_id, EPISODES, folder)).read_bytes()

    def restore(self, result: TrialResult) -> None:
        """Sends the evaluations of a finished trial that was pushed again, if their artifact does not have them."""
        if result.status != "finished":
            return
        run_id, expected = self._stored()[result.id].run_id, to_json(result.evaluations)
        with suppress(MlflowException, OSError, ValueError, RecursionError):
            if json.loads(self._download(run_id)) == expected:
                return
        with self._errors(f". If {EPISODES} of run {run_id} is no file, delete it"):
            self._client.log_dict(run_id, expected, EPISODES)
        self._say(f"{EPISODES} of MLflow's run {run_id} was lost or damaged; it is sent again")

    def query(self, table: str | None = None) -> str:
        """The filter that finds the runs of one table, or of all. Runs of results before version 5 have no second id."""
        return (f"tags.`{row_tag(table)}` != '' and " if table else "") + "tags.`dmm.returns_id` != ''"

    def source(self, table: Table) -> ReportSource:
        """Where a report is read from, and by which code. DMM_HOME stands for its place, which is nobody else's business."""
        return ReportSource(
            uri=self.uri.replace(f"{home()}/", "DMM_HOME/"),
            experiment=EXPERIMENT,
            query=self.query(table.name),
            commit=provenance.commit(),
            versions=provenance.versions(),
        )

    def upload(self, folder: Path, table: Table, summaries: Mapping[str, TrialSummary]) -> None:
        """Stores a report's files as artifacts of one run with the tag dmm.report. Its inputs are the table and the data.

        The run of an earlier report is kept if it is of the same table and data, and if all its files are replaced.
        Otherwise a new run takes its place, because MLflow cannot take an input or a file from a run.
        """
        inputs = report_inputs(table, summaries.values())
        files = {path.name for path in folder.iterdir()}
        with self._errors():
            found = self._client.search_runs([self.experiment], f"tags.`dmm.report` = '{table.name}'")
            earlier = {run.info.run_id: run for run in found}
            run_id = next((run_id for run_id, run in earlier.items() if self._is_same(run, inputs, files)), None)
            if run_id:
                self._client.log_artifacts(run_id, str(folder))
            else:
                run_id = self._client.create_run(
                    self.experiment, run_name=f"report {table.name}", tags={"dmm.report": table.name}
                ).info.run_id
                self._client.log_inputs(run_id, inputs)
                self._client.log_artifacts(run_id, str(folder))
                self._client.set_terminated(run_id)
            for other in earlier.keys() - {run_id}:
                self._client.delete_run(other)

    def _is_same(self, report: Run, inputs: list[DatasetInput], files: set[str]) -> bool:
        """Whether the run of a report is complete, has these inputs, and has no other files than these."""
        if report.info.status != "FINISHED" or names(inputs_of(report)) != names(inputs):
            return False
        return {entry.path for entry in self._client.list_artifacts(report.info.run_id)} <= files

    def view_link(self, table: Table) -> str:
        """Stores the view of a table's runs. Returns how to open it."""
        key = f"table-{table.name}"
        with self._errors():
            view = table_view(table, self.query(table.name), len(table.trials()))
            self._client.set_experiment_tag(self.experiment, f"mlflow.sharedViewState.{key}", json.dumps(view))
        page = f"/#/experiments/{self.experiment}/runs?viewStateShareKey={key}&compareRunsMode=CHART"
        page += "&workflowType=machine_learning"
        if self.uri.startswith("http"):
            return self.uri.rstrip("/") + page
        # without the variable the server starts ten processes
        serve = "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui"
        return f"{serve} --backend-store-uri {shlex.quote(self.uri)} --port 5000\nthen open http://127.0.0.1:5000{page}"

    @contextmanager
    def _errors(self, hint: str = "") -> Iterator[None]:
        """Turns every failure of a store into a TrackingError."""
        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
            text = explain(error) if isinstance(error, OSError) else in_words(str(error))
            text = text.replace(self._given, self.uri)
            cause = masked(" ".join(text.split()).split("Caused by ")[-1])[:300].rstrip(".")
            hint = way_out(self._given, cause) or hint
            raise TrackingError(f"MLflow at {self.uri} cannot be used: {cause}{hint}") from error

    def _stored(self) -> dict[str, StoredRun]:
        """The runs of all trials. They are looked up once."""
        if self._runs is None:
            self._runs = self._search(self.query())
        return self._runs

    def _search(self, query: str, view: int = ViewType.ACTIVE_ONLY) -> dict[str, StoredRun]:
        """Runs by trial. If a trial has several runs, the oldest one has the ids of the others."""
        found: dict[str, StoredRun] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment],
                query,
                view,
                max_results=PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            for run in page:
                first = found.setdefault(run.data.tags["dmm.returns_id"], stored_run(run))
                if first.run_id != run.info.run_id:
                    first.doubles.append(run.info.run_id)
            token = page.token
            if not token:
                return found

    def _create(self, result: TrialResult) -> StoredRun:
        """Makes a run, unless another sweep has made it since runs were looked up. One process at a time makes runs.

        The tag is part of the same request, so no run is ever without it.
        """
        runs = self._stored()
        with hold(home() / "mlflow.lock", "MLflow", wait=print_wait):
            runs |= self._search(f"tags.`dmm.returns_id` = '{result.id}'")
            if result.id not in runs:
                tags = {"dmm.returns_id": result.id, "dmm.weights_id": result.training.weights_id}
                run = self._client.create_run(self.experiment, run_name=run_name(result.trial), tags=tags)
                runs[result.id] = stored_run(run)
        return runs[result.id]

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
    info = run.info
    return StoredRun(
        info.run_id, info.status, info.start_time, info.end_time, dict(run.data.tags), has_data=bool(inputs_of(run))
    )
