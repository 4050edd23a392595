"""Windows of frames: kzl's rule, stacks made of single frames, and passes over the data."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.reacher import parts

from dmm.batch import Batch, Spaces
from dmm.config import Training
from dmm.data.frames import STACK, FrameWriter
from dmm.data.trajectories import Trajectories, assemble
from dmm.data.windows import copy_frames, index_frames, pass_rows, read_windows, sample_batch
from dmm.kernels import sampling

LENGTHS, K = (9, 3, 12, 5, 7), 5  # one episode is shorter than a window
SPACES = Spaces(states=(4, 6, 5), actions=4, discrete=True)


def training(**changes) -> Training:
    return parts(context_length=K, **{"window_anchor": "shifted", "padding": "right", **changes})["training"]


@pytest.fixture(params=["C++", "PyTorch"])
def kernel(request, monkeypatch) -> str:
    if request.param == "PyTorch":
        monkeypatch.setattr(sampling, "library", lambda: (None, "off"))
    return request.param


@pytest.fixture
def episodes() -> Trajectories:
    generator, n = np.random.default_rng(0), sum(LENGTHS)
    offsets = np.cumsum([0, *LENGTHS])
    pixels = generator.integers(1, 256, (n, 6, 5), dtype=np.uint8)
    with FrameWriter(6, 5) as writer:
        for first, end in zip(offsets[:-1], offsets[1:], strict=True):
            writer.begin_episode()
            writer.add(pixels[first:end])
        frames = writer.finish()
    actions, rewards = generator.integers(0, 4, (n, 1)), generator.integers(-1, 2, n)
    return assemble("toy", np.zeros((n, 0)), actions, rewards, offsets, np.ones(len(LENGTHS), bool), frames, 4)


def stacked(batch: Batch) -> np.ndarray:
    """The states of a batch [B, K, 4, height, width]."""
    return batch.states.unfold(1, STACK, 1).permute(0, 1, 4, 2, 3).numpy()


def kzl_stacks(data: Trajectories) -> np.ndarray:
    """The state of each row, with the black frames of Dopamine's zero rows."""
    found, first = [], 0
    assert data.frames is not None
    for length in data.lengths:
        episode = data.frames[first : first + length + 3]
        found += [episode[t : t + 4] for t in range(length)]
        first += length + 3
    return np.stack(found)


def kzl_item(data: Trajectories, idx: int) -> tuple[np.ndarray, ...]:
    """StateActionReturnDataset.__getitem__ of kzl/decision-transformer."""
    done_idx = idx + K
    for i in data.offsets[1:]:
        if i > idx:
            done_idx = min(int(i), done_idx)
            break
    idx = done_idx - K
    rows = slice(idx, done_idx)
    return kzl_stacks(data)[rows], data.actions[rows, 0], data.returns_to_go[rows]


def test_windows_are_those_of_kzls_loader(episodes, kernel):
    drawn = torch.arange(episodes.steps)
    batch = read_windows(episodes, drawn, training(), 1.0, SPACES)
    states = stacked(batch)
    for row in range(episodes.steps):
        if LENGTHS[0] <= row < LENGTHS[0] + LENGTHS[1]:
            continue  # the next test
        expected = kzl_item(episodes, row)
        found = (states[row], batch.actions[row].numpy(), batch.returns_to_go[row].numpy())
        assert batch.mask[row].all() and batch.actions.dtype == torch.int64
        for value, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(value, other)


@pytest.mark.parametrize("padding", ["left", "right"])
def test_an_episode_that_is_shorter_than_a_window_is_padded_with_black_frames_and_action_0(episodes, kernel, padding):
    """kzl's loader takes steps of the episode before."""
    batch = read_windows(episodes, torch.tensor([9, 10, 11]), training(padding=padding), 1.0, SPACES)
    real = slice(2, 5) if padding == "left" else slice(0, 3)
    for row in range(3):
        assert batch.mask[row].nonzero().flatten().tolist() == list(range(5))[real]
        np.testing.assert_array_equal(stacked(batch)[row][real], kzl_stacks(episodes)[9:12])
        assert batch.actions[row][real].tolist() == episodes.actions[9:12, 0].tolist()
        pads = ~batch.mask[row]
        assert not batch.actions[row][pads].any() and not batch.returns_to_go[row][pads].any()
    assert not (batch.states[:, :2] if padding == "left" else batch.states[:, -2:]).any()


@pytest.mark.parametrize("anchor", ["start", "end"])
@pytest.mark.parametrize("padding", ["left", "right"])
def test_every_anchor_and_padding_reads_the_steps_own_stacks(episodes, kernel, anchor, padding):
    drawn = torch.arange(episodes.steps)
    batch = read_windows(episodes, drawn, training(window_anchor=anchor, padding=padding), 1.0, SPACES)
    rows = torch.from_numpy(np.repeat(episodes.offsets[:-1], LENGTHS))[:, None] + batch.steps
    states, expected = stacked(batch), kzl_stacks(episodes)
    for row, slot in batch.mask.nonzero().tolist():
        np.testing.assert_array_equal(states[row, slot], expected[rows[row, slot]])


def test_copied_frames_equal_indexed_ones(episodes):
    """The second is what other devices do."""
    frames, first, count = torch.from_numpy(episodes.frames), torch.tensor([0, 12, 20]), torch.tensor([8, 6, 4])
    for offset in (torch.zeros_like(count), 8 - count):
        found = [gather(frames, first, offset, count, 8) for gather in (copy_frames, index_frames)]
        assert torch.equal(*found) and found[0].any()


def test_the_best_episodes_have_their_own_frames(episodes):
    best = episodes.best_episodes(0.5)
    batch = read_windows(best, torch.arange(best.steps), training(window_anchor="start"), 1.0, SPACES)
    kept = np.flatnonzero(np.isin(episodes.frame_starts, best.frame_starts))
    rows = np.isin(np.repeat(np.arange(5), LENGTHS), kept)
    assert len(kept) == best.episodes < 5
    np.testing.assert_array_equal(stacked(batch)[:, 0], kzl_stacks(episodes)[rows])


def test_batches_are_drawn_from_frames(episodes):
    batch = sample_batch(episodes, training(), 1.0, SPACES, torch.Generator().manual_seed(0), 8)
    assert batch.states.shape == (8, K + 3, 6, 5) and batch.actions.shape == (8, K)


def test_what_a_model_cannot_get_of_frames_is_said(episodes):
    with pytest.raises(ValueError, match="needs goals, next_states takes vectors and boxes only"):
        read_windows(episodes, torch.arange(2), training(), 1.0, SPACES, frozenset({"next_states", "goals"}))


def test_a_pass_takes_each_row_once_in_an_order_of_its_own():
    batches = [pass_rows(25, 10, 7, update) for update in range(10)]
    rows = torch.cat(batches).view(4, 25)
    assert all(sorted(one.tolist()) == list(range(25)) for one in rows)
    assert len({tuple(one.tolist()) for one in rows}) == 4
    assert torch.equal(pass_rows(25, 10, 7, 6), batches[6]) and not torch.equal(pass_rows(25, 10, 8, 6), batches[6])
    assert sorted(pass_rows(5, 10, 0, 1).tolist()) == sorted([*range(5)] * 2), "a batch may be larger than the data"


def test_the_anchor_shifted_is_a_setting():
    assert replace(Training(), window_anchor="shifted").window_anchor == "shifted"
    with pytest.raises(ValueError, match="shifted"):
        replace(Training(), window_anchor="shift")
