"""Trained models: weights and all that acting needs, from a trial's folder in DMM_HOME or from an exported folder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from statistics import fmean
from typing import Literal

import torch

from dmm.api.policy import Policy
from dmm.base.fields import check_value, shown
from dmm.base.paths import expand, home
from dmm.config import Evaluation, Target, Training, Trial
from dmm.models import DecisionModel
from dmm.schema import EvaluationResult, ReturnsResult, WeightsCard, from_json
from dmm.trials.storage import read_checked
from dmm.trials.weights import load_weights, read_weights, statistics_of

EVALUATION = "evaluation.json"  # beside the weights and their card in an exported folder
ID = re.compile(r"[0-9a-f]{6,16}")  # an id or its beginning
DIGITS = "6 to 16 hex digits"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TrainedModel:
    """Weights of a trial, and the evaluation that says how they act."""

    model: DecisionModel
    card: WeightsCard
    trial: Trial
    evaluations: list[EvaluationResult]  # of all updates that were evaluated so far

    def policy(
        self, target: Target | float | None = None, *, rollout: Literal["windowed", "recurrent"] | None = None
    ) -> Policy:
        """The model as a policy for a user's own loop. It acts as the trial's Evaluation says.

        `target` is the return asked for. A number is a multiple of the task's target return, as in a table. A
        dmm.config.Target may also be a return, or a share of the highest return of the data. The default is the evaluation's
        first target. `rollout` replaces the evaluation's mode. Raises ValueError for a mode that the model does not have.
        """
        trial = self.trial
        if rollout:
            trial = replace(trial, evaluation=replace(trial.evaluation, rollout=rollout))
        chosen = trial.evaluation.targets[0] if target is None else target
        return Policy(self.model, trial, statistics_of(self.card), chosen, self.card.data.return_max)

    @property
    def score(self) -> float | None:
        """The normalised score of these weights at the first target. None if they were not evaluated."""
        label = self.trial.evaluation.targets[0].label
        for entry in self.evaluations:
            if (entry.update, entry.target) == (self.card.update, label):
                return self.trial.task.normalised_score(fmean(entry.returns))
        return None

    def __repr__(self) -> str:
        card, trial = self.card, self.trial
        score = (
            "not evaluated" if self.score is None else f"score {self.score:.1f} at {trial.evaluation.targets[0].label}"
        )
        return (
            f"TrainedModel({trial.arch} on {' + '.join(trial.dataset)}, seed {trial.seed}, update {card.update:,} of "
            f"{trial.training.updates:,}, {card.parameters:,} parameters, {score}, weights {card.weights_id})"
        )


def load(
    source: str | Path, update: int | None = None, *, device: str = "cpu", trust_code: bool = False
) -> TrainedModel:
    """Loads a trained model. No data are needed.

    `source` is an id of a trial in DMM_HOME, or the path of an exported folder. An id has 16 hex digits. It may be the id of
    the weights or that of the returns, and its first 6 digits or more are enough. `update` chooses among kept weights. The
    default is the latest. A model whose source code is not part of dmm runs only with `trust_code`.
    Raises ValueError for an unknown or ambiguous id, for a device that is not here, for weights that are not kept, and for
    files that are absent or altered.
    """
    if not isinstance(source, str | Path):
        raise ValueError(
            f"dmm.load takes an id of a trial or the path of an exported folder; it was given {shown(source)}, a "
            f"{type(source).__name__}"
        )
    if isinstance(source, str) and ID.fullmatch(source):
        folder, evaluation = locate(source, update)
    else:
        folder = expand(source)
        evaluation = folder / EVALUATION
        if not folder.is_dir():
            raise ValueError(f"{str(source)!r} is neither an id of a trial ({DIGITS}) nor a folder")
        if update is not None:
            raise ValueError(f"{folder} is an exported folder, which has the weights of one update; leave `update` out")
    return load_folder(folder, evaluation, device, trust_code)


def load_folder(folder: Path, evaluation: Path, device: str = "cpu", trust_code: bool = False) -> TrainedModel:
    """The trained model of a folder of kept weights. It acts as a file of evaluations says.

    Raises ValueError for a device that is not here, for files that are absent or altered, and for source code that is not
    trusted.
    """
    check_device(device)
    returns = read_checked(ReturnsResult, evaluation)
    if returns is None:
        raise ValueError(
            f"{folder} has no {evaluation.name}, so it is no exported folder; `dmm export ID FOLDER` makes one"
        )
    card, _ = read_weights(folder)
    if returns.returns.weights_id != card.weights_id:
        raise ValueError(f"{folder} is altered: its card is of weights {card.weights_id}, and {evaluation.name} is of "
                         f"{returns.returns.weights_id}")  # fmt: skip
    model, card = load_weights(folder, device, returns.returns.config, trust_code)
    trial = Trial(
        arch=card.weights.arch,
        source=card.source,
        task=returns.task,
        dataset=tuple(card.weights.dataset),
        training=from_json(Training, card.weights.training),
        evaluation=from_json(Evaluation, returns.returns.evaluation),
        seed=card.weights.seed,
        overrides=tuple({**card.config, **returns.returns.config}.items()),
    )
    return TrainedModel(model=model.eval(), card=card, trial=trial, evaluations=returns.evaluations)


def locate(id_: str, update: int | None = None) -> tuple[Path, Path]:
    """The folder of kept weights and the file of the evaluation that an id names. `update` is by default the latest one.

    Raises ValueError if there is not one of each.
    """
    if not ID.fullmatch(id_):
        raise ValueError(f"{id_!r} is no id of a trial, which has {DIGITS}")
    trials = home() / "trials"
    weights = {path.parent.name: path.parent for path in trials.glob("*/weights")}
    returns = {path.stem: path for path in trials.glob("*/evaluations/*.json")}
    found = [name for name in {**weights, **returns} if name.startswith(id_)]
    if len(found) > 1:
        raise ValueError(f"id {id_} is the beginning of {', '.join(sorted(found))}; write more digits")
    if not found:
        folder = f"; the folder of that name is ./{id_}" if Path(id_).is_dir() else ""
        raise ValueError(f"there is no trial {id_} in {trials}; {near(id_, [*weights, *returns])}{folder}")
    (name,) = found
    if name in returns:
        evaluation = returns[name]
    else:
        evaluations = sorted(weights[name].glob("evaluations/*.json"))
        if len(evaluations) != 1:
            ids = ", ".join(path.stem for path in evaluations) or "none"
            raise ValueError(
                f"weights {name} need one evaluation, which says how they act; they have {ids}. Give one of these ids"
            )
        (evaluation,) = evaluations
    return choose_update(evaluation.parent.parent, update), evaluation


def choose_update(trial_folder: Path, update: int | None) -> Path:
    """The folder of the weights after so many updates. Without `update`, that of the latest weights.

    Raises ValueError if these weights are not kept.
    """
    kept = {int(path.name): path for path in trial_folder.glob("weights/[!.]*") if path.name.isdigit()}
    if not kept:
        raise ValueError(f"trial {trial_folder.name} has no kept weights")
    chosen = max(kept) if update is None else check_value("update", update, int)
    if chosen not in kept:
        known = ", ".join(f"{number:,}" for number in sorted(kept))
        raise ValueError(f"trial {trial_folder.name} has no kept weights at update {chosen:,}; it has {known}")
    return kept[chosen]


def check_device(device: str) -> None:
    """Raises ValueError for a device that is not here."""
    try:
        torch.empty(0, device=check_value("device", device, str))
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from None


def near(id_: str, known: list[str]) -> str:
    """The known ids that are most like one, in words."""
    beginnings: Mapping[str, str] = {name[: len(id_)]: name for name in known}
    close = [beginnings[name] for name in get_close_matches(id_, beginnings, n=3, cutoff=0.6)]
    if close:
        return f"near it: {', '.join(close)}"
    return f"it has {len(known)} ids of weights and returns; `dmm show TABLE` lists those of a table"
