"""Budget: a table in a fraction of its updates."""

from dataclasses import dataclass

from dmm.base.fields import check_fields, check_least
from dmm.base.text_tables import counted
from dmm.config.protocol import Protocol


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A shorter form of a protocol. Updates and warm-up are scaled by one factor."""

    factor: float  # of the updates and the warm-up
    num_evaluations: int
    episodes_per_evaluation: int  # for each target
    seeds: int  # the number of the table's seeds, from the first on
    max_steps: int | None = None  # an episode is stopped after so many, if the task's horizon does not come first
    batch_size: int | None = None  # windows in a batch, where the protocol has more

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self, 1, "num_evaluations", "episodes_per_evaluation", "seeds")
        check_least(self, 1, *(name for name in ("max_steps", "batch_size") if getattr(self, name) is not None))
        if not 0 < self.factor <= 1:
            raise ValueError(f"Budget.factor is {self.factor}; it must be above 0 and at most 1")

    def apply(self, protocol: Protocol) -> Protocol:
        """The protocol at this budget. The updates are rounded to whole intervals between evaluations, of at least one."""
        count, wanted = self.num_evaluations, protocol.training.updates * self.factor
        updates = count * max(round(wanted / count), 1)
        return protocol.with_overrides(
            updates=updates,
            warmup=min(round(protocol.training.warmup * self.factor), updates),
            num_evaluations=count,
            episodes_per_evaluation=self.episodes_per_evaluation,
            max_steps=least(self.max_steps, protocol.evaluation.max_steps),
            batch_size=least(self.batch_size, protocol.training.batch_size),
        )

    def describe(self) -> str:
        """One line for the face of a table."""
        return (
            f"{100 * self.factor:g} % of the updates and of the warm-up, {counted(self.num_evaluations, 'evaluation')} of "
            f"{counted(self.episodes_per_evaluation, 'episode')} a target, {counted(self.seeds, 'seed')}"
            + (f", batches of at most {self.batch_size}" if self.batch_size else "")
        )


def least(*limits: int | None) -> int | None:
    """The least of the limits that are set. None if none is."""
    return min((limit for limit in limits if limit is not None), default=None)


PAPER = "paper"  # the budget of a table as its file has it
BUDGETS = {
    "smoke": Budget(factor=0.0001, num_evaluations=1, episodes_per_evaluation=2, seeds=1, max_steps=1000),
    "short": Budget(factor=0.02, num_evaluations=4, episodes_per_evaluation=20, seeds=2, max_steps=3000),
    "medium": Budget(factor=0.2, num_evaluations=5, episodes_per_evaluation=50, seeds=3),
}
