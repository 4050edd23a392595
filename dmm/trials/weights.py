"""Kept weights: one self-contained folder for each evaluated update of a trial.

model.safetensors has the weights. card.json has everything else that a rollout needs. So a rollout needs neither the data
nor the checkpoint. A folder is written under another name and renamed when it is complete.

An Evaluation notes the updates that it wants, before anything else happens. The process that trains keeps the union.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load, save

from dmm.architectures import build_model
from dmm.base.lock import hold, print_wait
from dmm.base.paths import aside, write_atomic
from dmm.config import Trial
from dmm.models import DecisionModel
from dmm.rollouts.history import StateStatistics
from dmm.schema import ReturnsResult, WeightsCard
from dmm.trials.storage import (
    check_owner,
    load_training,
    read_checked,
    returns_path,
    tell,
    trial_folder,
    write_checked,
)

# which weights stay after every evaluation that wants them is complete
Keep = Literal["all", "last and best", "last"]
WEIGHTS, CARD = "model.safetensors", "card.json"


def weights_folder(trial: Trial, update: int) -> Path:
    """The folder of the weights after so many updates."""
    return trial_folder(trial) / "weights" / str(update)


def kept_updates(trial: Trial) -> list[int]:
    """The numbers of updates after which weights are kept."""
    folder = trial_folder(trial) / "weights"
    return sorted(int(path.name) for path in folder.glob("[!.]*") if path.name.isdigit())


def kept_bytes(trial: Trial) -> int:
    """The bytes of all kept weights of a trial."""
    return sum(path.stat().st_size for path in (trial_folder(trial) / "weights").glob("[!.]*/*"))


def keep_weights(trial: Trial, model: DecisionModel, card: WeightsCard) -> WeightsCard:
    """Writes weights and card to their folder, whole or not at all. Returns the card with the sha256 of the weights."""
    data = save({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()})
    card = replace(card, sha256=hashlib.sha256(data).hexdigest())
    folder = weights_folder(trial, card.update)
    set_damaged_aside(trial, card.update)
    if folder.is_dir():
        before = read_weights(folder)[0]
        if before.sha256 == card.sha256:
            return before
        tell(trial, f"the weights at update {card.update} are other ones than those kept before, and replace them")
        delete_weights(folder)
    building = aside(folder)
    write_atomic(building / WEIGHTS, data)
    write_checked(building / CARD, card)
    os.replace(building, folder)
    return card


def delete_weights(folder: Path) -> None:
    """Deletes kept weights. They are renamed first, because half a folder must not count as kept."""
    dying = aside(folder)
    os.replace(folder, dying)
    shutil.rmtree(dying)


def set_damaged_aside(trial: Trial, update: int) -> None:
    """Renames the folder of weights that are damaged or belong to another trial, so that it does not count as kept."""
    folder = weights_folder(trial, update)
    if not folder.is_dir():
        return
    try:
        card = read_weights(folder)[0]
        check_owner(folder, f"{card.weights_id} at {card.update}", f"{trial.weights_id} at {update}")
    except ValueError as error:
        damaged = folder.with_name(f".{folder.name}.damaged")
        shutil.rmtree(damaged, ignore_errors=True)
        os.replace(folder, damaged)
        tell(
            trial,
            f"{error}; the folder is renamed to {damaged.name}, and its weights are made again if they are needed",
        )


def read_weights(folder: Path) -> tuple[WeightsCard, bytes]:
    """The card of kept weights, and the bytes of the weights. Raises ValueError if a file is damaged or absent."""
    card = read_checked(WeightsCard, folder / CARD)
    if card is None:
        raise ValueError(f"{folder} has no {CARD}, so it is no folder of kept weights")
    if not (folder / WEIGHTS).is_file():
        raise ValueError(f"{folder} has no {WEIGHTS}, so it is no folder of kept weights")
    data = (folder / WEIGHTS).read_bytes()
    if hashlib.sha256(data).hexdigest() != card.sha256:
        raise ValueError(f"{folder / WEIGHTS} is damaged: it does not have the sha256 of its card")
    return card, data


def load_weights(
    folder: Path, device: str = "cpu", acting: Mapping[str, Any] | None = None, trust_code: bool = False
) -> tuple[DecisionModel, WeightsCard]:
    """The model of a folder of kept weights, in training mode, and its card.

    `acting` has other values of the Config fields that only acting reads. Without it the model acts as it was trained.
    The folder of an architecture from outside of dmm has its source code. `trust_code` allows running it.
    Raises ValueError if a file is damaged, and if the model needs such code and it is not trusted.
    """
    card, data = read_weights(folder)
    record, source = card.weights, card.source
    named = (source.name, source.sha256, source.distribution) if source else (record.arch, "", "")
    if named != (record.arch, record.source_sha256, record.distribution):
        raise ValueError(f"{folder / CARD} is damaged: its source code does not have the sha256 of its record")
    if source and not trust_code:
        raise ValueError(
            f"the model {source.name} of {folder} brings its own source code, of {source.code.path}; pass trust_code=True to "
            "run it, if you know where the folder comes from"
        )
    config = {**card.config, **(acting or {})}
    with torch.random.fork_rng(devices=[]):  # a new model draws weights, which are replaced
        model = build_model(source or record.arch, config, record.spaces, record.training["context_length"])
    model.load_state_dict(load(data))
    return model.to(device), card


def statistics_of(card: WeightsCard) -> StateStatistics:
    """The statistics that normalise the states of a rollout."""
    return StateStatistics(np.array(card.state_mean), np.array(card.state_std))


def note_path(trial: Trial) -> Path:
    """The file of the updates that a trial's evaluation wants."""
    return returns_path(trial).with_suffix(".wanted")


@contextmanager
def hold_notes(trial: Trial) -> Iterator[None]:
    """Holds the notes of a trial for a moment, so that no weights are deleted while an evaluation notes that it wants them."""
    with hold(trial_folder(trial) / "notes.lock", f"the notes of trial {trial.weights_id}", wait=print_wait):
        yield


def note(trial: Trial) -> None:
    """Notes the updates that the trial's evaluation wants. The process that trains the trial keeps their weights."""
    data = json.dumps(trial.updates).encode()
    if not note_path(trial).exists() or note_path(trial).read_bytes() != data:
        with hold_notes(trial):
            write_atomic(note_path(trial), data)


def noted(trial: Trial) -> dict[str, list[int]]:
    """The updates that each evaluation wants, by second id. Raises ValueError if a note is damaged."""
    found = {}
    for path in note_path(trial).parent.glob("[!.]*.wanted"):
        try:
            found[path.stem] = [int(update) for update in json.loads(path.read_bytes())]
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path} is damaged ({error}); delete it: its evaluation writes it anew when it runs"
            ) from error
    return found


def wanted_updates(trial: Trial) -> Callable[[int], bool]:
    """Returns a function that says whether an evaluation wants the weights after so many updates.

    Evaluations may be noted at any time. The function looks at the folder's time of change, which takes microseconds. A
    change of the last second is not trusted to be the last one, because clocks of file systems are coarse.
    """
    folder, seen, updates = note_path(trial).parent, -1, set[int]()

    def wanted(update: int) -> bool:
        nonlocal seen, updates
        changed = folder.stat().st_mtime_ns
        if changed != seen:
            seen = changed if time.time_ns() - changed > 1e9 else -1
            updates = {entry for entries in noted(trial).values() for entry in entries}
        return update in updates

    return wanted


def prune(trial: Trial, keep: Keep) -> None:
    """Deletes weights that `keep` does not name and that no unfinished evaluation wants.

    The best weights are those with the highest mean return at the first target of an evaluation, one for each evaluation.
    """
    if keep == "all":
        return
    with hold_notes(trial):
        staying = {trial.training.updates}
        for returns_id, updates in noted(trial).items():
            found = intact_returns(returns_path(trial).with_name(f"{returns_id}.json"))
            if found is None or found.status != "finished":
                staying |= set(updates)
            elif keep == "last and best":
                staying.add(best_update(found))
        for update in kept_updates(trial):
            if update not in staying:
                delete_weights(weights_folder(trial, update))


def best_update(found: ReturnsResult) -> int:
    """The update with the highest mean return at the first target of a finished evaluation. If several are equal, the first."""
    first = found.evaluations[0].target
    means = {entry.update: fmean(entry.returns) for entry in found.evaluations if entry.target == first}
    return max(means, key=lambda update: means[update])


def intact_returns(path: Path) -> ReturnsResult | None:
    """The outcome of an evaluation. None if its file is absent, damaged or another's. Then it is made anew."""
    try:
        found = read_checked(ReturnsResult, path)
    except ValueError:
        return None
    return found if found and found.returns_id == path.stem else None


def missing_entries(trial: Trial, found: ReturnsResult | None) -> list[int]:
    """The updates whose evaluation is not complete."""
    done = {(entry.update, entry.target) for entry in found.evaluations} if found else set()
    labels = [target.label for target in trial.evaluation.targets]
    return [update for update in trial.updates if any((update, label) not in done for label in labels)]


def missing_weights(trial: Trial) -> list[int]:
    """The updates that must be evaluated and have no kept weights. Training must make them."""
    kept = kept_updates(trial)
    return [update for update in missing_entries(trial, intact_returns(returns_path(trial))) if update not in kept]


def must_train(trial: Trial) -> bool:
    """Whether training has work left: weights are missing, or training.json is lost or behind the last weights."""
    if missing_weights(trial):
        return True
    training = load_training(trial)
    return training is None or training.status != "finished"
