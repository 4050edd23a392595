"""One trial in this process: data, training, evaluation, checkpoint and result file. Ray calls the same function.

A trial's folder, home()/trials/<id>, holds checkpoint.pt (to go on from) and result.json (what it has given so far). The
checkpoint is written first and holds all that the result does, so that the two cannot tell different stories for long.
"""

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from dmm import kernels, provenance
from dmm.collect import ensure
from dmm.config import Trial, canonical
from dmm.data.trajectories import Trajectories, check_task
from dmm.home import home, write_atomic
from dmm.rollout import Roll, Statistics, evaluate, in_process
from dmm.train import blank_progress, fit


@cache
def dataset(ids: tuple[str, ...]) -> Trajectories:
    """A dataset, opened once a process; its pages are shared with the other processes of the machine."""
    return ensure(ids)


@cache
def training_data(ids: tuple[str, ...], top_fraction: float) -> Trajectories:
    """What a trial learns from: a dataset or its best episodes, picked once a process."""
    return dataset(ids).best(top_fraction)


def folder(trial: Trial) -> Path:
    """Where a trial keeps its files."""
    return home() / "trials" / trial.id


def result(trial: Trial) -> dict | None:
    """What a trial has given so far, or None where it has not begun."""
    path = folder(trial) / "result.json"
    return json.loads(path.read_text()) if path.exists() else None


def check_data(trial: Trial, trajectories: Trajectories) -> None:
    """Refuses to go on with, or to skip, a trial that was made with other data than are here now."""
    found = result(trial)
    if found and found["data"]["sha256"] != trajectories.sha256:
        raise ValueError(
            f"trial {trial.id} was made with other data: {', '.join(trial.dataset)} had sha256 "
            f"{found['data']['sha256'][:12]}, and has {trajectories.sha256[:12]} now; put the data back, or move "
            f"{folder(trial)} away to run the trial anew"
        )


def check(trial: Trial) -> Trajectories:
    """The trial's data, once they and the environment are what the trial says; refuses it before any work is lost."""
    trajectories = training_data(trial.dataset, trial.protocol.top_fraction)
    check_task(trajectories, trial.task)
    check_data(trial, trajectories)
    trial.task.make().close()
    return trajectories


def run(
    trial: Trial,
    *,
    roll: Roll = in_process,
    device: str = "cpu",
    progress: Callable[[dict], None] = lambda result: None,
) -> dict:
    """Runs a trial from where it stands to its end; returns its result. A finished one is not run again.

    `roll` rolls shards of episodes, here or elsewhere; `progress` is given the result after every evaluation.
    """
    torch.set_num_threads(1)  # the count of threads moves float bits; cores are for other trials
    trajectories = check(trial)
    if (before := result(trial)) and before["status"] == "finished":
        return before
    place = folder(trial)
    place.mkdir(parents=True, exist_ok=True)
    statistics = Statistics(trajectories.state_mean, trajectories.state_std + trial.protocol.std_offset)
    state = load_checkpoint(place / "checkpoint.pt")
    record = {
        "id": trial.id,
        "trial": trial.canonical(),
        "task": canonical(trial.task),
        "status": "running",
        "error": None,
        "data": {
            "ids": list(trial.dataset),
            "sha256": trajectories.sha256,
            "episodes": trajectories.episodes,
            "steps": trajectories.steps,
            "return_mean": float(trajectories.episode_returns.mean()),
        },
        "provenance": {
            "commit": provenance.commit(),
            "versions": provenance.versions(),
            "machine": provenance.machine(),
            "device": device,
            "scan": kernels.path(device),  # moves float bits
            "workers": 1,
        },
        **(state["progress"] if state else blank_progress(0)),
    }

    def write(**changes) -> dict:
        record.update(changes)
        write_atomic(place / "result.json", json.dumps(record, allow_nan=False).encode())
        return record

    def save(state: dict) -> None:
        file = io.BytesIO()
        torch.save(state, file)
        write_atomic(place / "checkpoint.pt", file.getvalue())
        progress(write(**state["progress"]))

    try:
        fit(
            trial,
            trajectories,
            lambda model, evaluation: evaluate(model, trial, statistics, evaluation, roll),
            state=state,
            save=save,
            device=device,
        )
    except Exception as error:
        write(status="failed", error=f"{type(error).__name__}: {error}")
        raise
    return write(status="finished")


def load_checkpoint(path: Path) -> dict | None:
    """Reads a checkpoint; None where there is none. A damaged one is an error: beginning anew is the user's to decide."""
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle have many
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is damaged ({reason}); move its folder away to run the trial anew") from error
