"""`dmm export`: a trained model in a folder of its own."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def export(
    id_: Annotated[
        str, typer.Argument(metavar="ID", help="Of returns or weights (see `dmm show TABLE`): 6 digits or more.")
    ],
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    update: Annotated[int | None, typer.Option(help="The weights after so many updates; default: the latest.")] = None,
) -> None:
    """Copies a trained model to a folder that dmm.load takes anywhere. Example: `dmm export 1a2b3c4d best-model`."""
    from dmm.api.export import export_model

    print((export_model(id_, folder, update) / "README.txt").read_text(), end="")
