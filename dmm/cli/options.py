"""What several commands share: arguments, options and the layout of text tables."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

TABLE = Annotated[str, typer.Argument(help="A table's name (see `dmm list`), or the path of its file.")]
PROFILE = Annotated[str, typer.Option(help="Resources: a name (see `dmm list`) or a TOML file.")]
URI = Annotated[
    str | None,
    typer.Option("--mlflow", envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI; default: sqlite in DMM_HOME."),
]


def table_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as aligned text. The keys of a row are the headers."""
    from tabulate import tabulate

    return tabulate(rows, headers="keys", disable_numparse=True)
