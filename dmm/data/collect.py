"""Collects data: a behaviour is rolled out into episodes, and the episodes are written as a Minari dataset.

A behaviour is a policy or a script. A policy is the actor of a SAC agent (tanh-squashed Gaussian). It is stored as a
safetensors file with a JSON card beside it. A script is code in dmm/data/scripts. It sees the environment itself.
The episodes depend on the behaviour and the seed only.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dmm.base import provenance
from dmm.base.checksums import dump_json, load_json
from dmm.base.paths import aside, delete, flush, home, write_atomic
from dmm.data.readers import minari
from dmm.schema import from_json, to_json
from dmm.tasks import TASKS, Task
from dmm.tasks.make import make_env

if TYPE_CHECKING:
    import gymnasium as gym

# Chooses the actions of the running episodes from their numbers and their newest observations
Act = Callable[[Sequence[int], Sequence[Any]], Sequence[Any] | np.ndarray]
# Begins to act in reset environments. Each episode has its generator
Begin = Callable[[Sequence["gym.Env"], Sequence[np.random.Generator]], Act]
# Begins to act in one reset environment. The generator is the episode's. What it gives maps an observation to an action
Script = Callable[["gym.Env", np.random.Generator], Callable[[Any], Any]]
# rolled in lock-step by a policy. Another number gives other data, because a batch's composition moves float bits
EPISODES_PER_BATCH = 50
SIMULATORS = ("gymnasium-robotics", "ale-py")  # of extras


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

    def begin(self, envs: Sequence["gym.Env"], generators: Sequence[np.random.Generator]) -> Act:
        """Begins to act in reset environments. All running ones are one batch."""

        def act(running: Sequence[int], observations: Sequence[np.ndarray]) -> np.ndarray:
            noise = np.stack([generators[i].standard_normal(self.low.shape) for i in running])
            return self(np.stack(observations), noise)

        return act


@dataclass(frozen=True, kw_only=True)
class PolicyCard:
    """What a behaviour is and how it was made. A policy has it in a JSON file beside its own. Only a policy was trained."""

    environment: str  # Gymnasium id
    algorithm: str
    command: str | None = None  # that trained the policy
    commit: str | None = None  # of the code that trained it
    steps: int | None = None  # environment steps of training
    seed: int | None = None  # of training
    return_mean: float  # over `episodes` episodes, undiscounted
    return_std: float
    episodes: int
    actions: str  # how the actions of these episodes were taken
    licence: str
    versions: dict[str, str] = field(default_factory=dict)  # of packages installed when it was made
    sha256: str | None = None  # of the policy's file


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What collects a dataset."""

    card: PolicyCard
    make: Callable[[], "gym.Env"]  # an environment of the card, with its own observations
    begins: tuple[Begin, ...]  # each collects an equal share of the steps
    batch: int = 1  # episodes that are rolled in lock-step


def scripted(task: Task, script: Script, **card: Any) -> Behaviour:
    """The behaviour of a script in a task's environment. `card` has fields of PolicyCard."""

    def begin(envs: Sequence["gym.Env"], generators: Sequence[np.random.Generator]) -> Act:
        acts = [script(env, generator) for env, generator in zip(envs, generators, strict=True)]
        return lambda running, observations: [acts[i](seen) for i, seen in zip(running, observations, strict=True)]

    made = PolicyCard(environment=task.environment, actions="scripted", licence="MIT", **card)
    return Behaviour(card=made, make=task.make_without_view, begins=(begin,))


@dataclass(frozen=True)
class Episode:
    """One whole episode: T steps, T + 1 observations."""

    observations: Any  # an array [T + 1, ...], or such arrays in dictionaries
    actions: np.ndarray  # [T, A], or [T] for discrete actions
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


def write_policy(path: Path, weights: dict[str, torch.Tensor], card: PolicyCard) -> None:
    """Writes a policy's file and its card, each whole or not at all. A policy without a card is not complete."""
    from safetensors.torch import save

    data = save(weights)
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


def load_policy(path: Path) -> Behaviour:
    """The behaviour of a policy's file. Raises ValueError if a file is damaged or absent."""

    weights, card = read_policy(path)
    make = partial(make_env, card.environment)
    space: Any = make().action_space
    begins = tuple(policy.begin for policy in split_policies(weights, space.low, space.high))
    return Behaviour(card=card, make=make, begins=begins, batch=EPISODES_PER_BATCH)


def split_policies(weights: dict[str, torch.Tensor], low: np.ndarray, high: np.ndarray) -> list[Policy]:
    """The policies of a file. Where there are several, they have one shape, and the first axis of each tensor counts them."""
    several = weights["mean.bias"].ndim == 2
    parts = zip(*weights.values(), strict=True) if several else [weights.values()]
    return [Policy(dict(zip(weights, (value.float() for value in part), strict=True)), low, high) for part in parts]


def read_card(path: Path) -> PolicyCard:
    """Reads a card. Raises ValueError if it is damaged or absent, and for a wrong or missing field."""
    try:
        return from_json(PolicyCard, load_json(path.read_bytes()), str(path))
    except FileNotFoundError:
        raise ValueError(f"{path} is not there, so nothing is known of its policy") from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error})") from None


def roll(begin: Begin, envs: Sequence["gym.Env"], seed: int, first: int) -> list[Episode]:
    """Rolls an episode in each environment, in lock-step. The first one has the number `first`.

    Episode i depends on (seed, i) only, except for a policy's float bits. Those depend on the episodes rolled together.
    """
    generators = [np.random.default_rng(np.random.SeedSequence((seed, first + i))) for i in range(len(envs))]
    observations = [[env.reset(seed=int(rng.integers(2**31)))[0]] for env, rng in zip(envs, generators, strict=True)]
    actions, rewards = [[] for _ in envs], [[] for _ in envs]
    terminated = [False for _ in envs]
    running = list(range(len(envs)))
    act = begin(envs, generators)
    while running:
        chosen = act(running, [observations[i][-1] for i in running])
        unfinished = []
        for i, action in zip(running, chosen, strict=True):
            observation, reward, terminated[i], truncated, _ = envs[i].step(action)
            observations[i].append(observation)
            actions[i].append(action)
            rewards[i].append(reward)
            if not (terminated[i] or truncated):
                unfinished.append(i)
        running = unfinished
    return [
        Episode(stack(seen), np.stack(taken), np.array(paid), bool(ended))
        for seen, taken, paid, ended in zip(observations, actions, rewards, terminated, strict=True)
    ]


def stack(observations: Sequence[Any]) -> Any:
    """The observations of an episode as an array [T + 1, ...], or as such arrays in dictionaries."""
    if isinstance(observations[0], dict):
        return {key: stack([observation[key] for observation in observations]) for key in observations[0]}
    return np.stack(observations)


def roll_steps(behaviour: Behaviour, seed: int, steps: int) -> Iterator[Episode]:
    """Rolls whole batches until there are so many steps. Gives the fewest whole episodes that have them."""
    envs, done, rolled = [behaviour.make() for _ in range(behaviour.batch)], 0, 0
    for number, begin in enumerate(behaviour.begins, 1):
        share = steps * number / len(behaviour.begins)  # the steps that there are at its end
        while done < share:
            for episode in roll(begin, envs, seed, rolled):
                if done < share:
                    yield episode
                    done += len(episode.rewards)
            rolled += len(envs)
    for env in envs:
        env.close()


def task_name(environment: str) -> str:
    """The name of an environment in ids: its task's name, otherwise its own in lower case (reacher for Reacher-v5)."""
    names = [task.name for task in TASKS.values() if task.environment == environment]
    return names[0] if names else re.sub(r"-v\d+$", "", environment.rsplit("/", 1)[-1]).lower()


def write(dataset_id: str, episodes: Iterable[Episode], behaviour: Behaviour, origin: Origin) -> None:
    """Writes episodes as a Minari dataset, complete or not at all. Card and origin go into its metadata.

    The episodes are taken one by one. Raises ValueError if the folder cannot be written.
    """
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    card, env, versions = behaviour.card, behaviour.make(), provenance.versions(*provenance.PACKAGES, *SIMULATORS)
    task = TASKS.get(dataset_id.split("/")[1])
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
            "card": {key: value for key, value in to_json(card).items() if value is not None},
            "commit": provenance.commit(),
            "versions": versions,
            "reference": task.source if task else None,
        },
    }
    buffers = (
        EpisodeBuffer(
            observations=episode.observations if isinstance(episode.observations, dict) else list(episode.observations),
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
        storage = MinariStorage.new(
            building / "data",
            observation_space=env.observation_space,
            action_space=env.action_space,
            env_spec=env.spec,
            data_format="hdf5",
            jpeg_encoding=False,  # it would lose bits
        )
        storage.update_metadata(metadata)
        storage.update_episodes(buffers)
        for path in (building / "data").iterdir():
            flush(path)
        building.rename(folder)
    except OSError as error:
        if not minari.path(dataset_id).is_file():  # otherwise another process has written the same episodes
            raise ValueError(f"cannot write {dataset_id} in {minari.root()}: {error}") from None
    finally:
        env.close()
        delete(building)


def last_step(steps: int, value: bool) -> list[bool]:
    """Flags of an episode's steps. Only the last one can be true."""
    return [False] * (steps - 1) + [value]
