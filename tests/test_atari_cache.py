"""DQN-replay: how frames are cached, listed, joined and given to tasks."""

import gzip
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.dqn_files import (
    ID,
    ZERO,
    frame,
    save,
    stacks,
    steps,
    write_file,
    write_run,
)

from dmm import data
from dmm.base.paths import home
from dmm.data import addresses, cache, dqn_download, http
from dmm.data.inventory import inventory, verify
from dmm.data.readers import dqn
from dmm.data.trajectories import check_task, join
from dmm.tasks import atari
from dmm.tasks.locomotion import TASKS as LOCOMOTION

SAMPLES = Path(os.environ.get("DMM_TEST_DATA", "/nowhere"))


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DMM_DQN", str(tmp_path))
    return tmp_path


def test_a_folder_elsewhere_has_the_same_content_and_hash(root, tmp_path):
    write_run(tmp_path / "elsewhere", steps())
    write_run(root, steps())
    found = data.load((f"dqn:{tmp_path}/elsewhere/Breakout-all",))
    assert found.sha256 == data.load((ID,)).sha256
    other = steps()
    other[0][4] = (frame(77), *other[0][4][1:])  # a frame
    write_run(root, other)
    assert found.sha256 != data.load((ID,)).sha256


def test_frames_are_cached_checked_and_read_anew_when_a_file_is_added(root):
    logs = write_run(root, steps())
    assert data.local_ids() == [ID] and data.is_present(ID)
    first = data.load((ID,))
    assert isinstance(first.frames, np.memmap)
    path = cache.folder_of([ID]) / "frames.npy"
    before = path.stat().st_ino
    assert data.load((ID,)).frames is not None and path.stat().st_ino == before
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    repaired = data.load((ID,))
    assert repaired.sha256 == first.sha256 and path.stat().st_ino != before
    write_file(logs, 2, [ZERO] * 3 + steps((5,))[0], 8)
    more = data.load((ID,))
    assert more.episodes == first.episodes + 1
    for file in logs.iterdir():
        file.unlink()
    logs.rmdir()
    assert data.is_present(ID) and data.load((ID,)).sha256 == more.sha256
    assert [file.name for file in (home() / "cache").glob(".*")] == []


def test_memory_holds_a_chunk_of_a_file_at_a_time(root, monkeypatch):
    """The file's frames are 14 MB. A chunk is 0.7 MB."""
    monkeypatch.setattr(dqn, "CHUNK", 100)
    write_file(root / "Breakout" / "1" / "replay_logs", 0, sum(steps((900, 1100)), []), 2000)
    tracemalloc.start()
    found = data.load((ID,))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.lengths.tolist() == [900, 1100] and peak < 5e6


def test_a_list_reads_no_run_and_shows_what_the_cache_has(root, monkeypatch):
    logs = write_run(root, steps())
    with monkeypatch.context() as patched:
        patched.setattr(dqn, "read", lambda dataset_id: pytest.fail("it was read"))
        (row,) = [row for row in inventory() if row.id == ID]
    assert row.episodes is None and row.source == f"{logs}, not read yet"
    data.load((ID,))
    assert [row.steps for row in inventory() if row.id == ID] == [20]
    write_file(logs, 2, [ZERO] * 3 + steps((5,))[0], 8)
    assert [row.steps for row in inventory() if row.id == ID] == [None]


def test_a_file_that_is_read_to_its_end_has_its_recorded_sha256(root):
    logs = write_run(root, steps())
    for key in ("observation", "reward"):
        path = dqn_download.array_path(logs, key, 1)
        http.hold_to_record(path, path)
        data.load((ID,))
        before = path.read_bytes()
        with gzip.open(path) as file:
            array = np.load(file)
        save(path, array[::-1])
        with pytest.raises(ValueError, match=f"{key}_ckpt.1.gz has the sha256 .*To take this one"):
            data.load((ID,))
        lines = []
        assert not verify(lines.append) and f"{path} has the sha256" in lines[0 if key == "observation" else 1]
        path.write_bytes(before)
    assert verify(lines.append)


def test_datasets_join_and_the_best_episodes_keep_their_frames(root):
    write_run(root, steps())
    found = data.load((ID,))
    both = join([found, found])
    assert both.lengths.tolist() == [9, 11, 9, 11] and stacks(both, 3) == stacks(found, 1)
    best = found.best_episodes(0.53)
    kept = int(np.argmax(found.episode_returns))
    assert best.episodes == 1 and stacks(best, 0) == stacks(found, kept)


def test_a_task_takes_its_own_kind_of_states_and_actions(root):
    write_run(root, steps())
    found, breakout = data.load((ID,)), next(task for task in atari.TASKS if task.name == "breakout")
    check_task(found, breakout)
    with pytest.raises(ValueError, match="has 4 discrete actions; task pong .* has 6 discrete actions"):
        check_task(found, next(task for task in atari.TASKS if task.name == "pong"))
    with pytest.raises(ValueError, match="has 4 discrete actions; task hopper .* has a box of actions"):
        check_task(found, LOCOMOTION[0])
    small = replace(breakout, spaces=replace(breakout.spaces, states=(4, 42, 42)))
    with pytest.raises(ValueError, match="'observations' has 4x84x84 dimensions; .* has 4x42x42"):
        check_task(found, small)


def test_every_game_that_can_be_downloaded_can_be_read_and_has_the_actions_of_ale(root):
    assert len(addresses.GAMES) == 60 and sum(game.random is not None for game in atari.GAMES.values()) == 57
    for game in addresses.GAMES:
        assert dqn.parse(f"dqn/{game}-all").game == game and f"dqn/{game}" in data.downloadable_ids()
    with pytest.raises(ValueError, match="unknown game 'Surround'; DQN-replay has "):
        data.load(("dqn/Surround-all",))


def test_games_without_reference_scores_have_no_tasks():
    papers = {"breakout", "qbert", "pong", "seaquest", "asterix", "frostbite", "assault", "gopher"}
    assert {task.name for task in atari.TASKS} == papers | {f"{name}-minari" for name in papers}
    assert all(atari.GAMES[name].random is not None for name in atari.TARGETS)


SHARED = {  # episodes, steps and mean clipped return, from the samples' README
    "dqn_replay/Breakout": (38, 48_093, None),
    "dqn_replay_padded/Qbert": (32, 14_965, (15.8 + 13.4) / 2),
}


@pytest.mark.parametrize("name", SHARED)
def test_the_shared_samples_read(name):
    if not (SAMPLES / name).is_dir():
        pytest.skip("the folder DMM_TEST_DATA has no DQN-replay")
    found = data.load((f"dqn:{SAMPLES / name}-all",))
    episodes, count, mean = SHARED[name]
    assert (found.episodes, found.steps) == (episodes, count) and found.terminated.all()
    assert mean is None or abs(found.episode_returns.mean() - mean) < 0.06
    assert found.frames is not None and found.frame_starts is not None
    for first, length in zip(found.frame_starts, found.lengths, strict=True):
        assert not found.frames[first : first + 3].any() and found.frames[first + 3].any()
        assert found.frames[first + 3 + length - 1].any()
