"""`dmm list` and `dmm show`: names that commands take, and the trials of a table."""

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from dmm.base.text_tables import plain_table, wrapped
from dmm.cli.options import BUDGET, COLUMNS, ROWS, SEEDS, SOURCE, TABLE, choose_table

if TYPE_CHECKING:
    from dmm.config import Table

app = typer.Typer()


@app.command("list")
def list_(
    models: Annotated[
        bool, typer.Option("--models", help="Describe each architecture: paper, tokens, mixers, size and quirks.")
    ] = False,
    old: Annotated[
        bool, typer.Option("--old", help="List the results of earlier versions, which are kept and not reused.")
    ] = False,
) -> None:
    """Lists architectures, tasks, datasets, tables and profiles.

    Example: `dmm list --models`
    """
    from dmm.catalogue import summaries
    from dmm.trials.storage import old_results

    if old:
        print(plain_table([vars(result) for result in old_results()]) or "no results of earlier versions")
        return

    if models:
        print("\n\n".join(summary.text() for summary in summaries()))
        return
    print("\n\n".join(f"{heading}\n{section}" for heading, section in sections().items()))
    if before := old_results():
        kept = (
            "1 result of an earlier version is"
            if len(before) == 1
            else f"{len(before)} results of earlier versions are"
        )
        print(f"\n{kept} kept and not reused: `dmm list --old`")


def sections() -> dict[str, str]:
    """The names that commands take, by kind."""
    from dmm.api.names import list_datasets, list_tables, list_tasks
    from dmm.catalogue import summaries
    from dmm.sweeps.profile import profiles

    architectures = [
        (each.arch, [each.title, *(["; ".join(each.presets)] if each.presets else [])]) for each in summaries()
    ]
    return {
        "architectures, with their presets (`dmm list --models` describes them)": beside(architectures),
        "tables": beside((name, [title(name)]) for name in list_tables()),
        "tasks": beside([("", [", ".join(list_tasks())])]),
        "datasets (more with `dmm data list`)": beside([("", [", ".join(list_datasets())])]),
        "profiles": beside([("", [", ".join(profiles())])]),
    }


def beside(names: Iterable[tuple[str, list[str]]]) -> str:
    """Names with paragraphs beside them."""
    entries = list(names)
    indent = max(len(name) for name, _ in entries) + 4
    return "\n".join(wrapped(f"  {name}", paragraphs, indent) for name, paragraphs in entries)


def title(table: str) -> str:
    """The title of a table, or the error of its file."""
    from dmm.tables import find_table

    try:
        return find_table(table).title
    except ValueError as error:
        return str(error)


@app.command()
def show(
    table: TABLE,
    budget: BUDGET = "",
    source: SOURCE = "",
    rows: ROWS = None,
    columns: COLUMNS = None,
    seeds: SEEDS = "",
) -> None:
    """Shows a table before it runs: its trials with ids and status, parameters, missing data and cost.

    The cost is an estimate for this machine.

    Example: `dmm show quickstart`
    """
    from dmm.config import edited_code
    from dmm.report.notes import face
    from dmm.results.score import status_of
    from dmm.trials.estimate import estimates
    from dmm.trials.storage import load_status, load_training
    from dmm.trials.weights import kept_bytes

    found = choose_table(table, budget, source, rows, columns, seeds)
    cost, lines = estimates(found), []
    for row in found.rows:
        for column in found.columns:
            for trial in found.cell(row, column):
                result, training = load_status(trial), load_training(trial)  # another table may have trained it
                lines.append(
                    {
                        "weights": trial.weights_id,
                        "returns": trial.returns_id,
                        "row": row.label,
                        "column": column.label,
                        "seed": trial.seed,
                        "K": trial.training.context_length,
                        "updates": f"{training.update if training else 0:,}/{trial.training.updates:,}",
                        "status": status_of(result),
                        "kept": f"{kept_bytes(trial) / 2**20:.1f} MiB",
                        "train": f"{cost[trial.returns_id].train / 60:.1f} min",
                        "rollouts": f"< {cost[trial.returns_id].rollout / 60:.1f} min",
                    }
                )
    print(f"{found.title}\nprotocol {found.protocol.name}, headline reading: {found.readings[0].describe()}")
    print("".join(f"{line}\n" for line in face(found)))
    print(plain_table(lines))
    print(f"\n{plain_table(parameter_lines(found))}")
    notes = [f"{row.label}: {row.note}" for row in found.rows if row.note]
    print("".join(f"\n- {line}" for line in (*found.departures, *notes)))
    if edited := edited_code(found.trials()):
        print(f"\n{edited}")
    if missing := missing_data(found):
        print("\nmissing data:\n" + "\n".join(missing))
    kept = sum(kept_bytes(trial) for trial in {trial.weights_id: trial for trial in found.trials()}.values())
    print(f"\nkept weights: {kept:,} bytes")
    training = {trial.weights_id: cost[trial.returns_id].train for trial in found.trials()}
    hours = (sum(training.values()) + sum(estimate.rollout for estimate in cost.values())) / 3600
    print(f"{len(cost)} trials, at most {hours:.2f} core-hours on this machine without the simulator's time")


def parameter_lines(table: "Table") -> list[dict[str, str]]:
    """The parameters of each row, with the columns that have this number, and the printed number if there is one."""
    from dmm.results.parameters import parameter_counts

    columns: dict[tuple[str, str, str], list[str]] = {}
    published = {row.label: row.published_parameters for row in table.rows}
    for (row, column), count in parameter_counts(table).items():
        printed = published[row].get(column)
        columns.setdefault((row, count.text(), f"{printed:,}" if printed else ""), []).append(column)
    lines = []
    for (row, count, printed), labels in columns.items():
        every = len(labels) == len(table.columns) > 1
        line = {"row": row, "parameters": count, "columns": "all" if every else ", ".join(labels)}
        lines.append(line | ({"published": printed} if any(published.values()) else {}))
    return lines


def missing_data(table: "Table") -> list[str]:
    """The ids of data that are not here, by source, and how to get the first of them."""
    from dmm import data

    collected = set(data.fetchable_ids())
    ways: dict[str, list[str]] = {}
    for dataset_id in dict.fromkeys(
        dataset_id for column in table.columns for seed in table.seeds for dataset_id in column.ids(seed)
    ):
        if not data.is_present(dataset_id):
            prefix = "" if dataset_id in collected else data.find_reader(dataset_id).PREFIXES[0]
            ways.setdefault(prefix, []).append(dataset_id)
    lines = []
    for prefix, ids in ways.items():
        how = str(data.find_reader(ids[0]).absent(ids[0])) if prefix else "collected at the first use"
        known = [dataset_id for dataset_id in ids if prefix == "minari" or dataset_id in data.downloadable_ids()]
        if len(known) > 1:
            how += f" All of them: {shlex.join(['dmm', 'data', 'download', *known])}"
        lines.append(f"{', '.join(ids)}: {how}")
    return lines
