"""A view: the keys of a dictionary of observations that make the state vector, in their order.

`observation+desired_goal` is a view. `/` leads into a dictionary in a dictionary: `desired_goal/kettle`. A key of a dictionary
stands for all its leaves, sorted, which is the order of Gymnasium's flatten_space. The empty view stands for all leaves.
The environment and the reader of data use the same function. A dataset's id ends in `@view=`, so that weights of two views have
two ids.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dmm.base.errors import unknown_name

if TYPE_CHECKING:
    import gymnasium as gym

MARK = "@view="  # in the id of a dataset


def split_id(dataset_id: str) -> tuple[str, str]:
    """The id without its view, and the view."""
    name, _, view = dataset_id.partition(MARK)
    return name, view


def flatten(observations: Any, view: str, where: str = "the environment") -> np.ndarray:
    """The state [S] of an observation, or the states [T, S] of an episode's observations.

    An array has no keys, and is returned as it is. Raises ValueError for a key that does not exist, or if an array has a view.
    """
    if not isinstance(observations, Mapping):
        if view:
            raise without_keys(view, where)
        return observations
    keys = view.split("+") if view else sorted(observations)
    found = [leaf for key in keys for leaf in leaves(observations, key, where)]
    if not found or len({leaf.ndim for leaf in found}) > 1 or not found[0].ndim:
        shapes = ", ".join(str(leaf.shape) for leaf in found) or "none"
        raise ValueError(f"the view {view!r} of {where} has arrays of shapes {shapes}; it takes vectors")
    return np.concatenate(found, axis=-1)


def without_keys(view: str, where: str) -> ValueError:
    """The error for a view of an array."""
    return ValueError(f"the view is {view!r}, and the observations of {where} are one array without keys")


def leaves(observations: Mapping, key: str, where: str) -> list[np.ndarray]:
    """The arrays under a key, sorted by their own keys."""
    found: Any = observations
    for part in key.split("/"):
        if not isinstance(found, Mapping) or part not in found:
            raise unknown_name("key of a view", key, found if isinstance(found, Mapping) else (), where)
        found = found[part]
    if isinstance(found, Mapping):
        return [leaf for inner in sorted(found) for leaf in leaves(found, inner, where)]
    return [np.asarray(found)]


def wrap(env: "gym.Env", view: str) -> "gym.Env":
    """The environment with states in the place of dictionaries. An environment without dictionaries is returned as it is.

    Raises ValueError for a view that does not fit, and for observations under it that are no vectors.
    """
    import gymnasium as gym

    if not isinstance(env.observation_space, gym.spaces.Dict):
        if view:
            raise without_keys(view, "the environment")
        return env
    sample = flatten(env.observation_space.sample(), view)
    space = gym.spaces.Box(-np.inf, np.inf, sample.shape, sample.dtype)
    return gym.wrappers.TransformObservation(env, lambda observation: flatten(observation, view), space)
