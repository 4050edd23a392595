"""`dmm report`: the files of a table."""

from pathlib import Path
from typing import Annotated

import typer

from dmm.cli.options import BUDGET, COLUMNS, ROWS, SEEDS, SOURCE, TABLE, URI, choose_table, command_line

app = typer.Typer()


@app.command()
def report(
    context: typer.Context,
    table: TABLE,
    budget: BUDGET = "",
    source: SOURCE = "",
    rows: ROWS = None,
    columns: COLUMNS = None,
    seeds: SEEDS = "",
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The folder in which the table's own folder is made.")
    ] = Path("reports"),
    mlflow: URI = None,
) -> None:
    """Makes the files of a table from its results in MLflow.

    They are Markdown, CSV, cost, a figure and a manifest.

    Example: `dmm report quickstart`
    """
    from dmm.results.report import write_report
    from dmm.results.score import NoFinishedTrial
    from dmm.tracking.mlflow_store import Recorder

    found = choose_table(table, budget, source, rows, columns, seeds)
    recorder = Recorder(mlflow, must_write=False)
    folder = out / (f"{found.name}.part" if found.part else found.name)
    summaries = recorder.summaries(found)
    try:
        paths = write_report(found, summaries, folder, recorder.source(found))
    except NoFinishedTrial as error:
        raise ValueError(
            f"{error}; `{command_line(context, 'sweep')}` runs what is missing, and records what another table has run"
        ) from None
    if not found.part and not recorder.unwritable:  # MLflow keeps the report of the whole table
        recorder.keep_only(found)
        recorder.upload(folder, found, summaries)
    print((folder / "table.md").read_text())
    print("\n".join(str(path) for path in paths))
    print(f"not stored in MLflow: {recorder.unwritable}" if recorder.unwritable else recorder.view_link(found))
