"""Trial: a model that is trained once and evaluated, the unit of work and of record. It has two ids.

The first names the weights: it hashes all that can move one of them. The second names the returns: it hashes the first, and
all that can move a return. So tables share weights and returns, and nothing is trained or evaluated twice.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from dmm.architectures import find_model, list_models, make_config, resolve
from dmm.base.code_hash import ModelCode, model_code
from dmm.base.fields import check_fields, check_least, check_value
from dmm.config.protocol import EVALUATION, TRAINING, Evaluation, Training
from dmm.models import DecisionModel, acting_config, training_config
from dmm.schema import ModelSource, ReturnsRecord, TrialRecord, WeightsRecord, to_json
from dmm.tasks import Task

RESULTS_VERSION = 5  # raised by any change of code that can move a number. Every id changes with it


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training run and one evaluation of its weights."""

    arch: Any  # given as a name, the path of a file or a class. Afterwards the name
    task: Task
    dataset: tuple[str, ...]  # one id, or several that are read as one (medium-expert)
    training: Training
    evaluation: Evaluation
    seed: int
    overrides: tuple[tuple[str, Any], ...] = ()  # of the architecture's Config, sorted by field
    source: ModelSource | None = None  # of an architecture from outside. Found by `arch`

    def __post_init__(self) -> None:
        settle_arch(self)
        pairs = tuple(self.overrides.items()) if isinstance(self.overrides, Mapping) else self.overrides
        pairs = check_value("Trial.overrides", pairs, tuple[tuple[str, Any], ...])
        object.__setattr__(self, "overrides", tuple(sorted(dict(pairs).items())))
        check_fields(self)
        check_least(self, 0, "seed")
        if not self.dataset:
            raise ValueError("Trial.dataset is empty; it takes one id, or several that are read as one")
        settle_evaluation(self)
        self.config  # noqa: B018  raises for a wrong architecture or field, before anything runs
        self.updates  # noqa: B018  raises if the evaluations do not divide the updates
        if self.evaluation.rollout == "recurrent" and not self.model.can_recur(self.config):
            able = ", ".join(name for name in list_models() if find_model(name).can_recur(make_config(name, {})))
            raise ValueError(
                f"{self.arch} of this Config has no recurrent rollout; leave Evaluation.rollout at 'windowed' ({able} have one)"
            )

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone. A Config of an architecture from outside could not be unpickled before its class is made."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def model(self) -> type[DecisionModel]:
        """The class of the architecture. It is made once a process."""
        return find_model(self.source or self.arch)

    @cached_property
    def config(self) -> Any:
        """The architecture's Config of this trial."""
        return make_config(self.source or self.arch, dict(self.overrides))

    @property
    def code(self) -> ModelCode:
        """The code of dmm that can move a number of this trial, as it is in this process."""
        model = self.source.code if self.source else self.arch
        return model_code(model, environment=self.task.environment)

    @cached_property
    def updates(self) -> tuple[int, ...]:
        """The numbers of updates after which the weights are evaluated."""
        return self.evaluation.updates(self.training)

    @property
    def horizon(self) -> int:
        """Steps after which an episode of the evaluation is cut."""
        return self.evaluation.max_steps or self.task.horizon

    @property
    def kind(self) -> tuple:
        """Trials of one kind cost the same. They differ only in seed and data."""
        return self.arch, self.source, self.overrides, self.task, self.training, self.evaluation

    @cached_property
    def weights_record(self) -> WeightsRecord:
        """All that can move a weight, with defaults written out."""
        return WeightsRecord(
            results_version=RESULTS_VERSION,
            arch=self.arch,
            config=to_json(training_config(self.config)),
            training=to_json(self.training),
            spaces=self.task.spaces,
            return_scale=self.task.return_scale,
            dataset=list(self.dataset),
            seed=self.seed,
            source_sha256=self.source.sha256 if self.source else "",
            distribution=self.source.distribution if self.source else "",
            code=self.code.edited_sha256,
            reward_clip=self.task.reward_clip,
        )

    @cached_property
    def weights_id(self) -> str:
        """The first id: sixteen hex digits."""
        return short_hash(self.weights_record)

    def record(self) -> TrialRecord:
        """The trial as JSON."""
        task = self.task
        returns = ReturnsRecord(
            weights_id=self.weights_id,
            evaluation=to_json(self.evaluation),
            config=to_json(acting_config(self.config)),
            environment=task.environment,
            options=to_json(task.options),
            horizon=task.horizon,
            target_return=task.target_return,
        )
        return TrialRecord(weights=self.weights_record, returns=returns)

    @cached_property
    def returns_id(self) -> str:
        """The second id: sixteen hex digits."""
        return short_hash(self.record().returns)


def settle_arch(value: Any) -> None:
    """Puts the name of an architecture in the field `arch` of a frozen dataclass, and its source in the field `source`.

    Raises ValueError like `resolve`, and for a Config that has a field of Training or Evaluation. An override of it would not
    reach the Config.
    """
    if value.source is None or value.arch != value.source.name:  # else it is a copy
        name, source = resolve(value.arch)
        object.__setattr__(value, "arch", name)
        object.__setattr__(value, "source", source)
    config: Any = find_model(value.source or value.arch).Config
    for name in (field.name for field in fields(config)):
        if name in TRAINING | EVALUATION:
            kind = "Training" if name in TRAINING else "Evaluation"
            raise ValueError(
                f"the Config of {value.arch} has a field {name!r}, and {kind} has one of that name; give it another name"
            )


def settle_evaluation(trial: Trial) -> None:
    """Leaves out a `max_steps` that the task's horizon reaches first, so that ids do not depend on it.

    Raises ValueError for settings of discrete actions where actions are in a box, and the reverse.
    """
    evaluation, task = trial.evaluation, trial.task
    if evaluation.max_steps is not None and evaluation.max_steps >= task.horizon:
        object.__setattr__(trial, "evaluation", replace(evaluation, max_steps=None))
    if evaluation.actions == "sampled" and not task.spaces.discrete:
        raise ValueError(
            f"Evaluation.actions is 'sampled', and the actions of task {task.name} are in a box; only discrete actions are "
            "sampled. Leave it at 'mode'"
        )
    if evaluation.rollout_pad_action and task.spaces.discrete:
        raise ValueError(
            f"Evaluation.rollout_pad_action is {evaluation.rollout_pad_action}, and the actions of task {task.name} are "
            "discrete; their pad is action 0. Leave it at 0"
        )


def edited_code(trials: Iterable[Trial]) -> str:
    """A line that names the files of dmm that were edited, or "" if there is none."""
    files = sorted({path for trial in trials for path in trial.code.edited})
    return f"edited since the pins: {', '.join(files)}; results get their own ids" if files else ""


def short_hash(record: WeightsRecord | ReturnsRecord) -> str:
    """Sixteen hex digits: the start of the sha256 of a record as JSON. A field at its default is left out."""
    content = {f.name: to_json(getattr(record, f.name)) for f in fields(record) if getattr(record, f.name) != f.default}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
