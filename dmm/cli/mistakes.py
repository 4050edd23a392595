"""A wrong command, option or argument as one line, in the form of every other error."""

import sys
from typing import NoReturn

import typer
from typer.core import TyperGroup

from dmm.base.errors import unknown_name
from dmm.base.secrets import masked
from dmm.base.text_tables import one_line

LONGEST = 4000  # letters of an error. The longest list is that of D4RL's files. It has 2,000


class Group(TyperGroup):
    """A group of commands. Without a command it prints its help. For an unknown command it names those that exist."""

    def parse_args(self, ctx, args):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Reads the words behind the group's name."""
        if not args and not ctx.resilient_parsing:
            args = ["--help"]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx, args):  # pyright: ignore[reportIncompatibleMethodOverride]
        """The command that the first word names. Raises ValueError if there is none."""
        if args[0] not in self.commands and not ctx.resilient_parsing:
            raise unknown_name("command", args[0], self.commands, ctx.command_path)
        return super().resolve_command(ctx, args)


def usage(error: typer.TyperException) -> str:
    """What is wrong with the words of a command."""
    context, message = getattr(error, "ctx", None), error.format_message().rstrip(".")
    message = f"{message[:1].lower()}{message[1:]}"
    if context is None:
        return message
    if hasattr(error, "possibilities"):  # of an unknown option
        known = [name for parameter in context.command.get_params(context) for name in parameter.opts if name[0] == "-"]
        return str(unknown_name("option", error.option_name, known, context.command_path))  # pyright: ignore
    return f"{message}; `{context.command_path} --help` shows what it takes"


def end(message: str, code: int = 2) -> NoReturn:
    """Prints an error as one line, and ends the command. The middle of a very long line is left out."""
    line = masked(one_line(message))
    if len(line) > LONGEST:
        line = f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"
    print("error:", line, file=sys.stderr)
    sys.exit(code)
