"""`dmm list` and `dmm show`: names that commands take, and the trials of a table."""

from typing import Annotated

import typer

from dmm.base.text_tables import plain_table
from dmm.cli.options import TABLE

app = typer.Typer()


@app.command("list")
def list_(
    models: Annotated[
        bool, typer.Option("--models", help="Paper, tokens, mixers, size and quirks of each model.")
    ] = False,
) -> None:
    """Lists architectures, tasks, datasets, tables and profiles. Example: `dmm list --models`."""
    from dmm.catalogue import summaries

    if models:
        print("\n\n".join(summary.text() for summary in summaries()))
        return
    from dmm.data import fetchable_ids, local_ids
    from dmm.models import find_model
    from dmm.sweeps.profile import profiles
    from dmm.tables import tables
    from dmm.tasks import TASKS

    rows = [
        {"architecture": found.arch, "presets": "; ".join(find_model(found.arch).presets), "name": found.title}
        for found in summaries()
    ]
    print(plain_table(rows))
    print("\ntasks:    " + ", ".join(f"{task.name} ({task.environment})" for task in TASKS.values()))
    print("datasets: " + ", ".join(sorted({*local_ids(), *fetchable_ids()})) + " (more with `dmm data list`)")
    print("tables:   " + ", ".join(tables()))
    print("profiles: " + ", ".join(profiles()))


@app.command()
def show(table: TABLE) -> None:
    """Shows a table's trials: id, state, and cost on this machine. Example: `dmm show quickstart`."""
    from dmm.results.score import status_of
    from dmm.tables import find_table
    from dmm.trials.estimate import estimates
    from dmm.trials.storage import load_status

    found = find_table(table)
    cost, lines = estimates(found), []
    for row in found.rows:
        for column in found.columns:
            for trial in found.cell(row, column):
                result = load_status(trial)
                lines.append(
                    {
                        "id": trial.id,
                        "row": row.label,
                        "column": column.label,
                        "seed": trial.seed,
                        "K": trial.protocol.context_length,
                        "updates": f"{result.update if result else 0:,}/{trial.protocol.updates:,}",
                        "status": status_of(result),
                        "train": f"{cost[trial.id].train / 60:.1f} min",
                        "rollouts": f"< {cost[trial.id].rollout / 60:.1f} min",
                    }
                )
    print(f"{found.title}\nprotocol {found.protocol.name}, headline reading: {found.readings[0].describe()}\n")
    print(plain_table(lines))
    hours = sum(estimate.total for estimate in cost.values()) / 3600
    print(f"\n{len(cost)} trials, at most {hours:.2f} core-hours on this machine without the simulator's time")
