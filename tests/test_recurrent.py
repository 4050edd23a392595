"""Recurrent rollouts: step by step a model gives the same actions as a recomputation over the full history."""

from dataclasses import replace

import pytest
import torch
from helpers.models import CASES, SPACES, A, S
from helpers.reacher import REACHER, parts

import dmm.models.attention_ssm
import dmm.models.dc
import dmm.models.dt
from dmm.architectures import build_model, find_model
from dmm.batch import Batch, RecurrentState
from dmm.rollouts.history import StateStatistics
from dmm.rollouts.rollout import rollout
from dmm.training.fit import init_model

RECURRENT = [case for case in CASES if find_model(case.values[0]).recurrent]
LENGTH, K = 200, 5


def banded(real, like):
    """A mask for the full history. Each token sees as many tokens as a window has up to its last state."""
    age = torch.arange(like.shape[1]).unsqueeze(1) - torch.arange(like.shape[1])
    return torch.where((age >= 0) & (age < 3 * K - 1), 0.0, -torch.inf).expand(len(like), 1, -1, -1)


@pytest.mark.parametrize("name, overrides", RECURRENT)
def test_steps_equal_the_full_history(name, overrides, monkeypatch):
    for module in (dmm.models.dt, dmm.models.dc, dmm.models.attention_ssm):
        monkeypatch.setattr(module, "attention_bias", banded)
    torch.manual_seed(0)
    model = build_model(name, overrides, SPACES, K).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    states, actions, returns = torch.randn(2, LENGTH, S), torch.rand(2, LENGTH, A) * 2 - 1, torch.rand(2, LENGTH)
    previous = torch.cat([torch.zeros(2, 1, A), actions[:, :-1]], 1)
    steps, mask = torch.arange(LENGTH).expand(2, -1), torch.ones(2, LENGTH, dtype=torch.bool)
    with torch.inference_mode():
        expected = model(Batch(states, actions, returns, steps, mask, previous_actions=previous))
        state, found = RecurrentState(), []
        for t in range(LENGTH):
            now = (value[:, t : t + 1] for value in (states, 0 * actions, returns, steps, mask))
            found.append(model.step(Batch(*now, previous_actions=previous[:, t : t + 1]), state))
    torch.testing.assert_close(torch.stack(found, 1), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("arch", ["dt", "metamamba", "decision_mamba_correia", "ds4"])
def test_a_recurrent_rollout_is_the_window_one_while_the_window_holds_all(arch, tiny_trial):
    """Without padding they cannot differ until the window is full. The DT family pads, so K is the horizon."""
    steps = 6
    task = replace(REACHER, horizon=steps)
    settings = parts(context_length=steps, padding="right", rollout="recurrent")
    norm = StateStatistics(torch.zeros(task.spaces.state_dim).numpy(), torch.ones(task.spaces.state_dim).numpy())
    trial = replace(tiny_trial, arch=arch, task=task, overrides=(), **settings)
    windowed = replace(trial, evaluation=replace(trial.evaluation, rollout="windowed"))
    model = init_model(trial)
    one, other = (rollout(model, each, norm, [-5.0, -9.0], [1, 2]) for each in (trial, windowed))
    assert one[0] == pytest.approx(other[0], abs=1e-5) and one[1] == other[1] == [steps, steps]


def test_a_lane_that_ends_leaves_the_others_their_state():
    state = RecurrentState({torch.nn.Identity(): torch.arange(3)})
    state.drop_finished(torch.tensor([0, 2]))
    assert [value.tolist() for value in state.values()] == [[0, 2]]


def test_a_model_without_recurrence_says_so(tiny_trial):
    with pytest.raises(ValueError, match="bc of this Config has no recurrent rollout.*dt"):
        replace(tiny_trial, arch="bc", overrides=(), **parts(rollout="recurrent"))
