"""`dmm check` and `dmm new`: architectures of one's own."""

import ast
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dmm.base.text_tables import wrapped
from dmm.cli import completion, mistakes

if TYPE_CHECKING:
    from dmm.contract.subject import Subject

app = typer.Typer()
new = typer.Typer(help="Writes a file to begin with.")
app.add_typer(new, name="new", cls=mistakes.Group)


@app.command()
def check(
    model: Annotated[
        str,
        typer.Argument(
            help="The file of a model, or the name of an architecture (`dmm list` has all).",
            autocompletion=completion.architectures,
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Set a field of its Config. The option can be repeated."),
    ] = None,
) -> None:
    """Checks the contract on a model and says in words what is wrong. Exit code 1: a rule is broken.

    Example: `dmm check ./gru.py --set width=32`
    """
    from dmm.architectures import resolve
    from dmm.contract import RULES, check
    from dmm.contract.subject import Subject

    name, source = resolve(model)
    subject = Subject(source or name, parse_overrides(set_ or ()))
    subject.require_build()
    print(describe(subject, model) + "\n", flush=True)
    count = failed = 0
    for outcome in check(subject.arch, subject.overrides):
        count, failed = count + 1, failed + bool(outcome.failure)
        if outcome.failure:
            print(wrapped("failed", [f"{outcome.rule}: {outcome.failure}", f"The rule: {outcome.asks}"]), flush=True)
        else:
            print("ok      " + outcome.rule + (f" ({outcome.note})" if outcome.note else ""), flush=True)
    if count < len(RULES):
        print(f"\nThe other {len(RULES) - count} rules were not tried, because they build on this one")
    print(f"\n{failed} of {count} rules failed" if failed else f"\nall {count} rules hold")
    raise typer.Exit(1 if failed else 0)


@new.command("model")
def new_model(
    name: Annotated[str, typer.Argument(help="The name of the architecture and of its file, without .py.")],
    folder: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder of the file.")] = Path("."),
) -> None:
    """Writes a file with a small working model, which you change.

    Example: `dmm new model gru`
    """
    from dmm.contract.writing import write_model

    path = write_model(name, folder)
    given = str(path) if path.is_absolute() else f"./{path}"
    row = f'Row(label="{name}", arch="./{name}.py", overrides={{"width": 64}})'
    print(f"{path} is a working model. Change it, then check it:\n\n    {shlex.join(['dmm', 'check', given])}\n")
    print(f"A row of a table names the file, by a path from the table's folder:\n\n    {row}")


def parse_overrides(entries: Iterable[str]) -> dict[str, Any]:
    """Overrides of a Config from words such as width=32. Raises ValueError for a word without =."""
    found = {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        if not equals:
            raise ValueError(f"--set is {entry!r}; it takes a field and its value: width=32")
        try:
            found[name.strip()] = ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
        except (ValueError, SyntaxError):
            found[name.strip()] = text  # a word, such as mixer=conv
    return found


def describe(subject: "Subject", given: str) -> str:
    """What a model is: its class, Config, size on Hopper, and what it declares."""
    from dataclasses import asdict

    from dmm.architectures import build_model
    from dmm.models import count_parameters
    from dmm.tasks import find_task

    kind, size = (
        subject.model,
        count_parameters(build_model(subject.arch, subject.overrides, find_task("hopper").spaces, 20)),
    )
    places, sees = {0: "the step", 1: "the step before"}, subject.build().sees()
    seen = {back: [field for field in sees if sees[field] == back] for back in sorted(set(sees.values()))}
    lines = {
        "Config": ", ".join(f"{key}={value!r}" for key, value in asdict(subject.config).items()),
        "parameters": f"{size:,} on Hopper",
        "sees": "; ".join(
            f"{', '.join(names)} up to {places.get(back, f'{back} steps before')}" for back, names in seen.items()
        ),
        "recurrent": "yes" if kind.recurrent else "no",
        "needs": ", ".join(sorted(kind.needs)) or "no optional field of a batch",
    }
    return "\n".join([f"{kind.__name__} of {given}", *(wrapped(f"  {key}", [text], 13) for key, text in lines.items())])
