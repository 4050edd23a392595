"""A sweep on somebody else's cluster: submitted after a look at what would go wrong; status and sync, from anywhere.

Logs, status and stop of a job are Ray's own: `ray job logs`, `ray job status`, `ray job stop`.
"""

import os
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from dmm.base.lock import describe, is_held
from dmm.base.paths import home
from dmm.config import Table, Trial
from dmm.results.score import reason
from dmm.trials.storage import hold_table, load_status, table_lock

UPLOAD_LIMIT = 100 * 2**20  # bytes of a job's files, at which Ray's job server answers 413
CARRIED = ("DMM_", "MLFLOW_TRACKING_", "MINARI_DATASETS_")  # variables that a job gets from here
STATES = ("finished", "running", "failed", "stopped", "pending")


@dataclass(frozen=True)
class SweepStatus:
    """Where a table's trials stand: by id, each trial, its name, and its result or summary."""

    table: Table
    trials: dict[str, Trial]
    names: dict[str, str]
    found: Mapping[str, Mapping | None]

    def state(self, trial_id: str) -> str:
        """finished, running, failed, stopped or pending."""
        found = self.found.get(trial_id)
        return found["status"] if found else "pending"

    def update(self, trial_id: str) -> int:
        """How many updates a trial has behind it."""
        found = self.found.get(trial_id)
        return found["update"] if found else 0

    def seconds_left(self) -> float | None:
        """Work that is left over trials at once: at the pace of trials of the same kind, or of all; None before any pace."""
        pace: dict[object, list[float]] = {}
        for trial_id, trial in self.trials.items():
            found = self.found.get(trial_id)
            if found and found["update"]:
                seconds = sum(found["seconds"].values()) / found["update"]
                for key in (kind(trial), None):
                    pace.setdefault(key, []).append(seconds)
        if not pace:
            return None
        each = {key: fmean(values) for key, values in pace.items()}
        work = sum(
            (trial.protocol.updates - self.update(trial_id)) * each.get(kind(trial), each[None])
            for trial_id, trial in self.trials.items()
            if self.state(trial_id) not in ("finished", "failed")
        )
        return work / max(sum(self.state(trial_id) == "running" for trial_id in self.trials), 1)

    def lines(self) -> list[str]:
        """What `dmm status` says of the trials."""
        count = Counter(map(self.state, self.trials))
        updates = sum(map(self.update, self.trials))
        total = sum(trial.protocol.updates for trial in self.trials.values())
        left = self.seconds_left()
        said = [
            f"{self.table.name}: {count['finished']}/{len(self.trials)} done, "
            + ", ".join(f"{count[state]} {state}" for state in STATES[1:])
            + f"; {100 * updates / total:.0f} % of updates, "
            + ("time left unknown" if left is None else f"{left / 60:.1f} min left, {max(count['running'], 1)} at once")
        ]
        for state in ("running", "stopped", "failed"):
            for trial_id in (trial_id for trial_id in self.trials if self.state(trial_id) == state):
                found = self.found[trial_id]
                assert found
                why = reason(found) if state == "failed" else f"update {found['update']:,}"
                said.append(f"{state}: {self.names[trial_id]} ({trial_id}): {why}")
        return said


def kind(trial: Trial) -> tuple:
    """Trials of one kind cost the same."""
    return trial.arch, trial.overrides, trial.task.name, trial.protocol


def named(table: Table) -> tuple[dict[str, Trial], dict[str, str]]:
    """A table's trials and their names by id."""
    trials, names = {}, {}
    for row in table.rows:
        for column in table.columns:
            for trial in table.cell(row, column):
                trials[trial.id] = trial
                names[trial.id] = f"{row.label} on {column.label}, seed {trial.seed}"
    return trials, names


def status(table: Table, uri: str | None = None) -> list[str]:
    """Says where a table's trials stand: by the files of the storage path, or by a tracking store."""
    trials, names = named(table)
    if uri:
        from dmm.tracking.mlflow_store import Recorder

        return [*SweepStatus(table, trials, names, Recorder(uri).summaries(table)).lines(), f"as recorded in {uri}"]
    found = {}
    for trial_id, trial in trials.items():
        try:
            found[trial_id] = load_status(trial)
        except ValueError as error:  # a damaged file
            found[trial_id] = {"status": "failed", "error": str(error), "update": 0}
    lock = table_lock(table)
    swept = f"swept by {describe(lock)}" if is_held(lock) else f"nobody sweeps it; `dmm sweep {table.name}` goes on"
    return [*SweepStatus(table, trials, names, found).lines(), f"{swept}, in {home()}"]


def sync(table: Table, uri: str | None = None) -> int:
    """Brings a tracking store, an empty one too, up to all result files of a table; returns how many there are."""
    from dmm.tracking.mlflow_store import Recorder

    with hold_table(table):
        recorder, count = Recorder(uri), 0
        for trial in table.trials():
            if found := load_status(trial):
                recorder.push(found, [table.name])
                count += 1
    return count


def upload(folder: Path) -> list[tuple[int, str]]:
    """The files that Ray would send to the cluster, largest first, as (bytes, path): less what is ignored by its rules."""
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    sizes: list[tuple[int, str]] = []

    def add(path: Path) -> None:
        if path.is_file():
            sizes.append((path.stat().st_size, str(path.relative_to(folder.absolute()))))

    excludes = [_get_excludes(folder.absolute(), get_runtime_env_default_excludes())]
    _dir_travel(folder.absolute(), excludes, add, include_gitignore=True)
    return sorted(sizes, reverse=True)


def check_upload(folder: Path) -> str:
    """Says what will be sent; refuses what the job server would."""
    sizes = upload(folder)
    total = sum(size for size, _ in sizes)
    largest = ", ".join(f"{path} {mib(size)}" for size, path in sizes[:5])
    said = f"upload of {folder.absolute()}: {len(sizes)} files, {mib(total)}; the largest: {largest}"
    if total >= UPLOAD_LIMIT:
        raise ValueError(f"{said}. Ray takes at most {mib(UPLOAD_LIMIT)}: name what is not code in .rayignore")
    return said


def mib(size: int) -> str:
    """Bytes as MiB."""
    return f"{size / 2**20:.1f} MiB"


def connect(address: str):
    """A client of a head's job server; one that cannot be used is one clear error."""
    import ray
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    mode = os.environ.get("RAY_AUTH_MODE", "unset")
    try:
        client = JobSubmissionClient(address)
    except AuthenticationError as error:
        raise ValueError(
            f"the head at {address} wants another token; RAY_AUTH_MODE is {mode} here. With token authentication, export "
            f"RAY_AUTH_MODE=token on both sides, and the head's token as RAY_AUTH_TOKEN: {str(error).splitlines()[0]}"
        ) from error
    except (ConnectionError, OSError, RuntimeError) as error:
        raise ValueError(f"no Ray head answers at {address}: {error}; --address is that of its dashboard") from error
    theirs = client._server_ray_version or "an unknown version"
    if theirs.split(".")[:2] != ray.__version__.split(".")[:2]:
        raise ValueError(f"the head at {address} runs Ray {theirs}; here is {ray.__version__}: install the same")
    return client


def submit(table: Table, words: list[str], *, address: str, folder: Path, uri: str | None, say=print) -> str:
    """Submits `dmm sweep` with these words as a Ray job, after a look at what would go wrong; returns its id."""
    if not os.environ.get("DMM_HOME", "").startswith("/"):
        raise ValueError(
            "set DMM_HOME to an absolute path that all nodes of the cluster share: a job's own folder is thrown away, and "
            "with it the sweep's results"
        )
    for word in words:
        if word.endswith((".py", ".toml")) and (Path(word).is_absolute() or not (folder / word).is_file()):
            raise ValueError(f"{word} does not travel with the job: give a path below {folder.absolute()}")
    say(check_upload(folder))
    client = connect(address)
    say(f"head: {address}, Ray {client._server_ray_version}, RAY_AUTH_MODE {os.environ.get('RAY_AUTH_MODE', 'unset')}")
    variables = {key: value for key, value in os.environ.items() if key.startswith(CARRIED)} | {"PYTHONUNBUFFERED": "1"}
    if uri:
        from dmm.tracking.mlflow_store import Recorder, TrackingError

        variables["MLFLOW_TRACKING_URI"] = uri
        try:
            say(f"MLflow: {Recorder(uri).uri}")
        except TrackingError as error:  # its name may be one of the cluster's
            say(f"warning: from here, {error}; the job needs it from the head")
    else:
        say(f"MLflow: none given; the job records in {home() / 'mlflow.db'}, which only one node should write")
    job = client.submit_job(
        entrypoint=shlex.join(["python", "-m", "dmm", "sweep", *words]),
        runtime_env={"working_dir": str(folder), "env_vars": variables},
        metadata={"table": table.name},
    )
    say(f"submitted {job}; the same command goes on after whatever happens. With RAY_API_SERVER_ADDRESS={address}:")
    for command in ("logs --follow", "status", "stop"):
        say(f"  ray job {command} {job}")
    return job
