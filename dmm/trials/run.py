"""One trial in this process: training where its weights are missing, then the episodes that are missing. Ray calls this too."""

import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch

from dmm import data
from dmm.architectures import build_model
from dmm.base.checksums import file_sha256
from dmm.base.fields import LARGEST_FLOAT
from dmm.base.lock import Held, LockLost, OnWait, describe, hold, holder, is_held, print_wait
from dmm.base.paths import delete_stale
from dmm.batch import Spaces
from dmm.config import Trial
from dmm.data.trajectories import check_divisors, check_task
from dmm.environments.lanes import make_lanes
from dmm.models import DecisionModel, acting_config
from dmm.rollouts.rollout import RolloutBackend, evaluate, rollout_in_process
from dmm.schema import Provenance, ReturnsResult, TrialResult, WeightsCard
from dmm.tasks import Task
from dmm.tasks.make import local_file
from dmm.training.fit import OnUpdate
from dmm.trials.storage import (
    append_log,
    evaluation_lock,
    load_result,
    load_returns,
    load_training,
    returns_path,
    set_aside,
    training_lock,
    training_path,
    trial_folder,
    write_checked,
)
from dmm.trials.train import (
    blank_training,
    merge_provenance,
    other_data,
    provenance_here,
    start_over,
    train,
    training_data,
)
from dmm.trials.weights import (
    Keep,
    load_weights,
    missing_entries,
    missing_weights,
    must_train,
    note,
    note_path,
    prune,
    set_damaged_aside,
    statistics_of,
    weights_folder,
)

OnProgress = Callable[[TrialResult], None]


@dataclass(frozen=True)
class HeldTrial:
    """A trial whose evaluation is locked by this process. If weights are missing, its training is locked too.

    The functions raise LockLost once another process has taken a lock. They are called before each write.
    """

    trial: Trial
    device: str  # of the model
    assert_evaluation_held: Callable[[], None]
    assert_training_held: Callable[[], None] | None = None  # None: training is finished, so nothing is trained


Execute = Callable[[HeldTrial, RolloutBackend, OnProgress], TrialResult]  # trains and evaluates, here or elsewhere


class WeightsNotKept(ValueError):
    """Weights of a trial are not kept, so the trial would have to be trained again."""


def check(trial: Trial) -> None:
    """Raises ValueError before any work if model, data or environment do not fit the trial.

    Absent data are no error if the weights are there.
    """
    if must_train(trial) or all(data.is_present(dataset_id) for dataset_id in trial.dataset):
        trajectories, found = training_data(trial), load_training(trial)
        check_task(trajectories, trial.task, trial.training.actions_outside)
        check_divisors(trajectories, trial.training.std_offset)
        check_targets(trial, float(trajectories.episode_returns.max()))
        if found and found.data.sha256 != trajectories.sha256:
            raise other_data(trial, found.data.sha256, trajectories)
    if not trial.source and must_train(trial):
        check_model(trial.arch, trial.overrides, trial.task.spaces, trial.training.context_length)
    check_environment(trial.task)


def check_targets(trial: Trial, highest_return: float) -> None:
    """Raises ValueError for a target whose return-to-go, in the task's scale, float32 cannot hold."""
    task = trial.task
    for target in trial.evaluation.targets:
        asked = target.resolve(task, highest_return)
        if not abs(asked / task.return_scale) <= LARGEST_FLOAT:
            raise ValueError(
                f"target {target.label} asks for a return of {asked:g}; divided by the return_scale {task.return_scale:g} of "
                f"task {task.name} it overflows float32"
            )


@cache
def check_model(arch: str, overrides: tuple[tuple[str, Any], ...], spaces: Spaces, context_length: int) -> None:
    """Raises ValueError if an architecture cannot be built for a task, as `pixel_mean` without frames. Tried once a process."""
    with torch.random.fork_rng(devices=[]):
        build_model(arch, dict(overrides), spaces, context_length)


@cache
def check_environment(task: Task) -> None:
    """Raises ValueError if the task's environment cannot be made or begun. Tried once a process."""
    lanes = make_lanes(task, 1)
    lanes.reset([0])
    lanes.close()


def run(
    trial: Trial,
    *,
    roll: RolloutBackend = rollout_in_process,
    device: str = "cpu",
    on_progress: OnProgress = lambda result: None,
    on_update: OnUpdate = lambda update, loss: None,
    wait: OnWait = print_wait,
    execute: Execute | None = None,
    keep: Keep = "all",
    retrain: bool = False,
) -> TrialResult:
    """Runs a trial from its last checkpoint to its end and returns its result. Finished work is not done again.

    `roll` rolls out batches of episodes, in this process or elsewhere. `on_progress` receives the result after every
    checkpoint and every evaluation. `on_update` is called as in `fit` if this process trains. If another process trains or
    evaluates the trial, this one waits for it, and `wait` says for whom. `keep` names the weights that stay in the end.
    Raises WeightsNotKept if the training is beyond weights that are missing. With `retrain` it trains them again instead.
    """
    torch.set_num_threads(1)  # the number of threads moves float bits, and other trials need the cores
    repair(trial)
    check(trial)
    if found := finished(trial):
        return found
    note(trial)
    work = execute or partial(train_and_evaluate, on_update=on_update)
    with hold(evaluation_lock(trial), f"evaluation {trial.returns_id}", wait=wait) as assert_evaluation_held:
        held = HeldTrial(trial, device, assert_evaluation_held)
        if found := finished(trial):  # another process finished it in the meantime
            return found
        if must_train(trial):
            with hold(training_lock(trial), f"trial {trial.weights_id}", wait=wait) as assert_training_held:
                if must_train(trial):  # no other process has done it in the meantime
                    allow_training(trial, missing_weights(trial), retrain)
                    held = replace(held, assert_training_held=assert_training_held)
                result = work(held, roll, on_progress)
        else:
            result = work(held, roll, on_progress)
        prune(trial, keep)
    return result


def finished(trial: Trial) -> TrialResult | None:
    """The trial's result if nothing is left to do."""
    found = load_result(trial)
    return found if found and found.status == "finished" else None


def awaited(trial: Trial) -> str:
    """Whom a trial waits for: the process that trains its weights for another evaluation. "" if it does not wait."""
    locks = evaluation_lock(trial), training_lock(trial)
    if not all(map(is_held, locks)) or not must_train(trial):
        return ""
    evaluates, trains = map(holder, locks)
    if evaluates is None or trains is None or (evaluates.host, evaluates.pid) == (trains.host, trains.pid):
        return ""
    return f"trial {trial.weights_id} is run by {describe(training_lock(trial))}"


def repair(trial: Trial) -> None:
    """Sets a damaged evaluation aside, and damaged weights that it still needs.

    The episodes are rolled out again. The weights count as missing. Weights that a killed process was about to write or to
    delete are deleted.
    """
    delete_stale(trial_folder(trial) / "weights")
    try:
        found = load_returns(trial)
    except ValueError as error:
        set_aside(trial, returns_path(trial), f"{error}; its episodes are rolled out again")
        found = None
    for update in missing_entries(trial, found):
        set_damaged_aside(trial, update)


def allow_training(trial: Trial, missing: list[int], retrain: bool) -> None:
    """Raises WeightsNotKept if the training is beyond missing weights and must not start over."""
    found = load_training(trial)
    passed = [update for update in missing if found and update <= found.update]
    if not passed:
        return
    if not retrain:
        note_path(trial).unlink(missing_ok=True)  # refused, so its note must not prevent the deletion of weights
        raise WeightsNotKept(
            f"trial {trial.weights_id} is trained up to update {found.update if found else 0:,}, and its weights at update "
            f"{', '.join(f'{update:,}' for update in passed)} are not kept; --retrain trains the trial again"
        )
    start_over(trial)


def train_and_evaluate(
    held: HeldTrial, roll: RolloutBackend, on_progress: OnProgress, on_update: OnUpdate = lambda update, loss: None
) -> TrialResult:
    """Trains a held trial if its weights are missing, and rolls out all missing episodes, in this process."""
    trial, device = held.trial, held.device
    source = provenance_here(trial, device if roll is rollout_in_process else "cpu")
    if file := local_file(trial.task.environment):  # no id has it, and an edit between two seeds must be seen
        source = replace(source, code=f"{source.code} + environment {file_sha256(file)[:16]}")
    result = load_returns(trial) or blank_returns(trial, source)
    if result.evaluations:
        source = merge_provenance(result.provenance, source)
    result = replace(result, status="running", error=None, provenance=source)

    def write(**changes) -> None:
        nonlocal result
        held.assert_evaluation_held()
        changed = replace(result, **changes)
        write_checked(returns_path(trial), changed)
        result = changed

    def progress() -> None:
        if found := load_result(trial):
            on_progress(found)

    def roll_out(model: DecisionModel, card: WeightsCard) -> None:
        if card.update in missing_entries(trial, result):
            others = [entry for entry in result.evaluations if entry.update != card.update]
            began = time.perf_counter()
            entries = evaluate(
                model, trial, statistics_of(card), card.update, highest_return=card.data.return_max,
                weights_sha256=card.sha256, roll=roll,
            )  # fmt: skip
            write(
                evaluations=sorted([*others, *entries], key=lambda entry: entry.update),
                rollout_seconds=result.rollout_seconds + time.perf_counter() - began,
            )
        progress()

    write()
    try:
        if held.assert_training_held:
            train(trial, device, held.assert_training_held, roll_out, progress, on_update)
        for update in missing_entries(trial, result):
            folder, acting = weights_folder(trial, update), acting_config(trial.config)
            roll_out(*load_weights(folder, device, acting, trust_code=True))  # the trial itself names the code
        write(status="finished")
    except LockLost:  # another process owns the files now
        raise
    except Exception as error:
        append_log(trial, traceback.format_exc())
        with suppress(OSError):  # on a full disk. The error itself says so
            write(status="failed", error=f"{type(error).__name__}: {error}")
        raise
    append_log(trial, f"evaluated: {trial.returns_id}")
    found = load_result(trial)
    assert found is not None
    return found


def blank_returns(trial: Trial, source: Provenance) -> ReturnsResult:
    """The result of an evaluation that begins."""
    return ReturnsResult(
        returns_id=trial.returns_id,
        returns=trial.record().returns,
        task=trial.task,
        status="running",
        error=None,
        provenance=source,
        evaluations=[],
        rollout_seconds=0.0,
    )


def fail(trial: Trial, reason: str) -> TrialResult:
    """Marks a trial as failed, because its own process could not do so. Returns the result, even if it cannot be written."""
    returns = replace(blank_returns(trial, provenance_here(trial, "cpu")), status="failed", error=reason)
    training = None
    with suppress(OSError, ValueError):  # a damaged file is left to the user
        training = load_training(trial)
        if training is None:
            write_checked(training_path(trial), blank_training(trial, training_data(trial)))
        if found := load_returns(trial):
            returns = replace(found, status="failed", error=reason)
        with suppress(Held), hold(evaluation_lock(trial), f"evaluation {trial.returns_id}"):
            append_log(trial, reason)
            write_checked(returns_path(trial), returns)
    return TrialResult(
        training=training or blank_training(trial, training_data(trial)), returns=returns, status="failed"
    )
