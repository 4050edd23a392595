"""Rollouts: the history equals a training window, episodes do not mix, and a plain gym loop gives the same returns."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import torch
from helpers.reacher import REACHER, TINY

from dmm.data.trajectories import assemble
from dmm.data.windows import read_windows
from dmm.models import DecisionModel
from dmm.rollouts.history import StateStatistics, WindowedHistory
from dmm.rollouts.rollout import episode_batches, evaluate, rollout
from dmm.tasks import find_task

HOPPER = find_task("hopper")


class Scripted(DecisionModel):
    """Acts on the last state and the last return-to-go, element by element: no batch can move its bits."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        pass

    def __init__(self, task):
        super().__init__(self.Config(), task.spaces, 4)
        self.parameter = torch.nn.Parameter(torch.zeros(1))

    def forward(self, batch):
        actions = self.spaces.action_dim
        return torch.tanh(batch.states[..., :actions] + batch.returns_to_go[..., None] / 7)


def statistics(task) -> StateStatistics:
    return StateStatistics(np.linspace(-0.1, 0.2, task.spaces.state_dim), np.linspace(0.5, 2, task.spaces.state_dim))


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("pad_state", ["raw zero", "normalised zero"])
def test_history_equals_training_window(padding, pad_state):
    """With the same pads in training and rollouts, what the model sees at step t is the window of the data at t."""
    protocol = replace(
        TINY,
        padding=padding,
        pad_state=pad_state,
        pad_action=-10.0,
        rollout_pad_state=pad_state,
        rollout_pad_action=-10.0,
    )
    generator = np.random.default_rng(0)
    steps = 9
    states = generator.normal(size=(steps, REACHER.spaces.state_dim)).astype(np.float32)
    actions = generator.uniform(-1, 1, (steps, REACHER.spaces.action_dim)).astype(np.float32)
    rewards = generator.normal(size=steps).astype(np.float32)
    data = assemble("test", states, actions, rewards, np.array([0, steps]), np.array([False]))
    norm = StateStatistics(data.state_mean, data.state_std + protocol.std_offset)
    needs = frozenset({"previous_actions", "goals", "previous_goals"})
    history = WindowedHistory(REACHER, protocol, norm, [float(data.returns_to_go[0])], needs)
    for t in range(steps):
        history.observe(states[t : t + 1])
        seen = history.window()
        anchored = replace(protocol, window_anchor="end")
        expected = read_windows(data, torch.tensor([t]), anchored, REACHER.return_scale, REACHER.spaces, needs)
        now = int(expected.last_step)
        for field in fields(expected):
            want, got = getattr(expected, field.name), getattr(seen, field.name)
            if field.name in ("actions", "goals"):
                chosen = want[0, now].clone()
                want[0, now] = 0  # not chosen yet
                getattr(history, field.name)[:, t] = chosen
            if want is not None:
                torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5, check_dtype=True)
        history.record_rewards(rewards[t : t + 1])


def plain_loop(model, task, norm, target, seed) -> tuple[float, int]:
    """One episode as anybody would write it."""
    env = task.make()
    state, _ = env.reset(seed=seed)
    left, total, length = target / task.return_scale, 0.0, 0
    while True:
        seen = torch.tensor((state - norm.mean) / norm.std, dtype=torch.float32)
        action = torch.tanh(seen[: task.spaces.action_dim] + torch.tensor(left, dtype=torch.float32) / 7).numpy()
        state, reward, terminated, truncated, _ = env.step(action)
        total, length, left = total + float(reward), length + 1, left - float(reward) / task.return_scale
        if terminated or truncated or length == task.horizon:
            return total, length


def test_lock_step_equals_a_plain_loop_though_episodes_end_at_different_times():
    model, norm, seeds = Scripted(HOPPER), statistics(HOPPER), [3, 1, 4, 15, 9, 2]
    targets = [3600.0, 1800.0, 360.0, -50.0, 0.0, 3600.0]
    returns, lengths = rollout(model, HOPPER, TINY, norm, targets, seeds)
    assert len(set(lengths)) > 2
    expected = [plain_loop(model, HOPPER, norm, *episode) for episode in zip(targets, seeds, strict=True)]
    assert lengths == [length for _, length in expected]
    np.testing.assert_allclose(returns, [value for value, _ in expected], rtol=1e-6)


def test_an_episode_does_not_depend_on_the_others_of_its_batch():
    model, norm = Scripted(HOPPER), statistics(HOPPER)
    together = rollout(model, HOPPER, TINY, norm, [3600.0] * 3, [5, 6, 7])
    alone = [rollout(model, HOPPER, TINY, norm, [3600.0], [seed]) for seed in (5, 6, 7)]
    assert together == ([a[0][0] for a in alone], [a[1][0] for a in alone])


def test_an_evaluation_has_every_episode_of_every_target_from_the_same_starts(tiny_trial):
    batches = episode_batches(TINY, 1)
    assert [batch.episodes for batch in batches] == [
        ((1.0, 0), (1.0, 1), (1.0, 2)),
        ((1.0, 3), (1.0, 4), (2.0, 0)),
        ((2.0, 1), (2.0, 2), (2.0, 3)),
        ((2.0, 4),),
    ]

    class Still(Scripted):
        Config = Scripted.Config

        def forward(self, batch):
            return 0 * batch.actions

    first, second = evaluate(Still(REACHER), tiny_trial, statistics(REACHER), 1, 4)
    assert (first.update, first.target, first.asked, len(first.returns)) == (4, 1.0, -5.0, 5)
    assert first.returns == second.returns  # a model that ignores the target gets the same for each
    other = evaluate(Still(REACHER), tiny_trial, statistics(REACHER), 2, 8)
    assert other[0].returns != first.returns


def test_a_rollout_leaves_the_model_in_training_mode():
    model = Scripted(REACHER).train()
    rollout(model, REACHER, TINY, statistics(REACHER), [1.0], [0])
    assert model.training
