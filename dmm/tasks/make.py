"""Makes environments of Gymnasium, without notes of MuJoCo that are for authors of models, and finds their files."""

import inspect
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmm.base.errors import raise_interrupt

if TYPE_CHECKING:
    import gymnasium as gym


def make_env(environment: str, **options: Any) -> "gym.Env":
    """`gymnasium.make`. For each HalfCheetah, MuJoCo 4 would print a deprecation and append it to MUJOCO_LOG.TXT."""
    import gymnasium as gym

    spec = gym.registry.get(environment)
    if spec and str(spec.entry_point).startswith("gymnasium.envs.mujoco"):
        import mujoco

        mujoco.set_mju_user_warning(warn)
    return gym.make(environment, disable_env_checker=True, **options)


def warn(text: str) -> None:
    """Prints a warning of MuJoCo, unless something is deprecated in a model."""
    if "is deprecated" not in text:
        print(f"MuJoCo: {text}", file=sys.stderr)


def local_file(environment: str) -> Path | None:
    """The file of an environment from outside. None if it belongs to dmm or to an installed package, or cannot be found."""
    if environment.startswith("dmm.") or find_spec("gymnasium") is None:
        return None
    import gymnasium as gym
    from gymnasium.envs.registration import load_env_creator

    try:
        module, _, name = environment.rpartition(":")
        if module:
            import_module(module)
        entry = gym.spec(name).entry_point
        made = load_env_creator(entry) if isinstance(entry, str) else entry
        path = Path(inspect.getsourcefile(made) or "")  # pyright: ignore[reportArgumentType]
    except Exception as error:  # environments are code from outside. What is wrong with one is said when it is made
        raise_interrupt(error)
        return None
    return path if path.is_file() and not {"site-packages", "dist-packages"} & set(path.parts) else None
