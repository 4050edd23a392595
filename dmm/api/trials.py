"""train: one trial in this process, under the same ids and in the same folder as a table's trials."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float

from dmm.api.names import dataset_ids
from dmm.api.policy import Policy
from dmm.api.trained import TrainedModel, check_device, choose_update, load_folder
from dmm.architectures import resolve
from dmm.base.errors import unknown_name
from dmm.base.fields import check_value
from dmm.base.threads import one_thread
from dmm.config import BUDGETS, Protocol, Row, Target, Trial
from dmm.config.budget import scaled_schedule
from dmm.config.protocol import EVALUATION, TRAINING
from dmm.contract import require
from dmm.data import find_reader
from dmm.models import DecisionModel
from dmm.results.evaluations import curve_rows
from dmm.results.score import summarise
from dmm.schema import EvaluationResult, TrialResult
from dmm.tasks import TASKS, Task, find_task
from dmm.tasks.view import split_id
from dmm.trials.progress import run_with_bar
from dmm.trials.run import WeightsNotKept
from dmm.trials.storage import returns_path, trial_folder

if TYPE_CHECKING:
    import pandas as pd

DEFAULTS = Protocol(name="dmm.train")  # that of the DT family's gym scripts
# words of D4RL's names. They say that dynamics or rewards are not those of a task here
OTHER_TASKS = {"bullet", "dense"}


@dataclass(frozen=True, eq=False, repr=False)
class FinishedTrial:
    """A trial that was trained and evaluated."""

    trial: Trial
    result: TrialResult

    @property
    def id(self) -> str:
        """The id of the returns, which names the weights and their evaluation. `dmm.load` takes it."""
        return self.result.id

    @property
    def last(self) -> EvaluationResult:
        """The last evaluation, at the first target."""
        label = self.trial.evaluation.targets[0].label
        return [entry for entry in self.result.evaluations if entry.target == label][-1]

    @property
    def returns(self) -> Float[np.ndarray, " episodes"]:
        """The undiscounted return of each episode of the last evaluation at the first target."""
        return np.array(self.last.returns)

    @property
    def score(self) -> float:
        """D4RL's normalised score of their mean."""
        return self.trial.task.normalised_score(fmean(self.last.returns))

    @property
    def curve(self) -> "pd.DataFrame":
        """All evaluations: update, target, asked, mean_return, std_return, score, episodes."""
        import pandas as pd

        return pd.DataFrame(curve_rows(summarise(self.result), self.result.evaluations))

    @property
    def loss(self) -> "pd.DataFrame":
        """The loss curve: after how many updates, and the mean training loss since the row before."""
        import pandas as pd

        return pd.DataFrame(self.result.training.loss, columns=["update", "loss"])

    def model(self, update: int | None = None, *, device: str = "cpu") -> TrainedModel:
        """The model after so many updates, by default after all. Raises ValueError for weights that are not kept."""
        folder = choose_update(trial_folder(self.trial), update)
        return load_folder(
            folder, returns_path(self.trial), device, trust_code=True
        )  # the caller of `train` named the code

    def policy(
        self, target: Target | float | None = None, *, rollout: Literal["windowed", "recurrent"] | None = None
    ) -> Policy:
        """The trained model as a policy for a user's own loop: `TrainedModel.policy`."""
        return self.model().policy(target, rollout=rollout)

    def __repr__(self) -> str:
        trial, last = self.trial, self.last
        return (
            f"FinishedTrial({trial.arch} on {' + '.join(trial.dataset)}, seed {trial.seed}, {last.update:,} updates: score "
            f"{self.score:.1f}, return {fmean(last.returns):.1f} over {len(last.returns)} episodes at {last.target}, "
            f"id {self.id})"
        )


def train(
    arch: str | Path | type[DecisionModel],
    data: str | Sequence[str],
    *,
    task: str | Task | None = None,
    preset: str = "",
    seed: int = 0,
    device: str = "cpu",
    budget: str | None = None,
    updates: int | None = None,
    protocol: Protocol = DEFAULTS,
    retrain: bool = False,
    **overrides: Any,
) -> FinishedTrial:
    """Trains and evaluates a model in this process. A trial that is finished already is returned at once.

    `arch` is a name, the path of a file, or a class of a file. `data` is the id of a dataset, or a list of ids that are
    read as one. By default the task is the one that the ids name. `preset` is a paper's variant of the architecture.
    `overrides` are fields of the architecture's Config, of Training and of Evaluation, as in a Row. An example is
    `width=64, learning_rate=1e-3`.

    The default protocol is that of the DT family's gym scripts. By default it runs at budget "short": 2 % of the updates and
    of the warm-up, 4 evaluations of 20 episodes, each of at most 3,000 steps. With `updates` there is no budget. Then the
    warm-up is scaled by the same factor as the updates. Arguments that set `warmup`, `num_evaluations`,
    `episodes_per_evaluation` or `max_steps` are never scaled.

    The files are in DMM_HOME, under the trial's ids. After an interrupt the same call continues. If weights are not kept
    any more, the trial is trained again only with `retrain`.
    Raises ValueError for a wrong name, value, device or dataset, and FloatingPointError once the loss is not finite.
    """
    ids = dataset_ids(data)
    check_value("protocol", protocol, Protocol)
    check_value("task", task, Task | str | None)
    check_value("budget", budget, str | None)
    check_device(device)
    name, source = resolve(arch)
    row = Row(label=name, arch=name, source=source, preset=preset, overrides=overrides)
    changes = {key: value for key, value in overrides.items() if key in TRAINING | EVALUATION}
    if updates is not None:
        changes["updates"] = updates
    config = row.config_overrides("")
    settings = with_budget(protocol, budget, changes)
    trial = Trial(
        arch=row.arch,
        source=row.source,
        task=task if isinstance(task, Task) else find_task(task) if task else task_of(ids),
        dataset=ids,
        training=settings.training,
        evaluation=settings.evaluation,
        seed=seed,
        overrides=tuple(config.items()),
    )
    if trial.source:
        require(trial.source, config)
    try:
        with one_thread():
            return FinishedTrial(trial, run_with_bar(trial, row.label, device=device, retrain=retrain))
    except WeightsNotKept as error:
        raise WeightsNotKept(f"{error}: dmm.train(..., retrain=True)") from None


def with_budget(protocol: Protocol, budget: str | None, given: Mapping[str, Any]) -> Protocol:
    """The protocol with the values that are given. Without `updates`, a budget sets the rest of its fields.

    Raises ValueError for an unknown budget, and for a budget beside `updates`.
    """
    if "updates" in given:
        if budget:
            raise ValueError(
                f"budget {budget!r} sets the updates, and updates={given['updates']} does too; give one of them"
            )
        full = protocol.training
        share = check_value("Training.updates", given["updates"], int) / full.updates
        return protocol.with_overrides({**scaled_schedule(full, share), **given})
    if (name := budget or "short") not in BUDGETS:
        raise unknown_name("budget", name, BUDGETS)
    own = {name: given[name] for name in ("num_evaluations", "episodes_per_evaluation", "max_steps") if name in given}
    unscaled = {name: given[name] for name in scaled_schedule(protocol.training, 1) if name in given}
    rest = {name: value for name, value in given.items() if name not in unscaled}
    return replace(BUDGETS[name], **own).apply(protocol.with_overrides(rest)).with_overrides(unscaled)


def task_of(ids: Sequence[str]) -> Task:
    """The task that datasets are named after: hopper of dmm/hopper/medium-v0. Raises ValueError unless there is exactly one."""
    named = {name for dataset_id in ids for name in tasks_in(dataset_id) or ("no task",)}
    if len(named) == 1 and named <= TASKS.keys():
        return TASKS[named.pop()]
    raise ValueError(
        f"data {', '.join(ids)} names {', '.join(sorted(named))}; say which task it is of: "
        f"task={' or task='.join(map(repr, TASKS))}, or a dmm.tasks.Task"
    )


def tasks_in(dataset_id: str) -> list[str]:
    """The tasks that a dataset is named after. Of a file elsewhere, its name alone counts, and not its folder.

    Of antmaze-umaze-robotics and antmaze-umaze only the longer one counts.
    """
    name, suffixes = split_id(dataset_id)[0], getattr(find_reader(dataset_id), "TASK_SUFFIXES", ())
    words = re.split(r"[\W_]+", (Path(name).name if ":" in name else name).lower())
    if OTHER_TASKS.intersection(words):
        return []
    text = f"-{'-'.join(words)}-"
    found = [task for task in TASKS if f"-{task}-" in text]
    longest = [task for task in found if not any(f"-{task}-" in f"-{other}-" for other in found if other != task)]
    return [next((task + end for end in suffixes if task + end in TASKS), task) for task in longest]
