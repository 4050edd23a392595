"""Checks of a Config's fields."""


def check_at_least_one(config, *names: str) -> None:
    """Refuses a Config in which one of these counts is below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be at least 1")
