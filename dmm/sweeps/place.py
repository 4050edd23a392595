"""The driver's place, for workers elsewhere."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dmm.base.paths import home
from dmm.config import Table, Trial
from dmm.tables import REGISTERED, read_table


@dataclass(frozen=True)
class Place:
    """The driver's DMM_HOME and working directory, and the tables' files that register its trials' environments.

    Relative paths must mean the same in every worker.
    """

    home: str
    cwd: str
    tables: tuple[str, ...] = ()  # relative to the working directory if they are below it

    @staticmethod
    def here(trials: Iterable[Trial]) -> "Place":
        """The place of this process, for some trials."""
        environments = {trial.task.environment for trial in trials}
        paths = sorted({REGISTERED[name] for name in environments if name in REGISTERED})
        here = Path.cwd()
        tables = (path.relative_to(here) if path.is_relative_to(here) else path for path in paths)
        return Place(str(home()), str(here), tuple(map(str, tables)))

    def enter(self) -> None:
        """Sets both in this process, and registers the environments. Raises ValueError if a table's file cannot be read.

        The driver's working directory may exist on its own machine only. A job has a copy of it on each node.
        """
        os.environ["DMM_HOME"] = self.home
        with suppress(OSError):
            os.chdir(self.cwd)
        for table in self.tables:
            if Path(table).absolute() not in REGISTERED.values():
                load(Path(table).absolute())


@cache
def load(path: Path) -> Table:
    """Reads a table's file, once a process, because that registers its environments."""
    return read_table(path)
