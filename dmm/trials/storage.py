"""A trial's folder, DMM_HOME/trials/<first id>. Every file is written whole or not at all.

training.json, lock             the outcome of training, and the lock of the process that trains
checkpoint.pt, -before.pt       the state of training. It holds everything that training.json does
weights/<updates>/              kept weights: weights.py
evaluations/<second id>.json    the outcome of an Evaluation. Its lock and the updates that it wants are beside it
log.txt

A lost or damaged training.json is rebuilt from the checkpoint. If a checkpoint is damaged, the one before is used. A damaged
evaluation is set aside and rolled out again from the kept weights. If nothing intact is left, there is an error: no trial
restarts silently.
"""

import io
import json
import os
import socket
import sys
import time
import zipfile
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from dmm.base.checksums import dump_json, load_json, seal, unseal
from dmm.base.lock import hold, is_held
from dmm.base.paths import delete, home, write_atomic
from dmm.config import Table, Trial
from dmm.schema import ReturnsResult, TrainingResult, TrialResult, from_json, to_json
from dmm.training.state import TrainingState

CHECKPOINTS = ("checkpoint.pt", "checkpoint-before.pt")  # the newest first
DOS_FOLDER = 0x10  # the flag of a folder, in an entry of a zip file
T = TypeVar("T")


def trial_folder(trial: Trial) -> Path:
    """The folder of a trial's files. Trials that differ only in their evaluation share it."""
    return home() / "trials" / trial.weights_id


def training_path(trial: Trial) -> Path:
    """The file with the outcome of training."""
    return trial_folder(trial) / "training.json"


def returns_path(trial: Trial) -> Path:
    """The file with the outcome of the trial's evaluation."""
    return trial_folder(trial) / "evaluations" / f"{trial.returns_id}.json"


def write_checked(path: Path, value: object) -> None:
    """Writes a value as JSON with its sha256, whole or not at all. Raises ValueError if a number is not finite."""
    write_atomic(path, dump_json(to_json(value)))


def read_checked(kind: type[T], path: Path) -> T | None:
    """The value that `write_checked` wrote. None if there is no file. Raises ValueError if the file is damaged."""
    try:
        return from_json(kind, load_json(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, IsADirectoryError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error


def check_owner(path: Path, owner: str, expected: str) -> None:
    """Raises ValueError if a file belongs to another trial. Then somebody has copied it here."""
    if owner != expected:
        raise ValueError(f"{path} belongs to {owner}, and in this place it must belong to {expected}")


def load_training(trial: Trial) -> TrainingResult | None:
    """The outcome of training so far. None if training has not begun, or if a checkpoint can restore a damaged file.

    Raises ValueError if the file is damaged, or another trial's, and no checkpoint exists.
    """
    path = training_path(trial)
    try:
        if found := read_checked(TrainingResult, path):
            check_owner(path, found.weights_id, trial.weights_id)
        return found
    except ValueError as error:
        if any((trial_folder(trial) / name).exists() for name in CHECKPOINTS):
            return None
        raise ValueError(
            f"{error}, and there is no checkpoint to rebuild it from; move its folder away to run the trial from the start"
        ) from error


def load_returns(trial: Trial) -> ReturnsResult | None:
    """The outcome of the trial's evaluation so far. Raises ValueError if the file is damaged, or another trial's."""
    path = returns_path(trial)
    if found := read_checked(ReturnsResult, path):
        check_owner(path, found.returns_id, trial.returns_id)
    return found


def load_result(trial: Trial) -> TrialResult | None:
    """Training and evaluation of a trial so far. None if the trial's evaluation, or its training, has not begun.

    Raises ValueError if a file is damaged.
    """
    training = load_training(trial)
    try:
        returns = load_returns(trial)
    except ValueError as error:
        raise ValueError(
            f"{error}; the next `dmm run` or `dmm sweep` of the trial rolls its episodes out again"
        ) from error
    if returns is None or training is None:
        return None
    status = "failed" if returns.status != "finished" and training.status == "failed" else returns.status
    return TrialResult(training=training, returns=returns, status=status)


def load_status(trial: Trial) -> TrialResult | None:
    """The trial's result. Its status is "stopped" if the file says "running" and no process runs the trial."""
    found = load_result(trial)
    if found and found.status == "running" and not is_held(evaluation_lock(trial)):
        return replace(found, status="stopped")
    return found


@dataclass(frozen=True)
class OldResult:
    """A result of an earlier version. Its numbers differ from those of this version, so no table reuses it."""

    id: str
    version: int | None
    arch: str
    dataset: str
    seed: int | None
    status: str


def old_results() -> list[OldResult]:
    """The results of earlier versions in DMM_HOME. Each is one file, result.json."""
    found = []
    for path in sorted((home() / "trials").glob("*/result.json")):
        try:
            result = json.loads(path.read_bytes())
            trial = result["trial"]
            dataset = "+".join(trial["dataset"])
            found.append(
                OldResult(
                    path.parent.name, trial["results_version"], trial["arch"], dataset, trial["seed"], result["status"]
                )
            )
        except (ValueError, KeyError, TypeError):
            found.append(OldResult(path.parent.name, None, "", "", None, "damaged"))
    return found


def set_aside(trial: Trial, path: Path, reason: str) -> None:
    """Renames a damaged file, so that it is neither read nor replaced. Says so."""
    place = path.with_suffix(".damaged")
    delete(place)  # of an earlier damage. It may be a folder, which nothing replaces
    os.replace(path, place)
    tell(trial, reason)


def tell(trial: Trial, text: str) -> None:
    """Adds a line to log.txt and prints it, because it is about files that are not what they were."""
    append_log(trial, text)
    print(f"trial {trial.weights_id}: {text}", file=sys.stderr, flush=True)


def append_log(trial: Trial, text: str) -> None:
    """Adds a line to log.txt, with time, machine and process. An unwritable log stops nothing."""
    with suppress(OSError), (trial_folder(trial) / "log.txt").open("a") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S %z')} {socket.gethostname()} {os.getpid()}: {text}\n")


def save_checkpoint(trial: Trial, state: TrainingState) -> None:
    """Writes a checkpoint and keeps the one before. If the write fails, both older files are unchanged."""
    file = io.BytesIO()
    torch.save({"weights_id": trial.weights_id, **state.to_dict()}, file)
    newest, before = (trial_folder(trial) / name for name in CHECKPOINTS)
    write_atomic(newest, seal(file.getvalue()), keep=before)


def load_checkpoint(trial: Trial) -> TrainingState | None:
    """The newest intact checkpoint. None if there is no checkpoint.

    A damaged checkpoint is renamed, so that it cannot replace the intact one before it at the next save.
    Raises ValueError if all checkpoints are damaged, or if one is another trial's.
    """
    damaged = []
    for name in CHECKPOINTS:
        path = trial_folder(trial) / name
        if not path.exists():
            continue
        try:
            owner, state = read_checkpoint(path)
        except Exception as error:  # torch, zipfile and pickle raise many types
            damaged.append((path, f"{path} is damaged ({type(error).__name__}: {error})"))
            continue
        if owner != trial.weights_id:
            raise ValueError(f"{path} is a checkpoint of trial {owner}, not of trial {trial.weights_id}; move it away")
        for bad, reason in damaged:
            set_aside(trial, bad, f"{reason}; continuing from the one before, at update {state.progress.update}")
        return state
    if damaged:
        reasons = "; ".join(reason for _, reason in damaged)
        raise ValueError(f"{reasons}; move its folder away to run the trial from the start")
    return None


def read_checkpoint(path: Path) -> tuple[str, TrainingState]:
    """Reads a checkpoint without unpickling code. Returns the first id of its trial, and the state.

    A damaged file raises errors of many types, among them ValueError.
    """
    file = io.BytesIO(unseal(path.read_bytes()))
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.is_dir() or entry.external_attr & DOS_FOLDER:  # else torch would leave its tensor uninitialised
                raise ValueError(f"its entry {entry.filename} is a folder")
    file.seek(0)
    values = torch.load(file, map_location="cpu", weights_only=True)
    return values.pop("weights_id"), TrainingState.from_dict(values)


def training_lock(trial: Trial) -> Path:
    """The lock of a trial's training. One process at a time trains its weights, for any table."""
    return trial_folder(trial) / "lock"


def evaluation_lock(trial: Trial) -> Path:
    """The lock of a trial's evaluation. One process at a time rolls out its episodes, for any table."""
    return returns_path(trial).with_suffix(".lock")


def table_lock(table: Table) -> Path:
    """The lock of a table. One process at a time sweeps or synchronises it."""
    return home() / "tables" / f"{table.name}.lock"


def failures_path(table: Table) -> Path:
    """The file of the table's failed trials whose own folders could not take the reason."""
    return table_lock(table).with_suffix(".failed")


def load_failures(table: Table) -> dict[str, str]:
    """Why trials have failed, by second id, where their own files do not say it. A damaged file counts as absent."""
    try:
        return load_json(failures_path(table).read_bytes())["reasons"]
    except (FileNotFoundError, ValueError, KeyError):
        return {}


def save_failures(table: Table, reasons: dict[str, str]) -> None:
    """Writes why trials have failed whose own files do not say it. The caller holds the table's lock."""
    if reasons:
        write_atomic(failures_path(table), dump_json({"reasons": reasons}))
    else:
        failures_path(table).unlink(missing_ok=True)


def hold_table(table: Table) -> AbstractContextManager:
    """Holds a table's lock. Raises Held, with the holder, if another process has it."""
    return hold(table_lock(table), f"table {table.name}")
