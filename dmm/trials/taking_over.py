"""Takes finished results from elsewhere into DMM_HOME, so that a sweep does not make them again. Weights do not come along."""

from collections import Counter
from collections.abc import Callable, Mapping

from dmm import data
from dmm.base.lock import Held, hold
from dmm.base.text_tables import counted
from dmm.config import Table, Trial
from dmm.schema import TrainingResult, TrialResult
from dmm.trials.run import finished, repair
from dmm.trials.storage import (
    CHECKPOINTS,
    append_log,
    evaluation_lock,
    load_training,
    returns_path,
    training_lock,
    training_path,
    trial_folder,
    write_checked,
)
from dmm.trials.train import training_data
from dmm.trials.weights import kept_updates, missing_weights

TAKEN, THERE, OTHER, BEGUN = "taken over", "finished here before", "finished here with other numbers", "begun here"


def take_over_all(table: Table, results: Mapping[str, TrialResult], place: str, say: Callable[[str], None]) -> None:
    """Takes a table's finished results over. `say` gets what happened. The caller holds the table's lock.

    `results` are those of a place by second id. Raises ValueError, before anything is written, if the data here are other ones.
    """
    trials = {id_: trial for trial in table.trials() if is_finished(results.get(id_ := trial.returns_id))}
    for id_, trial in trials.items():
        check_data(trial, results[id_], place)
    names, counts, taken = table.names(), Counter[str](), set[str]()
    for id_, trial in trials.items():
        try:
            outcome = take_over(trial, results[id_], place)
        except Held as error:
            say(f"{names[id_]} is not taken over: {error}")
            continue
        counts[outcome] += 1
        if outcome == OTHER:
            say(
                f"{names[id_]}: {place} has other numbers than DMM_HOME; those in DMM_HOME stay ({trial_folder(trial)})"
            )
        if outcome == TAKEN:
            taken.add(trial.weights_id)
    others = len(results) - len(trials)
    shown = [f"{number} {outcome}" for outcome, number in counts.items()] + [f"{others} not finished"] * bool(others)
    say(f"{place} has {counted(len(results), 'trial')} of the table: {', '.join(shown)}")
    lacking = [trial for trial in table.trials() if trial.weights_id in taken and missing_weights(trial)]
    if lacking:
        more = f" and {counted(len(lacking) - 1, 'other trial')}" if lacking[1:] else ""
        say(
            f"{names[lacking[0].returns_id]}{more} must roll out weights that did not come along; --retrain trains them again"
        )


def is_finished(result: TrialResult | None) -> bool:
    """Whether training and evaluation are finished."""
    return result is not None and result.status == result.training.status == "finished"


def check_data(trial: Trial, result: TrialResult, place: str) -> None:
    """Raises ValueError if a result was made with other data than those that are here. Absent data are no error."""
    if all(data.is_present(dataset_id) for dataset_id in trial.dataset):
        here, there = training_data(trial).sha256, result.training.data.sha256
        if here != there:
            raise ValueError(
                f"{place} was made with other data: {', '.join(trial.dataset)} has sha256 {there[:12]} there, and {here[:12]} "
                "here. Nothing is taken over, because such results cannot stand in one table"
            )


def take_over(trial: Trial, result: TrialResult, place: str) -> str:
    """Writes a finished result into the trial's folder, and returns what happened to it. Nothing finished is overwritten.

    A training that has begun here goes on here, because its weights are not those of the result. Raises Held if another process
    runs the trial, and ValueError if its training.json is damaged.
    """
    repair(trial)
    if outcome := not_needed(trial, result):
        return outcome
    with (
        hold(evaluation_lock(trial), f"evaluation {trial.returns_id}"),
        hold(training_lock(trial), f"trial {trial.weights_id}"),
    ):
        if outcome := not_needed(trial, result):  # another process may have finished it in the meantime
            return outcome
        if not is_trained(load_training(trial)):
            write_checked(training_path(trial), result.training)
        write_checked(returns_path(trial), result.returns)
        append_log(trial, f"taken over from {place}: {trial.returns_id}")
    return TAKEN


def not_needed(trial: Trial, result: TrialResult) -> str:
    """Why a result is not taken over. "" if it is."""
    here, training = finished(trial), load_training(trial)
    if here:
        same = here.evaluations == result.evaluations and is_same_training(here.training, result.training)
        return THERE if same else OTHER
    if is_trained(training):
        return "" if is_same_training(training, result.training) else OTHER
    begun = kept_updates(trial) or any((trial_folder(trial) / name).exists() for name in CHECKPOINTS)
    return BEGUN if begun else ""


def is_trained(training: TrainingResult | None) -> bool:
    """Whether a training is finished."""
    return training is not None and training.status == "finished"


def is_same_training(training: TrainingResult | None, other: TrainingResult) -> bool:
    """Whether two trainings have the same numbers, wherever and however fast they ran."""
    return training is not None and (training.data.sha256, training.loss) == (other.data.sha256, other.loss)
