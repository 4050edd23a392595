"""Readers and the cache: what a source gives, what it is refused for, and when it is read again."""

import json
import os
import warnings
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers.data_files import arrays, make_minari, write
from helpers.reacher import REACHER, TINY
from helpers.spaces import box

from dmm import data
from dmm.base.paths import home
from dmm.data import cache
from dmm.data.readers import d4rl
from dmm.data.trajectories import check_task
from dmm.data.windows import read_windows

# D4RL files


def with_value(key: str, row: int, value: float) -> np.ndarray:
    with_overrides = arrays()[key].copy()
    with_overrides[row] = value
    return with_overrides


def test_d4rl_is_cut_at_terminals_and_timeouts(tmp_path):
    found = data.load((write(tmp_path / "a.hdf5"),))
    assert found.offsets.tolist() == [0, 2, 5] and found.terminated.tolist() == [True, False]
    assert found.returns_to_go.tolist() == [1, 1, 9, 7, 4]  # row 5 is dropped
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
    "no timeouts": ({"timeouts": None}, ["timeouts", "observations, rewards, terminals", "@horizon=1000"]),
    "no rewards": ({"rewards": None}, ["rewards"]),
    "short actions": ({"actions": np.zeros((5, 1), np.float32)}, ["actions", "row 5", "observations", "6 rows"]),
    "nan state": ({"observations": with_value("observations", 3, np.nan)}, ["observations", "row 3", "nan"]),
    "infinite action": ({"actions": with_value("actions", 1, np.inf)}, ["actions", "row 1", "inf"]),
    "nan reward": ({"rewards": with_value("rewards", 0, np.nan)}, ["rewards", "row 0"]),
    "discrete": ({"actions": np.zeros(6, np.int64)}, ["actions", "int64", "(6,)", "Minari's datasets only"]),
    "pixels": ({"observations": np.zeros((6, 4, 4), np.uint8)}, ["observations", "(6, 4, 4)", "of Atari only"]),
    "whole numbers": ({"observations": np.zeros((6, 2), np.int64)}, ["int64 of shape (6, 2)", "to float32"]),
    "flat": ({"observations": np.zeros(6, np.float32)}, ["float32 of shape (6,)", "no vector a step"]),
    "two rewards": ({"rewards": np.zeros((6, 2), np.float32)}, ["rewards", "(6, 2)", "one number a step"]),
    "flags in words": ({"terminals": np.array([b"no"] * 6)}, ["terminals", "one number a step"]),
    "a third flag": ({"terminals": np.array([0, 0, 2, 0, 0, 1])}, ["'terminals' is 2 at row 2", "takes 0 and 1"]),
    "no end": ({"terminals": np.zeros(6, bool), "timeouts": np.zeros(6, bool)}, ["no complete episode", "6 rows"]),
    "no rows": ({key: value[:0] for key, value in arrays().items()}, ["no complete episode"]),
    "a group": ({"actions": None, "actions/arm": np.zeros(6)}, ["actions", "group"]),
}


@pytest.mark.parametrize("overrides, said", BAD.values(), ids=BAD)
def test_bad_d4rl_files_are_one_clear_error(tmp_path, overrides, said):
    dataset_id = write(tmp_path / "bad.hdf5", **overrides)
    with pytest.raises(ValueError) as error:
        data.load((dataset_id,))
    for word in (str(tmp_path / "bad.hdf5"), *said):
        assert word in str(error.value)
    assert "\n" not in str(error.value) and not (home() / "cache").exists()


def test_episodes_of_a_file_without_timeouts_are_cut_at_a_horizon(tmp_path):
    """Rows 0 to 1 terminate. Rows 2 to 3 and 4 to 5 have two steps each; the last two terminate at the horizon."""
    terminals = np.array([0, 1, 0, 0, 0, 1, 0], bool)
    seven = {"observations": np.zeros((7, 2), np.float32), "actions": np.zeros((7, 1), np.float32)}
    name = write(tmp_path / "a.hdf5", **seven, rewards=np.ones(7, np.float32), terminals=terminals, timeouts=None)
    found = data.load((f"{name}@horizon=2",))
    assert found.offsets.tolist() == [0, 2, 4, 6] and found.terminated.tolist() == [True, False, True]
    assert data.load((f"{name}@horizon=3",)).offsets.tolist() == [0, 2, 5, 6]
    assert data.load((f"{name}@horizon=1",)).lengths.tolist() == [1] * 7
    assert data.load((f"{name}@horizon=9",)).offsets.tolist() == [0, 2, 6]
    for wrong in ("0", "", "x", "2.5", "-1", "1000000000000"):
        with pytest.raises(ValueError, match=f"the horizon is '{wrong}'; it takes a number of steps"):
            data.load((f"{name}@horizon={wrong}",))


def test_a_horizon_is_refused_where_the_file_has_timeouts_and_where_no_episode_ends(tmp_path):
    with pytest.raises(ValueError, match="has 'timeouts'.*leave out @horizon=2"):
        data.load((write(tmp_path / "a.hdf5") + "@horizon=2",))
    name = write(tmp_path / "b.hdf5", timeouts=None, terminals=np.zeros(6, bool))
    with pytest.raises(ValueError, match="no complete episode in 6 rows: .* no episode has 7 steps"):
        data.load((f"{name}@horizon=7",))


def test_terminals_end_no_episode_of_a_file_whose_timeouts_alone_count(tmp_path):
    """As in antmaze-umaze, where the ant plays on at its goal."""
    name = write(tmp_path / "a.hdf5")
    found = data.load((f"{name}@ends=timeouts",))
    assert found.offsets.tolist() == [0, 5] and found.terminated.tolist() == [False]
    assert found.sha256 != data.load((name,)).sha256
    with pytest.raises(ValueError, match="'timeouts' is false"):
        data.load((write(tmp_path / "b.hdf5", timeouts=np.zeros(6, bool)) + "@ends=timeouts",))


@pytest.mark.parametrize("prefix", ["d4rl/", "d4rl:", "minari/", "dmm/hopper/"])
@pytest.mark.parametrize("length", [245, 300])
def test_long_names_are_one_error(prefix, length):
    with pytest.raises(ValueError, match="not there|unknown dataset") as error:
        data.load((prefix + "x" * length,))
    assert "\n" not in str(error.value)


def test_a_long_name_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("DMM_D4RL", str(tmp_path))
    write(tmp_path / f"{'x' * 245}.hdf5")
    assert data.load((f"d4rl/{'x' * 245}",)).episodes == 2


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
        check_task(found, replace(REACHER, spaces=box(2, 2)))
    check_task(found, replace(REACHER, spaces=box(2, 1)))


def test_named_files_and_what_exists(tmp_path, monkeypatch):
    monkeypatch.setenv("DMM_D4RL", str(tmp_path))
    write(tmp_path / "hopper-medium-v2.hdf5")
    assert data.load(("d4rl/hopper-medium-v2",)).episodes == 2
    assert data.local_ids() == ["d4rl/hopper-medium-v2"]
    for wrong in ("d4rl/hoper-medium-v2", "hopper-medium-v2", "d5rl/hopper-medium-v2"):
        with pytest.raises(ValueError, match=f"'{wrong}'.*Did you mean 'd4rl/hopper-medium-v2'"):
            data.load((wrong,))


# the cache


def forbid(*_):
    raise AssertionError("the source was read")


def test_a_folder_of_nobody_is_one_error(monkeypatch):
    monkeypatch.setenv("DMM_D4RL", "~nobody-has-this-name/x")
    for use in (data.local_ids, lambda: data.load(("d4rl:~nobody-has-this-name/x.hdf5",))):
        with pytest.raises(ValueError, match="~nobody-has-this-name/x.* cannot be found"):
            use()


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
        read_windows(second, torch.tensor([0]), TINY.training, 1.0, box(2, 1))
    (tmp_path / "a.hdf5").unlink()  # a whole cache serves where the source is not, on another node
    assert data.load((dataset_id,)).sha256 == first.sha256 and data.is_present(dataset_id)


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
    assert [manifest.ids for manifest in cache.manifests()] == [[dataset_id]]


def test_an_unwritable_cache_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "file"))
    with pytest.raises(ValueError, match="DMM_HOME is .*/file is a file; DMM_HOME names a folder"):
        data.load((write(tmp_path / "a.hdf5"),))


def test_several_ids_are_one_dataset(tmp_path, monkeypatch):
    medium = write(tmp_path / "medium.hdf5")
    expert = write(tmp_path / "expert.hdf5", rewards=np.full(6, 10, np.float32))
    both = data.load((expert, medium))
    assert both.offsets.tolist() == [0, 2, 5, 7, 10] and both.terminated.tolist() == [True, False] * 2
    assert both.episode_returns.tolist() == [20, 30, 1, 9]
    assert both.returns_to_go.tolist() == [20, 10, 30, 20, 10, 1, 1, 9, 7, 4]
    expected = np.tile(arrays()["observations"][:5], (2, 1))
    assert np.array_equal(both.states, expected) and np.allclose(both.state_std, expected.std(0))
    assert read_windows(both, torch.tensor([4]), TINY.training, 1.0, box(2, 1)).mask.tolist() == [
        [False] * 3 + [True]
    ]  # no window crosses the seam
    monkeypatch.setattr(d4rl, "read", forbid)
    assert data.load((expert, medium)).sha256 == both.sha256 != data.load((medium, expert)).sha256


def test_datasets_of_different_dimensions_are_not_one(tmp_path):
    wide = write(tmp_path / "wide.hdf5", observations=np.zeros((6, 3), np.float32))
    with pytest.raises(ValueError, match="different dimensions.*wide"):
        data.load((write(tmp_path / "a.hdf5"), wide))


# Minari


def test_minari_datasets_are_read():
    make_minari("mujoco/toy/medium-v0")
    found = data.load(("minari/mujoco/toy/medium-v0",))
    assert found.lengths.tolist() == [2, 4] and found.terminated.tolist() == [True, False]
    assert found.episode_returns.tolist() == [1, 6] and found.states[:, 0].tolist() == [2, 2, 4, 4, 4, 4]
    assert data.local_ids() == ["minari/mujoco/toy/medium-v0"]
    with pytest.raises(
        ValueError, match="Did you mean 'minari/mujoco/toy/medium-v0'.*dmm data download minari/mujoco/toy/medum-v0"
    ):
        data.load(("minari/mujoco/toy/medum-v0",))


def test_bad_minari_datasets():
    make_minari("toy/nan-v0", rewards=np.array([0, np.nan]))
    make_minari("toy/cut-v0")
    file = Path(os.environ["MINARI_DATASETS_PATH"]) / "toy/cut-v0/data/main_data.hdf5"
    file.write_bytes(file.read_bytes()[:-800])
    make_minari("toy/flag-v0")
    with h5py.File(Path(os.environ["MINARI_DATASETS_PATH"]) / "toy/flag-v0/data/main_data.hdf5", "r+") as opened:
        del opened["episode_0/terminations"]
        opened["episode_0/terminations"] = np.array([0, 2])
    wrong = {
        "flag": ["main_data.hdf5", "episode_0/terminations", "2 at row 1", "takes 0 and 1"],
        "nan": ["main_data.hdf5", "episode_0/rewards", "row 1"],
        "cut": [str(file), "truncated"],
    }
    for name, said in wrong.items():
        with pytest.raises(ValueError) as error:
            data.load((f"minari/toy/{name}-v0",))
        for word in (f"toy/{name}-v0", *said):
            assert word in str(error.value)
    assert not (home() / "cache").exists()


def metadata(name: str) -> Path:
    return Path(os.environ["MINARI_DATASETS_PATH"]) / name / "data/metadata.json"


def test_a_minari_dataset_without_spaces_is_read():
    make_minari("toy/bare-v0")
    whole = data.load(("minari/toy/bare-v0",))
    file = metadata("toy/bare-v0")
    file.write_text(
        json.dumps({key: value for key, value in json.loads(file.read_text()).items() if "space" not in key})
    )
    assert data.readers()["minari"].read("minari/toy/bare-v0").sha256 == whole.sha256


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
    assert cache.read_manifest(cache.folder_of((f"d4rl/{name}",))).sha256 == found.sha256
