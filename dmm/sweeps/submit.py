"""Submits a sweep as a Ray job on a shared cluster, after checks of upload, head and MLflow.

Logs, status and stop of a job are Ray's own commands: `ray job logs`, `ray job status`, `ray job stop`.
"""

import logging
import os
import shlex
from collections.abc import Callable
from pathlib import Path

from dmm.base.paths import home
from dmm.base.secrets import masked, secret_names
from dmm.base.text_tables import counted
from dmm.config import Table

UPLOAD_LIMIT = 100 * 2**20  # bytes of a job's files. Ray's job server answers 413 to this size and above
SECRETS = (
    "Unset it here, and give it to the head's processes: as a variable of the head (in Kubernetes from a Secret), or in a file "
    "there, ~/.mlflow/credentials for an MLflow server and ~/.pgpass for Postgres"
)
CARRIED = ("DMM_", "MLFLOW_TRACKING_", "MINARI_DATASETS_")  # a job gets the variables that begin so


def upload(folder: Path) -> list[tuple[int, str]]:
    """The files that Ray would send to the cluster, as (bytes, path), largest first. Ignored files are left out."""
    # Ray has no public function for this. The dependency ray<2.61 pins these
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    sizes: list[tuple[int, str]] = []
    logging.getLogger("ray._private.runtime_env.packaging").setLevel(logging.WARNING)  # it names each file

    def add(path: Path) -> None:
        if path.is_file():
            sizes.append((path.stat().st_size, str(path.relative_to(folder.absolute()))))

    excludes = [_get_excludes(folder.absolute(), get_runtime_env_default_excludes())]
    _dir_travel(folder.absolute(), excludes, add, include_gitignore=True)
    return sorted(sizes, reverse=True)


def check_upload(folder: Path) -> str:
    """Returns a line about the upload. Raises ValueError if the job server would refuse its size."""
    sizes = upload(folder)
    total = sum(size for size, _ in sizes)
    largest = ", ".join(f"{path} {mib(size)}" for size, path in sizes[:5])
    said = (
        f"upload of {folder.absolute()}: {counted(len(sizes), 'file')}, {mib(total)}"
        + f"; the largest: {largest}" * bool(sizes)
    )
    if total >= UPLOAD_LIMIT:
        raise ValueError(f"{said}. Ray takes at most {mib(UPLOAD_LIMIT)}: name what is not code in .rayignore")
    return said


def mib(size: int) -> str:
    """Bytes as MiB."""
    return f"{size / 2**20:.1f} MiB"


def connect(address: str):
    """A client of a head's job server. Raises ValueError if it does not answer, refuses the token or runs another Ray."""
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
        raise ValueError(f"no Ray head answers at {address}; --address is that of its dashboard") from error
    theirs = client._server_ray_version or "an unknown version"
    if theirs.split(".")[:2] != ray.__version__.split(".")[:2]:
        raise ValueError(f"the head at {address} runs Ray {theirs}; here is {ray.__version__}: install the same")
    return client


def submit(
    table: Table, words: list[str], *, address: str, folder: Path, uri: str | None, say: Callable[[str], None] = print
) -> str:
    """Submits `dmm sweep` with these words as a Ray job and returns its id. Raises ValueError if it could not work there."""
    if not os.environ.get("DMM_HOME", "").startswith("/"):
        raise ValueError(
            "set DMM_HOME to an absolute path that all nodes of the cluster share: a job's own folder, with the sweep's "
            "results, is deleted at its end"
        )
    for word in words:
        if word.endswith((".py", ".toml")) and (Path(word).is_absolute() or not (folder / word).is_file()):
            raise ValueError(f"{word} does not travel with the job: give a path below {folder.absolute()}")
    variables = {key: value for key, value in os.environ.items() if key.startswith(CARRIED)} | {"PYTHONUNBUFFERED": "1"}
    variables |= {"MLFLOW_TRACKING_URI": uri} if uri else {}
    if found := secret_names(variables):
        raise ValueError(
            f"{found[0]} holds a password, and everyone who reaches Ray's dashboard can read a job's variables. {SECRETS}"
        )
    say(check_upload(folder))
    client = connect(address)
    say(
        f"head: {masked(address)}, Ray {client._server_ray_version}, RAY_AUTH_MODE {os.environ.get('RAY_AUTH_MODE', 'unset')}"
    )
    if uri:
        from dmm.tracking.mlflow_store import Recorder, TrackingError

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
    say(f"submitted {job}")
    for command in (["logs", "--follow"], ["status"], ["stop"]):
        say(f"  {shlex.join(['ray', 'job', *command, '--address', masked(address), job])}")
    return job
