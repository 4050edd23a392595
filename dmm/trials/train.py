"""Training of a trial in this process, from its checkpoint to its end. It keeps the weights that evaluations want."""

import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache

from dmm import data, kernels
from dmm.base import provenance
from dmm.base.lock import LockLost
from dmm.config import Trial
from dmm.data.trajectories import Trajectories
from dmm.models import DecisionModel
from dmm.schema import DataRecord, Provenance, TrainingProgress, TrainingResult, WeightsCard, to_json
from dmm.training import ddp
from dmm.training.fit import OnUpdate, fit
from dmm.training.state import TrainingState
from dmm.trials.storage import (
    CHECKPOINTS,
    append_log,
    load_checkpoint,
    load_training,
    save_checkpoint,
    set_aside,
    tell,
    training_path,
    trial_folder,
    write_checked,
)
from dmm.trials.weights import keep_weights, kept_updates, wanted_updates

OnWeights = Callable[[DecisionModel, WeightsCard], None]  # called with weights that are on disk


@cache
def dataset(ids: tuple[str, ...]) -> Trajectories:
    """A dataset, opened once a process. All processes of a machine share its pages. Says which states never change."""
    found = data.load(ids)
    if still := found.still_states:
        print(
            f"{found.id}: state dimensions {', '.join(map(str, still))} never change in these data. They are divided by "
            "Training.std_offset, so a small change of one in a rollout is a large input of the model",
            file=sys.stderr,
            flush=True,
        )
    return found


@cache
def selected(ids: tuple[str, ...], top_fraction: float) -> Trajectories:
    """A dataset or its best episodes, selected once a process."""
    return dataset(ids).best_episodes(top_fraction)


def training_data(trial: Trial) -> Trajectories:
    """The episodes that a trial learns from."""
    found = selected(trial.dataset, trial.training.top_fraction).clip_rewards(trial.task.reward_clip)
    return found.clip_actions(trial.task.spaces) if trial.training.actions_outside == "clip" else found


def start_over(trial: Trial) -> None:
    """Deletes the state of training, so that it starts at update 0. Kept weights and evaluations stay."""
    tell(trial, "training again from the start, because weights are missing")
    write_checked(training_path(trial), blank_training(trial, training_data(trial)))
    for name in CHECKPOINTS:
        (trial_folder(trial) / name).unlink(missing_ok=True)


def train(
    trial: Trial,
    device: str,
    assert_lock_held: Callable[[], None],
    on_weights: OnWeights,
    on_save: Callable[[], None],
    on_update: OnUpdate,
) -> None:
    """Trains a trial to its end. The caller holds its training lock, which is asserted before each write.

    `on_weights` is called with weights that an evaluation wants, once they and a checkpoint are on disk. `on_save` is called
    after other checkpoints. `on_update` is called as in `fit`.
    Raises ValueError if data or checkpoint are not those with which the training began.
    """
    trajectories, state, before = training_data(trial), load_checkpoint(trial), load_training(trial)
    if state and state.data_sha256 != trajectories.sha256:
        raise other_data(trial, state.data_sha256, trajectories)
    reached = before.update if before else max(kept_updates(trial), default=0)
    if reached and not state:
        raise ValueError(
            f"trial {trial.weights_id} was at update {reached}, and its checkpoints are gone; restore them, or move "
            f"{trial_folder(trial)} away to run the trial from the start"
        )
    result = blank_training(trial, trajectories, device, state.progress if state else None)
    if state and not before:
        path, rebuilt = training_path(trial), "it is rebuilt from the checkpoint"
        if path.exists():
            set_aside(trial, path, f"{path} is damaged; {rebuilt}")
        else:
            tell(trial, f"{path} is lost; {rebuilt}")
    if before and state:
        result = replace(result, provenance=merge_provenance(before.provenance, result.provenance))

    def write(**changes) -> None:
        nonlocal result
        assert_lock_held()
        changed = replace(result, **changes)
        write_checked(training_path(trial), changed)
        result = changed

    def save(state: TrainingState) -> None:
        assert_lock_held()
        save_checkpoint(trial, state)
        write(**vars(state.progress))
        on_save()

    def visit(model: DecisionModel, state: TrainingState) -> None:
        assert_lock_held()
        progress = replace(result, **vars(state.progress))
        card = keep_weights(trial, model, make_card(trial, trajectories, progress))
        save_checkpoint(trial, state)
        write(**vars(state.progress), status="finished" if card.update == trial.training.updates else "running")
        on_weights(model, card)

    write()
    append_log(trial, f"training from update {result.update} on {device}")
    try:
        fit(
            trial, trajectories, visit, wanted=wanted_updates(trial), save=save, on_update=on_update, state=state,
            device=device,
        )  # fmt: skip
    except LockLost:  # another process owns the files now
        raise
    except Exception as error:
        append_log(trial, traceback.format_exc())
        if result.status != "finished":  # otherwise the rollouts after the last update have failed
            with suppress(OSError):  # on a full disk. The error itself says so
                write(status="failed", error=f"{type(error).__name__}: {error}")
        raise
    write(status="finished")
    append_log(trial, "trained")


def make_card(trial: Trial, trajectories: Trajectories, progress: TrainingResult) -> WeightsCard:
    """The card of the weights that training has made so far. The sha256 is not known yet."""
    return WeightsCard(
        weights_id=trial.weights_id,
        weights=trial.weights_record,
        config=to_json(trial.config),
        task=trial.task,
        update=progress.update,
        parameters=progress.parameters,
        live_parameters=progress.live_parameters,
        data=progress.data,
        state_mean=trajectories.state_mean.tolist(),
        state_std=(trajectories.state_std + trial.training.std_offset).tolist(),
        provenance=progress.provenance,
        sha256="",
        source=trial.source,
    )


def other_data(trial: Trial, sha256: str, trajectories: Trajectories) -> ValueError:
    """The error for a trial that was made with other data."""
    return ValueError(
        f"trial {trial.weights_id} was made with other data: {', '.join(trial.dataset)} had sha256 {sha256[:12]}, and has "
        f"{trajectories.sha256[:12]} now; restore the data, or move {trial_folder(trial)} away to run the trial again"
    )


def merge_provenance(before: Provenance, now: Provenance) -> Provenance:
    """The provenance of a resumed trial. If a field that can move a number changed, it has both values: "1, then 2"."""

    def merged(old: str, new: str) -> str:
        return old if old.split(", then ")[-1] == new else f"{old}, then {new}"

    versions = before.versions | now.versions  # of all packages
    moved = not provenance.processor(before.machine).endswith(provenance.processor(now.machine))

    return replace(
        now,
        versions={name: merged(before.versions.get(name, last), last) for name, last in versions.items()},
        machine=merged(before.machine, now.machine) if moved else now.machine,
        device=merged(before.device, now.device),
        workers=merged(before.workers, now.workers),
        scan=merged(before.scan, now.scan),
        code=merged(before.code or "not recorded", now.code),
    )


def provenance_here(trial: Trial, device: str) -> Provenance:
    """The provenance of work on a trial in this process."""
    return Provenance(
        commit=provenance.commit(),
        versions=provenance.versions(),
        machine=provenance.machine(),
        device=device,
        scan=kernels.path(device),
        workers=str(ddp.workers()),
        code=trial.code.sha256,
    )


def blank_training(
    trial: Trial, trajectories: Trajectories, device: str = "cpu", progress: TrainingProgress | None = None
) -> TrainingResult:
    """The result of a training that begins, or continues from some progress."""
    returns = trajectories.episode_returns
    return TrainingResult(
        weights_id=trial.weights_id,
        weights=trial.weights_record,
        status="running",
        error=None,
        data=DataRecord(
            ids=list(trial.dataset),
            sha256=trajectories.sha256,
            episodes=trajectories.episodes,
            steps=trajectories.steps,
            return_mean=float(returns.mean(dtype=float)),  # a sum of float32 may overflow
            return_max=float(returns.max()),
            return_min=float(returns.min()),
        ),
        provenance=provenance_here(trial, device),
        **vars(progress or TrainingProgress(parameters=0, live_parameters=0)),
    )
