"""`dmm report`: the files of a table."""

from pathlib import Path
from typing import Annotated

import typer

from dmm.cli.options import TABLE, URI

app = typer.Typer()


@app.command()
def report(
    table: TABLE,
    out: Annotated[Path, typer.Option(help="Folder. The table's own folder is made in it.")] = Path("reports"),
    mlflow: URI = None,
) -> None:
    """Makes a table's files from MLflow: Markdown, CSV, cost, figure, manifest. Example: `dmm report quickstart`."""
    from dmm.results.report import write_report
    from dmm.tables import find_table
    from dmm.tracking.mlflow_store import Recorder

    found = find_table(table)
    recorder = Recorder(mlflow)
    folder = out / found.name
    paths = write_report(found, recorder.summaries(found), folder, recorder.source(found))
    recorder.upload(folder, found)
    print((folder / "table.md").read_text())
    print("\n".join(str(path) for path in paths))
    print(recorder.view_link(found.name))
