"""The contract of an architecture, and how one is found: the file's name is the registry.

`find("metamamba")` imports dmm/models/metamamba.py and takes its one DecisionModel. A new architecture is one new file.
"""

import dataclasses
import functools
import importlib
import pkgutil
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from dmm.base.errors import unknown_name
from dmm.batch import Batch, RecurrentState
from dmm.layers import masked_mse


class DecisionModel(nn.Module, ABC):
    """A policy that reads K steps of returns-to-go, states and actions, and predicts an action at every step.

    The prediction for step k may read returns and states up to k and actions up to k - 1, never further. A model that
    predicts more returns a tuple from `forward`, and has a `loss` and an `act` of its own.
    """

    Config: ClassVar[
        type
    ]  # nested, frozen, keyword-only dataclass; a field is a switch that a paper's number may rest on
    presets: ClassVar[Mapping[str, Mapping]] = {}  # a paper's name for a variant -> its changes of Config
    needs: ClassVar[frozenset[str]] = frozenset()  # optional fields of Batch that it reads

    recurrent: ClassVar[bool] = False  # `forward` takes a RecurrentState, which makes `step` work

    def __init_subclass__(cls, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        config = cls.__dict__.get("Config")
        assert config is not None, f"{cls.__name__} has no Config of its own"
        proper = config.__dataclass_params__.frozen and all(field.kw_only for field in dataclasses.fields(config))
        assert proper, f"{cls.__name__}.Config is not a frozen, keyword-only dataclass"

    def __init__(self, config, state_dim: int, action_dim: int, context_length: int) -> None:
        super().__init__()
        self.config, self.state_dim, self.action_dim, self.context_length = (
            config,
            state_dim,
            action_dim,
            context_length,
        )

    @abstractmethod
    def forward(self, batch: Batch, state: RecurrentState | None = None):
        """Predicts the action of every step [B K A]; with a RecurrentState, of the one step that comes after it."""

    def gradient_clip_groups(self) -> tuple[nn.Module, ...]:
        """What is trained as one: the gradient of each part is clipped by its own norm. Two for a hierarchical model."""
        return (self,)

    def unused_parameters(self) -> tuple[str, ...]:
        """Prefixes of parameters that no gradient reaches, each a quirk in the docstring."""
        return ()

    def loss(self, pred, batch: Batch) -> Float[Tensor, ""]:
        """Mean squared error over real steps and action dimensions."""
        return masked_mse(pred, batch.actions, batch)

    def act(self, batch: Batch):
        """The action of the last real step of each row [B A].

        A model that needs `goals` returns that step's goal too [B S]. In a rollout `batch.goals` holds the earlier ones,
        and zeros for the step that is to be acted on, as `batch.actions` does.
        """
        return batch.last(self(batch))

    def step(self, now: Batch, state: RecurrentState) -> Float[Tensor, "B A"]:
        """The action of one step [B 1 ...] that comes after all those that `state` has seen; `state` takes it in."""
        return self(now, state)[:, 0]


def models() -> list[str]:
    """Names of all architectures."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@functools.cache
def find(name: str) -> type[DecisionModel]:
    """Returns the architecture of that name."""
    if name not in models():
        raise unknown_name("architecture", name, models(), "dmm/models")
    module = importlib.import_module(f"dmm.models.{name}")
    (found,) = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, DecisionModel) and value.__module__ == module.__name__
    ]
    return found


hints = functools.cache(typing.get_type_hints)  # slow, and asked for at each of a thousand trials


def make_config(name: str, overrides: Mapping[str, object]):
    """Returns the architecture's Config with some fields changed; a wrong field or type is one error."""
    config = find(name).Config
    types = hints(config)
    for key in overrides:
        if key not in types:
            raise unknown_name(f"field of {name}", key, types, "its Config")
    return config(**{key: checked(f"{name}.{key}", value, types[key]) for key, value in overrides.items()})


def checked(field: str, value: object, expected) -> object:
    """The value of a field; refuses one of the wrong type, or not among a Literal's. An int where a float is due is one."""
    if typing.get_origin(expected) is typing.Literal:
        if value not in typing.get_args(expected):
            raise unknown_name(f"value of {field}", str(value), map(str, typing.get_args(expected)), "it")
    elif expected is float and type(value) is int:
        return float(value)
    elif expected in (int, float, bool, str) and type(value) is not expected:
        raise ValueError(f"{field} is {value!r}, a {type(value).__name__}; it takes a {expected.__name__}")
    elif typing.get_origin(expected) is tuple and isinstance(value, tuple | list):
        return tuple(checked(field, entry, typing.get_args(expected)[0]) for entry in value)
    return value


def build(
    name: str, overrides: Mapping[str, object], state_dim: int, action_dim: int, context_length: int
) -> DecisionModel:
    """Builds a freshly initialised architecture; its weights come from torch's global generator."""
    return find(name)(make_config(name, overrides), state_dim, action_dim, context_length)


def count_parameters(model: nn.Module) -> int:
    """All parameters, as the papers count them: unread ones included."""
    return sum(parameter.numel() for parameter in model.parameters())
