"""The contract of an architecture, and the registry of architectures: the name of a file is the name of its architecture.

`find_model("metamamba")` imports dmm/models/metamamba.py and returns its one DecisionModel. A new architecture is one new file.
"""

import dataclasses
import functools
import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from dmm.base.errors import unknown_name
from dmm.base.fields import check_value, field_types
from dmm.batch import Batch, RecurrentState, Spaces
from dmm.layers import masked_mse


def acting(default: Any) -> Any:
    """The default of a Config field that changes how a trained model acts, and not its weights: `stride: int = acting(2)`."""
    return dataclasses.field(default=default, metadata={"acting": True})


def training_config(config) -> dict[str, Any]:
    """The fields of a Config that can change weights, with their values."""
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if not f.metadata.get("acting")}


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
        config = cls.__dict__.get("Config")
        assert config is not None, f"{cls.__name__} has no Config of its own"
        proper = config.__dataclass_params__.frozen and all(field.kw_only for field in dataclasses.fields(config))
        assert proper, f"{cls.__name__}.Config is not a frozen, keyword-only dataclass"

    def __init__(self, config, spaces: Spaces, context_length: int) -> None:
        super().__init__()
        self.config, self.spaces, self.context_length = config, spaces, context_length

    @abstractmethod
    def forward(self, batch: Batch, state: RecurrentState | None = None):
        """Predicts the action of every step [B K A]. With a RecurrentState the batch is one new step, and so is the output."""

    def gradient_clip_groups(self) -> tuple[nn.Module, ...]:
        """Modules whose gradients are clipped separately, each by its own norm. Hierarchical models return two."""
        return (self,)

    def unused_parameters(self) -> tuple[str, ...]:
        """Prefixes of the names of parameters that get no gradient. The docstring of the file lists each as a quirk."""
        return ()

    def sees(self) -> Mapping[str, int]:
        """The fields of Batch that an action reads -> steps from the action back to the latest entry that it reads."""
        return {"states": 0, "returns_to_go": 0, "actions": 1}

    def dead_entries(self) -> Mapping[str, int]:
        """Parameters of which some entries get no gradient and others do: name -> how many get none."""
        return {}

    def live_parameters(self) -> int:
        """The number of parameters that change the loss: without unused ones and without dead entries.

        A time table counts whole, though a task reaches only as many of its entries as an episode has steps. So does the
        bias of the keys of attention, though softmax cancels it.
        """
        unused, dead = self.unused_parameters(), self.dead_entries()
        return sum(
            parameter.numel() - dead.get(name, 0)
            for name, parameter in self.named_parameters()
            if not name.startswith(unused)
        )

    def loss(self, pred, batch: Batch) -> Float[Tensor, ""]:
        """Mean squared error over real steps and action dimensions."""
        return masked_mse(pred, batch.actions, batch)

    def act(self, batch: Batch):
        """The action of the last real step of each row [B A].

        A model that needs `goals` also returns the goal of that step [B S]. In a rollout `batch.goals` has the earlier goals
        and zeros for the last real step. `batch.actions` has zeros there too.
        """
        return batch.at_last_step(self(batch))

    def step(self, now: Batch, state: RecurrentState) -> Float[Tensor, "B A"]:
        """The action for one new step. The fields of `now` are [B 1 ...]. The state is updated in place."""
        return self(now, state)[:, 0]


def list_models() -> list[str]:
    """Names of all architectures."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@functools.cache
def find_model(name: str) -> type[DecisionModel]:
    """Returns the architecture of that name. Raises ValueError for an unknown name."""
    if name not in list_models():
        raise unknown_name("architecture", name, list_models(), "dmm/models")
    module = importlib.import_module(f"dmm.models.{name}")
    (found,) = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, DecisionModel) and value.__module__ == module.__name__
    ]
    return found


def make_config(name: str, overrides: Mapping[str, object]):
    """Returns the Config of an architecture with some fields changed. Raises ValueError for a wrong field, type or value."""
    config = find_model(name).Config
    types = field_types(config)
    for key in overrides:
        if key not in types:
            raise unknown_name(f"field of {name}", key, types, "its Config")
    return config(**{key: check_value(f"{name}.{key}", value, types[key]) for key, value in overrides.items()})


def build_model(name: str, overrides: Mapping[str, object], spaces: Spaces, context_length: int) -> DecisionModel:
    """Builds an architecture with new weights, drawn from torch's global generator. Raises ValueError like `make_config`."""
    return find_model(name)(make_config(name, overrides), spaces, context_length)


def count_parameters(model: nn.Module) -> int:
    """The number of all parameters, unused and dead ones included: so do the papers count. See `live_parameters`."""
    return sum(parameter.numel() for parameter in model.parameters())
