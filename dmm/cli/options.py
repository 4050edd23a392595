"""Arguments and options that several commands share."""

from typing import Annotated

import typer

TABLE = Annotated[str, typer.Argument(help="A table's name (see `dmm list`), or the path of its file.")]
PROFILE = Annotated[str, typer.Option(help="Resources: a name (see `dmm list`) or a TOML file.")]
URI = Annotated[
    str | None,
    typer.Option("--mlflow", envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI; default: sqlite in DMM_HOME."),
]
