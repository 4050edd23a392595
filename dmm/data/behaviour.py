"""Trains behaviour policies with SAC (stable-baselines3, extra `collect`): the embedded data are collected with them.

The medium policy is the first checkpoint whose mean return is inside a band. The expert policy is the first checkpoint
above a bound. The mean is over 100 episodes of sampled actions, because data are collected with sampled actions too. Mixed is
ten policies from the way to medium, at equal distances. Each collects a tenth of the steps, as in a replay buffer. If a run
ends below the bound, its best checkpoint is published in the place of the expert, under the name best. The policies go to
DMM_HOME/policies. The replay buffer at medium is published as the dataset dmm/TASK/medium-replay-v0. Existing files of these
names are kept. The run's folder keeps the policy of every checkpoint.

The same command continues a run. Weights, optimisers and replay buffer are saved every `interval` steps. The states of
random generators are not: a continued run is another sample of the same procedure.
"""

import io
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from dmm.base import provenance
from dmm.base.checksums import dump_json, load_json, seal, unseal
from dmm.base.fields import check_fields, check_least
from dmm.base.paths import home, write_atomic
from dmm.base.progress_bar import ProgressBar
from dmm.base.threads import one_thread
from dmm.data.collect import (
    Episode,
    Origin,
    Policy,
    PolicyCard,
    load_policy,
    policies,
    read_card,
    read_policy,
    roll,
    split_policies,
    task_name,
    write,
    write_policy,
)
from dmm.data.readers import dmm as collected
from dmm.schema import from_json, to_json
from dmm.tasks.make import make_env

EPISODES = 100  # per checkpoint, all in one batch
LEVELS = ("medium", "expert")
MIXED = 10  # policies of mixed
EVALUATION_SEED = 1_000_003  # different from all seeds that collect data
LOSS = "train/critic_loss"  # the name in the log of stable-baselines3


@dataclass(frozen=True)
class Recipe:
    """The settings that fix a run."""

    environment: str
    seed: int
    medium: tuple[float, float]
    expert: float
    steps: int = 1_000_000
    interval: int = 20_000
    width: int = 128
    batch_size: int = 128

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self, 1, "steps", "interval", "width", "batch_size")
        check_least(self, 0, "seed")
        if self.steps % self.interval:
            raise ValueError(f"--steps {self.steps} is no multiple of --interval {self.interval}")
        if self.medium[0] > self.medium[1]:
            raise ValueError(f"--medium takes the lowest return first; got {self.medium[0]:g} {self.medium[1]:g}")


@dataclass(frozen=True)
class CurvePoint:
    """The returns of one checkpoint."""

    steps: int  # environment steps done
    mean: float  # undiscounted return, over EPISODES episodes
    std: float


@dataclass(frozen=True)
class RunProgress:
    """progress.json: the last checkpoint and the curve so far."""

    steps: int = 0  # the checkpoint's files have this number in their names
    curve: list[CurvePoint] = field(default_factory=list)


class Replay(NamedTuple):
    """The replay buffer of one environment, N steps in their order. Actions are in the environment's units."""

    observations: np.ndarray  # [N, S]
    next_observations: np.ndarray  # [N, S]
    rewards: np.ndarray  # [N]
    dones: np.ndarray  # [N], 1 at the last step of an episode
    timeouts: np.ndarray  # [N], 1 where the time limit was the reason
    actions: np.ndarray  # [N, A]


BUFFER_NAMES = Replay._fields[:-1]  # the arrays that stable-baselines3 keeps under the same names and in the same units


def actor_weights(model) -> dict[str, torch.Tensor]:
    """The weights of a stable-baselines3 SAC actor, under the names of `Policy`."""
    state, names = model.actor.state_dict(), {"mu": "mean", "log_std": "log_std"}
    weights = {}
    for key, value in state.items():
        part, *rest = key.split(".")
        if part == "latent_pi":  # Sequential(Linear, ReLU, Linear, ReLU): every second entry is a layer
            weights[f"hidden.{int(rest[0]) // 2}.{rest[1]}"] = value.detach().clone()
        elif part in names:
            weights[f"{names[part]}.{rest[0]}"] = value.detach().clone()
    return weights


def replay_episodes(replay: Replay) -> list[Episode]:
    """Cuts a replay buffer into whole episodes. An unfinished episode at the end is dropped."""
    episodes, start = [], 0
    for end in np.flatnonzero(replay.dones) + 1:
        observations = np.concatenate([replay.observations[start:end], replay.next_observations[end - 1 : end]])
        terminated = not replay.timeouts[end - 1]
        episodes.append(Episode(observations, replay.actions[start:end], replay.rewards[start:end], terminated))
        start = end
    return episodes


@one_thread()
def train(recipe: Recipe) -> Path:
    """Trains one seed until the expert bound or the last step. Continues a run that was stopped. Returns its folder.

    Raises ValueError if the environment is unknown or has no continuous actions, if stable-baselines3 is absent, or if the
    folder has a run with other settings.
    """
    import gymnasium as gym

    try:
        from stable_baselines3 import SAC
    except ImportError:
        raise ValueError("this needs stable-baselines3: pip install 'dmm-bench[collect]'") from None

    try:
        actions = make_env(recipe.environment).action_space
    except gym.error.Error as error:
        raise ValueError(f"unknown environment {recipe.environment!r}: {error}") from None
    if not isinstance(actions, gym.spaces.Box):
        raise ValueError(f"SAC needs continuous actions; those of {recipe.environment} are {actions}")
    folder = home() / "behaviour" / recipe.environment / f"seed-{recipe.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    settings = to_json(recipe)
    previous = folder / "recipe.json"
    if previous.exists() and (found := read_json(previous)) != settings:
        raise ValueError(f"{folder} has a run with other settings ({found}). Move the folder away to start a new run")
    write_atomic(previous, dump_json(settings))
    model = SAC(
        "MlpPolicy",
        recipe.environment,
        seed=recipe.seed,
        batch_size=recipe.batch_size,
        buffer_size=recipe.steps + 1,  # never full, so that its position is its size
        learning_starts=10_000,
        policy_kwargs={"net_arch": [recipe.width, recipe.width]},
        device="cpu",
    )
    curve = resume(model, folder)
    evaluations = -(-(recipe.steps - model.num_timesteps) // recipe.interval)
    bar = ProgressBar(recipe.steps, "steps", f"{recipe.environment} seed {recipe.seed}", evaluations)

    def show_step(*_: object) -> bool:
        losses = model.logger.name_to_value
        notes = {"loss": f"{losses[LOSS]:.3g}"} if LOSS in losses else {}
        bar.advance(model.num_timesteps, notes, evaluates=model.num_timesteps % recipe.interval == 0)
        return True  # the training continues

    with bar:
        while model.num_timesteps < recipe.steps and len(reached(folder)) < len(LEVELS):
            if not bar.started:
                bar.start(model.num_timesteps)
            model.learn(recipe.interval, callback=show_step, reset_num_timesteps=False, log_interval=10**9)
            space = model.action_space
            policy = Policy(actor_weights(model), space.low, space.high)
            envs = [make_env(recipe.environment) for _ in range(EPISODES)]
            episodes = roll(policy.begin, envs, EVALUATION_SEED, 0)
            returns = [episode.rewards.sum() for episode in episodes]
            point = CurvePoint(model.num_timesteps, float(np.mean(returns)), float(np.std(returns)))
            curve.append(point)
            bar.evaluated({"return": f"{point.mean:,.0f}"})
            keep(recipe, model, policy, curve, folder)
            save(model, folder, curve)
            publish(folder)
    publish(folder, () if reached(folder, ("expert",)) else ("best",))
    return folder


def keep(recipe: Recipe, model, policy: Policy, curve: list[CurvePoint], folder: Path) -> None:
    """Writes the newest policy: under its step, for each level that it is the first to reach, and as the best one so far."""
    point, (low, high) = curve[-1], recipe.medium
    levels = {"medium": low <= point.mean <= high, "expert": point.mean >= recipe.expert}
    new = [name for name in LEVELS if levels[name] and name not in reached(folder)]
    if max(curve, key=lambda entry: entry.mean) is point:
        new.append("best")
    new.append(f"step-{point.steps}")  # data of mixed quality are collected with policies from the way
    for name in new:
        if name == "medium":
            write_replay(folder / "medium-replay.npz", read_replay(model))
        write_policy(folder / f"{name}.safetensors", policy.weights, make_card(recipe, point))
    if "medium" in new:
        write_mixed(folder)


def write_mixed(folder: Path) -> None:
    """Writes mixed, in float16, with the returns of its episodes. Fewer checkpoints before medium give nothing."""

    last = read_card(folder / "medium.json")
    way = sorted(int(path.stem.split("-")[1]) for path in folder.glob("step-*.safetensors"))
    way = [steps for steps in way if steps <= (last.steps or 0)]
    if len(way) < MIXED:
        return
    chosen = [way[round(i * len(way) / MIXED) - 1] for i in range(1, MIXED + 1)]
    parts = [read_policy(folder / f"step-{steps}.safetensors")[0] for steps in chosen]
    weights = {name: torch.stack([part[name] for part in parts]).half() for name in parts[0]}
    envs = [make_env(last.environment) for _ in range(EPISODES // MIXED)]
    space: Any = envs[0].action_space
    returns = [
        episode.rewards.sum()
        for i, policy in enumerate(split_policies(weights, space.low, space.high))
        for episode in roll(policy.begin, envs, EVALUATION_SEED, i * len(envs))
    ]
    card = replace(
        last,
        algorithm=f"{last.algorithm}: its policies after {', '.join(map(str, chosen))} steps",
        return_mean=round(float(np.mean(returns)), 1),
        return_std=round(float(np.std(returns)), 1),
        episodes=len(returns),
    )
    write_policy(folder / "mixed.safetensors", weights, card)


def make_card(recipe: Recipe, point: CurvePoint) -> PolicyCard:
    """The card of a policy: what the policy is and how it was trained."""
    import stable_baselines3

    low, high = recipe.medium
    command = (
        f"dmm data train-behaviour {shlex.quote(recipe.environment)} --seed {recipe.seed} --steps {recipe.steps}"
        f" --interval {recipe.interval} --width {recipe.width} --batch-size {recipe.batch_size}"
        f" --medium {low:g} {high:g} --expert {recipe.expert:g}"
    )
    library = f"stable-baselines3 {stable_baselines3.__version__}"
    return PolicyCard(
        environment=recipe.environment,
        algorithm=f"SAC ({library}, its defaults but for width, batch size and learning_starts 10,000)",
        command=command,
        commit=provenance.commit(),
        steps=point.steps,
        seed=recipe.seed,
        return_mean=round(point.mean, 1),
        return_std=round(point.std, 1),
        episodes=EPISODES,
        actions="sampled",
        licence="MIT",
        versions=provenance.versions("torch", "gymnasium", "mujoco"),
    )


def reached(folder: Path, names: Sequence[str] = LEVELS) -> list[str]:
    """The levels that a run has reached. A level's card is the last of its files to be written."""
    return [name for name in names if (folder / f"{name}.json").exists()]


def publish(folder: Path, also: tuple[str, ...] = ()) -> None:
    """Copies the policies that a run has reached to DMM_HOME/policies, and writes its replay buffer as a dataset."""
    for name in reached(folder, (*LEVELS, "mixed", *also)):
        card = read_card(folder / f"{name}.json")
        task = task_name(card.environment)
        if f"{task}-{name}" not in policies():
            read_policy(folder / f"{name}.safetensors")  # a damaged one is not published
            for suffix in (".json", ".safetensors"):
                place = home() / "policies" / f"{task}-{name}{suffix}"
                write_atomic(place, (folder / f"{name}{suffix}").read_bytes())
        replay, dataset_id = folder / f"{name}-replay.npz", f"dmm/{task}/{name}-replay-v0"
        if replay.exists() and not collected.path(dataset_id).is_file():
            episodes, policy = replay_episodes(load_replay(replay)), load_policy(folder / f"{name}.safetensors")
            assert card.seed is not None, "a trained policy's card has its seed"
            write(dataset_id, episodes, policy, Origin(policy=f"replay of {task}-{name}", seed=card.seed))


def read_replay(model) -> Replay:
    """The model's replay buffer so far."""
    buffer, size = model.replay_buffer, model.replay_buffer.pos
    arrays = {name: getattr(buffer, name)[:size, 0] for name in BUFFER_NAMES}
    return Replay(**arrays, actions=model.policy.unscale_action(buffer.actions[:size, 0]))


def write_replay(path: Path, replay: Replay) -> None:
    """Writes a checksum and a replay buffer to a file, whole or not at all."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **replay._asdict())
    write_atomic(path, seal(file.getvalue()))


def load_replay(path: Path) -> Replay:
    """Reads a replay buffer. Raises ValueError if the file is damaged or absent."""
    with np.load(io.BytesIO(read_sealed(path)), allow_pickle=False) as arrays:
        return Replay(**arrays)


def read_sealed(path: Path) -> bytes:
    """The content of a file that begins with its checksum. Raises ValueError if the file is damaged or absent."""
    try:
        return unseal(path.read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise damaged(path, error) from None


def read_json(path: Path) -> Any:
    """The content of a JSON file with a checksum. Raises ValueError if the file is damaged."""
    try:
        return load_json(path.read_bytes())
    except ValueError as error:
        raise damaged(path, error) from None


def damaged(path: Path, error: Exception) -> ValueError:
    """The error for a file of a run that cannot be continued without it."""
    return ValueError(f"{path} is damaged or gone ({error}). Move its folder away to start a new run")


def save(model, folder: Path, curve: list[CurvePoint]) -> None:
    """Writes a checkpoint. progress.json is written last and has the checkpoint's number."""
    steps, file = model.num_timesteps, io.BytesIO()
    torch.save(model.get_parameters(), file)
    write_atomic(folder / f"model-{steps}.pt", seal(file.getvalue()))
    write_replay(folder / f"replay-{steps}.npz", read_replay(model))
    write_atomic(folder / "progress.json", dump_json(to_json(RunProgress(steps, curve))))
    for old in [*folder.glob("model-*.pt"), *folder.glob("replay-*.npz")]:
        if old.stem.split("-")[1] != str(steps):
            old.unlink()


def resume(model, folder: Path) -> list[CurvePoint]:
    """Loads the last checkpoint into the model, if there is one. Returns the curve so far."""
    if not (folder / "progress.json").exists():
        return []
    progress = from_json(RunProgress, read_json(folder / "progress.json"))
    steps = progress.steps
    model.set_parameters(torch.load(io.BytesIO(read_sealed(folder / f"model-{steps}.pt")), weights_only=True))
    buffer, replay = model.replay_buffer, load_replay(folder / f"replay-{steps}.npz")
    for name in BUFFER_NAMES:
        getattr(buffer, name)[:steps, 0] = getattr(replay, name)
    buffer.actions[:steps, 0] = model.policy.scale_action(replay.actions)
    # the unfinished episode is lost. Its last step counts as a time limit, whose target is bootstrapped
    if not buffer.dones[steps - 1, 0]:
        buffer.dones[steps - 1, 0] = buffer.timeouts[steps - 1, 0] = 1
    buffer.pos = model.num_timesteps = steps
    return progress.curve
