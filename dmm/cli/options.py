"""Arguments and options that several commands share."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dmm.config import Table

TABLE = Annotated[str, typer.Argument(help="A table's name (see `dmm list`), or the path of its file.")]
PROFILE = Annotated[str, typer.Option(help="Resources: a name (see `dmm list`) or a TOML file.")]
URI = Annotated[
    str | None,
    typer.Option("--mlflow", envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI; default: sqlite in DMM_HOME."),
]
BUDGET = Annotated[str, typer.Option(help="The table at a budget: smoke, short, medium, or one of its own.")]
SOURCE = Annotated[str, typer.Option(help="The table on one source of data: d4rl, minari, dmm.")]
ROWS = Annotated[list[str] | None, typer.Option("--rows", help="Only these rows: labels with commas. Can be repeated.")]
COLUMNS = Annotated[list[str] | None, typer.Option("--columns", help="Only these columns, as --rows.")]
SEEDS = Annotated[str, typer.Option(help="Only these seeds: 0,1,2.")]
RETRAIN = Annotated[bool, typer.Option("--retrain", help="Train trials again whose weights are not kept.")]


def choose_table(
    table: str,
    budget: str = "",
    source: str = "",
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    seeds: str = "",
) -> "Table":
    """The table that a command's options name. Raises ValueError for a wrong name or seed."""
    from dmm.tables import find_table

    found = find_table(table)
    found = found.at(budget) if budget else found
    found = found.on(source) if source else found
    try:
        numbers = [int(seed) for seed in seeds.split(",")] if seeds else []
    except ValueError:
        raise ValueError(f"--seeds is {seeds!r}; it takes whole numbers with commas: 0,1,2") from None
    return found.select(
        split_labels(rows or (), {row.label for row in found.rows}),
        split_labels(columns or (), {column.label for column in found.columns}),
        numbers,
    )


def split_labels(given: Sequence[str], known: set[str]) -> list[str]:
    """Labels, one by one. A label that has commas itself is given alone, with an option of its own."""
    parts = ([entry] if entry in known else [part.strip() for part in entry.split(",")] for entry in given)
    return [label for labels in parts for label in labels]


def as_words(options: Mapping[str, object]) -> list[str]:
    """The words of a command line that give these options. Options that are not set are left out."""
    words: list[str] = []
    for name, value in options.items():
        for entry in value if isinstance(value, list | tuple) else [value]:
            if entry is True:
                words.append(f"--{name}")
            elif entry:
                words += [f"--{name}", str(entry)]
    return words
