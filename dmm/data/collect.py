"""Collects data: a behaviour policy is rolled out into episodes, and the episodes are written as a Minari dataset.

A policy is the actor of a SAC agent (tanh-squashed Gaussian). It is stored as a safetensors file with a JSON card beside
it. The episodes depend on the policy and the seed only.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from dmm.base import provenance
from dmm.base.checksums import dump_json, load_json
from dmm.base.paths import aside, delete, flush, home, write_atomic
from dmm.data.readers import minari
from dmm.schema import from_json, to_json
from dmm.tasks import TASKS


@dataclass(frozen=True)
class Policy:
    """A SAC actor: an MLP with ReLU gives the mean and log standard deviation of a Gaussian, squashed by tanh."""

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


@dataclass(frozen=True, kw_only=True)
class PolicyCard:
    """The JSON file beside a policy: what the policy is and how it was trained."""

    environment: str  # Gymnasium id
    algorithm: str
    command: str  # that trained the policy
    commit: str  # of the code that trained it
    steps: int  # environment steps of training
    seed: int  # of training
    return_mean: float  # over `episodes` episodes, undiscounted
    return_std: float
    episodes: int
    actions: str  # how the actions of these episodes were taken
    licence: str
    versions: dict[str, str]  # of installed packages
    sha256: str = ""  # of the policy's file


@dataclass(frozen=True)
class Episode:
    """One whole episode: T steps, T + 1 observations."""

    observations: np.ndarray  # [T + 1, S]
    actions: np.ndarray  # [T, A]
    rewards: np.ndarray  # [T]
    terminated: bool  # True: the environment ended the episode. False: its time limit cut it


@dataclass(frozen=True, kw_only=True)
class Origin:
    """How episodes were made. It is written into a dataset's metadata, under the key dmm."""

    policy: str  # name of the policy's file
    seed: int
    steps: int | None = None  # asked for; None for a replay buffer
    episodes_per_batch: int | None = None  # rolled in lock-step; None for a replay buffer


def policy_folders() -> list[Path]:
    """The folders with policies: first the folder of the package, then the folder of policies trained here."""
    return [Path(str(files("dmm.data") / "policies")), home() / "policies"]


def policies() -> dict[str, Path]:
    """All policies by name, for example hopper-medium. A policy of the package hides one of the same name trained here.

    So a dataset's id has one meaning.
    """
    return {path.stem: path for folder in reversed(policy_folders()) for path in sorted(folder.glob("*.safetensors"))}


def write_policy(path: Path, policy: Policy, card: PolicyCard) -> None:
    """Writes a policy's file and its card, each whole or not at all. A policy without a card is not complete."""
    from safetensors.torch import save

    data = save(policy.weights)
    write_atomic(path, data)
    card = replace(card, sha256=hashlib.sha256(data).hexdigest())
    write_atomic(path.with_suffix(".json"), dump_json(to_json(card)))


def read_policy(path: Path) -> tuple[dict[str, torch.Tensor], PolicyCard]:
    """Reads a policy's weights and its card. Raises ValueError if one of the files is damaged or absent."""
    from safetensors.torch import load

    card = read_card(path.with_suffix(".json"))
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != card.sha256:
        raise ValueError(f"{path} is damaged: it does not have the sha256 of its card")
    return load(data), card


def load_policy(path: Path) -> tuple[Policy, PolicyCard]:
    """Reads a policy, with the bounds of its environment, and its card."""
    import gymnasium as gym

    weights, card = read_policy(path)
    space = gym.make(card.environment).action_space
    return Policy(weights, space.low, space.high), card


def read_card(path: Path) -> PolicyCard:
    """Reads a card. Raises ValueError if it is damaged or absent, and for a wrong or missing field."""
    try:
        return from_json(PolicyCard, load_json(path.read_bytes()), str(path))
    except FileNotFoundError:
        raise ValueError(f"{path} is not there, so nothing is known of its policy") from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error})") from None


def roll_policy(policy: Policy, environment: str, seed: int, first: int, count: int) -> list[Episode]:
    """Rolls episodes first .. first + count - 1 in lock-step.

    Episode i depends on (seed, i) only, except for float bits: those depend on the episodes that are rolled together.
    """
    import gymnasium as gym

    envs = [gym.make(environment, disable_env_checker=True) for _ in range(count)]
    generators = [np.random.default_rng(np.random.SeedSequence((seed, first + i))) for i in range(count)]
    observations = [[env.reset(seed=int(rng.integers(2**31)))[0]] for env, rng in zip(envs, generators, strict=True)]
    actions, rewards = [[] for _ in envs], [[] for _ in envs]
    terminated = [False] * count
    running = list(range(count))
    while running:
        noise = np.stack([generators[i].standard_normal(policy.low.shape) for i in running])
        chosen = policy(np.stack([observations[i][-1] for i in running]), noise)
        unfinished = []
        for i, action in zip(running, chosen, strict=True):
            observation, reward, terminated[i], truncated, _ = envs[i].step(action)
            observations[i].append(observation)
            actions[i].append(action)
            rewards[i].append(reward)
            if not (terminated[i] or truncated):
                unfinished.append(i)
        running = unfinished
    for env in envs:
        env.close()
    return [
        Episode(np.stack(observations[i]), np.stack(actions[i]), np.array(rewards[i]), bool(terminated[i]))
        for i in range(count)
    ]


def task_name(environment: str) -> str:
    """The name of an environment in ids: its task's name, otherwise its own in lower case (reacher for Reacher-v5)."""
    names = [task.name for task in TASKS.values() if task.environment == environment]
    return names[0] if names else re.sub(r"-v\d+$", "", environment.rsplit("/", 1)[-1]).lower()


def write(dataset_id: str, episodes: Sequence[Episode], card: PolicyCard, origin: Origin) -> None:
    """Writes episodes as a Minari dataset, complete or not at all. Card and origin go into its metadata.

    Raises ValueError if the folder cannot be written.
    """
    import gymnasium as gym
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    versions = provenance.versions()
    task = next((task for task in TASKS.values() if task.environment == card.environment), None)
    reference = {"ref_min_score": task.ref_min_score, "ref_max_score": task.ref_max_score} if task else {}
    metadata = {
        "dataset_id": dataset_id,
        "minari_version": versions["minari"],
        "algorithm_name": card.algorithm,
        "author": {"dmm-bench"},
        "description": f"Episodes of {card.environment} for dmm. The key dmm says how they were made.",
        "requirements": [f"{name}=={versions[name]}" for name in ("gymnasium", "mujoco")],
        **reference,
        "dmm": {
            "environment": card.environment,
            **{key: value for key, value in to_json(origin).items() if value is not None},
            "card": to_json(card),
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
            terminations=last_step(len(episode.rewards), episode.terminated),
            truncations=last_step(len(episode.rewards), not episode.terminated),
            infos={},
        )
        for episode in episodes
    )
    folder = minari.folder(dataset_id)
    building = aside(folder)
    try:
        (building / "data").mkdir(parents=True)
        storage = MinariStorage.new(building / "data", env_spec=gym.spec(card.environment), data_format="hdf5")
        storage.update_metadata(metadata)
        storage.update_episodes(buffers)
        for path in (building / "data").iterdir():
            flush(path)
        building.rename(folder)
    except OSError as error:
        if not minari.path(dataset_id).is_file():  # otherwise another process has written the same episodes
            raise ValueError(f"cannot write {dataset_id} in {minari.root()}: {error}") from None
    finally:
        delete(building)


def last_step(steps: int, value: bool) -> list[bool]:
    """Flags of an episode's steps. Only the last one can be true."""
    return [False] * (steps - 1) + [value]
