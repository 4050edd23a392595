"""Checks of the fields of dataclasses that users fill in."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from dmm.base.errors import unknown_name
from dmm.base.text_tables import printable

LARGEST = 2**63  # whole numbers are below it, because PyTorch and databases hold no larger ones
LARGEST_FLOAT, SMALLEST_FLOAT = (2 - 2**-23) * 2.0**127, 2.0**-126  # of float32, in which models calculate
field_types = cache(typing.get_type_hints)  # slow, and called for each of a thousand trials


def later(default: Any) -> Any:
    """The default of a field that was added when results existed already: `squash: bool = later(False)`.

    At this default `recorded` leaves the field out, so that ids stay.
    """
    return dataclasses.field(default=default, metadata={"later": True})


def recorded(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that are written to records and hashed for ids, with their values."""
    return {
        f.name: getattr(value, f.name)
        for f in dataclasses.fields(value)
        if not (f.metadata.get("later") and f.default == getattr(value, f.name))
    }


def check_fields(value: Any) -> None:
    """Raises ValueError if a field of a frozen dataclass has the wrong type. Called from its `__post_init__`."""
    for name, expected in field_types(type(value)).items():
        object.__setattr__(value, name, check_value(f"{type(value).__name__}.{name}", getattr(value, name), expected))


def check_value(field: str, value: Any, expected: Any) -> Any:
    """Returns the value of a field. An int becomes a float if the field is a float. A list becomes a tuple.

    Numbers and arrays of NumPy become those of Python. A text is one line, because it is a line or a cell of a table.
    Raises ValueError for a wrong type or value, and for a number that float32 cannot hold.
    """
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin is typing.Literal:
        if value not in arguments:
            raise unknown_name(f"value of {field}", str(value), map(str, arguments), "it")
        return value
    if origin in (types.UnionType, typing.Union):
        for kind in arguments:
            if has_type(value, kind):
                return check_value(field, value, kind)
    elif origin is tuple and is_list(value):
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) == len(value):
            return tuple(check_value(field, entry, kind) for entry, kind in zip(value, kinds, strict=True))
    elif origin is Mapping and isinstance(value, Mapping):
        keys = [check_value(f"a key of {field}", key, arguments[0]) for key in value]
        return {key: check_value(f"{field}[{key!r}]", value[key], arguments[1]) for key in keys}
    elif has_type(value, expected):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{field} is {value}; it must be finite")
        if isinstance(value, float) and abs(value) > LARGEST_FLOAT:
            raise ValueError(f"{field} is {value}; it must be finite in float32, which ends at {LARGEST_FLOAT:.2g}")
        if isinstance(value, float) and 0 < abs(value) < SMALLEST_FLOAT:
            raise ValueError(f"{field} is {value}; it must be 0, or at least {SMALLEST_FLOAT:.2g}, or float32 loses it")
        if isinstance(value, int) and abs(value) >= LARGEST:
            raise ValueError(f"{field} is {shown(value)}; a whole number has at most 63 bits")
        if isinstance(value, str) and not value.isprintable():
            raise ValueError(f"{field} is {shown(value)}; it takes one line without control characters")
        return float(value) if expected is float else value
    raise ValueError(f"{field} is {shown(value)}, {kind_of(value)}; it takes {described(expected)}")


def has_type(value: Any, expected: Any) -> bool:
    """Whether a value is of a type, as far as its outermost part shows. An int is a float, and a bool is no int."""
    origin = typing.get_origin(expected)
    if expected is Any or type(value) is expected:
        return True
    if expected is float:
        return type(value) is int
    if origin is tuple:
        return is_list(value)
    return expected not in (int, bool, str) and isinstance(value, origin or expected)


def is_list(value: Any) -> bool:
    """Whether a value can become a tuple."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def check_least(value: Any, least: int, *names: str) -> None:
    """Raises ValueError if one of these fields is below its least value. None is no value."""
    for name in names:
        if (given := getattr(value, name)) is not None and given < least:
            raise ValueError(f"{type(value).__name__}.{name} is {given}; it must be at least {least}")


def described(expected: Any) -> str:
    """A type in words: a float, a tuple of int, a pair of a str and any value, a mapping to float, a Target or a str."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(described, arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"a tuple of {without_article(arguments[0])}"
    if origin is tuple and len(arguments) == 2:
        return f"a pair of {' and '.join(map(described, arguments))}"
    if origin is tuple:
        return f"a tuple of {len(arguments)}: {', '.join(map(described, arguments))}"
    if origin is Mapping:
        return f"a mapping to {without_article(arguments[1])}"
    if expected is Any:
        return "any value"
    return "None" if expected is type(None) else with_article(getattr(expected, "__name__", str(expected)))


def without_article(expected: Any) -> str:
    """A type in words behind `of` and `to`."""
    return described(expected).removeprefix("an ").removeprefix("a ")


def kind_of(value: Any) -> str:
    """The type of a value in words: an int."""
    return with_article(type(value).__name__)


def with_article(noun: str) -> str:
    """an int, a float."""
    return f"{'an' if noun[:1] in 'aeiouAEIOU' else 'a'} {noun}"


def shown(value: object) -> str:
    """A value for an error message, cut if it is long."""
    text = printable(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."
