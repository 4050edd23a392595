"""What the shell completes: tables, their rows, columns, budgets, sources and readings, places of results, and architectures,
datasets and profiles.

Each function returns all words that begin like the given one. A table that cannot be read gives none.
"""

import os
import shlex
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from dmm.config import Table


def quoted(words: Iterable[str]) -> list[str]:
    """The words as the command line needs them. Bash inserts them unchanged. Other shells quote them themselves."""
    if not os.environ.get("_DMM_COMPLETE", "").endswith("bash"):
        return list(words)
    return [word if shlex.quote(word) == word else "".join(escaped(letter) for letter in word) for word in words]


def escaped(letter: str) -> str:
    """A letter, with a backslash before it if the shell would read it as more than a letter."""
    return letter if letter.isalnum() or letter in "@%+=:,./-_" else f"\\{letter}"


def of_table(context: typer.Context, names: Callable[["Table"], Iterable[str]]) -> list[str]:
    """Names that the table on the command line has."""
    from dmm.tables import find_table

    given = [context.params.get("table"), *context.args]  # after an unfinished option, no argument has its name yet
    with suppress(ValueError):
        return list(dict.fromkeys(names(find_table(next(filter(None, given), "")))))
    return []


def listed(incomplete: str, labels: list[str]) -> list[str]:
    """Labels that can come next in a list with commas."""
    before = incomplete.rpartition(",")[0]
    given = before.split(",") if before else []
    return quoted(",".join([*given, label]) for label in labels if label not in given)


def tables() -> list[str]:
    """The names of all tables."""
    from dmm.tables import tables

    return list(tables())


def profiles() -> list[str]:
    """The names of all profiles."""
    from dmm.sweeps.profile import profiles

    return list(profiles())


def places() -> list[str]:
    """The folders of kept reports in ./reports, and DMM_HOME."""
    from dmm.base.paths import home
    from dmm.results.kept import RUNS

    kept = [str(path.parent) for path in sorted(Path("reports").glob(f"*/{RUNS}"))]
    return quoted([*kept, str(home())] if home().is_dir() else kept)


def tables_and_places() -> list[str]:
    """What `dmm compare` compares."""
    return [*tables(), *places()]


def format_list(incomplete: str) -> list[str]:
    """Formats of a report, separated by commas."""
    from dmm.report.files import FORMATS

    return listed(incomplete, list(FORMATS))


def comparison_formats() -> list[str]:
    """The formats of `dmm compare`."""
    from dmm.results.compare import FORMATS

    return list(FORMATS)


def readings(ctx: typer.Context) -> list[str]:
    """The readings of the table, or those of tables without their own."""
    from dmm.config import BEST, LAST, PAPER_MAX

    names = of_table(ctx, lambda table: (reading.name for reading in table.readings))
    return quoted(names or [reading.name for reading in (LAST, BEST, PAPER_MAX)])


def architectures() -> list[str]:
    """The names of the architectures that ship with dmm or are installed."""
    from dmm.architectures import entry_points, list_models

    return [*list_models(), *(offer.name for offer in entry_points())]


def collectable() -> list[str]:
    """The ids of the datasets that can be collected."""
    from dmm.data import fetchable_ids

    return fetchable_ids()


def downloadable() -> list[str]:
    """The ids of the datasets that are known to be on the web."""
    from dmm.data import downloadable_ids

    return downloadable_ids()


def rows(ctx: typer.Context) -> list[str]:
    """The labels of the table's rows that have trials."""
    return quoted(of_table(ctx, lambda table: (row.label for row in table.rows if not row.cited)))


def columns(ctx: typer.Context) -> list[str]:
    """The labels of the table's columns."""
    return quoted(of_table(ctx, lambda table: (column.label for column in table.columns)))


def row_list(ctx: typer.Context, incomplete: str) -> list[str]:
    """Rows, separated by commas."""
    return listed(incomplete, of_table(ctx, lambda table: (row.label for row in table.rows)))


def column_list(ctx: typer.Context, incomplete: str) -> list[str]:
    """Columns, separated by commas."""
    return listed(incomplete, of_table(ctx, lambda table: (column.label for column in table.columns)))


def budgets(ctx: typer.Context) -> list[str]:
    """The budgets of the table."""
    from dmm.config.budget import PAPER

    return of_table(ctx, lambda table: (PAPER, *table.budgets))


def sources(ctx: typer.Context) -> list[str]:
    """The sources of data of the table's columns."""
    return of_table(ctx, lambda table: (source for column in table.columns for source in column.sources))
