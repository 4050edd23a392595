"""Protocol, Reading, Trial, Row, Column, Table: what is run and how it is read, as frozen values.

`Trial.id` names a result. It hashes everything that can move a number, and nothing else. So two tables that need the same
trial share its result, and a finished trial is never run again.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from dmm.base.errors import unknown_name
from dmm.base.fields import check_fields
from dmm.models import find_model, list_models, make_config
from dmm.schema import TaskRecord, TrialRecord, to_json
from dmm.tasks import Task

RESULTS_VERSION = 4  # raised by any change of code that can move a number. Every id changes with it


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Every setting of a run that is not part of the architecture. The defaults are those of the DT family's gym scripts."""

    name: str  # shown in tables. Not part of an id
    context_length: int = 20  # K, in environment steps
    # optimisation: AdamW on all parameters, linear warm-up, then a constant learning rate
    batch_size: int = 64  # windows
    updates: int = 100_000
    learning_rate: float = 1e-4
    warmup: int = 10_000  # updates. Update u uses learning_rate * min((u + 1) / warmup, 1)
    weight_decay: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    grad_clip_norm: float = 0.25  # global gradient norm
    dtype: Literal["float32", "bfloat16"] = "float32"  # of matrix products in training. Weights are always float32
    # windows: one step is drawn from an episode, and the window has up to K steps around it
    top_fraction: float = 1.0  # of the data's steps: the episodes of highest return that fit into it (%BC)
    # the drawn step is the first of its window (start) or the last (end). whole: the first, drawn only from the steps that
    # K - 1 others follow, or the episode's first step where the episode is shorter than K
    window_anchor: Literal["start", "end", "whole"] = "start"
    sampling: Literal["steps", "episodes"] = "steps"  # steps: all steps are equally likely. episodes: all episodes are
    padding: Literal["left", "right"] = "left"
    pad_state: Literal["raw zero", "normalised zero"] = "raw zero"  # raw: zeros before normalisation, so -mean / std
    pad_action: float = -10.0  # in training
    std_offset: float = 1e-6  # added to the standard deviation of the states
    # evaluation
    num_evaluations: int = 10  # at equal distances. The last one is after the last update
    episodes_per_evaluation: int = 100  # for each target
    targets: tuple[float, ...] = (1.0,)  # returns asked for, as multiples of the task's target return
    rollout_batch_size: int = 50  # episodes rolled out together. Fixed, because the batch size moves float bits
    rollout_pad_state: Literal["raw zero", "normalised zero"] = "normalised zero"
    rollout_pad_action: float = 0.0
    # windowed: the model reads the last K steps anew at each step. recurrent: it keeps a state from step to step
    rollout: Literal["windowed", "recurrent"] = "windowed"

    def __post_init__(self) -> None:
        check_fields(self)
        counts = ("context_length", "batch_size", "updates", "num_evaluations", "episodes_per_evaluation")
        for name in (*counts, "rollout_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"Protocol.{name} is {getattr(self, name)}; it must be at least 1")
        if self.learning_rate <= 0 or self.grad_clip_norm <= 0 or self.warmup < 0 or len(self.betas) != 2:
            raise ValueError(
                f"Protocol takes a positive learning_rate and grad_clip_norm, a warmup of 0 or more and two betas; it has "
                f"{self.learning_rate}, {self.grad_clip_norm}, {self.warmup}, {self.betas}"
            )
        if self.updates % self.num_evaluations:
            raise ValueError(f"{self.updates} updates cannot be divided into {self.num_evaluations} evaluations")
        if self.window_anchor == "whole" and self.sampling != "episodes":
            raise ValueError("Protocol.window_anchor 'whole' needs sampling 'episodes'; it has sampling 'steps'")
        if not 0 < self.top_fraction <= 1:
            raise ValueError(f"Protocol.top_fraction is {self.top_fraction}; it must be above 0 and at most 1")
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise ValueError(f"Protocol.targets is {self.targets}; it takes one or more different multiples")

    @property
    def evaluation_interval(self) -> int:
        """Updates between two evaluations."""
        return self.updates // self.num_evaluations

    def with_overrides(self, **overrides: Any) -> "Protocol":
        """The same protocol with other values of some fields. Raises ValueError for an unknown field."""
        for key in overrides:
            if key not in self.__dataclass_fields__:
                raise unknown_name("field", key, self.__dataclass_fields__, "Protocol")
        return replace(self, **overrides)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A rule that reads one number from the finished trials of a cell: checkpoint selection, target, seeds.

    A reading is not part of a trial. A second reading of the same trials costs no extra run.
    """

    name: str
    checkpoint: Literal["last", "best", "average"] = "last"  # best: the evaluation with the highest score
    average_last: int = 1  # of "average": the mean of this many last evaluations
    target: float | Literal["max", "mean"] = 1.0  # one target by its multiple, or the max or mean over all targets
    seeds: Literal["mean", "max"] = "mean"  # max has no spread
    floor: float | None = None  # a lower score counts as this

    def __post_init__(self) -> None:
        check_fields(self)

    def describe(self) -> str:
        """One line for the foot of a table."""
        checkpoint = {
            "last": "last evaluation",
            "best": "best evaluation",
            "average": f"mean of the last {self.average_last} evaluations",
        }
        over = {"max": "best of all targets", "mean": "mean of all targets"}
        target = over[self.target] if isinstance(self.target, str) else f"target x{self.target:g}"
        floor = "" if self.floor is None else f", floored at {self.floor:g}"
        return f"{checkpoint[self.checkpoint]}, {target}, {self.seeds} over seeds{floor}"


LAST = Reading(name="last")
BEST = Reading(name="best", checkpoint="best")
PAPER_MAX = Reading(name="max over everything", checkpoint="best", target="max", seeds="max", floor=0.0)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training run with its evaluations: the unit of work and of record."""

    arch: str
    task: Task
    dataset: tuple[str, ...]  # one id, or several that are read as one (medium-expert)
    protocol: Protocol
    seed: int
    overrides: tuple[tuple[str, Any], ...] = ()  # of the architecture's Config, sorted by field

    def __post_init__(self) -> None:
        object.__setattr__(self, "overrides", tuple(sorted(dict(self.overrides).items())))
        if self.seed < 0:
            raise ValueError(f"the seed is {self.seed}; it must be 0 or more")
        self.config  # noqa: B018  raises for a wrong architecture or field, before anything runs
        if self.protocol.rollout == "recurrent" and not find_model(self.arch).recurrent:
            able = ", ".join(name for name in list_models() if find_model(name).recurrent)
            raise ValueError(
                f"{self.arch} has no recurrent rollout; leave Protocol.rollout at 'windowed' ({able} have one)"
            )

    @cached_property
    def config(self) -> Any:
        """The architecture's Config of this trial."""
        return make_config(self.arch, dict(self.overrides))

    @property
    def kind(self) -> tuple:
        """Trials of one kind cost the same. They differ only in seed and data."""
        return self.arch, self.overrides, self.task, self.protocol

    def record(self) -> TrialRecord:
        """The trial as JSON: every field of Config and Protocol that can move a number, with defaults written out."""
        protocol = to_json(self.protocol)
        del protocol["name"]
        task = self.task
        return TrialRecord(
            results_version=RESULTS_VERSION,
            arch=self.arch,
            config=to_json(self.config),
            task=TaskRecord(
                name=task.name,
                environment=task.environment,
                options=to_json(task.options),
                horizon=task.horizon,
                return_scale=task.return_scale,
                target_return=task.target_return,
            ),
            dataset=list(self.dataset),
            protocol=protocol,
            seed=self.seed,
        )

    @cached_property
    def id(self) -> str:
        """Sixteen hex digits: the start of the sha256 of the record."""
        text = json.dumps(to_json(self.record()), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a table: an architecture with overrides, and the numbers that its paper printed."""

    label: str
    arch: str
    preset: str = ""  # a paper's name for a variant of the architecture. `overrides` are applied on top
    overrides: Mapping[str, Any] = field(default_factory=dict)  # of the architecture's Config
    protocol_overrides: Mapping[str, Any] = field(default_factory=dict)  # of the table's Protocol
    per_task: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # task name -> more overrides of Config
    published: Mapping[str, float] = field(default_factory=dict)  # column label -> score
    note: str = ""

    def config_overrides(self, task: Task) -> dict[str, Any]:
        """All overrides of Config on one task. Raises ValueError for an unknown preset."""
        presets = find_model(self.arch).presets
        if self.preset and self.preset not in presets:
            raise unknown_name("preset", self.preset, presets, f"dmm/models/{self.arch}.py")
        return {**presets.get(self.preset, {}), **self.overrides, **self.per_task.get(task.name, {})}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A task and its training data."""

    task: Task
    dataset: tuple[str, ...]
    label: str  # hopper-medium

    def __post_init__(self) -> None:
        if isinstance(self.dataset, str):
            object.__setattr__(self, "dataset", (self.dataset,))


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows x columns x seeds under one protocol, and the readings that are printed. A file of tune_spaces holds one: TABLE."""

    name: str
    title: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    seeds: tuple[int, ...]
    protocol: Protocol
    readings: tuple[Reading, ...] = (LAST, BEST, PAPER_MAX)  # the first is the headline
    source: str = ""  # of the published numbers, and how they were read
    departures: tuple[str, ...] = ()  # from the papers' protocol, printed under the table

    def __post_init__(self) -> None:
        for kind, values in {
            "row": [row.label for row in self.rows],
            "column": [column.label for column in self.columns],
            "seed": self.seeds,
            "reading": [reading.name for reading in self.readings],
        }.items():
            if not values or len(set(values)) < len(values):
                raise ValueError(f"table {self.name} needs one or more {kind}s, each once; it has {list(values)}")
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ValueError(f"a table's name becomes a folder's: letters, digits, _, - and dots; it is {self.name!r}")
        for row in self.rows:
            targets = self.protocol.with_overrides(**row.protocol_overrides).targets
            for reading in self.readings:
                if not isinstance(reading.target, str) and reading.target not in targets:
                    raise ValueError(
                        f"reading {reading.name!r} wants target {reading.target}; {row.label} has {targets}"
                    )
        labels = [column.label for column in self.columns]
        for row in self.rows:
            for label in row.published:
                if label not in labels:
                    raise unknown_name(f"column published in row {row.label!r}", label, labels, f"table {self.name}")

    def trial(self, row: Row, column: Column, seed: int) -> Trial:
        """One trial of a cell."""
        return Trial(
            arch=row.arch,
            task=column.task,
            dataset=column.dataset,
            protocol=self.protocol.with_overrides(**row.protocol_overrides),
            seed=seed,
            overrides=tuple(row.config_overrides(column.task).items()),
        )

    def cell(self, row: Row, column: Column) -> list[Trial]:
        """The trials of a cell, one for each seed."""
        return [self.trial(row, column, seed) for seed in self.seeds]

    def trials(self) -> list[Trial]:
        """All trials, each id once. They are ordered by seed, so that an unfinished sweep has complete seeds."""
        every = [self.trial(row, column, seed) for seed in self.seeds for column in self.columns for row in self.rows]
        return list({trial.id: trial for trial in every}.values())

    def names(self) -> dict[str, str]:
        """A name for each trial by its id: `DT on hopper-medium, seed 0`. Rows may share a trial. Then the first names it."""
        names: dict[str, str] = {}
        for row in self.rows:
            for column in self.columns:
                for trial in self.cell(row, column):
                    names.setdefault(trial.id, f"{cell_name(row, column)}, seed {trial.seed}")
        return names


def cell_name(row: Row, column: Column) -> str:
    """The name of a cell in texts."""
    return f"{row.label} on {column.label}"
