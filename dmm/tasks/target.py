"""A target: the return that an evaluation asks a model for."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dmm.base.fields import check_fields
from dmm.tasks.task import Task


@dataclass(frozen=True)
class Target:
    """A return asked for. Papers give it in three units.

    task: a multiple of the task's target return.
    return: an undiscounted return in the environment's units.
    data: a share of the highest episode return of the data. That return is known once the data are loaded.
    If the return is negative, a factor below 1 asks for more.
    """

    value: float
    unit: Literal["task", "return", "data"] = "task"

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def label(self) -> str:
        """The target as text: x0.5, 6000, 0.5 of max."""
        value = np.format_float_positional(self.value, trim="-")  # exact, and without +, which MLflow refuses in names
        return {"task": f"x{value}", "return": value, "data": f"{value} of max"}[self.unit]

    def resolve(self, task: Task, highest_return: float) -> float:
        """The undiscounted return, given the highest episode return of the data."""
        return self.value * {"task": task.target_return, "return": 1.0, "data": highest_return}[self.unit]
