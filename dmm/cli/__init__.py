"""The command line. Each command calls one or two functions of the package.

catalogue.py   dmm list, show
models.py      dmm check, new
trials.py      dmm run, evaluate
sweeps.py      dmm sweep, status, sync, submit
report.py      dmm report
compare.py     dmm compare
export.py      dmm export
data.py        dmm data
machine.py     dmm bench, doctor
options.py     arguments and options of several commands, and the commands that hints name
completion.py  what the shell completes
mistakes.py    a wrong command or option as one line

Every setting that changes a number is a field in a table's Python file. It is never an option of a command.
Heavy imports are inside the commands: `dmm --help` must be fast.
"""

import os
import re
import signal
import sys
from typing import Annotated

import typer

from dmm.base.errors import MENDABLE, explain
from dmm.base.stopping import SIGNALS, STOPPED
from dmm.cli import catalogue, compare, data, export, machine, mistakes, models, report, sweeps, trials

app = typer.Typer(
    cls=mistakes.Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
for group in (catalogue, models, trials, sweeps, report, compare, export, machine):  # the order of `dmm --help`
    app.add_typer(group.app)
app.add_typer(data.app, name="data", cls=mistakes.Group)


def print_version(wanted: bool | None) -> None:
    """Prints the version and ends the command."""
    if wanted:
        from dmm import __version__

        print(f"dmm {__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool | None, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version and exit.")
    ] = None,
) -> None:
    """Benchmarks offline-RL sequence models on one protocol. Decision Transformer and Decision MetaMamba are among them.

    Begin with `dmm show quickstart`, `dmm sweep quickstart` and `dmm report quickstart`. DMM_HOME (default `./.dmm`)
    keeps data caches, trials and the local MLflow store.
    """


def drop_output() -> None:
    """Drops output that cannot be written. Python would try again at its end, and change the exit code to 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def check_folder() -> None:
    """Raises ValueError if the current folder was deleted. PyTorch could not be loaded in it, and would end the process."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise ValueError("the current folder was deleted; go to another one: cd") from None


def main() -> None:
    """Runs the command line as this process. If it was stopped, the process ends here, and Python does not clear up.

    While Python clears up, a thread of Ray that was stopped at its start can crash the process. A signal that comes then ends
    the process without a traceback.
    """
    try:
        run()
    except SystemExit as end:
        if end.code == STOPPED:
            os._exit(STOPPED)
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        raise


def run() -> None:
    """Runs the command line. An error is printed as one line. Raises SystemExit. Ctrl-C gives exit code 130.

    The code is 2 for what the user can mend, as a wrong name, a missing right or a full disk, and 1 for what failed.
    """
    try:
        check_folder()
        code = app(prog_name="dmm", standalone_mode=False)
        print(end="", flush=True)  # here, so that an error is a line too
    except typer.TyperException as error:
        mistakes.end(mistakes.usage(error))
    except ValueError as error:
        mistakes.end(str(error))
    except FloatingPointError as error:  # a training whose loss is not finite
        mistakes.end(str(error), code=1)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not re.search("out of memory|can't allocate", str(error)):
            raise
        mistakes.end(
            f"not enough memory: {str(error).splitlines()[0] if str(error) else 'nothing more is known'}", code=1
        )
    except BrokenPipeError:  # who read the output has ended, as in `dmm list | head -1`
        drop_output()
        sys.exit(1)
    except OSError as error:
        drop_output()
        mistakes.end(explain(error), code=2 if error.errno in MENDABLE else 1)
    sys.exit(code if isinstance(code, int) else 0)
