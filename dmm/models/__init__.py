"""The contract of an architecture. An architecture is one file with one DecisionModel, and has the name of its file."""

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from dmm.base.fields import check_value, recorded, shown
from dmm.batch import Batch, RecurrentState, Spaces
from dmm.layers import masked_cross_entropy, masked_mse


def acting(default: Any) -> Any:
    """The default of a Config field that changes how a trained model acts, and not its weights: `stride: int = acting(2)`."""
    return dataclasses.field(default=default, metadata={"acting": True})


def training_config(config) -> dict[str, Any]:
    """The fields of a Config that can change weights, with their values, as `recorded` gives them."""
    return {name: value for name, value in recorded(config).items() if name not in acting_config(config)}


def acting_config(config) -> dict[str, Any]:
    """The other fields of a Config, which are marked by `acting`, with their values."""
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.metadata.get("acting")}


class DecisionModel(nn.Module, ABC):
    """A policy that reads K steps of returns-to-go, states and actions, and predicts an action at every step.

    The prediction for step k may read returns-to-go and states up to k, and actions up to k - 1. A model that predicts more
    than actions returns a tuple from `forward`, and defines its own `loss` and `act`.
    """

    # a nested, frozen, keyword-only dataclass. Each field is a switch that can move a published number. `forward` and
    # `loss` read no field that is marked by `acting`
    Config: ClassVar[type]
    presets: ClassVar[Mapping[str, Mapping]] = {}  # a paper's name of a variant -> its overrides of Config
    needs: ClassVar[frozenset[str]] = frozenset()  # optional fields of Batch that the model reads
    recurrent: ClassVar[bool] = False  # True: `forward` accepts a RecurrentState, so `step` works

    def __init_subclass__(cls, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        config: Any = cls.__dict__.get("Config")
        proper = dataclasses.is_dataclass(config) and config.__dataclass_params__.frozen
        if not proper or not all(field.kw_only for field in dataclasses.fields(config)):
            raise ValueError(
                f"{cls.__name__} needs a Config of its own: a nested @dataclass(frozen=True, kw_only=True)"
            )
        for name in vars(config).keys() - inspect.get_annotations(cls.Config):
            value = vars(config)[name]
            if not (name.startswith("_") or callable(value) or hasattr(value, "__get__")):
                raise ValueError(
                    f"{cls.__name__}.Config.{name} has no type, so it is no field; write `{name}: {type(value).__name__} = "
                    f"{shown(value)}`"
                )
        check_value(f"{cls.__name__}.presets", cls.presets, Mapping[str, Mapping[str, Any]])
        check_value(f"{cls.__name__}.needs", cls.needs, frozenset)

    def __init__(self, config, spaces: Spaces, context_length: int) -> None:
        super().__init__()
        self.config, self.spaces, self.context_length = config, spaces, context_length

    @classmethod
    def can_recur(cls, config) -> bool:
        """Whether a model of this Config has recurrent rollouts. It has none where tokens carry their place in a window."""
        return cls.recurrent and getattr(config, "positions", "") != "window"

    @abstractmethod
    def forward(self, batch: Batch, state: RecurrentState | None = None):
        """Predicts the action of every step [B K A], or the logits of V discrete actions [B K V].

        With a RecurrentState the batch is one new step, and so is the output.
        """

    def sees(self) -> Mapping[str, int]:
        """The entries that a prediction may read: field of Batch -> steps back to the latest entry. 0 is the step itself."""
        return {"states": 0, "returns_to_go": 0, "actions": 1}

    def gradient_clip_groups(self) -> tuple[nn.Module, ...]:
        """Modules whose gradients are clipped separately, each by its own norm. Hierarchical models return two."""
        return (self,)

    def unused_parameters(self) -> tuple[str, ...]:
        """Prefixes of the names of parameters that get no gradient. The docstring of the file lists each as a quirk."""
        return ()

    def dead_entries(self) -> Mapping[str, int]:
        """Parameters of which only some entries get a gradient: name -> the number of entries that get none."""
        return {}

    def live_parameters(self) -> int:
        """The number of parameters that change the loss. Unused parameters and dead entries do not count.

        All entries of a time table count, although a task reaches only as many as an episode has steps. The bias of
        attention's keys counts too, although softmax cancels it.
        """
        unused, dead = self.unused_parameters(), self.dead_entries()
        return sum(
            parameter.numel() - dead.get(name, 0)
            for name, parameter in self.named_parameters()
            if not name.startswith(unused)
        )

    def loss(self, pred, batch: Batch) -> Float[Tensor, ""]:
        """Mean squared error over real steps and action dimensions. For discrete actions the cross-entropy over real steps."""
        loss = masked_cross_entropy if self.spaces.discrete else masked_mse
        return loss(pred, batch.actions, batch)

    def embed_frames(self, frames: UInt8[Tensor, "B C height width"]) -> Float[Tensor, "B H"]:
        """The embedding of one state of each of B episodes. A rollout keeps them as `Batch.state_embeddings`.

        A model that has no TokenEmbedding as `embed` defines this for itself.
        """
        embed: Any = self.embed
        return embed.states(frames)[:, 0]

    def act(self, batch: Batch):
        """The action of the last real step of each row [B A], or the logits of V discrete actions [B V].

        A model that needs `goals` also returns the goal of that step [B S]. In a rollout `batch.goals` has the earlier goals
        and zeros for the last real step. `batch.actions` has zeros there too.
        """
        return batch.at_last_step(self(batch))

    def step(self, now: Batch, state: RecurrentState) -> Float[Tensor, "B A"]:
        """The action for one new step. The fields of `now` are [B 1 ...]. The state is updated in place."""
        return self(now, state)[:, 0]


def count_parameters(model: nn.Module) -> int:
    """The number of all parameters. Unused and dead ones count, as in the papers. See `live_parameters`."""
    return sum(parameter.numel() for parameter in model.parameters())
