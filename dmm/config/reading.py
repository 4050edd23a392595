"""Reading: how one number is read from finished evaluations."""

from dataclasses import dataclass
from typing import Literal

from dmm.base.errors import unknown_name
from dmm.base.fields import check_fields, check_value
from dmm.tasks import Target

OVER_TARGETS = {"first": "first target", "max": "best of all targets", "mean": "mean of all targets"}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A rule that reads one number from the finished trials of a cell: checkpoint selection, target, seeds.

    A reading is not part of a trial. A second reading of the same trials costs no extra run.
    """

    name: str
    checkpoint: Literal["last", "best", "average"] = "last"  # best: the evaluation with the highest score
    average_last: int = 1  # of "average": the mean of this many last evaluations
    # the first target of an evaluation, one of its targets (a number is a multiple of the task's), or max or mean over all
    target: Target | str = "first"
    seeds: Literal["mean", "max"] = "mean"  # max has no spread
    floor: float | None = None  # a lower score counts as this

    def __post_init__(self) -> None:
        target = check_value("Reading.target", self.target, Target | str | float)
        object.__setattr__(self, "target", Target(target) if isinstance(target, float) else target)
        check_fields(self)
        if isinstance(self.target, str) and self.target not in OVER_TARGETS:
            raise unknown_name("value of Reading.target", self.target, OVER_TARGETS, "a Target or a number, or it")
        if self.average_last < 1 or (self.average_last > 1) != (self.checkpoint == "average"):
            raise ValueError(
                f"Reading {self.name!r} has checkpoint {self.checkpoint!r} and average_last {self.average_last}: "
                "'average' takes 2 or more evaluations, and no other checkpoint takes them"
            )

    def describe(self) -> str:
        """One line for the foot of a table."""
        checkpoint = {
            "last": "last evaluation",
            "best": "best evaluation",
            "average": f"mean of the last {self.average_last} evaluations",
        }
        floor = "" if self.floor is None else f", floored at {self.floor:g}"
        return f"{checkpoint[self.checkpoint]}, {self.describe_target()}, {self.seeds} over seeds{floor}"

    def describe_target(self) -> str:
        """The target in words."""
        return f"target {self.target.label}" if isinstance(self.target, Target) else OVER_TARGETS[self.target]


LAST = Reading(name="last")
BEST = Reading(name="best", checkpoint="best")
PAPER_MAX = Reading(name="max over everything", checkpoint="best", target="max", seeds="max", floor=0.0)
