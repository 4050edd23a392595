"""Spaces in one line: vectors, and actions in a box of +-1 where nothing else is said."""

from dmm.batch import Spaces
from dmm.data.trajectories import Trajectories


def box(states: int, actions: int, **bounds: tuple[float, ...]) -> Spaces:
    """Spaces of S state dimensions and A action dimensions."""
    return Spaces(states=(states,), actions=actions, **bounds)


def box_of(data: Trajectories, **bounds: tuple[float, ...]) -> Spaces:
    """Spaces with the dimensions of data."""
    return box(data.state_dim, data.action_dim, **bounds)
