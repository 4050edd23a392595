"""A step of many environments at once. For MuJoCo's runners it skips Gymnasium's bookkeeping, a third of a step's time.

The runners are Hopper-v5, Walker2d-v5 and HalfCheetah-v5. The version v5 fixes their rules. MuJoCo simulates each
environment separately. Observations, rewards and falls are computed for all environments at once, with the bits of
Gymnasium's own `step`. An environment of ours may have such a step itself, `step_many`. All others take Gymnasium's `step`.
"""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import gymnasium as gym

RUNNERS = ("Hopper-v5", "Walker2d-v5", "HalfCheetah-v5")
TRANSPARENT_WRAPPERS = ("TimeLimit", "OrderEnforcing")  # they change nothing within the time limit
EVERYTHING = (-np.inf, np.inf)


@dataclass(frozen=True)
class RunnerRules:
    """The rules of a runner: the arguments that it was made with, under Gymnasium's names."""

    environment: str  # Gymnasium id
    dt: float  # seconds of a step
    frame_skip: int  # simulated frames of a step
    forward_reward_weight: float
    ctrl_cost_weight: float
    healthy_reward: float = 0.0
    terminate_when_unhealthy: bool = False
    healthy_z_range: tuple[float, float] = EVERYTHING
    healthy_angle_range: tuple[float, float] = EVERYTHING
    healthy_state_range: tuple[float, float] = EVERYTHING


class VectorStep(NamedTuple):
    """The outcome of a step of B environments."""

    states: np.ndarray  # [B, S]
    rewards: np.ndarray  # [B]
    finished: np.ndarray  # [B], True where the episode has ended


class SubEnv:
    """One environment. `rules` is None if it must take its own `step`. find_runner_rules decides that."""

    def __init__(self, env: "gym.Env", steps: int) -> None:
        self.env, self.reset = env, env.reset
        self.rules = find_runner_rules(env, steps)
        self.step_many = None if self.rules else find_step_many(env, steps)
        if self.rules:
            from mujoco import mjtDisableBit

            bare: Any = env.unwrapped
            self.model, self.data = bare.model, bare.data
            if self.model.ntree == 1:  # one island: without the search for islands the bits are the same
                self.model.opt.disableflags |= getattr(mjtDisableBit, "mjDSBL_ISLAND", 0)  # from MuJoCo 3.3.6 on
            self.position, self.velocity = bare.data.qpos, bare.data.qvel  # views that stay valid
            self.control = bare.data.ctrl


def find_runner_rules(env: "gym.Env", steps: int) -> RunnerRules | None:
    """The rules of a runner. None for other environments.

    Also None for a runner with other wrappers or other observations, and if the runner's time limit is below `steps`.
    """
    layer: Any = env
    while type(layer).__name__ in TRANSPARENT_WRAPPERS:
        layer = layer.env
    spec, bare = env.spec, env.unwrapped
    if spec is None or spec.id not in RUNNERS or layer is not bare or steps > (spec.max_episode_steps or 0):
        return None
    bound = inspect.signature(type(bare)).bind(**{"render_mode": None} | spec.kwargs)
    bound.apply_defaults()
    if not bound.arguments["exclude_current_positions_from_observation"]:
        return None
    names = {field.name for field in dataclasses.fields(RunnerRules)}
    arguments = {name: value for name, value in bound.arguments.items() if name in names}
    return RunnerRules(environment=spec.id, dt=layer.dt, **arguments)


def find_step_many(env: "gym.Env", steps: int) -> Callable[..., tuple] | None:
    """The `step_many` of an environment of ours, with the view of its task. None for other wrappers and a lower time limit."""
    layer, view = env, lambda observations: observations
    if type(layer).__name__ == "TransformObservation":
        layer, view = layer.env, layer.func
    while type(layer).__name__ in TRANSPARENT_WRAPPERS:
        layer = layer.env
    many = getattr(env.unwrapped, "step_many", None)
    if many is None or env.spec is None or layer is not env.unwrapped or steps > (env.spec.max_episode_steps or 0):
        return None

    def step(sub_envs: Sequence[SubEnv], actions: np.ndarray) -> tuple:
        observations, *outcome = many([sub_env.env.unwrapped for sub_env in sub_envs], actions)
        return view(observations), *outcome

    return step


def step_all(sub_envs: Sequence[SubEnv], actions: np.ndarray) -> VectorStep:
    """Takes one action [A] in each environment."""
    if sub_envs[0].rules:
        return step_runners(sub_envs, actions, sub_envs[0].rules)
    if sub_envs[0].step_many:
        return VectorStep(*sub_envs[0].step_many(sub_envs, actions))
    # an environment may change its action in place, and the history still needs it
    taken: list[Any] = [sub_env.env.step(action.copy()) for sub_env, action in zip(sub_envs, actions, strict=True)]
    states, rewards, terminated, truncated = ([outcome[i] for outcome in taken] for i in range(4))
    finished = flags(terminated, sub_envs[0].env) | flags(truncated, sub_envs[0].env)
    return VectorStep(np.stack(states), np.array(rewards, float), finished)


def flags(values: list[Any], env: "gym.Env") -> np.ndarray:
    """Flags [B] as bool, because ~ of a number is another number. Raises ValueError for other values than 0 and 1."""
    found = np.array(values)
    if found.dtype != bool or found.ndim != 1:
        if found.ndim != 1 or found.dtype.kind not in "biuf" or ((found != 0) & (found != 1)).any():
            raise ValueError(f"{env} says {values[0]!r} for terminated or truncated; each is True or False")
        found = found.astype(bool)
    return found


def step_runners(sub_envs: Sequence[SubEnv], actions: np.ndarray, rules: RunnerRules) -> VectorStep:
    """`step_all` of runners with the same rules."""
    from mujoco import mj_step

    before = np.array([sub_env.position[0] for sub_env in sub_envs])
    model = sub_envs[0].model  # all models are alike, and one model stays in the processor's cache
    for sub_env, action in zip(sub_envs, actions, strict=True):
        sub_env.control[:] = action
        mj_step(model, sub_env.data, rules.frame_skip)
    position = np.array([sub_env.position for sub_env in sub_envs])
    velocity = np.array([sub_env.velocity for sub_env in sub_envs])
    forward = rules.forward_reward_weight * ((position[:, 0] - before) / rules.dt)
    cost = rules.ctrl_cost_weight * np.square(actions).sum(1)
    if rules.environment == "HalfCheetah-v5":
        states = np.concatenate([position[:, 1:], velocity], 1)
        return VectorStep(states, forward - cost, np.zeros(len(sub_envs), bool))

    def inside(values: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
        return (bounds[0] < values) & (values < bounds[1])

    healthy = inside(position[:, 1], rules.healthy_z_range) & inside(position[:, 2], rules.healthy_angle_range)
    if rules.environment == "Hopper-v5":
        healthy &= inside(np.concatenate([position[:, 2:], velocity], 1), rules.healthy_state_range).all(1)
    states = np.concatenate([position[:, 1:], np.clip(velocity, -10, 10)], 1)
    rewards = forward + healthy * rules.healthy_reward - cost
    return VectorStep(states, rewards, ~healthy & rules.terminate_when_unhealthy)
