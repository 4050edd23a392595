"""Rollouts of Atari: ten episodes in lock-step beside one at a time, whose whole window is embedded at each step.

Each episode loads the game, which takes 0.07 s on both sides. In Breakout, untrained models lose all lives in about 140
steps. A game of Pong lasts longer.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dmm.architectures import find_model
from dmm.batch import Batch
from dmm.bench.baselines import optional_package
from dmm.bench.frames import PeerModel, training
from dmm.bench.timing import BenchmarkCase, TimingBudget
from dmm.config import Evaluation, Training, Trial
from dmm.environments.lanes import Lanes, make_lanes
from dmm.models import DecisionModel
from dmm.rollouts.history import StateStatistics
from dmm.rollouts.rollout import evaluate
from dmm.tasks import find_task
from dmm.training.fit import init_model

K = 30
DT, DMM = ("DT", "dt", "DT, Atari"), ("DMM-C", "metamamba", "DMM-C, Atari")
CASES = ((*DT, "breakout"), (*DMM, "breakout"), (*DMM, "pong"))  # label, architecture, preset, task
NO_STATISTICS = StateStatistics(np.zeros(0), np.zeros(0))  # frames are not normalised


def cases(budget: TimingBudget, device: str) -> Iterator[BenchmarkCase]:
    """Windows of frames, an update on them, and rollouts."""
    yield from training(budget, device)
    yield from rollouts(budget, device)


def rollouts(budget: TimingBudget, device: str) -> Iterator[BenchmarkCase]:
    """Untrained models, at most 500 steps an episode. DMM-C has no positions, so it can be recurrent."""
    missing = {name: reason for name in ("ale_py", "transformers") if (reason := optional_package(name)[1])}
    for name, arch, preset, game in CASES:
        work, unit = f"{name} (K {K}, width 128), {game.capitalize()}", "environment step"
        if "ale_py" in missing:
            yield BenchmarkCase(work=work, unit=unit, peers={}, ours={}, missing=missing)
            continue
        count, steps = (2, 3) if budget.quick else (10, 500)
        trial = Trial(
            arch=arch,
            task=find_task(game),
            dataset=("synthetic",),
            training=Training(context_length=K, padding="right"),
            evaluation=Evaluation(num_evaluations=1, episodes_per_evaluation=count, actions="sampled", max_steps=steps),
            seed=0,
            overrides=tuple(find_model(arch).presets[preset].items()),
        )
        model, lanes = init_model(trial).to(device).eval(), make_lanes(trial.task, 1)
        peers: dict[str, nn.Module] = {"one at a time, our model": model}
        if arch == "dt" and "transformers" not in missing:
            peers["one at a time, transformers"] = PeerModel(128, 6, 8, K, trial.task.spaces.actions).to(device).eval()

        def roll(mode: str, trial: Trial = trial, model: DecisionModel = model) -> int:
            trial = replace(trial, evaluation=replace(trial.evaluation, rollout=mode))
            results = evaluate(model, trial, NO_STATISTICS, trial.training.updates)
            return sum(sum(result.lengths) for result in results)

        modes = ("windowed", "recurrent") if model.can_recur(model.config) else ("windowed",)
        yield BenchmarkCase(
            work=work,
            unit=unit,
            peers={
                label: lambda peer=peer, lanes=lanes, trial=trial: peer_episode(peer, lanes, trial, device)
                for label, peer in peers.items()
            },
            ours={f"dmm, {mode}": lambda mode=mode, roll=roll: roll(mode) for mode in modes},
            missing=missing if arch == "dt" else {},
        )


@torch.no_grad()
def peer_episode(model: nn.Module, lanes: Lanes, trial: Trial, device: str) -> int:
    """Rolls one episode as kzl's Atari scripts do, and returns its length in steps.

    The history grows by concatenation. The model is given the frames of the last K steps at each step.
    """
    stack = torch.from_numpy(lanes.reset([0])).to(device)
    before, frames = stack.shape[1] - 1, stack[0]
    actions, returns = torch.zeros(1, dtype=torch.int64, device=device), [trial.task.target_return]
    generator = torch.Generator(device).manual_seed(0)
    for step in range(trial.horizon):
        real = min(step + 1, K)
        window = Batch(
            frames[None, -(real + before) :],
            actions[None, -real:],
            torch.tensor([returns[-real:]], device=device),
            torch.arange(step + 1 - real, step + 1, device=device)[None],
            torch.ones(1, real, dtype=torch.bool, device=device),
        )
        action = torch.multinomial(F.softmax(model(window)[0, -1], 0), 1, generator=generator)
        stack, rewards, finished = lanes.step(action.cpu().numpy())
        if finished[0]:
            break
        frames = torch.cat([frames, torch.from_numpy(stack[0, -1:]).to(device)])
        actions = torch.cat([actions[:-1], action, action.new_zeros(1)])
        returns.append(returns[-1] - float(rewards[0]))
    return step + 1
