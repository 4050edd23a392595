"""`dmm report`: the files of a table."""

from pathlib import Path
from typing import Annotated

import typer

from dmm.cli.options import BUDGET, COLUMNS, ROWS, SEEDS, SOURCE, TABLE, URI, choose_table

app = typer.Typer()


@app.command()
def report(
    table: TABLE,
    budget: BUDGET = "",
    source: SOURCE = "",
    rows: ROWS = None,
    columns: COLUMNS = None,
    seeds: SEEDS = "",
    out: Annotated[Path, typer.Option(help="Folder. The table's own folder is made in it.")] = Path("reports"),
    mlflow: URI = None,
) -> None:
    """Makes a table's files from MLflow: Markdown, CSV, cost, figure, manifest. Example: `dmm report quickstart`."""
    from dmm.results.report import write_report
    from dmm.tracking.mlflow_store import Recorder

    found = choose_table(table, budget, source, rows, columns, seeds)
    recorder = Recorder(mlflow)
    folder = out / (f"{found.name}.part" if found.part else found.name)
    paths = write_report(found, recorder.summaries(found), folder, recorder.source(found))
    if not found.part:  # MLflow keeps the report of the whole table
        recorder.upload(folder, found)
    print((folder / "table.md").read_text())
    print("\n".join(str(path) for path in paths))
    print(recorder.view_link(found))
