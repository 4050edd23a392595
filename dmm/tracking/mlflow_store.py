"""MLflow, and only here: one flat run a trial, found by its id, and read back for reports.

The driver is the only writer. Everything can be pushed twice: a run is found by its tag, points that were sent are not sent
again, and a point's timestamp is derived from its step, so that a store drops one that comes twice all the same.
"""

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # MLflow's own would hang for minutes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("PGCONNECT_TIMEOUT", "5")

import sqlalchemy  # noqa: E402
from filelock import FileLock  # noqa: E402
from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Metric, Param, Run, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

from dmm.base.lock import hold  # noqa: E402
from dmm.base.paths import home  # noqa: E402
from dmm.config import BEST, LAST, Table  # noqa: E402
from dmm.results.score import summarise, target_label, trial_score  # noqa: E402
from dmm.tasks import Task  # noqa: E402

EXPERIMENT = "dmm"
STATUS = {"running": "RUNNING", "finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
TAG_LENGTH = 4500  # a longer tag is cut by MLflow without a word: at 5,000 or 8,000 characters, by version
PAGE = 200  # runs an answer, so that one comes well within the timeout
BATCH = 800  # metrics a request; with params and tags below MLflow's limit of 1,000
for noisy in ("alembic", "mlflow.store.db.utils"):
    logging.getLogger(noisy).setLevel(logging.WARNING)


HINT = (
    ". A tracking URI is http://HOST:PORT of a running server, sqlite:////PATH or postgresql://USER@HOST/NAME; "
    "without one, results are recorded in DMM_HOME"
)


class TrackingError(ValueError):
    """MLflow does not answer, or refuses."""


@dataclass
class Known:
    """What MLflow has of a trial."""

    run_id: str
    status: str
    start: int  # milliseconds
    tags: dict[str, str]


class Recorder:
    """A tracking store with its one experiment; both are created here, once, by the driver."""

    def __init__(self, uri: str | None = None) -> None:
        uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"
        self.uri = without_password(uri)
        self._runs: dict[str, Known] | None = None
        remote = uri.startswith(("http://", "https://", "databricks"))
        home().mkdir(parents=True, exist_ok=True)
        # a database is made by its first user, and spoilt by two of them
        with self._errors(HINT), nullcontext() if remote else FileLock(home() / ".mlflow.lock"):
            if not remote:
                check_database(uri)
            # sqlite lets one write at a time, and the others wait, by its own measure for 5 s
            self._client = MlflowClient(f"{uri}?timeout=60" if uri.startswith("sqlite:") and "?" not in uri else uri)
            self.experiment = self._experiment(None if remote else (home() / "mlartifacts").as_uri())

    def _experiment(self, place: str | None) -> str:
        """The id of the experiment; made where there is none, by one of several that come at once."""
        if not (found := self._client.get_experiment_by_name(EXPERIMENT)):
            try:
                return self._client.create_experiment(EXPERIMENT, artifact_location=place)
            except MlflowException:  # another was faster
                if not (found := self._client.get_experiment_by_name(EXPERIMENT)):
                    raise
        if found.lifecycle_stage == "deleted":
            raise TrackingError(f"experiment {EXPERIMENT!r} of {self.uri} is deleted; restore it or delete it for good")
        return found.experiment_id

    def push(self, result: Mapping, tables: Sequence[str] = ()) -> None:
        """Brings a trial's run up to its result. What MLflow has already is not sent; a finished run stays finished."""
        with self._errors():
            known = self._known(result["id"])
            summary, status = summarise(result), STATUS[result["status"]]
            if (
                known
                and "dmm.summaries" in known.tags
                and unpack(known.tags)["data"]["sha256"] != summary["data"]["sha256"]
            ):
                self._client.delete_run(known.run_id)  # made with other data: its curves would stay among the new ones
                del self._runs[result["id"]]  # pyright: ignore[reportOptionalSubscript]  looked up just now
                known = None
            known = known or self._create(result)
            sent = [int(count) for count in known.tags.get("dmm.sent", "0 0").split()]
            tags = {f"dmm.table.{table}": "yes" for table in tables} | pack(summary)
            tags["dmm.sent"] = f"{len(result['loss'])} {len(result['evaluations'])}"
            tags = {key: value for key, value in tags.items() if known.tags.get(key) != value}
            if not tags and known.status == status:
                return
            metrics = curves(result, *sent)
            if status == "FINISHED" and known.status != status:
                metrics += [(key, value, 0) for key, value in totals(summary).items()]
            self._log(known, metrics, params(result["trial"]) if "dmm.sent" not in known.tags else {}, tags)
            if status != known.status:
                if status == "FINISHED":
                    self._client.log_dict(known.run_id, result["evaluations"], "episodes.json")
                if status == "RUNNING":
                    self._client.update_run(known.run_id, status)
                else:
                    self._client.set_terminated(known.run_id, status)
                known.status = status

    def summaries(self, table: Table) -> dict[str, dict]:
        """The summaries of a table's trials by id, each with its `run_id`, from one paginated search."""
        with self._errors():
            found = self._search(self.query(table))
        wanted = [trial.id for trial in table.trials()]
        return {id_: unpack(found[id_].tags) | {"run_id": found[id_].run_id} for id_ in wanted if id_ in found}

    def query(self, table: Table) -> str:
        """The filter that finds a table's runs."""
        return f"tags.`dmm.table.{table.name}` = 'yes'"

    def provenance(self, table: Table) -> dict:
        """Where a report was read from, for its manifest."""
        return {"uri": self.uri, "experiment": EXPERIMENT, "query": self.query(table)}

    def upload(self, folder: Path, table: Table) -> None:
        """Keeps a report's files as artifacts of one run a table, found by the tag dmm.report."""
        with self._errors():
            found = self._client.search_runs([self.experiment], f"tags.`dmm.report` = '{table.name}'", max_results=1)
            run = found[0] if found else self._client.create_run(
                self.experiment, run_name=f"report {table.name}", tags={"dmm.report": table.name}
            )  # fmt: skip
            self._client.log_artifacts(run.info.run_id, str(folder))
            self._client.set_terminated(run.info.run_id)

    def view_link(self, table: str | None = None) -> str:
        """Keeps the ready-made ablation view, of one table or of all trials; says how to open it."""
        key = f"ablation-{table}" if table else "ablation"
        query = f"tags.`dmm.table.{table}` = 'yes'" if table else "tags.`dmm.trial_id` != ''"
        with self._errors():
            self._client.set_experiment_tag(
                self.experiment, f"mlflow.sharedViewState.{key}", json.dumps(ablation_view(query))
            )
        path = f"/#/experiments/{self.experiment}/runs?viewStateShareKey={key}&compareRunsMode=CHART"
        if self.uri.startswith("http"):
            return self.uri.rstrip("/") + path
        # without the variable the server starts ten processes
        serve = f"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --backend-store-uri {self.uri} --port 5000"
        return f"{serve}\nthen open http://127.0.0.1:5000{path}"

    @contextmanager
    def _errors(self, hint: str = "") -> Iterator[None]:
        """Turns every way in which a store can fail into a TrackingError."""
        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
            cause = without_password(" ".join(str(error).split()).split("Caused by ")[-1])[:300]
            raise TrackingError(f"MLflow at {self.uri} cannot be used: {cause}{hint}") from error

    def _known(self, trial_id: str) -> Known | None:
        """The run of a trial; all runs are looked up once."""
        if self._runs is None:
            self._runs = self._search("tags.`dmm.trial_id` != ''")
        return self._runs.get(trial_id)

    def _search(self, query: str) -> dict[str, Known]:
        """Runs by trial; of two for one trial, which nobody should make, the older."""
        found: dict[str, Known] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment], query, max_results=PAGE, order_by=["attributes.start_time ASC"], page_token=token
            )
            for run in page:
                found.setdefault(run.data.tags["dmm.trial_id"], known_run(run))
            token = page.token
            if not token:
                return found

    def _create(self, result: Mapping) -> Known:
        """A new run, unless a sweep of another table has made it since runs were looked up; one at a time makes runs.

        Its tag comes with it in one request, so no run is ever without.
        """
        assert self._runs is not None
        with hold(home() / "mlflow.lock", "MLflow", wait=True, say=lambda text: None):
            self._runs |= self._search(f"tags.`dmm.trial_id` = '{result['id']}'")
            if result["id"] not in self._runs:
                run = self._client.create_run(
                    self.experiment, run_name=run_name(result["trial"]), tags={"dmm.trial_id": result["id"]}
                )
                self._runs[result["id"]] = known_run(run)
        return self._runs[result["id"]]

    def _log(self, known: Known, metrics: list[tuple[str, float, int]], params: dict, tags: dict) -> None:
        """Sends metrics (key, value, step), and with the last of them the tags that say that they were sent."""
        points = [Metric(key, value, known.start + step, step) for key, value, step in metrics]
        settings, last = [Param(key, str(value)) for key, value in params.items()], max(len(points) - 1, 0)
        for first in range(0, last + 1, BATCH):
            self._client.log_batch(
                known.run_id,
                metrics=points[first : first + BATCH],
                params=settings if first == 0 else (),
                tags=[RunTag(key, value) for key, value in tags.items()] if first + BATCH > last else (),
            )
        known.tags |= tags


def known_run(run: Run) -> Known:
    """What matters of a run."""
    return Known(run.info.run_id, run.info.status, run.info.start_time, dict(run.data.tags))


def check_database(uri: str) -> None:
    """Refuses a database that cannot be opened or written; MLflow itself would try again for minutes."""
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    engine = sqlalchemy.create_engine(uri)
    sqlalchemy.inspect(engine).get_table_names()
    engine.dispose()


def without_password(text: str) -> str:
    """The same text with the user and password of its URIs hidden."""
    return re.sub(r"//[^/@\s]+@", "//***@", text)


def pack(summary: Mapping) -> dict[str, str]:
    """A summary as JSON tags: one, or several where it is long."""
    text = json.dumps(summary, separators=(",", ":"))
    parts = [text[first : first + TAG_LENGTH] for first in range(0, len(text), TAG_LENGTH)]
    return {"dmm.summaries": str(len(parts))} | {f"dmm.summary.{i}": part for i, part in enumerate(parts)}


def unpack(tags: Mapping[str, str]) -> dict:
    """The summary that `pack` made into tags."""
    return json.loads("".join(tags[f"dmm.summary.{i}"] for i in range(int(tags["dmm.summaries"]))))


def run_name(trial: Mapping) -> str:
    """metamamba hopper s0 K8 H64"""
    width = f" H{trial['config']['width']}" if "width" in trial["config"] else ""
    return f"{trial['arch']} {trial['task']['name']} s{trial['seed']} K{trial['protocol']['context_length']}{width}"


def params(trial: Mapping) -> dict[str, object]:
    """What runs are filtered and grouped by: every field of protocol and Config, so that a default can be filtered too."""
    values = {
        **trial["protocol"],
        **trial["config"],
        "arch": trial["arch"],
        "task": trial["task"]["name"],
        "dataset": "+".join(trial["dataset"]),
        "seed": trial["seed"],
    }
    if "width" in trial["config"]:
        values["embed_dim"] = trial["config"]["width"]
    return {key: ",".join(map(str, value)) if isinstance(value, list) else value for key, value in values.items()}


def curves(result: Mapping, losses: int, evaluations: int) -> list[tuple[str, float, int]]:
    """Learning curves from the given points on, as (key, value, step)."""
    task = task_of(result)
    points = [("train/loss", loss, update) for update, loss in result["loss"][losses:]]
    for entry in result["evaluations"][evaluations:]:
        name, mean = target_label(entry["target"]), fmean(entry["returns"])
        points.append((f"eval/return_x{name}", mean, entry["update"]))
        points.append((f"eval/score_x{name}", task.normalised_score(mean), entry["update"]))
    return points


def totals(summary: Mapping) -> dict[str, float]:
    """A finished trial's numbers; logged at step 0, MLflow draws them as bars."""
    found = {
        "model/parameters": summary["parameters"],
        "time/train_s": summary["seconds"]["train"],
        "time/rollout_s": summary["seconds"]["rollout"],
    }
    target = 1.0 if "1" in summary["curve"] else summary["trial"]["protocol"]["targets"][0]
    for reading in (LAST, BEST):
        found[f"score/{reading.name}"] = trial_score(summary, replace(reading, target=target), task_of(summary))
    return found


def task_of(result: Mapping) -> Task:
    """The task of a result or a summary, which may be one that only its table knows."""
    return Task(**{**result["task"], "options": tuple(map(tuple, result["task"]["options"]))})


def ablation_view(query: str) -> dict:
    """The state of MLflow's run page: charts of the last score over architecture, context and width, seeds averaged.

    The format is internal to MLflow's page; should it change, only the view is lost.
    """
    grid = ["arch", "context_length", "embed_dim"]
    chart = {"runsCountToCompare": 100, "metricSectionId": "ablation", "deleted": False, "isGenerated": False}
    line = {
        "lineSmoothness": 0,
        "scaleType": "linear",
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "selectedXAxisMetricKey": "",
        "selectedYAxisMetricKey": "metric",
        "yAxisExpressions": [],
        "yAxisKey": "metric",
        "range": {},
    }
    charts = [
        {"type": "PARALLEL", "selectedParams": grid, "selectedMetrics": ["score/last"]},
        {"type": "BAR", "metricKey": "score/last"},
        {
            "type": "SCATTER",
            "xaxis": {"key": "model/parameters", "type": "METRIC"},
            "yaxis": {"key": "score/last", "type": "METRIC"},
        },
        {"type": "LINE", "metricKey": "eval/score_x1", "selectedMetricKeys": ["eval/score_x1"], **line},
    ]
    return {
        "searchFilter": query,
        "selectedColumns": [f"params.`{name}`" for name in [*grid, "dataset", "seed"]]
        + [f"metrics.`{name}`" for name in ("score/last", "score/best", "model/parameters")],
        "runsHiddenMode": "SHOWALL",
        "orderByKey": "metrics.`score/last`",
        "orderByAsc": False,
        "compareRunCharts": [{"uuid": f"c{i}", **chart, **entry} for i, entry in enumerate(charts, 1)],
        "compareRunSections": [{"uuid": "ablation", "name": "Ablation grid", "display": True, "isReordered": False}],
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "param", "groupByData": name} for name in grid],
        },
        "useGroupedValuesInCharts": True,
    }
