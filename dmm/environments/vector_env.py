"""One step of many environments. MuJoCo's runners go without Gymnasium's bookkeeping, a third of the time of a step.

For Hopper-v5, Walker2d-v5 and HalfCheetah-v5, whose rules their version freezes, each lane is simulated, and observations,
rewards and falls are computed for all lanes at once, with the bits of Gymnasium's own `step`; all others take that.
"""

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import gymnasium as gym

RUNNERS = ("Hopper-v5", "Walker2d-v5", "HalfCheetah-v5")
PLAIN = ("TimeLimit", "OrderEnforcing")  # wrappers that add nothing within the time limit


class SubEnv:
    """An environment, simulated by `run` if it is one of the runners and `steps` from a reset stay within its time limit."""

    def __init__(self, env: "gym.Env", steps: int) -> None:
        self.env, self.reset = env, env.reset
        self.rules = rules_of(env, steps)
        if self.rules:
            from mujoco import mjtDisableBit

            bare: Any = env.unwrapped
            self.model, self.data = bare.model, bare.data
            if self.model.ntree == 1:  # one island, then: nothing to look for, the same bits without
                self.model.opt.disableflags |= getattr(mjtDisableBit, "mjDSBL_ISLAND", 0)  # from MuJoCo 3.3.6 on
            self.place, self.speed, self.control = bare.data.qpos, bare.data.qvel, bare.data.ctrl  # views that last


def rules_of(env: "gym.Env", steps: int) -> dict[str, Any]:
    """The arguments that a runner was made with, and `dt` and `kind`; empty where an environment must step itself."""
    layer: Any = env
    while type(layer).__name__ in PLAIN:
        layer = layer.env
    spec, bare = env.spec, env.unwrapped
    if spec is None or spec.id not in RUNNERS or layer is not bare or steps > (spec.max_episode_steps or 0):
        return {}
    made = inspect.signature(type(bare)).bind(**{"render_mode": None} | spec.kwargs)
    made.apply_defaults()
    if not made.arguments["exclude_current_positions_from_observation"]:
        return {}
    return made.arguments | {"dt": layer.dt, "kind": spec.id}


def step_all(lanes: Sequence[SubEnv], actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Takes an action in each lane: next states [lanes, S], rewards [lanes], and which lanes' episodes are over."""
    if lanes[0].rules:
        return run(lanes, actions, lanes[0].rules)
    outcomes: list[Any] = [lane.env.step(action) for lane, action in zip(lanes, actions, strict=True)]
    states, rewards, terminated, truncated = ([outcome[i] for outcome in outcomes] for i in range(4))
    return np.stack(states), np.array(rewards, float), np.array(terminated) | np.array(truncated)


def run(
    lanes: Sequence[SubEnv], actions: np.ndarray, rules: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`step_all` of runners of one kind."""
    from mujoco import mj_step

    before, frames = np.array([lane.place[0] for lane in lanes]), rules["frame_skip"]
    model = lanes[0].model  # all are alike, and one stays in the cache
    for lane, action in zip(lanes, actions, strict=True):
        lane.control[:] = action
        mj_step(model, lane.data, frames)
    place, speed = np.array([lane.place for lane in lanes]), np.array([lane.speed for lane in lanes])
    forward = rules["forward_reward_weight"] * ((place[:, 0] - before) / rules["dt"])
    cost = rules["ctrl_cost_weight"] * np.square(actions).sum(1)
    if rules["kind"] == "HalfCheetah-v5":
        return np.concatenate([place[:, 1:], speed], 1), forward - cost, np.zeros(len(lanes), bool)

    def between(values: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
        return (bounds[0] < values) & (values < bounds[1])

    healthy = between(place[:, 1], rules["healthy_z_range"]) & between(place[:, 2], rules["healthy_angle_range"])
    if rules["kind"] == "Hopper-v5":
        healthy &= between(np.concatenate([place[:, 2:], speed], 1), rules["healthy_state_range"]).all(1)
    states = np.concatenate([place[:, 1:], np.clip(speed, -10, 10)], 1)
    return states, forward + healthy * rules["healthy_reward"] - cost, ~healthy & rules["terminate_when_unhealthy"]
