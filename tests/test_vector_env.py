"""Steps of many environments have the bits of Gymnasium's own, for the runners and for any other environment."""

import gymnasium as gym
import numpy as np
import pytest

from dmm.environments.vector_env import SubEnv, step_all


@pytest.mark.parametrize(
    ("name", "options", "runner"),
    [
        ("Hopper-v5", {}, "Hopper-v5"),
        ("Hopper-v5", {"terminate_when_unhealthy": False, "healthy_reward": 0.3}, "Hopper-v5"),
        ("Walker2d-v5", {}, "Walker2d-v5"),
        ("HalfCheetah-v5", {"ctrl_cost_weight": 0.7}, "HalfCheetah-v5"),
        ("Hopper-v5", {"exclude_current_positions_from_observation": False}, ""),
        ("Reacher-v5", {}, ""),
    ],
)
def test_steps_are_those_of_gymnasium(name, options, runner):
    """Until the first runner falls and beyond: here a fallen runner is stepped on, as Gymnasium's environments allow."""
    count, steps = 4, 150
    sub_envs = [
        SubEnv(gym.make(name, disable_env_checker=True, **options), 1000 if runner else 50) for _ in range(count)
    ]
    envs = [gym.make(name, disable_env_checker=True, **options) for _ in range(count)]
    assert [sub_env.rules.environment if sub_env.rules else "" for sub_env in sub_envs] == [runner] * count
    for seed, (sub_env, env) in enumerate(zip(sub_envs, envs, strict=True)):
        assert np.array_equal(sub_env.reset(seed=seed)[0], env.reset(seed=seed)[0])
    generator, fallen = np.random.default_rng(0), 0
    for _ in range(steps if runner else 49):
        actions = generator.uniform(-1, 1, (count, *envs[0].action_space.shape)).astype(np.float32)
        states, rewards, finished = step_all(sub_envs, actions)
        outcomes = [env.step(action) for env, action in zip(envs, actions, strict=True)]
        assert np.array_equal(states, np.stack([outcome[0] for outcome in outcomes]))
        assert rewards.tolist() == [float(outcome[1]) for outcome in outcomes]
        assert finished.tolist() == [bool(outcome[2] or outcome[3]) for outcome in outcomes]
        fallen += finished.any()
    assert bool(fallen) == (name in ("Hopper-v5", "Walker2d-v5") and options.get("terminate_when_unhealthy", True))


def test_beyond_its_time_limit_or_behind_another_wrapper_an_environment_steps_itself():
    assert SubEnv(gym.make("Hopper-v5"), 1000).rules is None  # Gymnasium's checker of arguments is a wrapper
    assert SubEnv(gym.make("Hopper-v5", disable_env_checker=True, max_episode_steps=5), 6).rules is None
    short = SubEnv(gym.make("Hopper-v5", disable_env_checker=True, max_episode_steps=2), 3)
    short.reset(seed=0)
    finished = [bool(step_all([short], np.zeros((1, 3), np.float32)).finished[0]) for _ in range(2)]
    assert finished == [False, True]
