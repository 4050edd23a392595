"""Rollouts of Breakout: ten episodes in lock-step beside one at a time, whose whole window is embedded at each step."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from dmm.architectures import find_model
from dmm.batch import Batch
from dmm.bench.baselines import optional_package
from dmm.bench.timing import BenchmarkCase, TimingBudget
from dmm.config import Evaluation, Training, Trial
from dmm.environments.lanes import Lanes, make_lanes
from dmm.layers.embedding import PixelEncoder
from dmm.models import DecisionModel
from dmm.rollouts.history import StateStatistics
from dmm.rollouts.rollout import evaluate
from dmm.tasks import find_task
from dmm.training.fit import init_model

K = 30
MODELS = {"DT": ("dt", "DT, Atari", {"unused_table": False}), "DMM-C": ("metamamba", "DMM-C, Atari", {})}
NO_STATISTICS = StateStatistics(np.zeros(0), np.zeros(0))  # frames are not normalised


def rolling(budget: TimingBudget, device: str) -> Iterator[BenchmarkCase]:
    """Breakout with untrained models, K = 30, at most 100 steps an episode. Models without positions can be recurrent."""
    ale, reason = optional_package("ale_py")
    for name, (arch, preset, overrides) in MODELS.items():
        work = f"{name} (K {K}, width 128), Breakout"
        if ale is None:
            yield BenchmarkCase(work=work, unit="environment step", peers={}, ours={}, missing={"ALE": reason})
            continue
        count, steps = (2, 3) if budget.quick else (10, 100)
        trial = Trial(
            arch=arch,
            task=find_task("breakout"),
            dataset=("synthetic",),
            training=Training(context_length=K, padding="right"),
            evaluation=Evaluation(num_evaluations=1, episodes_per_evaluation=count, actions="sampled", max_steps=steps),
            seed=0,
            overrides=tuple({**find_model(arch).presets[preset], **overrides}.items()),
        )
        model, lanes = init_model(trial).to(device).eval(), make_lanes(trial.task, 1)

        def episode(trial: Trial = trial, model: DecisionModel = model, lanes: Lanes = lanes) -> int:
            return peer_episode(model, lanes, trial, device)

        def roll(mode: str, trial: Trial = trial, model: DecisionModel = model) -> int:
            trial = replace(trial, evaluation=replace(trial.evaluation, rollout=mode))
            results = evaluate(model, trial, NO_STATISTICS, trial.training.updates)
            return sum(sum(result.lengths) for result in results)

        modes = ("windowed", "recurrent") if model.can_recur(model.config) else ("windowed",)
        yield BenchmarkCase(
            work=work,
            unit="environment step",
            peers={"one episode at a time": episode},
            ours={f"dmm, {mode}": lambda mode=mode, roll=roll: roll(mode) for mode in modes},
        )


@torch.no_grad()
def peer_episode(model: DecisionModel, lanes: Lanes, trial: Trial, device: str) -> int:
    """Rolls one episode as kzl's Atari scripts do, and returns its length in steps.

    The history of stacks is float and grows by concatenation. The last K stacks are embedded at each step. The trunk is ours.
    """
    states = as_floats(lanes.reset([0]), device)
    actions = torch.zeros(0, dtype=torch.int64, device=device)
    returns = [trial.task.target_return]
    generator, embed = torch.Generator(device).manual_seed(0), model.embed
    assert isinstance(embed, torch.nn.Module) and isinstance(embed.states, PixelEncoder)
    for step in range(trial.horizon):
        embeddings = embed_stacks(embed.states, states[-K:])[None]
        window = Batch(
            embeddings,
            torch.cat([actions, actions.new_zeros(1)])[-K:][None],
            torch.tensor([returns[-K:]], device=device),
            torch.arange(step + 1, device=device)[-K:][None],
            torch.ones(embeddings.shape[:2], dtype=torch.bool, device=device),
            state_embeddings=embeddings,
        )
        action = torch.multinomial(F.softmax(model.act(window)[0], 0), 1, generator=generator)
        outcome = lanes.step(action.cpu().numpy())
        if outcome.finished[0]:
            break
        actions, states = torch.cat([actions, action]), torch.cat([states, as_floats(outcome.states, device)])
        returns.append(returns[-1] - float(outcome.rewards[0]))
    return step + 1


def as_floats(states: UInt8[np.ndarray, "B C height width"], device: str) -> Float[Tensor, "B C height width"]:
    """Stacks of frames from 0 to 1."""
    return torch.from_numpy(states).to(device).float() / 255


def embed_stacks(encoder: PixelEncoder, stacks: Float[Tensor, "K C height width"]) -> Float[Tensor, "K H"]:
    """The embeddings of stacks, one by one."""
    x = stacks
    for convolution in (encoder.first, encoder.second, encoder.third):
        x = F.relu(convolution(x))
    return encoder.linear(x.flatten(1))
