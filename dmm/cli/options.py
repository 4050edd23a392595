"""Arguments and options that several commands share, and the commands that hints name."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from dmm.base.secrets import masked
from dmm.base.stopping import STOPPED, Stop
from dmm.cli import completion

if TYPE_CHECKING:
    from dmm.config import Table

TABLE = Annotated[
    str,
    typer.Argument(
        help="The name of a table (`dmm list` has all), or the path of its file.", autocompletion=completion.tables
    ),
]
PROFILE = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The resources of a trial: a profile's name (`dmm list` has all), or the path of a TOML file.",
        autocompletion=completion.profiles,
    ),
]
URI = Annotated[
    str | None,
    typer.Option(
        "--mlflow",
        metavar="URI",
        envvar="MLFLOW_TRACKING_URI",
        help="The MLflow tracking store. Without it, a file in DMM_HOME is used.",
    ),
]
FROM = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="PLACE",
        help="Read the results there: a tracking URI, a DMM_HOME, the folder of a kept report, or its runs.jsonl.gz. Without "
        "it, MLflow at MLFLOW_TRACKING_URI or in DMM_HOME is read.",
        autocompletion=completion.places,
    ),
]
BUDGET = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Take the table in a fraction of its updates: smoke, short, medium, or a budget of its own. paper: all of them.",
        autocompletion=completion.budgets,
    ),
]
SOURCE = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Take the columns that have data of this source: d4rl, minari, dmm, or another of the table.",
        autocompletion=completion.sources,
    ),
]
ROWS = Annotated[
    list[str] | None,
    typer.Option(
        "--rows",
        metavar="LABELS",
        help="Take these rows only. Commas separate labels, and the option can be repeated.",
        autocompletion=completion.row_list,
    ),
]
COLUMNS = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        metavar="LABELS",
        help="Take these columns only. Commas separate labels, and the option can be repeated.",
        autocompletion=completion.column_list,
    ),
]
SEEDS = Annotated[str, typer.Option(metavar="NUMBERS", help="Take these seeds only, for example 0,1,2.")]
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

    whole = find_table(table)
    found = whole.at(budget) if budget else whole
    found = found.on(source) if source else found
    try:
        numbers = [int(seed) for seed in seeds.split(",")] if seeds else []
    except ValueError:
        raise ValueError(f"--seeds is {seeds!r}; it takes whole numbers with commas: 0,1,2") from None
    known, kept = ({row.label for row in each.rows} for each in (whole, found))
    chosen = split_labels(rows or (), known)
    if left_out := known.intersection(chosen) - kept:
        kept_labels = ", ".join(map(repr, sorted(kept)))
        raise ValueError(
            f"budget {found.budget} of table {whole.name} leaves out row {min(left_out)!r}; it has {kept_labels}"
        )
    return found.select(chosen, split_labels(columns or (), {column.label for column in found.columns}), numbers)


def split_labels(given: Sequence[str], known: set[str]) -> list[str]:
    """Labels, one by one. Commas stand between labels, and a known label may have commas itself."""
    labels = []
    for entry in given:
        parts = [entry] if entry in known else [part.strip() for part in entry.split(",")]
        while parts:
            n = next((n for n in range(len(parts), 1, -1) if ", ".join(parts[:n]) in known), 1)
            labels.append(", ".join(parts[:n]))
            del parts[:n]
    return labels


def given_words(context: typer.Context, command: str, *without: str) -> list[str]:
    """The arguments and options that this command was given, as far as another command takes them.

    A value that comes from an environment variable is not among them.
    """
    assert context.parent is not None
    takes = {parameter.name for parameter in context.parent.command.commands[command].params} - set(without)  # pyright: ignore
    arguments, options = [], []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name)
        if parameter.name not in takes or source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[parameter.name]
        values = [f"{entry:g}" if isinstance(entry, float) else entry for entry in listed(value)]
        if parameter.param_type_name == "argument":
            arguments += map(str, values)
        elif value is True:
            options.append(parameter.opts[0])
        elif parameter.nargs > 1:
            options += [parameter.opts[0], *map(str, values)]
        else:
            options += [word for entry in values for word in (parameter.opts[0], str(entry))]
    return [*arguments, *options]


def listed(value: object) -> list:
    """The values of a parameter that may have several."""
    return list(value) if isinstance(value, list | tuple) else [value]


def command_line(context: typer.Context, command: str = "", *more: str) -> str:
    """A whole command for a hint: this one or another of its group, with the quoted words of this one."""
    name = command or context.info_name or ""
    path = context.command_path.split()[:-1]
    return masked(shlex.join([*path, name, *given_words(context, name), *more]))


def report_line(context: typer.Context) -> str:
    """The `dmm report` of the table of this command, which reads the store that `--mlflow` names."""
    given = given_words(context, context.info_name or "")
    place = ["--from", context.params["mlflow"]] if "--mlflow" in given else []
    return command_line(context, "report", *place)


@contextmanager
def stoppable(context: typer.Context) -> Iterator[Stop]:
    """Ctrl-C or SIGTERM prints one line, which says how to continue, and ends the command with exit code 130."""
    stop = Stop(f"stopped; the same command continues: {command_line(context)}")
    try:
        with stop:
            yield stop
    except typer.Exit:
        raise
    except BaseException as error:
        if not stop.requested and not isinstance(error, KeyboardInterrupt):
            raise
        print(stop.line, flush=True)
        raise typer.Exit(STOPPED) from None
