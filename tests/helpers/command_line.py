"""The command line in this process."""

import sys
from collections.abc import Callable

import pytest

from dmm.cli import run as run_command_line

Command = Callable[..., tuple[int, str, str]]  # words -> exit code, standard output, standard error


def command(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Command:
    """A function that runs `dmm` with the given words."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dmm", *words])
        with pytest.raises(SystemExit) as ended:
            run_command_line()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run
