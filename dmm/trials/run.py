"""One trial in this process: data, training, evaluation, checkpoint and result file. Ray calls the same function."""

import copy
import json
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import torch

from dmm import data, kernels
from dmm.base import provenance
from dmm.base.lock import Held, hold
from dmm.base.paths import write_atomic
from dmm.config import Trial, canonical
from dmm.data.trajectories import Trajectories, check_task
from dmm.rollouts.rollout import RolloutBackend, Statistics, evaluate, rollout_in_process
from dmm.tasks import Task
from dmm.training import ddp as parallel
from dmm.training.fit import blank_progress, fit
from dmm.trials.storage import append_log, folder, load_checkpoint, load_result, save_checkpoint, trial_lock


@cache
def dataset(ids: tuple[str, ...]) -> Trajectories:
    """A dataset, opened once a process; its pages are shared with the other processes of the machine."""
    return data.load(ids)


@cache
def training_data(ids: tuple[str, ...], top_fraction: float) -> Trajectories:
    """What a trial learns from: a dataset or its best episodes, picked once a process."""
    return dataset(ids).best_episodes(top_fraction)


def check_data(trial: Trial, trajectories: Trajectories) -> None:
    """Refuses to go on with, or to skip, a trial that was made with other data than are here now."""
    found = load_result(trial)
    if found and found["data"]["sha256"] != trajectories.sha256:
        raise other_data(trial, found["data"]["sha256"], trajectories)


def other_data(trial: Trial, sha256: str, trajectories: Trajectories) -> ValueError:
    """The error of a trial whose data have changed under it."""
    return ValueError(
        f"trial {trial.id} was made with other data: {', '.join(trial.dataset)} had sha256 {sha256[:12]}, and has "
        f"{trajectories.sha256[:12]} now; put the data back, or move {folder(trial)} away to run the trial anew"
    )


def check(trial: Trial) -> Trajectories:
    """The trial's data, once they and the environment are what the trial says; refuses it before any work is lost."""
    trajectories = training_data(trial.dataset, trial.protocol.top_fraction)
    check_task(trajectories, trial.task)
    check_data(trial, trajectories)
    check_environment(trial.task)
    return trajectories


@cache
def check_environment(task: Task) -> None:
    """Refuses a task whose environment cannot be made; tried once a process."""
    task.make().close()


def run(
    trial: Trial,
    *,
    roll: RolloutBackend = rollout_in_process,
    device: str = "cpu",
    progress: Callable[[dict], None] = lambda result: None,
    finish: Callable[..., dict] | None = None,
) -> dict:
    """Runs a trial from where it stands to its end; returns its result. A finished one is not run again.

    `roll` rolls shards of episodes, here or elsewhere; `progress` is given the result after every evaluation; `finish`
    takes the place of this module's, to do the same work elsewhere.
    """
    torch.set_num_threads(1)  # the count of threads moves float bits; cores are for other trials
    check(trial)
    if (before := load_result(trial)) and before["status"] == "finished":
        return before
    with hold(trial_lock(trial), f"trial {trial.id}", wait=True) as assert_lock_held:
        if (before := load_result(trial)) and before["status"] == "finished":
            return before  # by the one for whom this process waited
        work = finish or train_and_evaluate
        return work(trial, before, assert_lock_held, roll=roll, device=device, progress=progress)


def train_and_evaluate(
    trial: Trial,
    before: dict | None,
    assert_lock_held: Callable[[], None],
    *,
    roll: RolloutBackend,
    device: str,
    progress: Callable[[dict], None],
) -> dict:
    """Runs a trial that this process alone works on: `assert_lock_held` is asked before each write."""
    trajectories, state = training_data(trial.dataset, trial.protocol.top_fraction), load_checkpoint(trial)
    if state and state.get("data", trajectories.sha256) != trajectories.sha256:
        raise other_data(trial, state["data"], trajectories)
    if before and before["update"] and not state:
        raise ValueError(
            f"trial {trial.id} was at update {before['update']}, and its checkpoints are gone; put them back, or move "
            f"{folder(trial)} away to run the trial anew"
        )
    record = blank_result(trial, trajectories, device) | (copy.deepcopy(state["progress"]) if state else {})
    if device != "cpu" and roll is not rollout_in_process:
        record["provenance"]["device"] += ", rollouts on cpu"
    if before and state:
        record["provenance"] = merge_provenance(before["provenance"], record["provenance"])

    def write(**changes) -> dict:
        nonlocal record
        assert_lock_held()
        changed = record | changes
        write_atomic(folder(trial) / "result.json", json.dumps(changed, allow_nan=False).encode())
        record = changed
        return record

    def save(state: dict) -> None:
        assert_lock_held()
        save_checkpoint(trial, state | {"data": trajectories.sha256})
        progress(write(**copy.deepcopy(state["progress"])))

    write()
    append_log(trial, f"training from update {record['update']} on {device}")
    statistics = Statistics(trajectories.state_mean, trajectories.state_std + trial.protocol.std_offset)
    try:
        fit(
            trial,
            trajectories,
            lambda model, evaluation, update: evaluate(model, trial, statistics, evaluation, update, roll),
            state=state,
            save=save,
            device=device,
        )
    except Exception as error:
        append_log(trial, traceback.format_exc())
        with suppress(OSError):  # a full disk; the error itself says so
            write(status="failed", error=f"{type(error).__name__}: {error}")
        raise
    done = write(status="finished")
    append_log(trial, "finished")
    return done


def merge_provenance(before: dict, now: dict) -> dict:
    """A provenance that tells of a change of what moves float bits: workers "1, then 2"."""
    told = {
        field: before[field] if str(before[field]).endswith(str(now[field])) else f"{before[field]}, then {now[field]}"
        for field in ("device", "workers", "scan")
    }
    return now | told


def blank_result(trial: Trial, trajectories: Trajectories, device: str = "cpu") -> dict:
    """The result of a trial that has only begun."""
    return {
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
            "workers": parallel.workers(),
        },
        **blank_progress(0),
    }


def fail(trial: Trial, reason: str) -> dict:
    """Marks a trial as failed that could not do so itself; returns its result, also where that cannot be written."""
    failed = {"status": "failed", "error": reason}
    blank = blank_result(trial, training_data(trial.dataset, trial.protocol.top_fraction))
    try:
        found = load_result(trial) or blank
    except ValueError:  # a damaged file is the user's to put right
        return blank | failed
    append_log(trial, reason)
    with suppress(OSError, Held), hold(trial_lock(trial), f"trial {trial.id}"):
        write_atomic(folder(trial) / "result.json", json.dumps(found | failed, allow_nan=False).encode())
    return found | failed
