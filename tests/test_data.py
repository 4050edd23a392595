"""Data: returns-to-go, windows and padding by hand, sampling frequencies, what each reader refuses, and the cache."""

import json
import os
import warnings
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import REACHER, TINY
from scipy.stats import chisquare

from dmm import data
from dmm.data import cache, d4rl
from dmm.data.trajectories import assemble, check_task, sample
from dmm.home import home

# two episodes, of 1 and 3 steps; states have mean (2, 2) and standard deviation (1, 2)
STATES = np.array([[1, 0], [3, 0], [1, 4], [3, 4]], np.float32)
ACTIONS = np.array([[0.1], [0.2], [0.3], [0.4]], np.float32)
REWARDS = np.array([5, 1, 10, 100], np.float32)
HAND = replace(TINY, context_length=2, std_offset=0.0, pad_action=-10.0)


def hand(dataset_id: str = "hand", rewards=REWARDS):
    return assemble(dataset_id, STATES, ACTIONS, rewards, np.array([0, 1, 4]), np.array([True, False]))


def equal(found: torch.Tensor, expected) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=0, atol=1e-6)


def test_returns_to_go_and_statistics_by_hand():
    found = hand()
    assert found.returns.tolist() == [5, 111, 110, 100]
    assert found.episode_returns.tolist() == [5, 111] and found.lengths.tolist() == [1, 3]
    assert (found.episodes, found.steps, found.state_dim, found.action_dim) == (2, 4, 2, 1)
    assert found.state_mean.tolist() == [2, 2] and found.state_std.tolist() == [1, 2]
    assert found.states.tolist() == STATES.tolist() and found.actions.tolist() == ACTIONS.tolist()
    assert found.rewards.tolist() == REWARDS.tolist()


def test_returns_to_go_are_accumulated_in_float64():
    rewards = np.full(2**20, 0.1, np.float32)  # in float32 the sum is off by several per cent
    zeros = np.zeros((len(rewards), 1), np.float32)
    found = assemble("long", zeros, zeros, rewards, np.array([0, len(rewards)]), np.array([False]))
    assert found.returns[0] == pytest.approx(float(rewards[0]) * len(rewards), rel=1e-7)


def test_full_windows_by_hand():
    for padding in ("left", "right"):
        batch = hand().window(torch.tensor([1, 2]), replace(HAND, padding=padding), 10.0, frozenset({"rewards"}))
        equal(batch.states, [[[1, -1], [-1, 1]], [[-1, 1], [1, 1]]])
        equal(batch.actions, [[[0.2], [0.3]], [[0.3], [0.4]]])
        equal(batch.returns, [[11.1, 11.0], [11.0, 10.0]])
        equal(batch.steps, [[0, 1], [1, 2]])
        equal(batch.rewards, [[1, 10], [10, 100]])
        assert batch.mask.all() and batch.mask.dtype == torch.bool and batch.steps.dtype == torch.int64
    assert hand().window(torch.tensor([1]), HAND, 10.0).rewards is None


@pytest.mark.parametrize("pad_state, pad", [("raw zero", [-2, -1]), ("normalised zero", [0, 0])])
def test_short_windows_by_hand(pad_state, pad):
    """From row 0, an episode of one step, and from row 3, the last of three."""
    protocol = replace(HAND, context_length=3, pad_state=pad_state)
    starts, needs = torch.tensor([0, 3]), frozenset({"rewards"})
    left = hand().window(starts, protocol, 10.0, needs)
    equal(left.states, [[pad, pad, [-1, -1]], [pad, pad, [1, 1]]])
    equal(left.actions, [[[-10], [-10], [0.1]], [[-10], [-10], [0.4]]])
    equal(left.returns, [[0, 0, 0.5], [0, 0, 10]])
    equal(left.rewards, [[0, 0, 5], [0, 0, 100]])
    equal(left.steps, [[0, 0, 0], [0, 0, 2]])
    equal(left.mask, [[False, False, True]] * 2)
    right = hand().window(starts, replace(protocol, padding="right", pad_action=0.5), 10.0, needs)
    equal(right.states, [[[-1, -1], pad, pad], [[1, 1], pad, pad]])
    equal(right.actions, [[[0.1], [0.5], [0.5]], [[0.4], [0.5], [0.5]]])
    equal(right.returns, [[0.5, 0, 0], [10, 0, 0]])
    equal(right.rewards, [[5, 0, 0], [100, 0, 0]])
    equal(right.steps, [[0, 0, 0], [2, 0, 0]])
    equal(right.mask, [[True, False, False]] * 2)


def test_the_offset_is_added_to_the_standard_deviation():
    found, protocol = hand(), replace(HAND, std_offset=1.0)
    equal(found.window(torch.tensor([1]), protocol, 1.0).states, [[[1 / 2, -2 / 3], [-1 / 2, 2 / 3]]])
    equal(found.normalise(torch.from_numpy(STATES[1:3]), 1.0), [[1 / 2, -2 / 3], [-1 / 2, 2 / 3]])


@pytest.mark.parametrize("padding", ["left", "right"])
def test_windows_equal_a_plain_loop(padding):
    """Every start of random episodes, against the procedure in words: cut, pad, normalise."""
    generator, k = np.random.default_rng(0), 5
    offsets = np.cumsum([0, 1, 7, 3, 12, 5])
    states, actions, rewards = (generator.normal(1, 3, (28, d)).astype(np.float32) for d in (4, 2, 1))
    found = assemble("random", states, actions, rewards[:, 0], offsets, np.zeros(5, bool))
    batch = found.window(torch.arange(28), replace(HAND, context_length=k, padding=padding, std_offset=1e-6), 7.0)
    mean, std = states.astype(float).mean(0), states.astype(float).std(0) + 1e-6
    for row in range(28):
        end = offsets[offsets > row][0]
        begin = offsets[offsets <= row][-1]
        real = slice(row, min(row + k, end))
        missing = k - (real.stop - real.start)
        widths = [(missing, 0), (0, 0)] if padding == "left" else [(0, missing), (0, 0)]
        equal(batch.states[row], (np.pad(states[real], widths) - mean) / std)
        equal(batch.actions[row], np.pad(actions[real], widths, constant_values=-10))
        equal(batch.steps[row], np.pad(np.arange(row - begin, real.stop - begin), widths[0]))
        togo = [rewards[step:end].sum(dtype=float) / 7 for step in range(real.start, real.stop)]
        equal(batch.returns[row], np.pad(togo, widths[0]))
        equal(batch.mask[row], np.pad(np.ones(k - missing, bool), widths[0]))


@pytest.mark.parametrize("sampling", ["steps", "episodes"])
def test_sampling_frequencies(sampling):
    """Rows number themselves in their reward; episodes have 1, 3 and 6 steps."""
    zeros, lengths = np.zeros((10, 1)), np.array([1, 3, 6])
    found = assemble("count", zeros, zeros, np.arange(10), np.array([0, 1, 4, 10]), np.zeros(3, bool))
    protocol = replace(HAND, context_length=1, sampling=sampling)
    batch = sample(found, protocol, 1.0, torch.Generator().manual_seed(0), 60_000, frozenset({"rewards"}))
    seen = np.bincount(batch.rewards[:, 0].long().numpy(), minlength=10)
    expected = np.full(10, 1 / 10) if sampling == "steps" else np.repeat(1 / 3 / lengths, lengths)
    assert chisquare(seen, expected * 60_000).pvalue > 1e-3
    again = sample(found, protocol, 1.0, torch.Generator().manual_seed(0), 60_000, frozenset({"rewards"}))
    assert torch.equal(batch.rewards, again.rewards)


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


# D4RL files


def arrays(**changes) -> dict[str, np.ndarray | None]:
    """Six rows: an episode that terminates, one that times out, and a piece that does neither. None leaves a key out."""
    return {
        "observations": np.arange(12, dtype=np.float32).reshape(6, 2),
        "actions": np.linspace(-1, 1, 6, dtype=np.float32)[:, None],
        "rewards": np.arange(6, dtype=np.float32),
        "terminals": np.array([0, 1, 0, 0, 0, 0], bool),
        "timeouts": np.array([0, 0, 0, 0, 1, 0], bool),
        **changes,
    }


def write(path: Path, **changes) -> str:
    with h5py.File(path, "w") as file:
        for key, value in arrays(**changes).items():
            if value is not None:
                file[key] = value
    return f"d4rl:{path}"


def with_value(key: str, row: int, value: float) -> np.ndarray:
    changed = arrays()[key].copy()
    changed[row] = value
    return changed


def test_d4rl_is_cut_at_terminals_and_timeouts(tmp_path):
    found = data.load((write(tmp_path / "a.hdf5"),))
    assert found.offsets.tolist() == [0, 2, 5] and found.terminated.tolist() == [True, False]
    assert found.returns.tolist() == [1, 1, 9, 7, 4]  # row 5 is dropped
    assert found.states.tolist() == arrays()["observations"][:5].tolist()
    assert found.state_mean.tolist() == [4, 5]


def test_d4rl_v2_extras_change_nothing(tmp_path):
    """next_observations, infos, metadata, float64, numeric flags and rewards as a column."""
    full = arrays()
    extra = {
        "next_observations": full["observations"] + 1,
        "infos/qpos": np.zeros((6, 3)),
        "infos/action_log_probs": np.zeros(6),
        "metadata/algorithm": "SAC",
        "observations": full["observations"].astype(np.float64),
        "terminals": full["terminals"].astype(np.float32),
        "rewards": full["rewards"][:, None],
    }
    plain, rich = data.load((write(tmp_path / "a.hdf5"),)), data.load((write(tmp_path / "b.hdf5", **extra),))
    assert plain.sha256 == rich.sha256


BAD = {
    "no timeouts": ({"timeouts": None}, ["timeouts", "observations, rewards, terminals"]),
    "no rewards": ({"rewards": None}, ["rewards"]),
    "short actions": ({"actions": np.zeros((5, 1), np.float32)}, ["actions", "row 5", "observations", "6 rows"]),
    "nan state": ({"observations": with_value("observations", 3, np.nan)}, ["observations", "row 3", "nan"]),
    "infinite action": ({"actions": with_value("actions", 1, np.inf)}, ["actions", "row 1", "inf"]),
    "nan reward": ({"rewards": with_value("rewards", 0, np.nan)}, ["rewards", "row 0"]),
    "discrete": ({"actions": np.zeros(6, np.int64)}, ["actions", "int64", "(6,)", "come later"]),
    "pixels": ({"observations": np.zeros((6, 4, 4), np.uint8)}, ["observations", "uint8", "(6, 4, 4)", "come later"]),
    "two rewards": ({"rewards": np.zeros((6, 2), np.float32)}, ["rewards", "(6, 2)", "one number a step"]),
    "flags in words": ({"terminals": np.array([b"no"] * 6)}, ["terminals", "one number a step"]),
    "no end": ({"terminals": np.zeros(6, bool), "timeouts": np.zeros(6, bool)}, ["no complete episode", "6 rows"]),
    "no rows": ({key: value[:0] for key, value in arrays().items()}, ["no complete episode"]),
    "a group": ({"actions": None, "actions/arm": np.zeros(6)}, ["actions", "group", "arm"]),
}


@pytest.mark.parametrize("changes, said", BAD.values(), ids=BAD)
def test_bad_d4rl_files_are_one_clear_error(tmp_path, changes, said):
    dataset_id = write(tmp_path / "bad.hdf5", **changes)
    with pytest.raises(ValueError) as error:
        data.load((dataset_id,))
    for word in (str(tmp_path / "bad.hdf5"), *said):
        assert word in str(error.value)
    assert "\n" not in str(error.value) and not (home() / "cache").exists()


def test_damaged_files(tmp_path):
    whole = tmp_path / "whole.hdf5"
    write(whole, observations=np.random.default_rng(0).normal(size=(6, 2000)).astype(np.float32))
    (tmp_path / "cut.hdf5").write_bytes(whole.read_bytes()[:-500])
    (tmp_path / "text.hdf5").write_text("not HDF5")
    for name, said in {"cut.hdf5": "truncated", "text.hdf5": "HDF5", "none.hdf5": "not there", "": "folder"}.items():
        with pytest.raises(ValueError, match=said) as error:
            data.load((f"d4rl:{tmp_path / name}",))
        assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)
    assert not (home() / "cache").exists()


def test_dimensions_of_the_task(tmp_path):
    found = data.load((write(tmp_path / "a.hdf5"),))
    with pytest.raises(ValueError, match=r"a\.hdf5: 'observations' has 2 dimensions; task reacher .* has 10"):
        check_task(found, REACHER)
    with pytest.raises(ValueError, match="'actions' has 1 dimensions.* has 2"):
        check_task(found, replace(REACHER, state_dim=2))
    check_task(found, replace(REACHER, state_dim=2, action_dim=1))


def test_named_files_and_what_exists(tmp_path, monkeypatch):
    monkeypatch.setenv("DMM_D4RL", str(tmp_path))
    write(tmp_path / "hopper-medium-v2.hdf5")
    assert data.load(("d4rl/hopper-medium-v2",)).episodes == 2
    assert data.here() == ["d4rl/hopper-medium-v2"]
    for wrong in ("d4rl/hoper-medium-v2", "hopper-medium-v2", "d5rl/hopper-medium-v2"):
        with pytest.raises(ValueError, match=f"'{wrong}'.*Did you mean 'd4rl/hopper-medium-v2'"):
            data.load((wrong,))


# the cache


def forbid(*_):
    raise AssertionError("the source was read")


def test_second_load_reads_no_source(tmp_path, monkeypatch):
    dataset_id = write(tmp_path / "a.hdf5")
    first = data.load((dataset_id,))
    monkeypatch.setattr(d4rl, "read", forbid)
    second = data.load((dataset_id,))
    for name in ("sha256", "id"):
        assert getattr(first, name) == getattr(second, name)
    for name in ("table", "offsets", "terminated", "state_mean", "state_std"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    assert isinstance(second.table, np.memmap)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second.window(torch.tensor([0]), HAND, 1.0)
    (tmp_path / "a.hdf5").unlink()  # a whole cache serves where the source is not, on another node
    assert data.load((dataset_id,)).sha256 == first.sha256 and data.present(dataset_id)


def test_a_changed_file_is_read_again(tmp_path):
    path = tmp_path / "a.hdf5"
    before = data.load((write(path),))
    written = path.stat().st_mtime_ns
    write(path, rewards=np.ones(6, np.float32))
    os.utime(path, ns=(written + 1, written + 1))  # as long as before: only the time tells
    after = data.load((f"d4rl:{path}",))
    assert after.sha256 != before.sha256 and after.episode_returns.tolist() == [2, 3]
    assert before.episode_returns.tolist() == [1, 9]  # still open, still what it was


def test_an_interrupted_cache_is_rebuilt(tmp_path, monkeypatch):
    dataset_id = write(tmp_path / "a.hdf5")
    first = data.load((dataset_id,))
    folder = cache.folder_of((dataset_id,))
    (folder / "manifest.json").unlink()
    (folder / "table.npy").unlink()
    assert np.array_equal(data.load((dataset_id,)).table, first.table)
    (folder / "manifest.json").unlink()

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "write_atomic", crash)
    with pytest.raises(KeyboardInterrupt):
        data.load((dataset_id,))
    assert not (folder / "manifest.json").exists() and [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_cache_of_older_code_is_rebuilt(tmp_path, monkeypatch):
    dataset_id = write(tmp_path / "a.hdf5")
    data.load((dataset_id,))
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    assert cache.manifests() == []
    data.load((dataset_id,))
    assert [manifest["ids"] for manifest in cache.manifests()] == [[dataset_id]]


def test_an_unwritable_cache_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "file"))
    with pytest.raises(ValueError, match="cannot cache .*a.hdf5"):
        data.load((write(tmp_path / "a.hdf5"),))


def test_several_ids_are_one_dataset(tmp_path, monkeypatch):
    medium = write(tmp_path / "medium.hdf5")
    expert = write(tmp_path / "expert.hdf5", rewards=np.full(6, 10, np.float32))
    both = data.load((expert, medium))
    assert both.offsets.tolist() == [0, 2, 5, 7, 10] and both.terminated.tolist() == [True, False] * 2
    assert both.episode_returns.tolist() == [20, 30, 1, 9]
    assert both.returns.tolist() == [20, 10, 30, 20, 10, 1, 1, 9, 7, 4]
    expected = np.tile(arrays()["observations"][:5], (2, 1))
    assert np.array_equal(both.states, expected) and np.allclose(both.state_std, expected.std(0))
    assert both.window(torch.tensor([4]), HAND, 1.0).mask.tolist() == [[False, True]]  # no window crosses the seam
    monkeypatch.setattr(d4rl, "read", forbid)
    assert data.load((expert, medium)).sha256 == both.sha256 != data.load((medium, expert)).sha256


def test_datasets_of_different_dimensions_are_not_one(tmp_path):
    wide = write(tmp_path / "wide.hdf5", observations=np.zeros((6, 3), np.float32))
    with pytest.raises(ValueError, match="different dimensions.*wide"):
        data.load((write(tmp_path / "a.hdf5"), wide))


# Minari


def make_minari(name: str, states: int = 2, action_space=None, **changes) -> None:
    """Three episodes by Minari's own means: terminated, unfinished, truncated."""
    import gymnasium as gym
    import minari

    ends = [(True, False), (False, False), (False, True)]
    buffers = [
        minari.data_collector.EpisodeBuffer(
            observations=np.full((length + 1, states), float(length)),
            actions=np.zeros((length, 1), np.float32) if action_space is None else np.zeros(length, np.int64),
            rewards=changes.get("rewards", np.arange(length, dtype=float)),
            terminations=np.array([False] * (length - 1) + [end[0]]),
            truncations=np.array([False] * (length - 1) + [end[1]]),
            infos={},
        )
        for length, end in zip((2, 3, 4), ends, strict=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            name,
            buffers,
            observation_space=gym.spaces.Box(-np.inf, np.inf, (states,)),
            action_space=action_space or gym.spaces.Box(-1, 1, (1,)),
            data_format="hdf5",
        )


def test_minari_datasets_are_read():
    make_minari("mujoco/toy/medium-v0")
    found = data.load(("minari/mujoco/toy/medium-v0",))
    assert found.lengths.tolist() == [2, 4] and found.terminated.tolist() == [True, False]
    assert found.episode_returns.tolist() == [1, 6] and found.states[:, 0].tolist() == [2, 2, 4, 4, 4, 4]
    assert data.here() == ["minari/mujoco/toy/medium-v0"]
    with pytest.raises(
        ValueError, match="Did you mean 'minari/mujoco/toy/medium-v0'.*minari download mujoco/toy/medum-v0"
    ):
        data.load(("minari/mujoco/toy/medum-v0",))


def test_bad_minari_datasets():
    import gymnasium as gym

    make_minari("toy/discrete-v0", action_space=gym.spaces.Discrete(2))
    make_minari("toy/nan-v0", rewards=np.array([0, np.nan]))
    make_minari("toy/cut-v0")
    file = Path(os.environ["MINARI_DATASETS_PATH"]) / "toy/cut-v0/data/main_data.hdf5"
    file.write_bytes(file.read_bytes()[:-800])
    wrong = {
        "discrete": ["actions", "Discrete", "come later"],
        "nan": ["main_data.hdf5", "episode_0/rewards", "row 1"],
        "cut": [str(file), "truncated"],
    }
    for name, said in wrong.items():
        with pytest.raises(ValueError) as error:
            data.load((f"minari/toy/{name}-v0",))
        for word in (f"toy/{name}-v0", *said):
            assert word in str(error.value)
    assert not (home() / "cache").exists()


# the real files, where they are

FIGURES = {  # name: episodes, steps, return mean, std, min, max, mean length
    "hopper-medium": (446, 200_450, 1642, 824, 1032, 3695, 449),
    "hopper-expert": (111, 100_914, 3319, 617, 641, 3695, 909),
    "walker2d-medium": (428, 200_088, 2201, 1675, 160, 5453, 467),
    "walker2d-expert": (109, 100_646, 4063, 792, 1553, 4636, 923),
    "halfcheetah-medium": (208, 208_000, 5363, 1094, 391, 5863, 1000),
    "halfcheetah-expert": (112, 112_000, 11505, 194, 10883, 11852, 1000),
}


@pytest.mark.skipif("DMM_TEST_DATA" not in os.environ, reason="DMM_TEST_DATA names no folder of real files")
@pytest.mark.parametrize("name", FIGURES)
def test_real_files(name, monkeypatch):
    monkeypatch.setenv("DMM_D4RL", str(Path(os.environ["DMM_TEST_DATA"]) / "d4rl"))
    found = data.load((f"d4rl/{name}",))
    returns = found.episode_returns
    numbers = (returns.mean(), returns.std(), returns.min(), returns.max(), found.lengths.mean())
    assert (found.episodes, found.steps, *(round(float(number)) for number in numbers)) == FIGURES[name]
    manifest = json.loads((cache.folder_of((f"d4rl/{name}",)) / "manifest.json").read_text())
    assert manifest["sha256"] == found.sha256
