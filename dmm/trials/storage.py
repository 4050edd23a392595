"""A trial's folder, DMM_HOME/trials/<id>: result.json, checkpoint.pt, checkpoint-before.pt, lock, log.txt.

The checkpoint is written before the result and holds everything that the result does. A lost result is rebuilt from it.
If a checkpoint is damaged, the one before is used. If nothing intact is left, there is an error: no trial restarts silently.
"""

import io
import json
import os
import socket
import time
import zipfile
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path

import torch

from dmm.base.lock import hold, is_held
from dmm.base.paths import home, write_atomic
from dmm.config import Table, Trial
from dmm.schema import TrialResult, from_json, to_json
from dmm.training.state import TrainingState

CHECKPOINTS = ("checkpoint.pt", "checkpoint-before.pt")  # the newest first


def trial_folder(trial: Trial) -> Path:
    """The folder of a trial's files."""
    return home() / "trials" / trial.id


def result_path(trial: Trial) -> Path:
    """The file of a trial's result."""
    return trial_folder(trial) / "result.json"


def load_result(trial: Trial) -> TrialResult | None:
    """The trial's result so far. None if the trial has not begun, or if its checkpoint can restore a damaged file.

    Raises ValueError if the file is damaged and no checkpoint exists.
    """
    path = result_path(trial)
    try:
        return from_json(TrialResult, json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except ValueError as error:
        if any((trial_folder(trial) / name).exists() for name in CHECKPOINTS):
            return None
        raise ValueError(
            f"{path} is damaged ({error}), and there is no checkpoint to rebuild it from; move its folder away to run "
            "the trial from the start"
        ) from error


def save_result(trial: Trial, result: TrialResult) -> None:
    """Writes result.json, whole or not at all. Raises ValueError if a number is not finite."""
    write_atomic(result_path(trial), json.dumps(to_json(result), allow_nan=False).encode())


def load_status(trial: Trial) -> TrialResult | None:
    """The trial's result. Its status is "stopped" if the file says "running" and no process runs the trial."""
    found = load_result(trial)
    if found and found.status == "running" and not is_held(trial_lock(trial)):
        return replace(found, status="stopped")
    return found


def append_log(trial: Trial, text: str) -> None:
    """Adds a line to log.txt, with time, machine and process. An unwritable log stops nothing."""
    with suppress(OSError), (trial_folder(trial) / "log.txt").open("a") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S %z')} {socket.gethostname()} {os.getpid()}: {text}\n")


def save_checkpoint(trial: Trial, state: TrainingState) -> None:
    """Writes a checkpoint and keeps the one before. If the write fails, both older files are unchanged."""
    file = io.BytesIO()
    torch.save(state.to_dict(), file)
    newest, before = (trial_folder(trial) / name for name in CHECKPOINTS)
    write_atomic(newest, file.getvalue(), keep=before)


def load_checkpoint(trial: Trial) -> TrainingState | None:
    """The newest intact checkpoint. None if there is no checkpoint.

    A damaged checkpoint is renamed, so that it cannot replace the intact one before it at the next save.
    Raises ValueError if all checkpoints are damaged.
    """
    damaged = []
    for name in CHECKPOINTS:
        path = trial_folder(trial) / name
        if not path.exists():
            continue
        try:
            state = read_checkpoint(path)
        except Exception as error:  # torch, zipfile and pickle raise many types
            damaged.append((path, f"{path} is damaged ({type(error).__name__}: {error})"))
            continue
        for bad, reason in damaged:
            os.replace(bad, bad.with_suffix(".damaged"))
            append_log(trial, f"{reason}; continuing from the one before, at update {state.progress.update}")
        return state
    if damaged:
        reasons = "; ".join(reason for _, reason in damaged)
        raise ValueError(f"{reasons}; move its folder away to run the trial from the start")
    return None


def read_checkpoint(path: Path) -> TrainingState:
    """Reads a checkpoint without unpickling code. torch ignores the checksums in the file, so they are checked here."""
    with zipfile.ZipFile(path) as file:
        if bad := file.testzip():
            raise ValueError(f"{bad} does not have its checksum")
    return TrainingState.from_dict(torch.load(path, map_location="cpu", weights_only=True))


def trial_lock(trial: Trial) -> Path:
    """The lock of a trial. One process at a time runs it, for any table."""
    return trial_folder(trial) / "lock"


def table_lock(table: Table) -> Path:
    """The lock of a table. One process at a time sweeps or synchronises it."""
    return home() / "tables" / f"{table.name}.lock"


def hold_table(table: Table) -> AbstractContextManager:
    """Holds a table's lock. Raises Held, with the holder, if another process has it."""
    return hold(table_lock(table), f"table {table.name}")
