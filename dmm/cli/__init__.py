"""The command line. Each command calls one or two functions of the package.

catalogue.py  dmm list, show
trials.py     dmm run, evaluate
sweeps.py     dmm sweep, status, sync, submit
report.py     dmm report
data.py       dmm data
machine.py    dmm bench, doctor
options.py    arguments and options of several commands

Whatever changes a number is a field in a table's Python file. It is never an option of a command.
Heavy imports are inside the commands: `dmm --help` must be fast.
"""

import sys

import typer

from dmm.base.secrets import masked
from dmm.cli import catalogue, data, machine, report, sweeps, trials

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)
for group in (catalogue, trials, sweeps, report, machine):  # the order of `dmm --help`
    app.add_typer(group.app)
app.add_typer(data.app, name="data")


@app.callback()
def start() -> None:
    """Benchmarks offline-RL sequence models on one protocol. Decision Transformer and Decision MetaMamba are among them.

    Begin with `dmm show quickstart`, `dmm sweep quickstart`, `dmm report quickstart`. DMM_HOME (default ./.dmm) keeps
    data caches, trials and the local MLflow store.
    """


def main() -> None:
    """Runs the command line. A user's mistake (ValueError) is printed as one line, with exit code 2."""
    try:
        app()
    except ValueError as error:
        print("error:", masked(" ".join(str(error).split())), file=sys.stderr)
        sys.exit(2)
