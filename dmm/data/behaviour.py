"""Trains behaviour policies with SAC (stable-baselines3, extra `collect`): the source of the embedded data.

medium is the first checkpoint whose mean return lies in a band, expert the first above a bound; both are measured over
100 episodes of sampled actions, as the data are collected. They are published under DMM_HOME/policies, the replay at
medium as the dataset dmm/TASK/medium-replay-v0, unless others of these names are there. A run is resumed by the same
command: weights, optimisers and replay are saved every `interval` steps (generators are not: a resumed run is another
sample of the same procedure).
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from dmm.base import provenance
from dmm.base.paths import home, write_atomic
from dmm.data.collect import Episode, Policy, policies, roll, task_name, write
from dmm.data.readers import minari

EPISODES = 100  # per checkpoint; SHARD does not matter here
LEVELS = ("medium", "expert")
EVALUATION_SEED = 1_000_003  # apart from every seed that collects data


@dataclass(frozen=True)
class Recipe:
    """What fixes a behaviour run."""

    environment: str
    seed: int
    medium: tuple[float, float]
    expert: float
    steps: int = 1_000_000
    interval: int = 20_000
    width: int = 128
    batch_size: int = 128


def actor_weights(model) -> dict[str, torch.Tensor]:
    """The actor of a stable-baselines3 SAC model under the names of dmm.collect.Policy."""
    state, names = model.actor.state_dict(), {"mu": "mean", "log_std": "log_std"}
    weights = {}
    for key, value in state.items():
        part, *rest = key.split(".")
        if part == "latent_pi":  # Sequential(Linear, ReLU, Linear, ReLU): every second entry is a layer
            weights[f"hidden.{int(rest[0]) // 2}.{rest[1]}"] = value.detach().clone()
        elif part in names:
            weights[f"{names[part]}.{rest[0]}"] = value.detach().clone()
    return weights


def replay_episodes(arrays: dict[str, np.ndarray]) -> list[Episode]:
    """Cuts a replay buffer, in the order of its steps, into whole episodes; a trailing unfinished piece is dropped."""
    episodes, start = [], 0
    for end in np.flatnonzero(arrays["dones"]) + 1:
        observations = np.concatenate([arrays["observations"][start:end], arrays["next_observations"][end - 1 : end]])
        terminated = not arrays["timeouts"][end - 1]
        episodes.append(Episode(observations, arrays["actions"][start:end], arrays["rewards"][start:end], terminated))
        start = end
    return episodes


def train(recipe: Recipe, report=print) -> Path:
    """Trains one seed until the expert bound or the last step; returns its folder. Called again, it goes on."""
    import gymnasium as gym
    from safetensors.torch import save_file
    from stable_baselines3 import SAC

    torch.set_num_threads(1)
    try:
        gym.spec(recipe.environment)
    except gym.error.Error as error:
        raise ValueError(f"unknown environment {recipe.environment!r}: {error}") from None
    folder = home() / "behaviour" / recipe.environment / f"seed-{recipe.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    settings = json.loads(json.dumps(asdict(recipe)))
    previous = folder / "recipe.json"
    if previous.exists() and json.loads(previous.read_text()) != settings:
        raise ValueError(
            f"{folder} holds a run with other settings ({previous.read_text()}); move it away to begin anew"
        )
    write_atomic(previous, json.dumps(settings).encode())
    model = SAC(
        "MlpPolicy",
        recipe.environment,
        seed=recipe.seed,
        batch_size=recipe.batch_size,
        buffer_size=recipe.steps + 1,  # never full: its position is its size
        learning_starts=10_000,
        policy_kwargs={"net_arch": [recipe.width, recipe.width]},
        device="cpu",
    )
    curve = resume(model, folder)
    while model.num_timesteps < recipe.steps and len(reached(folder)) < len(LEVELS):
        began = time.perf_counter()
        model.learn(recipe.interval, reset_num_timesteps=False, log_interval=10**9)
        rate = recipe.interval / (time.perf_counter() - began)
        space = model.action_space
        policy = Policy(actor_weights(model), space.low, space.high)
        returns = [episode.rewards.sum() for episode in roll(policy, recipe.environment, EVALUATION_SEED, 0, EPISODES)]
        point = {"steps": model.num_timesteps, "mean": float(np.mean(returns)), "std": float(np.std(returns))}
        curve.append(point)
        done, spread = f"{point['steps']:>9,} steps", f"{point['mean']:.0f} +- {point['std']:.0f}"
        report(f"{recipe.environment} seed {recipe.seed}: {done}, return {spread}, {rate:.0f} steps/s")
        low, high = recipe.medium
        levels = {"medium": low <= point["mean"] <= high, "expert": point["mean"] >= recipe.expert}
        new = [name for name in LEVELS if levels[name] and name not in reached(folder)]
        if max(curve, key=lambda entry: entry["mean"]) is point:
            new.append("best")
        for name in new:
            save_file(policy.weights, folder / f"{name}.safetensors")
            if name == "medium":
                np.savez(folder / "medium-replay.npz", allow_pickle=False, **replay_arrays(model))
            write_atomic(folder / f"{name}.json", json.dumps(card(recipe, point), indent=1).encode())
        save(model, folder, curve)
        publish(folder)
    publish(folder)
    return folder


def card(recipe: Recipe, point: dict) -> dict:
    """What a policy is and how it came to be."""
    import stable_baselines3

    low, high = recipe.medium
    command = (
        f"dmm data train-behaviour {recipe.environment} --seed {recipe.seed} --steps {recipe.steps}"
        f" --interval {recipe.interval} --width {recipe.width} --batch-size {recipe.batch_size}"
        f" --medium {low:g} {high:g} --expert {recipe.expert:g}"
    )
    library = f"stable-baselines3 {stable_baselines3.__version__}"
    return {
        "environment": recipe.environment,
        "algorithm": f"SAC ({library}, its defaults but for width, batch size and learning_starts 10,000)",
        "command": command,
        "commit": provenance.commit(),
        "steps": point["steps"],
        "seed": recipe.seed,
        "return_mean": round(point["mean"], 1),
        "return_std": round(point["std"], 1),
        "episodes": EPISODES,
        "actions": "sampled",
        "licence": "MIT",
        "versions": provenance.versions("torch", "gymnasium", "mujoco"),
    }


def reached(folder: Path) -> list[str]:
    """The levels that a run has reached; a card is the last that is written of one."""
    return [name for name in LEVELS if (folder / f"{name}.json").exists()]


def publish(folder: Path) -> None:
    """Puts the policies that a run has reached, and its replay as a dataset, where data are collected from."""
    for name in reached(folder):
        card = json.loads((folder / f"{name}.json").read_text())
        task = task_name(card["environment"])
        if f"{task}-{name}" not in policies():
            for suffix in (".json", ".safetensors"):
                place = home() / "policies" / f"{task}-{name}{suffix}"
                write_atomic(place, (folder / f"{name}{suffix}").read_bytes())
        replay, dataset_id = folder / f"{name}-replay.npz", f"dmm/{task}/{name}-replay-v0"
        if replay.exists() and not minari.path(dataset_id).is_file():
            with np.load(replay, allow_pickle=False) as arrays:
                episodes = replay_episodes(dict(arrays))
            write(dataset_id, episodes, card, {"policy": f"replay of {task}-{name}", "seed": card["seed"]})


def replay_arrays(model) -> dict[str, np.ndarray]:
    """The replay buffer so far, one environment, actions in the environment's units."""
    buffer, size = model.replay_buffer, model.replay_buffer.pos
    arrays = {
        name: getattr(buffer, name)[:size, 0]
        for name in ("observations", "next_observations", "rewards", "dones", "timeouts")
    }
    return {**arrays, "actions": model.policy.unscale_action(buffer.actions[:size, 0])}


def save(model, folder: Path, curve: list[dict]) -> None:
    """Writes a checkpoint; progress.json comes last and names what it belongs to."""
    steps = model.num_timesteps
    torch.save(model.get_parameters(), folder / f"model-{steps}.pt")
    np.savez(folder / f"replay-{steps}.npz", allow_pickle=False, **replay_arrays(model))
    write_atomic(folder / "progress.json", json.dumps({"steps": steps, "curve": curve}, indent=1).encode())
    for old in [*folder.glob("model-*.pt"), *folder.glob("replay-*.npz")]:
        if old.stem.split("-")[1] != str(steps):
            old.unlink()


def resume(model, folder: Path) -> list[dict]:
    """Loads the last checkpoint into the model, if there is one; returns the curve so far."""
    if not (folder / "progress.json").exists():
        return []
    progress = json.loads((folder / "progress.json").read_text())
    steps = progress["steps"]
    model.set_parameters(torch.load(folder / f"model-{steps}.pt", weights_only=True))
    with np.load(folder / f"replay-{steps}.npz", allow_pickle=False) as arrays:
        buffer = model.replay_buffer
        for name in ("observations", "next_observations", "rewards", "dones", "timeouts"):
            getattr(buffer, name)[:steps, 0] = arrays[name]
        buffer.actions[:steps, 0] = model.policy.scale_action(arrays["actions"])
    if not buffer.dones[
        steps - 1, 0
    ]:  # the episode under way is lost: a cut that is no end, bootstrapped as a time limit is
        buffer.dones[steps - 1, 0] = buffer.timeouts[steps - 1, 0] = 1
    buffer.pos = model.num_timesteps = steps
    return progress["curve"]
