"""One trial in this process: data, training, evaluation, checkpoint and result file. Ray calls the same functions."""

import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache

import torch

from dmm import data, kernels
from dmm.base import provenance
from dmm.base.lock import Held, hold
from dmm.config import Trial
from dmm.data.trajectories import Trajectories, check_task
from dmm.rollouts.history import StateStatistics
from dmm.rollouts.rollout import RolloutBackend, evaluate, rollout_in_process
from dmm.schema import DataRecord, Provenance, TrainingProgress, TrialResult
from dmm.tasks import Task
from dmm.training import ddp
from dmm.training.fit import fit
from dmm.training.state import TrainingState
from dmm.trials.storage import (
    append_log,
    load_checkpoint,
    load_result,
    save_checkpoint,
    save_result,
    trial_folder,
    trial_lock,
)

OnProgress = Callable[[TrialResult], None]


@dataclass(frozen=True)
class HeldTrial:
    """A trial whose lock this process holds."""

    trial: Trial
    before: TrialResult | None  # its result so far
    assert_lock_held: Callable[[], None]  # called before each write. It raises once another process has taken the trial
    device: str  # of the model


Execute = Callable[[HeldTrial, RolloutBackend, OnProgress], TrialResult]  # trains and evaluates, here or elsewhere


@cache
def dataset(ids: tuple[str, ...]) -> Trajectories:
    """A dataset, opened once a process. All processes of a machine share its pages."""
    return data.load(ids)


@cache
def training_data(ids: tuple[str, ...], top_fraction: float) -> Trajectories:
    """The episodes that a trial learns from: a dataset or its best episodes, selected once a process."""
    return dataset(ids).best_episodes(top_fraction)


def check_data(trial: Trial, trajectories: Trajectories) -> None:
    """Raises ValueError if the trial's result was made with other data."""
    found = load_result(trial)
    if found and found.data.sha256 != trajectories.sha256:
        raise other_data(trial, found.data.sha256, trajectories)


def other_data(trial: Trial, sha256: str, trajectories: Trajectories) -> ValueError:
    """The error for a trial that was made with other data."""
    return ValueError(
        f"trial {trial.id} was made with other data: {', '.join(trial.dataset)} had sha256 {sha256[:12]}, and has "
        f"{trajectories.sha256[:12]} now; restore the data, or move {trial_folder(trial)} away to run the trial again"
    )


def check(trial: Trial) -> Trajectories:
    """Returns the trial's data. Raises ValueError before any work if data or environment do not fit the trial."""
    trajectories = training_data(trial.dataset, trial.protocol.top_fraction)
    check_task(trajectories, trial.task)
    check_data(trial, trajectories)
    check_environment(trial.task)
    return trajectories


@cache
def check_environment(task: Task) -> None:
    """Raises ValueError if the task's environment cannot be made. Tried once a process."""
    task.make().close()


def train_and_evaluate(held: HeldTrial, roll: RolloutBackend, on_progress: OnProgress) -> TrialResult:
    """Runs a trial from its checkpoint to its end, in this process."""
    trial, before, device = held.trial, held.before, held.device
    trajectories, state = training_data(trial.dataset, trial.protocol.top_fraction), load_checkpoint(trial)
    if state and state.data_sha256 != trajectories.sha256:
        raise other_data(trial, state.data_sha256, trajectories)
    if before and before.update and not state:
        raise ValueError(
            f"trial {trial.id} was at update {before.update}, and its checkpoints are gone; restore them, or move "
            f"{trial_folder(trial)} away to run the trial from the start"
        )
    result = blank_result(trial, trajectories, device, state.progress if state else None)
    if device != "cpu" and roll is not rollout_in_process:
        source = replace(result.provenance, device=f"{device}, rollouts on cpu")
        result = replace(result, provenance=source)
    if before and state:
        result = replace(result, provenance=merge_provenance(before.provenance, result.provenance))

    def write(**changes) -> None:
        nonlocal result
        held.assert_lock_held()
        changed = replace(result, **changes)
        save_result(trial, changed)
        result = changed

    def save(state: TrainingState) -> None:
        held.assert_lock_held()
        save_checkpoint(trial, state)
        write(**vars(state.progress))
        on_progress(result)

    write()
    append_log(trial, f"training from update {result.update} on {device}")
    statistics = StateStatistics(trajectories.state_mean, trajectories.state_std + trial.protocol.std_offset)
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
        with suppress(OSError):  # a full disk. The error itself says so
            write(status="failed", error=f"{type(error).__name__}: {error}")
        raise
    write(status="finished")
    append_log(trial, "finished")
    return result


def run(
    trial: Trial,
    *,
    roll: RolloutBackend = rollout_in_process,
    device: str = "cpu",
    on_progress: OnProgress = lambda result: None,
    execute: Execute = train_and_evaluate,
) -> TrialResult:
    """Runs a trial from its last checkpoint to its end and returns its result. A finished trial is not run again.

    `roll` rolls out batches of episodes, in this process or elsewhere. `on_progress` receives the result after every
    checkpoint. If another process runs the trial, this one waits for its result.
    """
    torch.set_num_threads(1)  # the number of threads moves float bits, and other trials need the cores
    check(trial)
    if (before := load_result(trial)) and before.status == "finished":
        return before
    with hold(trial_lock(trial), f"trial {trial.id}", wait=True) as assert_lock_held:
        if (before := load_result(trial)) and before.status == "finished":
            return before  # another process finished it in the meantime
        return execute(HeldTrial(trial, before, assert_lock_held, device), roll, on_progress)


def merge_provenance(before: Provenance, now: Provenance) -> Provenance:
    """The provenance of a resumed trial. A field that moves float bits says if it changed: workers "1, then 2"."""

    def merged(old: str, new: str) -> str:
        return old if old.split(", then ")[-1] == new else f"{old}, then {new}"

    return replace(
        now,
        device=merged(before.device, now.device),
        workers=merged(before.workers, now.workers),
        scan=merged(before.scan, now.scan),
    )


def blank_result(
    trial: Trial, trajectories: Trajectories, device: str = "cpu", progress: TrainingProgress | None = None
) -> TrialResult:
    """The result of a trial that begins, or continues from some progress."""
    return TrialResult(
        id=trial.id,
        trial=trial.record(),
        task=trial.task,
        status="running",
        error=None,
        data=DataRecord(
            ids=list(trial.dataset),
            sha256=trajectories.sha256,
            episodes=trajectories.episodes,
            steps=trajectories.steps,
            return_mean=float(trajectories.episode_returns.mean()),
        ),
        provenance=Provenance(
            commit=provenance.commit(),
            versions=provenance.versions(),
            machine=provenance.machine(),
            device=device,
            scan=kernels.path(device),
            workers=str(ddp.workers()),
        ),
        **vars(progress or TrainingProgress(parameters=0)),
    )


def fail(trial: Trial, reason: str) -> TrialResult:
    """Marks a trial as failed whose own process could not do so. Returns the result, even if it cannot be written."""
    blank = blank_result(trial, training_data(trial.dataset, trial.protocol.top_fraction))
    try:
        found = load_result(trial) or blank
    except ValueError:  # a damaged file is left to the user
        return replace(blank, status="failed", error=reason)
    failed = replace(found, status="failed", error=reason)
    append_log(trial, reason)
    with suppress(OSError, Held), hold(trial_lock(trial), f"trial {trial.id}"):
        save_result(trial, failed)
    return failed
