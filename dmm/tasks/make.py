"""Makes environments of Gymnasium, without notes of MuJoCo that are for authors of models."""

import sys
from typing import TYPE_CHECKING, Any

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
