"""Checks of a Config's fields, for its `__post_init__`."""


def check_at_least_one(config, *names: str) -> None:
    """Raises ValueError if one of these fields is below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be at least 1")


def check_divides(config, divisor: str, dividend: str) -> None:
    """Raises ValueError if the first field does not divide the second."""
    whole, parts = getattr(config, dividend), getattr(config, divisor)
    if whole % parts:
        raise ValueError(f"{dividend} {whole} cannot be divided among {parts} {divisor}")
