"""Rollouts: the history equals a training window, episodes do not mix, and a plain gym loop gives the same returns."""

from dataclasses import dataclass, fields, replace
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from helpers.reacher import REACHER, parts

from dmm.base.seeds import derive_seed
from dmm.config import Target, Trial
from dmm.data.trajectories import assemble
from dmm.data.windows import read_windows
from dmm.models import DecisionModel
from dmm.rollouts import rollout as rollout_module
from dmm.rollouts.history import StateStatistics, WindowedHistory
from dmm.rollouts.rollout import episode_batches, evaluate, rollout
from dmm.tasks import Task, find_task

HOPPER = find_task("hopper")


def a_trial(task=REACHER, seed=0, **overrides) -> Trial:
    """A trial whose task, seed and settings count. The model of its rollouts is another one."""
    return Trial(arch="dt", task=task, dataset=("none",), seed=seed, **parts(**overrides))


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
    trial = a_trial(
        padding=padding, pad_state=pad_state, pad_action=-10.0, rollout_pad_state=pad_state, rollout_pad_action=-10.0
    )
    training = replace(trial.training, window_anchor="end")
    generator = np.random.default_rng(0)
    steps = 9
    states = generator.normal(size=(steps, REACHER.spaces.state_dim)).astype(np.float32)
    actions = generator.uniform(-1, 1, (steps, REACHER.spaces.action_dim)).astype(np.float32)
    rewards = generator.normal(size=steps).astype(np.float32)
    data = assemble("test", states, actions, rewards, np.array([0, steps]), np.array([False]))
    norm = StateStatistics(data.state_mean, data.state_std + training.std_offset)
    needs = frozenset({"previous_actions", "goals", "previous_goals"})
    history = WindowedHistory(trial, norm, [float(data.returns_to_go[0])], needs)
    for t in range(steps):
        history.observe(states[t : t + 1])
        seen = history.window()
        expected = read_windows(data, torch.tensor([t]), training, REACHER.return_scale, REACHER.spaces, needs)
        now = int(expected.last_step)
        for field in fields(expected):
            want, got = getattr(expected, field.name), getattr(seen, field.name)
            if field.name in ("actions", "goals"):
                chosen = want[0, now].clone()
                want[0, now] = 0  # not chosen yet
                getattr(history, field.name)[:, history.row] = chosen
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
    returns, lengths = rollout(model, a_trial(HOPPER), norm, targets, seeds)
    assert len(set(lengths)) > 2
    expected = [plain_loop(model, HOPPER, norm, *episode) for episode in zip(targets, seeds, strict=True)]
    assert lengths == [length for _, length in expected]
    np.testing.assert_allclose(returns, [value for value, _ in expected], rtol=1e-6)


def test_an_episode_does_not_depend_on_the_others_of_its_batch():
    model, norm = Scripted(HOPPER), statistics(HOPPER)
    together = rollout(model, a_trial(HOPPER), norm, [3600.0] * 3, [5, 6, 7])
    alone = [rollout(model, a_trial(HOPPER), norm, [3600.0], [seed]) for seed in (5, 6, 7)]
    assert together == ([a[0][0] for a in alone], [a[1][0] for a in alone])


def test_an_evaluation_has_every_episode_of_every_target_in_batches_of_one_size():
    trial = a_trial(rollout_batch_size=3)  # targets x1 and x2, two evaluations of five episodes
    batches = episode_batches(trial, 8, -4.0)
    assert [[(episode.target, episode.index) for episode in batch.episodes] for batch in batches] == [
        [("x1", 0), ("x1", 1), ("x1", 2)],
        [("x1", 3), ("x1", 4), ("x2", 0)],
        [("x2", 1), ("x2", 2), ("x2", 3)],
        [("x2", 4)],
    ]
    assert {batch.from_last for batch in batches} == {0}
    assert {batch.from_last for batch in episode_batches(trial, 4, -4.0)} == {1}


class Still(Scripted):
    """Does nothing, so that a return depends on where its episode starts alone."""

    Config = Scripted.Config

    def forward(self, batch):
        return 0 * batch.actions


class Starts(gym.Wrapper):
    """An environment that writes down every seed and every initial state."""

    seen: ClassVar[list[tuple[int, tuple[float, ...]]]] = []

    def reset(self, *, seed=None, options=None):
        state, info = self.env.reset(seed=seed, options=options)
        self.seen.append((seed, tuple(state)))
        return state, info


@pytest.fixture
def starts(monkeypatch):
    """A function that evaluates a trial after some updates. It returns seeds and initial states, episode by episode."""
    monkeypatch.setattr(rollout_module, "LANES", {})
    make = Task.make
    monkeypatch.setattr(Task, "make", lambda task: Starts(make(task)))

    def evaluated(trial: Trial, update: int) -> list[tuple[int, tuple[float, ...]]]:
        Starts.seen.clear()
        evaluate(Still(trial.task), trial, statistics(trial.task), update, highest_return=-3.0)
        return list(Starts.seen)

    return evaluated


@pytest.mark.parametrize("seed", [0, 7])
def test_an_episode_s_seed_is_the_trial_s_seed_the_evaluation_from_the_last_and_its_index(starts, seed):
    """Nothing else has a part in it: not the number of evaluations, not the targets and their number."""
    short = replace(REACHER, horizon=2)
    two, five = (a_trial(short, seed, updates=20, num_evaluations=n, targets=(1.0,)) for n in (2, 5))
    for j in range(2):
        found = starts(two, two.updates[-1 - j])
        assert [entry for entry, _ in found] == [derive_seed(seed, "episode", j, i) for i in range(5)]
        assert starts(five, five.updates[-1 - j]) == found
    assert len({state for update in five.updates for _, state in starts(five, update)}) == 25

    last = starts(two, 20)
    others = (Target(-9.0, "return"), Target(0.5, "data"), Target(3.0))
    for targets in [(2.0,), (2.0, 1.0), others]:
        more = replace(two, evaluation=replace(two.evaluation, targets=targets))
        assert starts(more, 20) == last * len(targets)
    longer = replace(two, evaluation=replace(two.evaluation, episodes_per_evaluation=8))
    assert starts(longer, 20)[:5] == last


def test_a_model_that_ignores_the_target_gets_the_same_for_each(tiny_trial):
    first, second = evaluate(Still(REACHER), tiny_trial, statistics(REACHER), 4)
    assert (first.update, first.target, first.asked, len(first.returns)) == (4, "x1", -5.0, 5)
    assert (second.target, second.asked) == ("x2", -10.0) and first.returns == second.returns
    assert evaluate(Still(REACHER), tiny_trial, statistics(REACHER), 8)[0].returns != first.returns


def test_every_unit_of_a_target_is_what_the_model_is_asked_for():
    """A multiple of the task's return, a return, a share of the data's maximum: a low one and a high one of each."""
    asked = {
        Target(0.1): 360.0,
        Target(20.0): 72_000.0,
        Target(-50.0, "return"): -50.0,
        Target(10_000.0, "return"): 10_000.0,
        Target(0.5, "data"): 1500.0,
        Target(1.5, "data"): 4500.0,
    }

    class Asked(Still):
        """Writes down the first return-to-go of each episode."""

        Config = Scripted.Config
        first: ClassVar[list[float]] = []

        def forward(self, batch):
            self.first.extend(batch.returns_to_go[:, -1].tolist())
            return super().forward(batch)

    task = replace(HOPPER, horizon=1)
    trial = a_trial(task, targets=tuple(asked), episodes_per_evaluation=2, rollout_batch_size=5)
    results = evaluate(Asked(task), trial, statistics(task), 8, highest_return=3000.0)
    assert [result.target for result in results] == ["x0.1", "x20", "-50", "10000", "0.5 of max", "1.5 of max"]
    assert [result.asked for result in results] == pytest.approx(list(asked.values()))
    wanted = [value / task.return_scale for value in asked.values() for _ in range(2)]
    assert Asked.first == pytest.approx(wanted, rel=1e-6)
    low, high = (evaluate(Scripted(task), replace(trial, evaluation=replace(trial.evaluation, targets=(target,))),
                          statistics(task), 8, highest_return=3000.0)[0].returns
                 for target in (Target(0.5, "data"), Target(1.5, "data")))  # fmt: skip
    assert low != high  # a model that acts on its target does something else


def test_a_rollout_leaves_the_model_in_training_mode():
    model = Scripted(REACHER).train()
    rollout(model, a_trial(), statistics(REACHER), [1.0], [0])
    assert model.training
