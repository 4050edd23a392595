"""`dmm sweep`, `status`, `sync`, `submit`: all trials of a table, here or on a cluster."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from dmm.cli.options import BUDGET, COLUMNS, PROFILE, RETRAIN, ROWS, SEEDS, SOURCE, TABLE, URI, as_words, choose_table

app = typer.Typer()


@app.command()
def sweep(
    table: TABLE,
    profile: PROFILE = "laptop",
    budget: BUDGET = "",
    source: SOURCE = "",
    rows: ROWS = None,
    columns: COLUMNS = None,
    seeds: SEEDS = "",
    retrain: RETRAIN = False,
    mlflow: URI = None,
) -> None:
    """Runs a table's trials with Ray Tune. The same command continues after a stop. Example: `dmm sweep quickstart`."""
    from dmm.sweeps.profile import find_profile
    from dmm.sweeps.sweep import sweep

    found = choose_table(table, budget, source, rows, columns, seeds)
    part = as_words({"budget": budget, "source": source, "rows": rows, "columns": columns, "seeds": seeds})
    counts = sweep(found, find_profile(profile), mlflow, say=lambda line: print(line, flush=True), retrain=retrain)
    print(f"{counts.done} of {counts.total} trials done, {counts.failed} failed, {counts.left} left")
    if counts.left:  # Ctrl-C or SIGTERM
        print("stopped; the same command continues the sweep")
        raise typer.Exit(130)
    if counts.failed or counts.unsent:
        raise typer.Exit(1)
    print(f"now: dmm report {shlex.join([table, *part])}")


@app.command()
def status(
    table: TABLE,
    budget: BUDGET = "",
    source: SOURCE = "",
    rows: ROWS = None,
    columns: COLUMNS = None,
    seeds: SEEDS = "",
    mlflow: Annotated[str | None, typer.Option(help="Read this tracking store, not the files in DMM_HOME.")] = None,
) -> None:
    """Counts a table's trials by status, names failures, estimates the time left. Example: `dmm status quickstart`."""
    from dmm.sweeps.status import status_lines

    print("\n".join(status_lines(choose_table(table, budget, source, rows, columns, seeds), mlflow)))


@app.command()
def sync(table: TABLE, budget: BUDGET = "", source: SOURCE = "", mlflow: URI = None) -> None:
    """Sends a table's results to MLflow, also to a new server. No result is sent twice. Example: `dmm sync quickstart`."""
    from dmm.sweeps.sync import sync

    print(f"{sync(choose_table(table, budget, source), mlflow)} results are in MLflow")


@app.command()
def submit(
    table: TABLE,
    profile: PROFILE = "laptop",
    budget: BUDGET = "",
    source: SOURCE = "",
    rows: ROWS = None,
    columns: COLUMNS = None,
    seeds: SEEDS = "",
    retrain: RETRAIN = False,
    address: Annotated[
        str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The dashboard of the cluster's head.")
    ] = "http://127.0.0.1:8265",
    working_dir: Annotated[Path, typer.Option(help="The folder that is sent with the job.")] = Path("."),
    mlflow: URI = None,
) -> None:
    """Submits a sweep as a Ray job. Checks upload, head and MLflow first. Example: `dmm submit quickstart`."""
    from dmm.sweeps.profile import find_profile
    from dmm.sweeps.submit import submit

    find_profile(profile)
    found = choose_table(table, budget, source, rows, columns, seeds)
    words = [table, "--profile", profile]
    words += as_words({"budget": budget, "source": source, "rows": rows, "columns": columns, "seeds": seeds})
    words += as_words({"retrain": retrain})
    submit(found, words, address=address, folder=working_dir, uri=mlflow)
