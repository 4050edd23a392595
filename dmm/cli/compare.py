"""`dmm compare`: two tables, or two states of one, cell by cell."""

import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dmm.base.errors import unknown_name
from dmm.cli import completion

if TYPE_CHECKING:
    from dmm.config import Reading, Table
    from dmm.results.compare import Side
    from dmm.results.sources import Results

app = typer.Typer()
SIDE = typer.Argument(
    help="A table's name, for its results in MLflow. Or a place of results: a kept report, its runs.jsonl.gz, a DMM_HOME or a "
    "tracking URI.",
    autocompletion=completion.tables_and_places,
)


@app.command()
def compare(
    a: Annotated[str, SIDE],
    b: Annotated[str, SIDE],
    table: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The table that is read from a DMM_HOME or a tracking URI. Without it, that of the other side.",
            autocompletion=completion.tables,
        ),
    ] = "",
    reading: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The reading of both sides: last, best, or another of their tables.",
            autocompletion=completion.readings,
        ),
    ] = "last",
    format_: Annotated[
        str,
        typer.Option(
            "--format", metavar="NAME", help="The format: md or csv.", autocompletion=completion.comparison_formats
        ),
    ] = "md",
) -> None:
    """Compares two tables, or two states of one, cell by cell.

    Each cell that both have gets B - A with its 95 % interval over common seeds.

    Example: `dmm compare quickstart reports/quickstart`
    """
    from dmm.results.compare import FORMATS, compare, comparison_csv, comparison_markdown, only_one

    if format_ not in FORMATS:
        raise unknown_name("format", format_, FORMATS, "dmm compare")
    opened = {name: open_side(name) for name in (a, b)}
    chosen = find_reading(reading, table, opened.values())
    first, second = (read_side(name, opened[name], table, opened.values()) for name in (a, b))
    cells = compare(first, second, chosen)
    if format_ == "md":
        print(comparison_markdown(first, second, chosen, cells))
    else:
        print(comparison_csv(cells), end="")
        print("\n".join([f"A: {first}", f"B: {second}", *only_one(first, second)]), file=sys.stderr)


def open_side(name: str) -> "Table | Results":
    """The table that a word names, or the results at a place. Raises ValueError if there is neither."""
    from dmm.results.sources import is_uri
    from dmm.tables import find_table, tables
    from dmm.tracking.places import open_results

    is_place = is_uri(name) or "/" in name or Path(name).exists()
    if name.endswith(".py") or name.split(".")[0] in tables() or not is_place:
        return find_table(name)
    return open_results(name)


def table_of(found: "Table | Results") -> "Table | None":
    """The table that a side names. None for a tracking store and a DMM_HOME, which have many."""
    from dmm.config import Table
    from dmm.results.kept import KeptResults
    from dmm.tables import find_table

    if isinstance(found, KeptResults):
        return find_table(found.head.table)
    return found if isinstance(found, Table) else None


def read_side(name: str, found: "Table | Results", table: str, sides: "Iterable[Table | Results]") -> "Side":
    """One side with its cells. Raises ValueError if it has no results, or if nothing names its table."""
    from dmm.config import Table
    from dmm.results.compare import Side
    from dmm.results.kept import KeptResults
    from dmm.tables import find_table
    from dmm.tracking.places import open_results

    if isinstance(found, KeptResults):
        return Side.of_kept(name, found)
    if isinstance(found, Table):
        return Side.of_table(name, found, open_results().summaries(found))
    wanted = find_table(table) if table else next(filter(None, map(table_of, sides)), None)
    if wanted is None:
        raise ValueError(f"{name} has results of many tables; --table names the one to compare")
    return Side.of_table(name, wanted, found.summaries(wanted))


def find_reading(name: str, table: str, sides: "Iterable[Table | Results]") -> "Reading":
    """The reading of that name, of --table or of a side. Raises ValueError if there is none."""
    from dmm.config import BEST, LAST, PAPER_MAX
    from dmm.tables import find_table

    known = {reading.name: reading for reading in (LAST, BEST, PAPER_MAX)}
    for side in sides:
        with suppress(ValueError):  # a kept report whose table is gone
            if found := table_of(side):
                known |= {reading.name: reading for reading in found.readings}
    if table:
        known |= {reading.name: reading for reading in find_table(table).readings}
    if name not in known:
        raise unknown_name("reading", name, known)
    return known[name]
