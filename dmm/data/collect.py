"""Behaviour policies rolled into episodes: shipped actor weights in, trajectories out, deterministic in the seed.

A policy is the actor of a SAC agent (tanh-squashed Gaussian), stored as safetensors with a JSON card beside it. A
dataset is `dmm/TASK/POLICY-v0`: the id fixes policy, steps and seed; `dmm/TASK/POLICY-nSTEPS-sSEED-v0` has others.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from dmm import data
from dmm.base import provenance
from dmm.base.errors import unknown_name
from dmm.base.paths import home
from dmm.data import cache
from dmm.data.readers import minari
from dmm.data.trajectories import Trajectories
from dmm.tasks import TASKS

STEPS, SEED = 100_000, 0  # of an id that names neither
ID = re.compile(r"dmm/(?P<task>[\w-]+)/(?P<policy>\w+)(-n(?P<steps>[1-9]\d*)-s(?P<seed>0|[1-9]\d*))?-v0")
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
    return [Path(str(files("dmm.data") / "policies")), home() / "policies"]


def policies() -> dict[str, Path]:
    """All policies by name, such as hopper-medium: the shipped one wins, so that a dataset's id means one thing."""
    return {path.stem: path for folder in reversed(policy_folders()) for path in sorted(folder.glob("*.safetensors"))}


def load_policy(path: Path) -> tuple[Policy, dict]:
    """Reads a policy and its card."""
    import gymnasium as gym
    from safetensors.torch import load_file

    card = json.loads(path.with_suffix(".json").read_text())
    space = gym.make(card["environment"]).action_space
    return Policy(load_file(path), space.low, space.high), card


def roll(policy: Policy, environment: str, seed: int, first: int, count: int) -> list[Episode]:
    """Rolls episodes first .. first + count - 1 in lock-step; episode i depends on (seed, i), but for float bits."""
    import gymnasium as gym

    envs = [gym.make(environment, disable_env_checker=True) for _ in range(count)]
    generators = [np.random.default_rng(np.random.SeedSequence((seed, first + i))) for i in range(count)]
    observations = [[env.reset(seed=int(rng.integers(2**31)))[0]] for env, rng in zip(envs, generators, strict=True)]
    actions, rewards = [[] for _ in envs], [[] for _ in envs]
    terminated = [False] * count
    live = list(range(count))
    while live:
        noise = np.stack([generators[i].standard_normal(policy.low.shape) for i in live])
        chosen = policy(np.stack([observations[i][-1] for i in live]), noise)
        still = []
        for i, action in zip(live, chosen, strict=True):
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


@dataclass(frozen=True)
class Collection:
    """What fixes a collected dataset."""

    task: str
    policy: str
    steps: int = STEPS  # at least: the last episode is whole
    seed: int = SEED

    def __post_init__(self) -> None:
        if self.steps < 1 or self.seed < 0:
            raise ValueError(f"cannot collect {self.steps} steps with seed {self.seed}: at least 1 step and seed 0")

    @property
    def id(self) -> str:
        """The id that says all of it."""
        asked = "" if (self.steps, self.seed) == (STEPS, SEED) else f"-n{self.steps}-s{self.seed}"
        return f"dmm/{self.task}/{self.policy}{asked}-v0"

    @property
    def policy_name(self) -> str:
        """The policy's file, such as hopper-medium."""
        return f"{self.task}-{self.policy}"


def parse(dataset_id: str) -> Collection:
    """Reads an id; one that cannot be collected is an error that says what can be."""
    if match := ID.fullmatch(dataset_id):
        part = match.groupdict()
        found = Collection(part["task"], part["policy"], int(part["steps"] or STEPS), int(part["seed"] or SEED))
        if found.policy_name in policies():
            return found
    raise unknown_name("dataset", dataset_id, known())


def collectable() -> list[str]:
    """Ids that can be collected, at the steps and seed that need no saying."""
    names = [name.rpartition("-") for name in sorted(policies())]
    return [Collection(task, policy).id for task, _, policy in names if task]


def known() -> list[str]:
    """Ids of all datasets that are here or can be collected."""
    return sorted({*data.here(), *collectable()})


def ensure(ids: tuple[str, ...], say: Callable[[str], None] = lambda line: None) -> Trajectories:
    """Loads a dataset, or several as one; those of ours that are absent are collected first."""
    for dataset_id in ids:
        if ID.fullmatch(dataset_id) and not data.present(dataset_id):
            collect_into(dataset_id, parse(dataset_id), say)
    return data.load(ids)


def collect(
    dataset_id: str,
    steps: int | None = None,
    seed: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> str:
    """Collects a dataset, unless it is here, and returns a line that tells what it is.

    Other steps or another seed than the id's make another dataset, whose id says so.
    """
    changes = {key: value for key, value in {"steps": steps, "seed": seed}.items() if value is not None}
    collection = replace(parse(dataset_id), **changes)
    return ensure((collection.id if changes else dataset_id,), say).summary()


def collect_into(dataset_id: str, collection: Collection, say: Callable[[str], None]) -> None:
    """Rolls whole shards until there are enough steps; keeps the shortest prefix of whole episodes that has them."""
    torch.set_num_threads(1)  # the count of threads moves float bits, and with them the data
    policy, card = load_policy(policies()[collection.policy_name])
    episodes, lengths = [], []
    while sum(lengths) < collection.steps:
        episodes += roll(policy, card["environment"], collection.seed, len(episodes), SHARD)
        lengths = [len(episode.rewards) for episode in episodes]
        say(f"{dataset_id}: {min(sum(lengths), collection.steps):,} of {collection.steps:,} steps")
    enough = int(np.searchsorted(np.cumsum(lengths), collection.steps)) + 1
    made = {"policy": collection.policy_name, "seed": collection.seed, "steps": collection.steps, "shard": SHARD}
    write(dataset_id, episodes[:enough], card, made)


def task_name(environment: str) -> str:
    """What ids call an environment: its task's name, else its own, as in reacher for Reacher-v5."""
    names = [task.name for task in TASKS.values() if task.environment == environment]
    return names[0] if names else re.sub(r"-v\d+$", "", environment.rsplit("/", 1)[-1]).lower()


def write(dataset_id: str, episodes: Sequence[Episode], card: dict, made: dict) -> None:
    """Writes episodes as a Minari dataset, whole or not at all; card and `made` go into its metadata."""
    import gymnasium as gym
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    environment, versions = card["environment"], provenance.versions()
    task = next((task for task in TASKS.values() if task.environment == environment), None)
    reference = {"ref_min_score": task.ref_min_score, "ref_max_score": task.ref_max_score} if task else {}
    metadata = {
        "dataset_id": dataset_id,
        "minari_version": versions["minari"],
        "algorithm_name": card["algorithm"],
        "author": {"dmm-bench"},
        "description": f"Episodes of {environment} for dmm; what made them stands under the key dmm.",
        "requirements": [f"{name}=={versions[name]}" for name in ("gymnasium", "mujoco")],
        **reference,
        "dmm": {
            "environment": environment,
            **made,
            "card": card,
            "commit": provenance.commit(),
            "versions": versions,
            "reference": task.source if task else None,
        },
    }
    buffers = (
        EpisodeBuffer(
            observations=list(episode.observations),
            actions=list(episode.actions),
            rewards=list(episode.rewards),
            terminations=last(len(episode.rewards), episode.terminated),
            truncations=last(len(episode.rewards), not episode.terminated),
            infos={},
        )
        for episode in episodes
    )
    folder = minari.folder(dataset_id)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        (aside / "data").mkdir(parents=True)
        storage = MinariStorage.new(aside / "data", env_spec=gym.spec(environment), data_format="hdf5")
        storage.update_metadata(metadata)
        storage.update_episodes(buffers)
        aside.rename(folder)
    except OSError as error:
        if not minari.path(dataset_id).is_file():  # else another process was faster, with the same episodes
            raise ValueError(f"cannot write {dataset_id} in {minari.root()}: {error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def last(steps: int, value: bool) -> list[bool]:
    """Flags of an episode's steps, of which only the last can be true."""
    return [False] * (steps - 1) + [value]


def inventory() -> list[dict]:
    """A row for each dataset that is here, was read before or can be collected; what has not been read is read now."""
    read = {manifest["ids"][0] for manifest in cache.manifests() if len(manifest["ids"]) == 1}
    return [inventory_row(dataset_id) for dataset_id in sorted(read.union(known()))]


def inventory_row(dataset_id: str) -> dict:
    """Size, return statistics, identity and source of a dataset; where it cannot be read, the source says why."""
    keys = ("episodes", "steps", "length_mean", "return_mean", "return_std", "return_min", "return_max", "sha256")
    row = {"id": dataset_id, **dict.fromkeys(keys, "")}
    if not data.present(dataset_id):
        return {**row, "source": "collected on first use" if dataset_id in collectable() else "gone"}
    try:
        found = data.load((dataset_id,))
    except ValueError as error:
        return {**row, "source": str(error)}
    returns = found.episode_returns
    numbers = (found.lengths.mean(), returns.mean(), returns.std(), returns.min(), returns.max())
    values = (found.episodes, found.steps, *(round(float(number), 1) for number in numbers), found.sha256[:12])
    path = data.reader(dataset_id).path(dataset_id)
    return {**row, **dict(zip(keys, values, strict=True)), "source": str(path)}
