"""A model that is checked: how it is built, and the batches that it is given."""

import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from dmm.architectures import build_model, find_model, make_config
from dmm.batch import Batch, Spaces
from dmm.data.windows import NEEDS
from dmm.layers import Dropout
from dmm.models import DecisionModel

# state and action dimensions, and the context length. They differ, so that no axis can be mistaken for another
S, A, K = 5, 3, 6
SPACES = Spaces(states=(S,), actions=A)
FRAMES = Spaces(states=(4, 36, 36), actions=A, discrete=True)  # the smallest frames that PixelEncoder takes
OPTIONAL = frozenset(NEEDS | {"uniform_samples"})  # the fields of Batch that a model may need
KEY = torch.tensor(7)  # of dropout
STILL, SEEN = 1e-6, 1e-5  # a prediction that moves by less is the same, and one that moves by more has changed


class RuleBroken(Exception):
    """A rule that a model does not keep. The message says what was seen and what to change."""


@dataclass(frozen=True)
class Subject:
    """A model and the overrides of its Config."""

    arch: Any  # what `find_model` takes
    overrides: Mapping[str, Any]
    spaces: Spaces = SPACES  # or FRAMES

    @property
    def model(self) -> type[DecisionModel]:
        """The class."""
        return find_model(self.arch)

    @cached_property
    def config(self) -> Any:
        """The Config. Raises ValueError for a wrong one."""
        return make_config(self.arch, self.overrides)

    def require_build(self) -> None:
        """Raises ValueError if the model cannot be built, or if its Config is wrong."""
        name = self.model.__name__
        try:
            self.config  # noqa: B018
        except TypeError as error:
            raise ValueError(f"{name}.Config cannot be made: {error}") from error
        try:
            with torch.random.fork_rng(devices=[]):
                self.build()
        except Exception as error:
            raise ValueError(
                f"{name} cannot be built: {type(error).__name__}: {error}. A model takes (config, spaces, context_length), "
                "passes them to super().__init__, and takes its sizes from them"
            ) from error
        with torch.random.fork_rng(devices=[]):
            sees = self.build().sees()
        if not isinstance(sees, Mapping) or not all(type(back) is int and back >= 0 for back in sees.values()):
            raise ValueError(
                f"{name}.sees() returns {sees!r}; it returns a dict of fields of Batch and whole numbers, the steps back to "
                'the latest entry: {"states": 0, "actions": 1}'
            )

    def build(self, seed: int = 0, context_length: int = K, **changes: Any) -> DecisionModel:
        """A new model out of training, with some fields of its Config changed."""
        torch.manual_seed(seed)
        return build_model(self.arch, {**self.overrides, **changes}, self.spaces, context_length).eval()

    def build_perturbed(self, seed: int = 0, context_length: int = K, **changes: Any) -> DecisionModel:
        """A model whose weights are all moved a little. An initial value of zero hides what a model reads."""
        model = self.build(seed, context_length, **changes)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
        return model

    def modes(self) -> tuple[bool, ...]:
        """Out of training, and in training if no layer of torch drops out: its own rule finds that."""
        return (False,) if self.torch_dropout() else (False, True)

    def torch_dropout(self) -> list[str]:
        """The layers of torch that drop out in training, by name."""
        found = []
        for name, module in self.build().named_modules():
            drops = isinstance(module, nn.modules.dropout._DropoutNd) and not isinstance(module, Dropout) and module.p
            drops = drops or isinstance(module, nn.RNNBase | nn.MultiheadAttention) and module.dropout
            if drops:
                found.append(f"{name} ({type(module).__name__})")
        return found

    def batch(self, rows: int = 4, padding: str = "left", seed: int = 1, length: int = K) -> Batch:
        """A random batch with a key of dropout and with the optional fields that the model needs."""
        data = replace(random_batch(rows, padding, seed, length, self.spaces), dropout_key=KEY)
        return keep_optional(data, self.model.needs)


def random_batch(
    rows: int = 4, padding: str = "left", seed: int = 1, length: int = K, spaces: Spaces = SPACES
) -> Batch:
    """Windows of random values, with every optional field. The first has no padded step, the second one, and so on.

    `padding` is left, right or none. `length` is the number of steps. With frames there are fewer optional fields.
    """
    torch.manual_seed(seed)
    steps = torch.arange(length).repeat(rows, 1)
    mask = steps >= (torch.arange(rows).unsqueeze(1) % length if padding != "none" else 0)
    mask = mask.flip(1) if padding == "right" else mask
    if spaces.has_frames:
        stack, *size = spaces.states
        light = torch.rand(
            rows, length + stack - 1, 1, 1
        )  # of a frame. Some are dark, so that each ReLU is on for some
        return Batch(
            (torch.rand(rows, length + stack - 1, *size) * light * 255).byte(),
            torch.randint(spaces.actions, (rows, length)),
            torch.rand(rows, length),
            steps,
            mask,
            rewards=torch.randn(rows, length),
            uniform_samples=torch.rand(rows, length),
        )
    values = torch.randn(rows, length, S), torch.rand(rows, length, A) * 2 - 1, torch.rand(rows, length)
    next_states, goals, previous_goals = torch.randn(3, rows, length, S)
    return Batch(
        *values,
        steps=steps,
        mask=mask,
        rewards=torch.randn(rows, length),
        previous_actions=torch.rand(rows, length, A) * 2 - 1,
        next_states=next_states,
        goals=goals,
        previous_goals=previous_goals,
        uniform_samples=torch.rand(rows, length),
    )


def keep_optional(batch: Batch, kept: frozenset[str]) -> Batch:
    """The batch without the optional fields that are not kept."""
    return replace(batch, **dict.fromkeys(OPTIONAL - kept))


def moved(value: Tensor, where: Tensor) -> Tensor:
    """The values of a field of a batch, with other entries at the steps `where` [B K].

    A state that is a stack of frames gets another newest frame.
    """
    where = where.view(*where.shape, *[1] * (value.ndim - 2))
    if value.dtype == torch.uint8:
        where = torch.cat([where.new_zeros(len(where), value.shape[1] - where.shape[1], 1, 1), where], 1)
        return torch.where(where, 255 - value, value)
    return value ^ where if value.dtype == torch.bool else value + where.to(value.dtype)


def moved_actions(value: Tensor, where: Tensor) -> Tensor:
    """`moved` of actions. A discrete action becomes another one."""
    return moved(value, where) if value.is_floating_point() else moved(value, where) % A


def as_tuple(value: Any) -> tuple[Any, ...]:
    """The output of `forward` or `act` as a tuple, actions first."""
    return value if isinstance(value, tuple) else (value,)


def words(names: Any) -> str:
    """Names with commas, the first few of many."""
    names = sorted(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def differs(one: Tensor, other: Tensor, limit: float) -> bool:
    """Whether two tensors differ by more than a limit."""
    return bool((one - other).abs().max() > limit)


def described(error: Exception, subject: Subject) -> str:
    """An error in one line: its kind, its message, and the last line of the model's own file that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    file = getattr(sys.modules.get(subject.model.__module__), "__file__", None)
    where = [frame for frame in frames if frame.filename == file] or frames
    place = f"line {where[-1].lineno} of {where[-1].filename.rpartition('/')[2]}" if where else "an unknown line"
    message = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__} at {place}: {message}"
