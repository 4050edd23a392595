"""A trial's folder, home()/trials/<id>: result.json, checkpoint.pt and the one before it, lock, log.txt.

The checkpoint is written first and holds all that the result does: a result that is lost is rebuilt from it, a damaged
checkpoint gives way to the one before. Nothing begins anew in silence.
"""

import io
import json
import os
import socket
import time
import zipfile
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import torch

from dmm.base.lock import hold, is_held
from dmm.base.paths import home, write_atomic
from dmm.config import Table, Trial

CHECKPOINTS = ("checkpoint.pt", "checkpoint-before.pt")


def folder(trial: Trial) -> Path:
    """Where a trial keeps its files."""
    return home() / "trials" / trial.id


def load_result(trial: Trial) -> dict | None:
    """What a trial has given so far; None where it has not begun, or where its checkpoint will give it again."""
    path = folder(trial) / "result.json"
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        if any((folder(trial) / name).exists() for name in CHECKPOINTS):
            return None
        raise ValueError(
            f"{path} is damaged ({error}), and no checkpoint is there to rebuild it from; move its folder away to run "
            "the trial anew"
        ) from error


def load_status(trial: Trial) -> dict | None:
    """A trial's result; its status is "stopped" where the file says running, and nobody runs it."""
    found = load_result(trial)
    if found and found["status"] == "running" and not is_held(trial_lock(trial)):
        found["status"] = "stopped"
    return found


def append_log(trial: Trial, text: str) -> None:
    """Adds a line to a trial's log.txt, with time, machine and process; a log that cannot be written stops nothing."""
    with suppress(OSError), (folder(trial) / "log.txt").open("a") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S %z')} {socket.gethostname()} {os.getpid()}: {text}\n")


def save_checkpoint(trial: Trial, state: dict) -> None:
    """Writes a checkpoint and keeps the one before; one that cannot be written leaves both as they were."""
    file = io.BytesIO()
    torch.save(state, file)
    newest, before = (folder(trial) / name for name in CHECKPOINTS)
    write_atomic(newest, file.getvalue(), keep=before)


def load_checkpoint(trial: Trial) -> dict | None:
    """The newest checkpoint that is whole, or None where there is none; only damaged ones are an error.

    A damaged one is put aside, so that it cannot take the place of the whole one before it.
    """
    damaged = []
    for name in CHECKPOINTS:
        path = folder(trial) / name
        if not path.exists():
            continue
        try:
            state = read_checkpoint(path)
        except Exception as error:  # torch, zipfile and pickle have many
            damaged.append((path, f"{path} is damaged ({type(error).__name__}: {error})"))
            continue
        for bad, reason in damaged:
            os.replace(bad, bad.with_suffix(".damaged"))
            append_log(trial, f"{reason}; going on from the one before, at update {state['progress']['update']}")
        return state
    if damaged:
        raise ValueError("; ".join(reason for _, reason in damaged) + "; move its folder away to run the trial anew")
    return None


def read_checkpoint(path: Path) -> dict:
    """Reads a checkpoint without unpickling code; torch does not look at the checksums that it writes, so we do."""
    with zipfile.ZipFile(path) as file:
        if bad := file.testzip():
            raise ValueError(f"{bad} does not have its checksum")
    return torch.load(path, map_location="cpu", weights_only=True)


def trial_lock(trial: Trial) -> Path:
    """The lock under which a trial is run: by one process at a time, whoever asks for it."""
    return folder(trial) / "lock"


def table_lock(table: Table) -> Path:
    """The lock under which a table is swept or synchronised."""
    return home() / "tables" / f"{table.name}.lock"


def hold_table(table: Table) -> AbstractContextManager:
    """Holds a table for a sweep, or says who does."""
    return hold(table_lock(table), f"table {table.name}")
