"""Row, Column and Table: the trials of a table, and the numbers that its papers printed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from dmm.architectures import find_model
from dmm.base.errors import unknown_name
from dmm.base.fields import check_fields, check_value, shown
from dmm.config.budget import BUDGETS, PAPER, Budget
from dmm.config.protocol import EVALUATION, TRAINING, Protocol
from dmm.config.reading import BEST, LAST, PAPER_MAX, Reading
from dmm.config.trial import Trial, settle_arch
from dmm.schema import ModelSource
from dmm.tasks import Target, Task

LONGEST_NAME = 150  # bytes of a table's name
LONGEST_LABEL = 500  # characters of a row's or column's label. MLflow cuts long tags
SEED = "{seed}"  # in the id of a dataset: the seed of the trial


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a table: an architecture with overrides, and the numbers that its paper printed.

    Overrides are fields of the architecture's Config, of Training and of Evaluation. A row without an architecture is cited:
    it has published numbers and no trials.
    """

    label: str
    arch: Any = ""  # given as a name, the path of a file or a class. Afterwards the name
    preset: str = ""  # a paper's name for a variant of the architecture. Overrides are applied on top
    overrides: Mapping[str, Any] = field(default_factory=dict)
    per_column: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # column label -> more overrides
    published: Mapping[str, float] = field(default_factory=dict)  # column label -> score
    published_std: Mapping[str, float] = field(default_factory=dict)  # column label -> printed standard deviation
    published_parameters: Mapping[str, int] = field(
        default_factory=dict
    )  # column label -> printed number of parameters
    published_reading: str = ""  # the reading of the table that the published scores are. Empty if none is
    not_comparable: str = ""  # why the published scores cannot be compared with any reading, even on the paper's data
    not_comparable_on: Mapping[str, str] = field(default_factory=dict)  # column label -> such a reason, for this column
    note: str = ""
    # the label of another row, from which this one differs in one thing. A report shows the difference
    beside: str = ""
    axes: Mapping[str, Any] = field(default_factory=dict)  # the row's place in a grid. `grid` fills it
    source: ModelSource | None = None  # of an architecture from outside. Found by `arch`

    def __post_init__(self) -> None:
        check_fields(self)
        check_label("row", self.label)
        if not self.cited:
            settle_arch(self)
        if self.cited and (self.preset or self.overrides or self.per_column or not self.published):
            raise ValueError(
                f"row {self.label!r} has no architecture, so it is cited: it takes published numbers and no overrides"
            )
        if self.published_reading and self.not_comparable:
            raise ValueError(
                f"row {self.label!r} has a published_reading and a reason in not_comparable; it takes one of them"
            )
        for name in self.published_std:
            if name not in self.published:
                raise ValueError(f"row {self.label!r} has a published_std and no published score on {name}")
        for name in self.not_comparable_on:
            if name not in self.published:
                raise ValueError(f"row {self.label!r} has a not_comparable_on and no published score on {name}")

    @property
    def cited(self) -> bool:
        """Whether the row has published numbers and no trials."""
        return self.arch == ""

    def settings(self, column: str) -> dict[str, Any]:
        """All overrides in one column, without those of the preset."""
        return {**self.overrides, **self.per_column.get(column, {})}

    def config_overrides(self, column: str) -> dict[str, Any]:
        """Overrides of Config in one column. Raises ValueError for an unknown preset, or a field that exists nowhere."""
        model = find_model(self.source or self.arch)
        if self.preset and self.preset not in model.presets:
            where = self.source.code.path if self.source else f"dmm/models/{self.arch}.py"
            raise unknown_name("preset", self.preset, model.presets, where)
        changes = {key: value for key, value in self.settings(column).items() if key not in TRAINING | EVALUATION}
        known = {entry.name for entry in fields(model.Config)}
        for key in changes:
            if key not in known:
                where = f"row {self.label!r}: Config of {self.arch}, Training and Evaluation"
                raise unknown_name("axis" if key in self.axes else "field", key, known | TRAINING | EVALUATION, where)
        return {**model.presets.get(self.preset, {}), **changes}

    def protocol(self, protocol: Protocol, column: str) -> Protocol:
        """The protocol of the row's trials in one column. Raises ValueError, with row and column, for a wrong setting."""
        changes = {key: value for key, value in self.settings(column).items() if key in TRAINING | EVALUATION}
        try:
            return protocol.with_overrides(changes)
        except ValueError as error:
            raise ValueError(f"{self.label} on {column}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Column:
    """A task and its training data. One column may have several sources of data: d4rl, minari, dmm.

    `Column(label=..., task=..., dataset=...)` has one source. `Column(label=..., sources={"d4rl": (task, ids), ...})` has
    several, and uses the first.
    `{seed}` in an id is the seed of the trial: with `dqn/Breakout-1pct-s{seed}` each seed learns from data of its own.
    """

    label: str  # hopper-medium
    task: Task = None  # pyright: ignore[reportAssignmentType]  filled from `sources`
    dataset: tuple[str, ...] = ()  # ids that are read as one
    sources: Mapping[str, tuple[Task, tuple[str, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pairs = check_value("Column.sources", self.sources, Mapping[str, tuple[Task, Any]])
        sources = {source: (task, self.check_ids(ids)) for source, (task, ids) in pairs.items()}
        given = (check_value("Column.task", self.task, Task | None), self.check_ids(self.dataset))
        if all(given) and not sources:
            sources = {re.split("[/:]", given[1][0])[0]: given}
        task, dataset = next(iter(sources.values()), (None, ()))
        if not task or not dataset or given not in ((None, ()), (task, dataset)):  # the latter in a copy
            raise ValueError(f"column {self.label!r} takes a task and a dataset, or sources with both")
        for name, value in {"task": task, "dataset": dataset, "sources": sources}.items():
            object.__setattr__(self, name, value)
        check_fields(self)
        check_label("column", self.label)

    def check_ids(self, ids: str | tuple[str, ...]) -> tuple[str, ...]:
        """The ids of a dataset. Raises ValueError if one is empty or is not a string."""
        found = check_value("Column.dataset", (ids,) if isinstance(ids, str) else ids, tuple[str, ...])
        if not all(found):
            raise ValueError(f"Column.dataset of {self.label!r} has an empty id")
        for name in re.findall(r"{\w*}", " ".join(found)):
            if name != SEED:
                raise unknown_name("name in braces", name, [SEED], f"Column.dataset of {self.label!r}")
        return found

    def ids(self, seed: int) -> tuple[str, ...]:
        """The ids of the data of a seed's trials."""
        return tuple(dataset_id.replace(SEED, str(seed)) for dataset_id in self.dataset)

    def on(self, source: str) -> "Column":
        """The same column with one source only."""
        task, dataset = self.sources[source]
        return Column(label=self.label, task=task, dataset=dataset)


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
    budgets: Mapping[str, Budget] = field(default_factory=lambda: BUDGETS)
    budget: str = ""  # the budget that `at` applied
    data_source: str = ""  # the source that `on` chose
    left_out: tuple[str, ...] = ()  # columns that do not have this source
    part: str = ""  # the part that `select` chose, in words
    not_selected: tuple[str, ...] = ()  # columns that are not in this part

    def __post_init__(self) -> None:
        check_fields(self)
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
        if PAPER in self.budgets:
            raise ValueError(
                f"budget {PAPER!r} is a table as its file has it; table {self.name} needs another name for its own"
            )
        if len(self.name.encode()) > LONGEST_NAME:
            raise ValueError(
                f"table {self.name[:40]}... has a name of {len(self.name.encode())} bytes; it takes at most {LONGEST_NAME}, "
                "because files and MLflow's tags have it in their names"
            )
        if min(self.seeds) < 0:
            raise ValueError(f"Table.seeds has {min(self.seeds)}; each seed must be at least 0")
        is_whole = not (self.budget or self.part)
        for name, budget in self.budgets.items() if is_whole else ():
            for label in budget.rows:
                if label not in (known := [row.label for row in self.rows]):
                    raise unknown_name(f"row in budget {name!r}", label, known, f"table {self.name}")
        if self.budget and self.budget not in self.budgets:
            raise unknown_name("budget", self.budget, self.budgets, f"table {self.name}")
        if all(row.cited for row in self.rows):
            where = f" in this part ({self.part})" if self.part else ""
            raise ValueError(f"table {self.name} has only cited rows{where}; it needs one with an architecture")
        labels = [column.label for column in self.columns]
        for row in self.rows:
            others = [other.label for other in self.rows if other is not row]
            if row.beside and is_whole and row.beside not in others:
                raise unknown_name(f"row beside row {row.label!r}", row.beside, others, f"table {self.name}")
            if row.published_reading and row.published_reading not in (names := [r.name for r in self.readings]):
                raise unknown_name(f"reading in row {row.label!r}", row.published_reading, names, f"table {self.name}")
            for name in (*row.published, *row.published_parameters, *row.per_column):
                if name not in (*labels, *self.left_out, *self.not_selected):
                    raise unknown_name(f"column in row {row.label!r}", name, labels, f"table {self.name}")
            for column in () if row.cited else self.columns:
                self.check_readings(row, column)

    def check_readings(self, row: Row, column: Column) -> None:
        """Raises ValueError if a reading wants a target or a number of evaluations that a cell does not have."""
        evaluation = self.at_budget(row.protocol(self.protocol, column.label)).evaluation
        targets = evaluation.targets
        for reading in self.readings:
            if reading.average_last > evaluation.num_evaluations:
                raise ValueError(
                    f"reading {reading.name!r} wants {reading.average_last} evaluations; {cell_name(row, column)} has "
                    f"{evaluation.num_evaluations}"
                )
            if isinstance(reading.target, Target) and reading.target not in targets:
                raise ValueError(
                    f"reading {reading.name!r} wants target {reading.target.label}; {cell_name(row, column)} has "
                    f"{', '.join(target.label for target in targets)}"
                )

    @property
    def axes(self) -> dict[str, tuple]:
        """The axes of the table's grids, with their values."""
        names = dict.fromkeys(name for row in self.rows for name in row.axes)
        return {name: tuple(dict.fromkeys(row.axes[name] for row in self.rows if name in row.axes)) for name in names}

    def trial(self, row: Row, column: Column, seed: int) -> Trial:
        """One trial of a cell. Raises ValueError for a cited row."""
        if row.cited:
            raise ValueError(f"row {row.label!r} of table {self.name} is cited: it has published numbers and no trials")
        protocol = self.at_budget(row.protocol(self.protocol, column.label))
        overrides = tuple(row.config_overrides(column.label).items())
        try:
            return Trial(
                arch=row.arch,
                source=row.source,
                task=column.task,
                dataset=column.ids(seed),
                training=protocol.training,
                evaluation=protocol.evaluation,
                seed=seed,
                overrides=overrides,
            )
        except ValueError as error:
            raise ValueError(f"{cell_name(row, column)}: {error}") from None

    def at_budget(self, protocol: Protocol) -> Protocol:
        """A protocol at the table's budget. It comes after the overrides, because rows and columns may set updates."""
        return self.budgets[self.budget].apply(protocol) if self.budget else protocol

    def cell(self, row: Row, column: Column) -> list[Trial]:
        """The trials of a cell, one for each seed. A cited row has none."""
        if row.cited:
            return []
        key = row.label, column.label
        if key not in self._cells:  # a table of 1,000 trials asks several times for each
            self._cells[key] = [self.trial(row, column, seed) for seed in self.seeds]
        return list(self._cells[key])

    @cached_property
    def _cells(self) -> dict[tuple[str, str], list[Trial]]:
        return {}

    def trials(self) -> list[Trial]:
        """All trials, each second id once. They are ordered by seed, so that an unfinished sweep has complete seeds."""
        rows = [row for row in self.rows if not row.cited]
        cells = [self.cell(row, column) for column in self.columns for row in rows]
        return list({trial.returns_id: trial for of_seed in zip(*cells) for trial in of_seed}.values())

    def names(self) -> dict[str, str]:
        """A name for each trial by its second id: `DT on hopper-medium, seed 0`. If rows share a trial, the first names it."""
        names: dict[str, str] = {}
        for row in self.rows:
            for column in self.columns:
                for trial in self.cell(row, column):
                    names.setdefault(trial.returns_id, f"{cell_name(row, column)}, seed {trial.seed}")
        return names

    def at(self, budget: str) -> "Table":
        """The table at a budget. It has another name and other ids. At budget `paper` it is the table itself.

        Raises ValueError for an unknown or a second budget.
        """
        if budget not in (PAPER, *self.budgets):
            raise unknown_name("budget", budget, (PAPER, *self.budgets), f"table {self.name}")
        if self.budget:
            raise ValueError(f"table {self.name} is at budget {self.budget} already")
        if budget == PAPER:
            return self
        chosen = self.budgets[budget]
        rows = tuple(row for row in self.rows if not chosen.rows or row.label in chosen.rows)
        return replace(self, name=f"{self.name}.{budget}", rows=rows, seeds=self.seeds[: chosen.seeds], budget=budget)

    def on(self, source: str) -> "Table":
        """The table on one source of data. Columns without it are left out. Raises ValueError if none is left."""
        known = dict.fromkeys(name for column in self.columns for name in column.sources)
        if source not in known:
            raise unknown_name("source of data", source, known, f"table {self.name}")
        if self.data_source:
            raise ValueError(f"table {self.name} is on source {self.data_source} already")
        return replace(
            self,
            name=f"{self.name}.{source}",
            columns=tuple(column.on(source) for column in self.columns if source in column.sources),
            data_source=source,
            left_out=tuple(column.label for column in self.columns if source not in column.sources),
        )

    def select(self, rows: Sequence[str] = (), columns: Sequence[str] = (), seeds: Sequence[int] = ()) -> "Table":
        """A part of the table under the same ids, by labels of rows and columns and by seeds.

        Raises ValueError for unknown labels and seeds.
        """
        if not (rows or columns or seeds):
            return self
        found_rows = choose("row", rows, {row.label: row for row in self.rows}, self.name)
        found_columns = choose("column", columns, {column.label: column for column in self.columns}, self.name)
        found_seeds = choose("seed", [str(seed) for seed in seeds], {str(seed): seed for seed in self.seeds}, self.name)
        chosen = {"rows": rows, "columns": columns, "seeds": seeds}
        return replace(
            self,
            rows=found_rows,
            columns=found_columns,
            seeds=found_seeds,
            not_selected=(*self.not_selected, *(c.label for c in self.columns if c not in found_columns)),
            part="; ".join(f"{kind} {', '.join(map(str, values))}" for kind, values in chosen.items() if values),
        )


def choose(kind: str, labels: Sequence[str], known: Mapping[str, Any], table: str) -> tuple:
    """The entries with these labels, in the table's order, or all. Raises ValueError for an unknown label."""
    for label in labels:
        if label not in known:
            raise unknown_name(kind, label, known, f"table {table}")
    return tuple(value for label, value in known.items() if not labels or label in labels)


def check_label(kind: str, label: str) -> None:
    """Raises ValueError for a label that a table, its commands and MLflow cannot show."""
    if not label.strip() or len(label) > LONGEST_LABEL:
        raise ValueError(
            f"a {kind}'s label is {shown(label)}, of {len(label)} characters; it takes 1 to {LONGEST_LABEL}, because a table "
            f"and its commands name the {kind} by it"
        )


def cell_name(row: Row, column: Column) -> str:
    """The name of a cell in texts."""
    return f"{row.label} on {column.label}"
