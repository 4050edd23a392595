"""Behaviour policies rolled into episodes: shipped actor weights in, trajectories out, deterministic in the seed.

A policy is the actor of a SAC agent (tanh-squashed Gaussian), stored as safetensors with a JSON card beside it.
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch

from dmm.home import home

SHARD = 50  # episodes rolled in lock-step; part of a dataset's identity, since a batch's composition moves float bits


@dataclass(frozen=True)
class Policy:
    """A SAC actor: an MLP with ReLU to the mean and log standard deviation of a Gaussian, squashed by tanh."""

    weights: dict[str, torch.Tensor]  # hidden.<i>.{weight,bias}, mean.{weight,bias}, log_std.{weight,bias}
    low: np.ndarray  # [A], bounds of the environment's action box
    high: np.ndarray  # [A]

    def __call__(self, observations: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Samples actions [N, A] for observations [N, S], given standard normal noise [N, A]."""
        w, linear = self.weights, torch.nn.functional.linear
        with torch.inference_mode():
            x = torch.from_numpy(observations.astype(np.float32))
            layer = 0
            while f"hidden.{layer}.weight" in w:
                x = linear(x, w[f"hidden.{layer}.weight"], w[f"hidden.{layer}.bias"]).relu()
                layer += 1
            mean = linear(x, w["mean.weight"], w["mean.bias"])
            std = linear(x, w["log_std.weight"], w["log_std.bias"]).clamp(-20, 2).exp()
            squashed = torch.tanh(mean + std * torch.from_numpy(noise.astype(np.float32))).numpy()
        return self.low + (squashed + 1) * 0.5 * (self.high - self.low)


@dataclass(frozen=True)
class Episode:
    """One whole episode: T steps, T + 1 observations."""

    observations: np.ndarray  # [T + 1, S]
    actions: np.ndarray  # [T, A]
    rewards: np.ndarray  # [T]
    terminated: bool  # by the environment; else cut by its time limit


def policy_folders() -> list[Path]:
    """Where policies are looked up: those shipped with the package, then those trained here."""
    return [Path(str(files("dmm") / "policies")), home() / "policies"]


def policies() -> dict[str, Path]:
    """All policies by name, such as hopper-medium: the shipped one wins, so that a dataset's id means one thing."""
    return {path.stem: path for folder in reversed(policy_folders()) for path in sorted(folder.glob("*.safetensors"))}


def load_policy(path: Path) -> tuple[Policy, dict]:
    """Reads a policy and its card."""
    from safetensors.torch import load_file

    card = json.loads(path.with_suffix(".json").read_text())
    space = gym.make(card["environment"]).action_space
    return Policy(load_file(path), space.low, space.high), card


def roll(policy: Policy, environment: str, seed: int, first: int, count: int) -> list[Episode]:
    """Rolls episodes first .. first + count - 1 in lock-step; episode i depends on (seed, i) only, but for float bits."""
    envs = [gym.make(environment) for _ in range(count)]
    generators = [np.random.default_rng(np.random.SeedSequence((seed, first + i))) for i in range(count)]
    observations = [[env.reset(seed=int(rng.integers(2**31)))[0]] for env, rng in zip(envs, generators)]
    actions, rewards = [[] for _ in envs], [[] for _ in envs]
    terminated = [False] * count
    live = list(range(count))
    while live:
        noise = np.stack([generators[i].standard_normal(policy.low.shape) for i in live])
        chosen = policy(np.stack([observations[i][-1] for i in live]), noise)
        still = []
        for i, action in zip(live, chosen):
            observation, reward, terminated[i], truncated, _ = envs[i].step(action)
            observations[i].append(observation)
            actions[i].append(action)
            rewards[i].append(reward)
            if not (terminated[i] or truncated):
                still.append(i)
        live = still
    for env in envs:
        env.close()
    return [
        Episode(np.stack(observations[i]), np.stack(actions[i]), np.array(rewards[i]), bool(terminated[i]))
        for i in range(count)
    ]
