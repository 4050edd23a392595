"""Checks of the fields of dataclasses that users fill in."""

import typing
from functools import cache
from typing import Any

from dmm.base.errors import unknown_name

field_types = cache(typing.get_type_hints)  # slow, and called for each of a thousand trials


def check_fields(value: Any) -> None:
    """Raises ValueError if a field of a frozen dataclass has the wrong type. Called from its `__post_init__`."""
    for name, expected in field_types(type(value)).items():
        object.__setattr__(value, name, check_value(f"{type(value).__name__}.{name}", getattr(value, name), expected))


def check_value(field: str, value: object, expected: Any) -> object:
    """Returns the value of a field, an int as a float where the field is one. Raises ValueError for a wrong type or value."""
    if typing.get_origin(expected) is typing.Literal:
        if value not in typing.get_args(expected):
            raise unknown_name(f"value of {field}", str(value), map(str, typing.get_args(expected)), "it")
    elif expected is float and type(value) is int:
        return float(value)
    elif expected in (int, float, bool, str) and type(value) is not expected:
        raise ValueError(f"{field} is {value!r}, a {type(value).__name__}; it takes a {expected.__name__}")
    elif typing.get_origin(expected) is tuple and isinstance(value, tuple | list):
        return tuple(check_value(field, entry, typing.get_args(expected)[0]) for entry in value)
    return value
