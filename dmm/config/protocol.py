"""Training and Evaluation: every setting that is not part of an architecture. A Protocol names one of each.

No field of the two shares its name with a field of an architecture's Config. So overrides of all three are one flat mapping.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from dmm.base.errors import unknown_name
from dmm.base.fields import check_fields, check_least, check_value, later
from dmm.tasks import Target


@dataclass(frozen=True, kw_only=True)
class Training:
    """All settings that shape weights, except architecture, data and seed.

    The defaults are those of the DT family's gym scripts.
    """

    context_length: int = 20  # K, in environment steps
    # optimisation: AdamW
    batch_size: int = 64  # windows
    # windows of one forward pass. Gradients are summed over the passes of a batch. Fewer windows need less memory. 0: all
    micro_batch_size: int = later(0)
    updates: int = 100_000
    learning_rate: float = 1e-4
    # constant: a linear warm-up, then learning_rate. cosine: by the actions seen, as in kzl's Atari scripts
    schedule: Literal["constant", "cosine"] = later("constant")
    warmup: int = 10_000  # updates of constant. Update u uses learning_rate * min((u + 1) / warmup, 1)
    warmup_actions: int = later(0)  # actions of cosine until the rate begins to fall
    # passes over the data until the cosine is lowest. Then it rises again: the scripts have 6 and train for more. 0: the cosine
    # is lowest at the last update
    cosine_passes: float = later(0.0)
    rate_floor: float = later(0.1)  # the lowest rate of cosine over learning_rate
    weight_decay: float = 1e-4
    # the parameters that decay. matrices: weights of linear layers and convolutions. SSM: also A_log and D
    decay: Literal["all", "matrices", "matrices and SSM"] = later("all")
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    grad_clip_norm: float = 0.25  # global gradient norm
    dtype: Literal["float32", "bfloat16"] = "float32"  # of matrix products. Weights are always float32
    # windows: one step is drawn from an episode, and the window has up to K steps around it
    top_fraction: float = 1.0  # of the data's steps. Uses the episodes of highest return that fit into it (%BC)
    # start: the drawn step is the first of its window. end: it is the last. whole: it is the first, and K - 1 steps follow
    # it. In an episode that is shorter than K, it is the episode's first step
    # shifted: it is the first, but a window begins earlier where fewer than K steps follow, so that it is whole
    window_anchor: Literal["start", "end", "whole", "shifted"] = "start"
    # steps: all steps are equally likely. episodes: all episodes are. passes: each pass over the data draws each step once, in
    # a new order
    sampling: Literal["steps", "episodes", "passes"] = "steps"
    padding: Literal["left", "right"] = "left"
    pad_state: Literal["raw zero", "normalised zero"] = "raw zero"  # raw: zeros before normalisation, so -mean / std
    pad_action: float = -10.0
    # added to the standard deviation of the states. The statistics are float64. The papers' scripts have float32
    std_offset: float = 1e-6
    actions_outside: Literal["refuse", "clip"] = "refuse"  # for actions outside the box by more than 1e-3

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self, 1, "context_length", "batch_size", "updates")
        for name in ("learning_rate", "grad_clip_norm", "epsilon"):
            if getattr(self, name) <= 0:
                raise ValueError(f"Training.{name} is {getattr(self, name)}; it must be above 0")
        check_least(
            self, 0, "warmup", "weight_decay", "std_offset", "warmup_actions", "cosine_passes", "micro_batch_size"
        )
        if self.micro_batch_size >= self.batch_size:
            raise ValueError(
                f"Training.micro_batch_size is {self.micro_batch_size} and batch_size is {self.batch_size}: it would have no "
                f"effect. Set it below {self.batch_size}, or to 0"
            )
        if self.schedule == "constant":
            for name, default in (("warmup_actions", 0), ("cosine_passes", 0.0), ("rate_floor", 0.1)):
                if getattr(self, name) != default:
                    raise ValueError(f"Training.{name} is {getattr(self, name)}; it needs schedule 'cosine'")
        elif self.warmup:
            raise ValueError(
                f"Training.warmup is {self.warmup:,}; the schedule 'cosine' takes 0, because its warm-up is warmup_actions"
            )
        if not 0 <= self.rate_floor <= 1:
            raise ValueError(f"Training.rate_floor is {self.rate_floor}; it must be from 0 to 1")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"Training.betas is {self.betas}; each must be 0 or more and below 1")
        if self.warmup > self.updates:
            raise ValueError(
                f"Training.warmup is {self.warmup:,} and updates is {self.updates:,}: the learning rate would never be "
                f"reached. Set warmup to {self.updates:,} or less"
            )
        if self.window_anchor == "whole" and self.sampling != "episodes":
            raise ValueError(f"Training.window_anchor 'whole' needs sampling 'episodes'; it has {self.sampling!r}")
        if not 0 < self.top_fraction <= 1:
            raise ValueError(f"Training.top_fraction is {self.top_fraction}; it must be above 0 and at most 1")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All settings that measure weights: when and how often, which returns are asked for, and how the model acts."""

    num_evaluations: int = 10  # at equal distances. The last one is after the last update
    episodes_per_evaluation: int = 100  # for each target
    targets: tuple[Target, ...] = (Target(1.0),)  # a number is a multiple of the task's target return
    rollout_batch_size: int = 50  # episodes rolled out together. Fixed, because the batch size moves float bits
    rollout_pad_state: Literal["raw zero", "normalised zero"] = "normalised zero"
    rollout_pad_action: float = 0.0
    # windowed: the model reads the last K steps anew at each step. recurrent: it keeps a state from step to step
    rollout: Literal["windowed", "recurrent"] = "windowed"
    # mode: the most likely of discrete actions. sampled: one of the softmax, by draws of the episode's own
    actions: Literal["mode", "sampled"] = later("mode")
    # an episode is stopped after so many. Without effect from the task's horizon on
    max_steps: int | None = later(None)

    def __post_init__(self) -> None:
        given = check_value("Evaluation.targets", self.targets, Target | float | tuple[Target | float, ...])
        given = given if isinstance(given, tuple) else (given,)
        targets = tuple(target if isinstance(target, Target) else Target(target) for target in given)
        object.__setattr__(self, "targets", targets)
        check_fields(self)
        check_least(self, 1, "num_evaluations", "episodes_per_evaluation", "rollout_batch_size")
        if self.max_steps is not None:
            check_least(self, 1, "max_steps")
        labels = [target.label for target in self.targets]
        if not labels or len(set(labels)) < len(labels):
            raise ValueError(
                f"Evaluation.targets is {', '.join(labels) or 'empty'}; it takes one or more different targets"
            )

    def updates(self, training: Training) -> tuple[int, ...]:
        """The numbers of updates after which weights are evaluated. Raises ValueError if they are not whole."""
        if training.updates % self.num_evaluations:
            raise ValueError(f"{training.updates:,} updates cannot be divided into {self.num_evaluations} evaluations")
        interval = training.updates // self.num_evaluations
        return tuple(range(interval, training.updates + 1, interval))


TRAINING, EVALUATION = ({field.name for field in fields(kind)} for kind in (Training, Evaluation))


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a paper runs its scripts."""

    name: str  # shown in tables. Not part of an id
    training: Training = Training()
    evaluation: Evaluation = Evaluation()

    def __post_init__(self) -> None:
        check_fields(self)

    def with_overrides(self, overrides: dict[str, Any] | None = None, /, *, name: str = "", **more: Any) -> "Protocol":
        """The same protocol with other values of some fields of Training and Evaluation, and another name if given.

        Raises ValueError for an unknown field.
        """
        changes = {**(overrides or {}), **more}
        for key in changes:
            if key not in TRAINING | EVALUATION:
                raise unknown_name("field", key, TRAINING | EVALUATION, f"protocol {self.name!r}")
        return Protocol(
            name=name or self.name,
            training=replace(self.training, **{key: changes[key] for key in changes if key in TRAINING}),
            evaluation=replace(self.evaluation, **{key: changes[key] for key in changes if key in EVALUATION}),
        )
