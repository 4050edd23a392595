"""`dmm export`: a trained model in a folder of its own."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def export(
    id_: Annotated[
        str, typer.Argument(metavar="ID", help="The id of a trial's returns or weights. Its first 6 digits are enough.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder.")],
    update: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="The weights after so many updates. Without it, the latest are taken."),
    ] = None,
) -> None:
    """Copies a trained model to a folder that loads anywhere.

    `dmm show TABLE` lists the ids of a table's trials.

    Example: `dmm export 1a2b3c4d best-model`
    """
    from dmm.api.export import export_model

    print((export_model(id_, folder, update) / "README.txt").read_text(), end="")
