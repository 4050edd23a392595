"""The driver's place, for workers elsewhere."""

import os
from contextlib import suppress
from dataclasses import dataclass

from dmm.base.paths import home


@dataclass(frozen=True)
class Place:
    """The driver's DMM_HOME and working directory. Relative paths must mean the same in every worker."""

    home: str
    cwd: str

    @staticmethod
    def here() -> "Place":
        """The place of this process."""
        return Place(str(home()), os.getcwd())

    def enter(self) -> None:
        """Sets both in this process. The driver's working directory may exist on its own machine only."""
        os.environ["DMM_HOME"] = self.home
        with suppress(OSError):
            os.chdir(self.cwd)
