"""Data: returns-to-go, windows and padding by hand, sampling frequencies, hash. A plain loop: test_windows.py."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.reacher import TINY
from helpers.spaces import box
from scipy.stats import chisquare

from dmm.data.goals import goal_steps
from dmm.data.trajectories import assemble, moments
from dmm.data.windows import NEEDS, read_windows, sample_batch

# two episodes, of 1 and 3 steps; states have mean (2, 2) and standard deviation (1, 2)
STATES = np.array([[1, 0], [3, 0], [1, 4], [3, 4]], np.float32)
ACTIONS = np.array([[0.1], [0.2], [0.3], [0.4]], np.float32)
REWARDS = np.array([5, 1, 10, 100], np.float32)
SPACES = box(2, 1)
HAND = replace(TINY.training, context_length=2, std_offset=0.0, pad_action=-10.0)


def hand(dataset_id: str = "hand", rewards=REWARDS):
    return assemble(dataset_id, STATES, ACTIONS, rewards, np.array([0, 1, 4]), np.array([True, False]))


def equal(found: torch.Tensor, expected) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=0, atol=1e-6)


def test_returns_to_go_and_statistics_by_hand():
    found = hand()
    assert found.returns_to_go.tolist() == [5, 111, 110, 100]
    assert found.episode_returns.tolist() == [5, 111] and found.lengths.tolist() == [1, 3]
    assert (found.episodes, found.steps, found.state_dim, found.action_dim) == (2, 4, 2, 1)
    assert found.state_mean.tolist() == [2, 2] and found.state_std.tolist() == [1, 2]
    assert found.states.tolist() == STATES.tolist() and found.actions.tolist() == ACTIONS.tolist()
    assert found.rewards.tolist() == REWARDS.tolist()


def test_returns_to_go_are_accumulated_in_float64():
    rewards = np.full(2**20, 0.1, np.float32)  # in float32 the sum is off by several per cent
    zeros = np.zeros((len(rewards), 1), np.float32)
    found = assemble("long", zeros, zeros, rewards, np.array([0, len(rewards)]), np.array([False]))
    assert found.returns_to_go[0] == pytest.approx(float(rewards[0]) * len(rewards), rel=1e-7)


def test_full_windows_by_hand():
    for padding in ("left", "right"):
        batch = read_windows(
            hand(), torch.tensor([1, 2]), replace(HAND, padding=padding), 10.0, SPACES, frozenset({"rewards"})
        )
        equal(batch.states, [[[1, -1], [-1, 1]], [[-1, 1], [1, 1]]])
        equal(batch.actions, [[[0.2], [0.3]], [[0.3], [0.4]]])
        equal(batch.returns_to_go, [[11.1, 11.0], [11.0, 10.0]])
        equal(batch.steps, [[0, 1], [1, 2]])
        equal(batch.rewards, [[1, 10], [10, 100]])
        assert batch.mask.all() and batch.mask.dtype == torch.bool and batch.steps.dtype == torch.int64
    assert read_windows(hand(), torch.tensor([1]), HAND, 10.0, SPACES).rewards is None


@pytest.mark.parametrize("pad_state, pad", [("raw zero", [-2, -1]), ("normalised zero", [0, 0])])
def test_short_windows_by_hand(pad_state, pad):
    """From row 0, an episode of one step, and from row 3, the last of three."""
    training = replace(HAND, context_length=3, pad_state=pad_state)
    starts, needs = torch.tensor([0, 3]), frozenset({"rewards"})
    left = read_windows(hand(), starts, training, 10.0, SPACES, needs)
    equal(left.states, [[pad, pad, [-1, -1]], [pad, pad, [1, 1]]])
    equal(left.actions, [[[-10], [-10], [0.1]], [[-10], [-10], [0.4]]])
    equal(left.returns_to_go, [[0, 0, 0.5], [0, 0, 10]])
    equal(left.rewards, [[0, 0, 5], [0, 0, 100]])
    equal(left.steps, [[0, 0, 0], [0, 0, 2]])
    equal(left.mask, [[False, False, True]] * 2)
    right = read_windows(hand(), starts, replace(training, padding="right", pad_action=0.5), 10.0, SPACES, needs)
    equal(right.states, [[[-1, -1], pad, pad], [[1, 1], pad, pad]])
    equal(right.actions, [[[0.1], [0.5], [0.5]], [[0.4], [0.5], [0.5]]])
    equal(right.returns_to_go, [[0.5, 0, 0], [10, 0, 0]])
    equal(right.rewards, [[5, 0, 0], [100, 0, 0]])
    equal(right.steps, [[0, 0, 0], [2, 0, 0]])
    equal(right.mask, [[True, False, False]] * 2)


def test_the_offset_is_added_to_the_standard_deviation():
    found, training = hand(), replace(HAND, std_offset=1.0)
    equal(read_windows(found, torch.tensor([1]), training, 1.0, SPACES).states, [[[1 / 2, -2 / 3], [-1 / 2, 2 / 3]]])


@pytest.mark.parametrize("padding", ["left", "right"])
def test_windows_by_their_last_step_by_hand(padding):
    """Two steps up to row 0 (an episode of one step), row 1 (the first of three), row 2 and row 3."""
    training = replace(HAND, window_anchor="end", padding=padding)
    batch = read_windows(hand(), torch.tensor([0, 1, 2, 3]), training, 1.0, SPACES, frozenset({"rewards"}))
    short = [[0, 5], [0, 1]] if padding == "left" else [[5, 0], [1, 0]]
    equal(batch.rewards, [*short, [1, 10], [10, 100]])
    equal(batch.steps, [[0, 0], [0, 0], [0, 1], [1, 2]])
    pads = [False, True] if padding == "left" else [True, False]
    equal(batch.mask, [pads, pads, [True, True], [True, True]])
    equal(batch.returns_to_go[2:], [[111, 110], [110, 100]])


def test_the_best_episodes_by_hand():
    """Episodes of 2, 1, 3, 1 and 3 steps with returns 6, 9, 3, 9 and 12: from the best on, 3, 4, 5, 7 and 10 steps."""
    lengths, rewards = np.array([2, 1, 3, 1, 3]), np.array([3, 3, 9, 1, 1, 1, 9, 4, 4, 4])
    states, offsets = np.arange(10.0).reshape(10, 1), np.cumsum([0, *lengths])
    found = assemble("five", states, -states, rewards, offsets, np.array([True, False, True, False, True]))
    assert found.best_episodes(1.0) is found
    for fraction, rows in [
        (0.1, [7, 8, 9]),  # always one
        (0.39, [7, 8, 9]),
        (0.4, [2, 7, 8, 9]),  # of two alike, the earlier
        (0.5, [2, 6, 7, 8, 9]),
        (0.69, [2, 6, 7, 8, 9]),
        (0.7, [0, 1, 2, 6, 7, 8, 9]),
        (0.99, [0, 1, 2, 6, 7, 8, 9]),
    ]:
        assert found.best_episodes(fraction).states[:, 0].tolist() == rows
    best = found.best_episodes(0.5)
    assert best.lengths.tolist() == [1, 1, 3] and best.terminated.tolist() == [False, False, True]
    assert best.episode_returns.tolist() == [9, 9, 12] and best.returns_to_go.tolist() == [9, 9, 12, 8, 4]
    assert (best.episodes, best.steps, best.table[-1].tolist()) == (3, 5, [0] * 5)
    assert best.state_mean == found.state_mean == 4.5 and best.state_std == found.state_std
    assert (best.id, best.sha256) == (found.id, found.sha256)
    training = replace(HAND, pad_state="normalised zero")
    equal(
        read_windows(best, torch.tensor([1, 2]), training, 1.0, SPACES).states * found.state_std + 4.5,
        [[[4.5], [6]], [[7], [8]]],
    )


@pytest.mark.parametrize("sampling", ["steps", "episodes"])
@pytest.mark.parametrize("window", ["start", "end"])
def test_sampling_frequencies(sampling, window):
    """Rows number themselves in their reward; episodes have 1, 3 and 6 steps."""
    zeros, lengths = np.zeros((10, 1)), np.array([1, 3, 6])
    found = assemble("count", zeros, zeros, np.arange(10), np.array([0, 1, 4, 10]), np.zeros(3, bool))
    training = replace(HAND, context_length=1, sampling=sampling, window_anchor=window)
    batch = sample_batch(found, training, 1.0, SPACES, torch.Generator().manual_seed(0), 60_000, frozenset({"rewards"}))
    seen = np.bincount(batch.rewards[:, 0].long().numpy(), minlength=10)
    expected = np.full(10, 1 / 10) if sampling == "steps" else np.repeat(1 / 3 / lengths, lengths)
    assert chisquare(seen, expected * 60_000).pvalue > 1e-3
    again = sample_batch(found, training, 1.0, SPACES, torch.Generator().manual_seed(0), 60_000, frozenset({"rewards"}))
    assert torch.equal(batch.rewards, again.rewards)


def test_whole_windows():
    """Four steps of episodes of 1, 3 and 6: from the first step of the short ones on, or from one of the last one's three."""
    zeros = np.zeros((10, 1))
    found = assemble("count", zeros, zeros, np.arange(10), np.array([0, 1, 4, 10]), np.zeros(3, bool))
    training = replace(HAND, context_length=4, padding="right", sampling="episodes", window_anchor="whole")
    batch = sample_batch(found, training, 1.0, SPACES, torch.Generator().manual_seed(0), 30_000, frozenset({"rewards"}))
    seen = np.bincount(batch.rewards[:, 0].long().numpy(), minlength=10)
    assert seen.nonzero()[0].tolist() == [0, 1, 4, 5, 6]
    assert chisquare(seen[seen > 0], [10_000, 10_000, *[10_000 / 3] * 3]).pvalue > 1e-3
    lengths = {int(first): count for first, count in zip(batch.rewards[:, 0], batch.mask.sum(1).tolist(), strict=True)}
    assert lengths == {0: 1, 1: 3, 4: 4, 5: 4, 6: 4}


def test_identity_is_the_data_alone():
    assert hand().sha256 == hand("another name").sha256
    assert (
        hand().sha256 == "2f182fcb6d31d22a7a9e783f439e3b945251ea80c7c8d74327000fc3fd108434"
    )  # recorded with every result: it may never change
    moved = REWARDS.copy()
    moved[2] += 1e-6
    assert hand(rewards=moved).sha256 != hand().sha256
    other = assemble("hand", STATES, ACTIONS, REWARDS, np.array([0, 2, 4]), np.array([True, False]))
    ended = assemble("hand", STATES, ACTIONS, REWARDS, np.array([0, 1, 4]), np.array([True, True]))
    assert len({hand().sha256, other.sha256, ended.sha256}) == 3


@pytest.mark.parametrize(
    "rewards, expected",
    [
        ([1, 1, 1, 1], [1, 2, 3, 0]),  # ties: the next step; the last step has step 0
        ([0, 0, 3, 0, 0], [3, 3, 3, 4, 0]),  # means from 0: 0, 0, 1, .75: step 3, kept until it is reached
        ([0, 2, 1, 9], [2, 2, 3, 0]),  # means from 0: 0, 1, 1: the first; the last reward has no step after it
        ([5], [0]),
    ],
)
def test_goals_by_hand(rewards, expected):
    assert goal_steps(np.array(rewards, np.float32)).tolist() == expected


def goals_by_the_procedure(rewards) -> list[int]:
    """The published procedure, word by word: all means anew at each selection, over Python's numbers."""
    target, labels = 0, []
    for i in range(len(rewards)):
        if i == len(rewards) - 1:
            target = 0
        elif target == i:
            means = [sum(rewards[i:j]) / (j - i) + 1e-7 for j in range(i + 1, len(rewards))]
            target = i + 1 + means.index(max(means))
        labels.append(target)
    return labels


@pytest.mark.parametrize("kind", ["dense", "ties", "sparse", "negative"])
def test_goals_equal_the_published_procedure(kind):
    generator = np.random.default_rng(0)
    for length in [*range(1, 12), 40, 77]:
        rewards = {
            "dense": generator.normal(1, 2, length),
            "ties": generator.integers(0, 3, length),
            "sparse": generator.random(length) < 0.1,
            "negative": -generator.random(length),
        }[kind].astype(np.float32)
        assert goal_steps(rewards).tolist() == goals_by_the_procedure(rewards.tolist())


def test_a_window_holds_what_a_model_needs_by_hand():
    """Two episodes of 3 and 2 steps with one state and action: numbers that say where they come from."""
    data = assemble(
        "by hand", np.arange(10, 15.0)[:, None], np.arange(20, 25.0)[:, None] / 100, np.array([0, 1, 0, 5, 5.0]),
        np.array([0, 3, 5]), np.zeros(2, bool),
    )  # fmt: skip
    training = TINY.with_overrides(context_length=3, padding="right", window_anchor="end", pad_action=0.0).training
    batch = read_windows(data, torch.tensor([2, 1, 4]), training, 1.0, SPACES, frozenset(NEEDS))

    def raw(states):
        return (states[..., 0] * (data.state_std + training.std_offset) + data.state_mean).round(decimals=3).tolist()

    assert raw(batch.states) == [[10, 11, 12], [10, 11, 0], [13, 14, 0]]
    assert raw(batch.next_states) == [[11, 12, 12], [11, 12, 0], [14, 14, 0]]
    assert raw(batch.goals) == [[12, 12, 10], [12, 12, 0], [14, 13, 0]]
    assert raw(batch.previous_goals) == [[0, 12, 12], [0, 12, 0], [0, 14, 0]]
    assert batch.previous_actions[..., 0].mul(100).round().tolist() == [[0, 20, 21], [0, 20, 0], [0, 23, 0]]
    inside = read_windows(data, torch.tensor([2]), replace(training, context_length=2), 1.0, SPACES, frozenset(NEEDS))
    assert raw(inside.previous_goals) == [[12, 12]] and inside.previous_actions[..., 0].mul(100).round().tolist() == [
        [20, 21]
    ]


@pytest.mark.parametrize("shape", [(1, 3), (4096, 2), (9000, 17), (12289, 29)])
def test_moments_are_those_of_numpy_to_the_last_bit(shape):
    states = np.random.default_rng(0).normal(7, 3, shape).astype(np.float32)
    mean, std = moments(states)
    assert np.array_equal(mean, states.mean(0, dtype=np.float64)) and np.array_equal(
        std, states.std(0, dtype=np.float64)
    )
