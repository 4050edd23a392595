"""What is said around the numbers of a report: the protocol, the face, readings, departures, trials that are missing."""

from collections.abc import Mapping
from typing import Any

from dmm.base.provenance import processor
from dmm.base.text_tables import counted
from dmm.config import Evaluation, Table, Training
from dmm.results.score import Cell, failure_reason, status_of
from dmm.results.statistics import FEW

# packages whose versions can move a number
TRAINS = "torch", "numpy"
ROLLS = *TRAINS, "gymnasium", "gymnasium-robotics", "mujoco", "ale-py"


def face(table: Table) -> list[str]:
    """The lines at the top of a table that say how it differs from the whole table: budget, source of data, part."""
    lines = []
    if table.budget:
        lines.append(f"Budget {table.budget}: {table.budgets[table.budget].describe()}.")
    if table.data_source:
        without = f" Columns without such data: {', '.join(table.left_out)}." if table.left_out else ""
        lines.append(f"Data of source {table.data_source}.{without}")
    if table.part:
        lines.append(f"This is a part of the table: {table.part}.")
    return lines


def describe(table: Table) -> str:
    """The table's protocol and seeds in one line. A context length that every row sets is said with the rows."""
    protocol = table.at_budget(table.protocol)
    training, evaluation = protocol.training, protocol.evaluation
    targets = ", ".join(target.label for target in evaluation.targets)
    overridden = all("context_length" in row.overrides for row in table.rows if not row.cited)
    context = "" if overridden else f"K={training.context_length}, "
    return (
        f"Protocol {protocol.name}: {context}{training.updates:,} updates of {training.batch_size} "
        f"windows, learning rate {training.learning_rate:g} {schedule(training)}, "
        f"{counted(evaluation.num_evaluations, 'evaluation')} of {counted(evaluation.episodes_per_evaluation, 'episode')} "
        f"a target, targets {targets}; seeds {', '.join(map(str, table.seeds))}.{acting(table, evaluation)}"
    )


def schedule(training: Training) -> str:
    """How the learning rate changes, in words."""
    if training.schedule == "constant":
        return f"after {counted(training.warmup, 'update')} of warm-up"
    passes = training.cosine_passes
    warm = f"after a warm-up of {training.warmup_actions:,} actions, then " if training.warmup_actions else "with "
    end = f"after {passes:g} passes of the data, and up again" if passes else "at the last update"
    return f"{warm}a cosine down to {training.rate_floor:g} of it {end}"


def acting(table: Table, evaluation: Evaluation) -> str:
    """How discrete actions are chosen, and where episodes are stopped before a task's horizon."""
    said, limit = "", evaluation.max_steps
    if any(column.task.spaces.discrete for column in table.columns):
        said += " Actions are sampled." if evaluation.actions == "sampled" else " Actions are the most likely ones."
    if limit is not None and any(column.task.horizon > limit for column in table.columns):
        said += f" Episodes are stopped after {limit:,} steps."
    return said


def how_to_read(table: Table) -> list[str]:
    """The marks of the tables."""
    headline = table.readings[0]
    return [
        f"Scores are normalised returns: mean [95 % interval] (finished seeds). The headline reading is {headline.name}: "
        f"{headline.describe()}.",
        "Bold: the best row of a column among those with all seeds. ≈: the row cannot be told apart from it, because the 95 % "
        "interval of the paired difference over seeds has 0. A row with one common seed has no mark.",
    ]


def readings(table: Table) -> list[str]:
    """The meaning of each number."""
    lines = [f"{reading.name}: {reading.describe()}" for reading in table.readings]
    for task in {column.task.name: column.task for column in table.columns}.values():
        lines.append(
            f"{task.name}: 0 is a return of {task.ref_min_score:g}, 100 is {task.ref_max_score:g} ({task.source})"
        )
    lines += [
        f"[low, high]: 95 % interval of the mean over seeds, Student's t below {FEW} seeds, else the BCa bootstrap. One seed "
        "and a maximum over seeds have none",
        f"+ in brackets: what a reading adds to {table.readings[0].name} on the same trials",
        "minus a row: mean paired difference, one for each common seed, each seed with the mean of its own episodes",
        "seeds to tell apart: with so many, a paired t-test would find such a difference in 80 of 100 repetitions",
        f"parameters / score: parameters per normalised point, at {table.readings[0].name}. Lower is better. It cannot be "
        "compared with a ratio of published scores that are read by another rule",
    ]
    return lines + ([f"published: {table.source}"] if table.source else [])


def settings_of_rows(table: Table, cells: list[Cell]) -> list[str]:
    """Where a row or a cell differs from the protocol or from its neighbours. What the label says is not repeated."""
    lines = []
    for row in table.rows:
        own = {name: value for name, value in row.overrides.items() if name not in row.axes}
        lines += [f"{row.label}: {text}" for text in (row.note, changes(own)) if text]
        lines += [f"{row.label} on {label}: {changes(row.per_column[label])}" for label in row.per_column]
    for cell in cells:
        lines += mixes(cell)
    return lines + mixed_devices(cells)


def mixes(cell: Cell) -> list[str]:
    """What can move a number and is not the same in all trials of a cell."""
    lines = []
    sources = [summary.provenance for summary in cell.finished]
    rollouts = [summary.rollouts for summary in cell.finished]
    for field, values in {
        "device": {source.device for source in sources},
        "workers": {source.workers for source in sources},
        "scan": {source.scan for source in sources},
        "processor": {processor(source.machine) for source in sources},
        "code of dmm": {source.code or "not recorded" for source in sources},
        "rollouts on device": {source.device for source in rollouts},
        "rollouts with scan": {source.scan for source in rollouts},
        "rollouts on processor": {processor(source.machine) for source in rollouts},
        "rollouts with code of dmm": {source.code or "not recorded" for source in rollouts},
        **{name: {source.versions.get(name, "") for source in sources} for name in TRAINS},
        **{f"rollouts with {name}": {source.versions.get(name, "") for source in rollouts} for name in ROLLS},
    }.items():
        values.discard("")  # a package that was not there
        if len(values) > 1 or any(", then " in value for value in values):
            lines.append(f"{cell.name} mixes trials with {field} {' and '.join(sorted(values))}")
            if "code" in field:
                commits = sorted({source.commit for source in (rollouts if "rollouts" in field else sources)})
                lines[-1] += f"; from commit {' and '.join(commits)}"
    return lines


def mixed_devices(cells: list[Cell]) -> list[str]:
    """A line if some cells of a table ran on one device, and others on another."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        for device in sorted({summary.provenance.device for summary in cell.finished}):
            found.setdefault(device, []).append(cell.name)
    fewest = sorted(found.items(), key=lambda entry: len(entry[1]))[:-1]
    return [f"only some trials ran on device {device}: {', '.join(names)}" for device, names in fewest]


def changes(overrides: Mapping[str, Any]) -> str:
    """Overrides in words."""

    words = []
    for key, value in overrides.items():
        if key == "targets":
            value = [target.label for target in Evaluation(targets=value).targets]
        words.append(f"{key} {', '.join(map(str, value)) if isinstance(value, tuple | list) else value}")
    return "; ".join(words)


def failed_trials(cells: list[Cell]) -> list[str]:
    """The failed trials, each with its reason."""
    return [
        f"{cell.name}, seed {trial.seed}: {failure_reason(summary.error)}"
        for cell in cells
        for trial, summary in zip(cell.trials, cell.summaries)
        if summary and summary.status == "failed"
    ]


def unfinished_trials(cells: list[Cell]) -> list[str]:
    """The trials that have not ended yet, or not begun. One line for each cell."""
    lines = []
    for cell in cells:
        seeds = [
            str(trial.seed)
            for trial, summary in zip(cell.trials, cell.summaries)
            if status_of(summary) in ("pending", "running", "stopped")
        ]
        if seeds:
            lines.append(f"{cell.name}, seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}")
    return lines
