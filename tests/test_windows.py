"""Windows of random episodes, in training and in rollouts, against a plain loop over slots. All bits are compared."""

from dataclasses import dataclass, replace
from unittest.mock import patch

import numpy as np
import torch
from helpers.reacher import REACHER, parts
from helpers.spaces import box
from hypothesis import given, settings
from hypothesis import strategies as st

from dmm.config import Training, Trial
from dmm.data import windows
from dmm.data.goals import goal_rows
from dmm.data.trajectories import Trajectories, assemble
from dmm.data.windows import NEEDS, read_windows, sample_batch
from dmm.rollouts.history import StateStatistics, WindowedHistory

deterministic = settings(max_examples=100, derandomize=True, deadline=None, database=None)
S, A, F = 3, 2, np.float32
PAD_STATES = st.sampled_from(["raw zero", "normalised zero"])
PAD_ACTIONS = st.sampled_from([-10.0, 0.0, 0.5])
ROLLOUT_NEEDS = ["previous_actions", "goals", "previous_goals"]


@dataclass(frozen=True)
class Step:
    """A slot: the row of its step in the data. The bounds are of the row's episode."""

    row: int
    first: int
    last: int


def settings_of_trials(**strategies) -> st.SearchStrategy[dict]:
    """Settings of trials with every padding and pad."""
    common = {
        "context_length": st.integers(1, 9),
        "padding": st.sampled_from(["left", "right"]),
        "pad_state": PAD_STATES,
        "pad_action": PAD_ACTIONS,
        "std_offset": st.sampled_from([1e-6, 0.3]),
    }
    return st.builds(parts, **common, **strategies)


def some_of(names) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(sorted(names)))


LENGTHS, SEEDS = st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(0, 2**16)


def random_data(lengths: list[int], seed: int) -> Trajectories:
    """Episodes of these lengths. Rewards are whole numbers, so that goals are tied now and then."""
    generator, n = np.random.default_rng(seed), sum(lengths)
    states, actions = generator.normal(1, 3, (n, S)), generator.uniform(-1, 1, (n, A))
    rewards = generator.integers(-3, 4, n)
    return assemble("random", states, actions, rewards, np.cumsum([0, *lengths]), np.zeros(len(lengths), bool))


def slots(data: Trajectories, drawn: int, training: Training) -> list[Step | None]:
    """The K slots of a row's window, in words: cut at the episode, then padded. None is a pad."""
    k = training.context_length
    episode = next(e for e in range(data.episodes) if drawn < data.offsets[e + 1])
    first, last = int(data.offsets[episode]), int(data.offsets[episode + 1]) - 1
    rows = range(drawn - k + 1, drawn + 1) if training.window_anchor == "end" else range(drawn, drawn + k)
    real: list[Step | None] = [Step(row, first, last) for row in rows if first <= row <= last]
    pads: list[Step | None] = [None] * (k - len(real))
    return pads + real if training.padding == "left" else real + pads


def expected_window(data: Trajectories, drawn: int, training: Training, scale: float) -> dict[str, np.ndarray]:
    """Every field of a window, slot by slot, in float32."""
    mean, std = data.state_mean.astype(F), (data.state_std + training.std_offset).astype(F)
    goals = goal_rows(data.rewards, data.offsets)
    raw_pad = (F(0) - mean) / std
    pad = raw_pad if training.pad_state == "raw zero" else raw_pad + mean / std

    def state(row: int | None) -> np.ndarray:
        return pad if row is None else (data.states[row] - mean) / std

    fields = {name: [] for name in ("states", "actions", "returns_to_go", "steps", "mask", *NEEDS)}
    for step in slots(data, drawn, training):
        row = step and step.row
        before = step.row - 1 if step and step.row > step.first else None
        fields["mask"].append(step is not None)
        fields["steps"].append(step.row - step.first if step else 0)
        fields["states"].append(state(row))
        fields["actions"].append(data.actions[row] if step else np.full(A, training.pad_action, F))
        fields["returns_to_go"].append(data.returns_to_go[row] / F(scale) if step else F(0))
        fields["rewards"].append(data.rewards[row] if step else F(0))
        fields["next_states"].append(state(min(step.row + 1, step.last) if step else None))
        fields["previous_actions"].append(np.zeros(A, F) if before is None else data.actions[before])
        fields["goals"].append(state(int(goals[row]) if step else None))
        fields["previous_goals"].append(state(None if before is None else int(goals[before])))
    return {name: np.stack(values) for name, values in fields.items()}


@deterministic
@given(
    LENGTHS, SEEDS, settings_of_trials(window_anchor=st.sampled_from(["start", "end"])), some_of(NEEDS), st.booleans()
)
def test_training_windows_equal_a_plain_loop(lengths, seed, changed, needs, compiled):
    """The window of every row, with the C++ kernel and without it."""
    data, training = random_data(lengths, seed), changed["training"]
    kernel = windows.gather_windows if compiled else lambda *_: None
    with patch.object(windows, "gather_windows", kernel):
        batch = read_windows(data, torch.arange(data.steps), training, 7.0, box(S, A), needs)
    loop = [expected_window(data, drawn, training, 7.0) for drawn in range(data.steps)]
    for name in loop[0]:
        found = getattr(batch, name)
        assert (found is None) == (name in NEEDS - needs), name
        if found is not None:
            assert np.array_equal(found.numpy(), np.stack([window[name] for window in loop])), name


@deterministic
@given(
    LENGTHS,
    SEEDS,
    st.sampled_from([("steps", "start"), ("steps", "end"), ("episodes", "start"), ("episodes", "end"), ("episodes", "whole")]),
    settings_of_trials(),
)  # fmt: skip
def test_a_batch_has_windows_of_rows_that_may_be_drawn(lengths, seed, drawn_by, changed):
    data = random_data(lengths, seed)
    sampling, anchor = drawn_by
    training = replace(changed["training"], sampling=sampling, window_anchor=anchor)
    numbered = assemble("rows", data.states, data.actions, np.arange(data.steps), data.offsets, data.terminated)
    batch = sample_batch(
        numbered, training, 1.0, box(S, A), torch.Generator().manual_seed(0), 64, frozenset({"rewards"})
    )
    k, allowed = training.context_length, set(range(data.steps))
    if anchor == "whole":
        starts = (
            set(range(a, max(a + 1, b - k + 1))) for a, b in zip(data.offsets[:-1], data.offsets[1:], strict=True)
        )
        allowed = set().union(*starts)
    for rewards, mask in zip(batch.rewards, batch.mask, strict=True):
        rows = rewards[mask].int().tolist()
        drawn = rows[-1] if anchor == "end" else rows[0]
        assert drawn in allowed
        assert rows == [step.row for step in slots(data, drawn, training) if step]


@deterministic
@given(
    settings_of_trials(rollout_pad_state=PAD_STATES, rollout_pad_action=PAD_ACTIONS),
    some_of(ROLLOUT_NEEDS),
    st.integers(1, 4),
    st.integers(1, 14),
    st.integers(0, 2**16),
)
def test_rollout_windows_equal_a_plain_loop(changed, needs, episodes, horizon, seed):
    """The windows of every step. Half of the episodes end halfway."""
    generator, k = np.random.default_rng(seed), changed["training"].context_length
    task = replace(REACHER, spaces=box(S, A), horizon=horizon)
    norm = StateStatistics(generator.normal(size=S), generator.uniform(0.5, 2, S))
    targets = generator.normal(size=episodes)
    trial = Trial(arch="dt", task=task, dataset=("none",), seed=0, **changed)
    history, evaluation = WindowedHistory(trial, norm, targets.tolist(), needs), trial.evaluation
    pad = -norm.mean / norm.std if evaluation.rollout_pad_state == "raw zero" else np.zeros(S)
    returns_to_go = targets / task.return_scale
    seen = [{"states": [], "actions": [], "goals": [], "returns_to_go": []} for _ in range(episodes)]
    for t in range(horizon):
        if t == horizon // 2 and episodes > 1:
            running = np.arange(episodes) % 2 == 0
            history.drop_finished(running)
            seen, returns_to_go = (
                [past for past, runs in zip(seen, running, strict=True) if runs],
                returns_to_go[running],
            )
        states = generator.normal(size=(len(seen), S))
        history.observe(states)
        batch = history.window()
        for past, state, value in zip(seen, states, returns_to_go, strict=True):
            past["states"].append(((state - norm.mean) / norm.std).astype(F))
            past["returns_to_go"].append(F(value))
        for episode, past in enumerate(seen):
            real: list[int | None] = [step for step in range(t - k + 1, t + 1) if step >= 0]
            pads: list[int | None] = [None] * (k - len(real))
            for slot, step in enumerate(pads + real if trial.training.padding == "left" else real + pads):
                before = step - 1 if step else None
                chosen = step is not None and step < t  # the action and the goal of step t are not chosen yet
                expected = {
                    "states": pad if step is None else past["states"][step],
                    "returns_to_go": 0.0 if step is None else past["returns_to_go"][step],
                    "steps": step or 0,
                    "mask": step is not None,
                    "actions": evaluation.rollout_pad_action
                    if step is None
                    else past["actions"][step]
                    if chosen
                    else 0.0,
                    "goals": pad if step is None else past["goals"][step] if chosen else 0.0,
                    "previous_actions": 0.0 if before is None else past["actions"][before],
                    "previous_goals": pad if before is None else past["goals"][before],
                }
                for name, value in expected.items():
                    found = getattr(batch, name)
                    assert (found is None) == (name in set(ROLLOUT_NEEDS) - needs), name
                    if found is not None:
                        entry = found[episode, slot].numpy()
                        assert np.array_equal(entry, np.broadcast_to(value, entry.shape).astype(entry.dtype)), name
        actions, goals = (
            generator.normal(size=(len(seen), A)).astype(F),
            generator.normal(size=(len(seen), S)).astype(F),
        )
        history.actions[:, history.row] = actions
        if needs & {"goals", "previous_goals"}:
            history.goals[:, history.row] = goals
        for past, action, goal in zip(seen, actions, goals, strict=True):
            past["actions"].append(action)
            past["goals"].append(goal)
        rewards = generator.normal(size=len(seen))
        history.record_rewards(rewards)
        returns_to_go = returns_to_go - rewards / task.return_scale
