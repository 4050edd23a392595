"""Budget: a table in a fraction of its updates."""

from dataclasses import dataclass

from dmm.base.fields import check_fields, check_least
from dmm.base.text_tables import counted
from dmm.config.protocol import Protocol, Training


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A shorter form of a protocol. Updates and the schedule of the learning rate are scaled by one factor."""

    factor: float  # of the updates, the warm-up and the passes of a cosine
    num_evaluations: int
    episodes_per_evaluation: int  # for each target, where the protocol has more
    seeds: int  # the number of the table's seeds, from the first on
    max_steps: int | None = None  # an episode is stopped after so many, if the task's horizon does not come first
    batch_size: int | None = None  # windows in a batch, where the protocol has more
    micro_batch_size: int = 0  # where the protocol has none, because large batches of frames take much memory
    rows: tuple[str, ...] = ()  # the labels of the rows that are run, such as a part of a grid. Empty: all

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self, 1, "num_evaluations", "episodes_per_evaluation", "seeds", "max_steps", "batch_size")
        check_least(self, 0, "micro_batch_size")
        if not 0 < self.factor <= 1:
            raise ValueError(f"Budget.factor is {self.factor}; it must be above 0 and at most 1")

    def apply(self, protocol: Protocol) -> Protocol:
        """The protocol at this budget. The updates are rounded to whole intervals between evaluations, of at least one."""
        training, count = protocol.training, self.num_evaluations
        updates = count * max(round(training.updates * self.factor / count), 1)
        size = min(self.batch_size or training.batch_size, training.batch_size)
        part = training.micro_batch_size or self.micro_batch_size
        schedule = scaled_schedule(training, self.factor)
        limits = [limit for limit in (self.max_steps, protocol.evaluation.max_steps) if limit is not None]
        return protocol.with_overrides(
            {**schedule, "warmup": min(schedule["warmup"], updates)},
            updates=updates,
            num_evaluations=count,
            episodes_per_evaluation=min(self.episodes_per_evaluation, protocol.evaluation.episodes_per_evaluation),
            max_steps=min(limits, default=None),
            batch_size=size,
            micro_batch_size=part if part < size else 0,
        )

    def describe(self) -> str:
        """One line for the face of a table."""
        return (
            f"{100 * self.factor:g} % of the updates and of the warm-up, {counted(self.num_evaluations, 'evaluation')} of at "
            f"most {counted(self.episodes_per_evaluation, 'episode')} a target, {counted(self.seeds, 'seed')}"
            + (f", batches of at most {self.batch_size} windows" if self.batch_size else "")
            + (f", gradients of {self.micro_batch_size} windows at a time" if self.micro_batch_size else "")
            + (f", {counted(len(self.rows), 'row')} of the table" if self.rows else "")
        )


def scaled_schedule(training: Training, factor: float) -> dict[str, float]:
    """The fields of the learning rate's schedule that say when it changes, for a part of the updates."""
    return {
        "warmup": round(training.warmup * factor),
        "warmup_actions": round(training.warmup_actions * factor),
        "cosine_passes": training.cosine_passes * factor,
    }


PAPER = "paper"  # the budget of a table as its file has it
BUDGETS = {
    "smoke": Budget(factor=0.0001, num_evaluations=1, episodes_per_evaluation=2, seeds=1, max_steps=100, batch_size=8),
    "short": Budget(factor=0.02, num_evaluations=4, episodes_per_evaluation=20, seeds=2, max_steps=3000),
    "medium": Budget(factor=0.2, num_evaluations=5, episodes_per_evaluation=50, seeds=3),
}
