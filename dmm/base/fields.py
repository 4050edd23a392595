"""Checks of the fields of dataclasses that users fill in."""

import math
import types
import typing
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from dmm.base.errors import unknown_name

field_types = cache(typing.get_type_hints)  # slow, and called for each of a thousand trials


def check_fields(value: Any) -> None:
    """Raises ValueError if a field of a frozen dataclass has the wrong type. Called from its `__post_init__`."""
    for name, expected in field_types(type(value)).items():
        object.__setattr__(value, name, check_value(f"{type(value).__name__}.{name}", getattr(value, name), expected))


def check_value(field: str, value: Any, expected: Any) -> Any:
    """Returns the value of a field. An int becomes a float if the field is a float. A list becomes a tuple.

    Raises ValueError for a wrong type or value, and for a number that is not finite.
    """
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin is typing.Literal:
        if value not in arguments:
            raise unknown_name(f"value of {field}", str(value), map(str, arguments), "it")
        return value
    if origin in (types.UnionType, typing.Union):
        for kind in arguments:
            with suppress(ValueError):
                return check_value(field, value, kind)
    elif origin is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) == len(value):
            return tuple(check_value(field, entry, kind) for entry, kind in zip(value, kinds, strict=True))
    elif origin is Mapping and isinstance(value, Mapping):
        return {key: check_value(f"{field}[{key!r}]", entry, arguments[1]) for key, entry in value.items()}
    elif expected is float and type(value) in (int, float):
        if math.isfinite(number := float(value)):
            return number
        raise ValueError(f"{field} is {value}; it must be finite")
    elif expected is Any or type(value) is expected:
        return value
    elif origin is None and expected not in (int, float, bool, str) and isinstance(value, expected):
        return value
    raise ValueError(f"{field} is {shown(value)}, a {type(value).__name__}; it takes {described(expected)}")


def described(expected: Any) -> str:
    """A type in words: a float, a tuple of int, a mapping to float, a Target or a str."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(described, arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"a tuple of {described(arguments[0]).removeprefix('a ')}"
    if origin is tuple:
        return f"a tuple of {len(arguments)}: {', '.join(map(described, arguments))}"
    if origin is Mapping:
        return f"a mapping to {described(arguments[1]).removeprefix('a ')}"
    return "None" if expected is type(None) else f"a {getattr(expected, '__name__', expected)}"


def shown(value: object) -> str:
    """A value for an error message, cut if it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
