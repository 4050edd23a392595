"""`dmm sweep`, `status`, `sync`, `submit`: all trials of a table, here or on a cluster."""

from pathlib import Path
from typing import Annotated

import typer

from dmm.base.stopping import STOPPED
from dmm.cli import completion
from dmm.cli.options import (
    BUDGET,
    COLUMNS,
    PROFILE,
    RETRAIN,
    ROWS,
    SEEDS,
    SOURCE,
    TABLE,
    URI,
    choose_table,
    command_line,
    given_words,
    report_line,
    stoppable,
)

app = typer.Typer()


@app.command()
def sweep(
    context: typer.Context,
    table: TABLE,
    profile: PROFILE = "laptop",
    budget: BUDGET = "",
    source: SOURCE = "",
    rows: ROWS = None,
    columns: COLUMNS = None,
    seeds: SEEDS = "",
    retrain: RETRAIN = False,
    take_from: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="PLACE",
            help="Take finished trials over first, from a kept report, its runs.jsonl.gz, or another DMM_HOME. They are not "
            "run again. Their weights do not come along.",
            autocompletion=completion.places,
        ),
    ] = "",
    mlflow: URI = None,
) -> None:
    """Runs the trials of a table with Ray Tune.

    The same command continues after a stop. Finished trials are not run again.

    Example: `dmm sweep quickstart`
    """
    with stoppable(context) as stop:
        from dmm.sweeps.profile import find_profile
        from dmm.sweeps.sweep import sweep

        found = choose_table(table, budget, source, rows, columns, seeds)
        counts = sweep(
            found,
            find_profile(profile),
            mlflow,
            say=lambda line: print(line, flush=True),
            retrain=retrain,
            take_from=take_from,
            on_start=stop.let_end,
        )
    print(f"{counts.done} of {counts.total} trials done, {counts.failed} failed, {counts.left} left")
    if counts.unsent:
        print(f"this sends the results that are not in MLflow yet: {command_line(context, 'sync')}")
    if counts.left:  # Ctrl-C or SIGTERM
        print(f"stopped; the same command continues: {command_line(context)}")
        raise typer.Exit(STOPPED)
    if counts.failed:
        print(f"the same command runs failed trials again: {command_line(context)}")
    if counts.failed or counts.unsent:
        raise typer.Exit(1)
    print(f"now: {report_line(context)}")


@app.command()
def status(
    context: typer.Context,
    table: TABLE,
    budget: BUDGET = "",
    source: SOURCE = "",
    rows: ROWS = None,
    columns: COLUMNS = None,
    seeds: SEEDS = "",
    mlflow: Annotated[
        str | None, typer.Option(metavar="URI", help="Read this tracking store instead of the files in DMM_HOME.")
    ] = None,
) -> None:
    """Counts the trials of a table by status.

    It also names running, stopped and failed trials with the reason, and estimates the time left.

    Example: `dmm status quickstart`
    """
    from dmm.sweeps.status import status_lines

    found = choose_table(table, budget, source, rows, columns, seeds)
    print("\n".join(status_lines(found, mlflow, command_line(context, "sweep"))))


@app.command()
def sync(
    context: typer.Context,
    table: TABLE,
    budget: BUDGET = "",
    source: SOURCE = "",
    rows: ROWS = None,
    columns: COLUMNS = None,
    seeds: SEEDS = "",
    mlflow: URI = None,
) -> None:
    """Sends the results of a table to MLflow, also to a new server.

    No result is sent twice.

    Example: `dmm sync quickstart`
    """
    from dmm.sweeps.sync import sync

    sent = sync(choose_table(table, budget, source, rows, columns, seeds), mlflow)
    print(f"{sent} results are in MLflow")
    print(f"now: {report_line(context) if sent else command_line(context, 'sweep')}")


@app.command()
def submit(
    context: typer.Context,
    table: TABLE,
    profile: PROFILE = "laptop",
    budget: BUDGET = "",
    source: SOURCE = "",
    rows: ROWS = None,
    columns: COLUMNS = None,
    seeds: SEEDS = "",
    retrain: RETRAIN = False,
    address: Annotated[
        str,
        typer.Option(metavar="URL", envvar="RAY_API_SERVER_ADDRESS", help="The dashboard of the cluster's head."),
    ] = "http://127.0.0.1:8265",
    working_dir: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder that is sent with the job.")] = Path(
        "."
    ),
    mlflow: URI = None,
) -> None:
    """Submits a sweep as a Ray job on a cluster.

    It checks the upload, the head and MLflow first.

    Example: `dmm submit quickstart`
    """
    from dmm.sweeps.profile import find_profile
    from dmm.sweeps.submit import submit

    find_profile(profile)
    found = choose_table(table, budget, source, rows, columns, seeds)
    submit(found, given_words(context, "sweep", "mlflow"), address=address, folder=working_dir, uri=mlflow)
    print(f"the same command continues after any interruption: {command_line(context)}")
