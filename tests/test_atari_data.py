"""DQN-replay: what the reader gives for files as Dopamine writes them, what it refuses, and how frames are cached."""

import gzip
import os
import tracemalloc
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dmm import data
from dmm.base.paths import home
from dmm.data import addresses, cache, dqn_download, http
from dmm.data.inventory import inventory, verify
from dmm.data.readers import dqn
from dmm.data.trajectories import Trajectories, check_task, join
from dmm.tasks import atari
from dmm.tasks.locomotion import TASKS as LOCOMOTION

ID, ROWS = "dqn/Breakout-all", 20  # rows of a file
LENGTHS = (9, 6, 11, 8, 5)  # of the episodes of `write_run`
SAMPLES = Path(os.environ.get("DMM_TEST_DATA", "/nowhere"))
Row = tuple[np.ndarray, int, float, bool]  # frame, action, reward, terminal
ZERO: Row = (np.zeros((84, 84), np.uint8), 0, 0.0, False)


def frame(step: int) -> np.ndarray:
    """A frame that is like no other."""
    return np.full((84, 84), step % 255 + 1, np.uint8)


def steps(lengths=LENGTHS) -> list[list[Row]]:
    """Episodes. Step t of the run has action t % 4."""
    first = np.cumsum([0, *lengths])
    return [
        [(frame(t), t % 4, float(t % 3 - 1), t == first[e] + length - 1) for t in range(first[e], first[e] + length)]
        for e, length in enumerate(lengths)
    ]


def save(path: Path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wb", 1) as file:
        np.save(file, array)


def write_file(logs: Path, number: int, rows: list[Row], add_count: int) -> None:
    frames, actions, rewards, terminals = zip(*rows, strict=True)
    columns = {
        "observation": np.array(frames, np.uint8),
        "action": np.array(actions, np.int32),
        "reward": np.array(rewards, np.float32),
        "terminal": np.array(terminals, np.uint8),
    }
    for key, column in columns.items():
        save(logs / f"$store$_{key}_ckpt.{number}.gz", column)
    save(logs / f"add_count_ckpt.{number}.gz", np.array(add_count))
    save(logs / f"invalid_range_ckpt.{number}.gz", np.zeros(5, int))


def write_run(root: Path, episodes: list[list[Row]], pads: int = 3) -> Path:
    """A run as Dopamine's circular buffer writes it: a file whenever the cursor stands at the last row, which is stale."""
    logs, added, number = root / "Breakout" / "1" / "replay_logs", 0, 0
    buffer: list[Row] = [(frame(200), 3, 1.0, True)] * ROWS
    for episode in episodes:
        for row in [ZERO] * pads + episode:
            buffer[added % ROWS] = row
            added += 1
            if added % ROWS == ROWS - 1:
                write_file(logs, number, buffer, added)
                number += 1
    return logs


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DMM_DQN", str(tmp_path))
    return tmp_path


def stacks(found: Trajectories, episode: int) -> list[list[int]]:
    """The values of the four frames of each state of an episode."""
    assert found.frames is not None and found.frame_starts is not None
    first = found.frame_starts[episode]
    return [found.frames[first + t : first + t + 4, 0, 0].tolist() for t in range(found.lengths[episode])]


def check_episode(found: Trajectories, episode: int, rows: list[Row], terminated: bool = True) -> None:
    values = [0, 0, 0, *(int(row[0][0, 0]) for row in rows)]
    assert stacks(found, episode) == [values[t : t + 4] for t in range(len(rows))]
    here = slice(*found.offsets[episode : episode + 2])
    assert found.actions[here, 0].tolist() == [row[1] for row in rows]
    rewards = [row[2] for row in rows]
    assert found.rewards[here].tolist() == rewards
    assert found.returns_to_go[here].tolist() == np.cumsum(rewards[::-1])[::-1].tolist()
    assert found.table[here, -1].tolist() == list(range(len(rows)))
    assert found.terminated[episode] == terminated


def test_pads_stale_rows_and_pieces_are_no_steps_of_whole_episodes(root):
    """File 0 has the first episode and most of the second. Its last row is stale. File 1 begins with the second's end."""
    episodes = steps()
    write_run(root, episodes)
    found = data.load((ID,))
    assert found.lengths.tolist() == [9, 11] and found.num_actions == 4 and found.state_shape == (4, 84, 84)
    check_episode(found, 0, episodes[0])
    check_episode(found, 1, episodes[2])
    assert found.frames is not None and len(found.frames) == found.steps + 3 * found.episodes


def test_a_file_without_pads_loses_no_step(root):
    """Zero actions and rewards after an end are no pads if the frames are not black."""
    episodes = steps((5, 7, 30))
    for episode in episodes:
        episode[:3] = [(row[0], 0, 0.0, False) for row in episode[:3]]
    write_run(root, episodes, pads=0)
    found = data.load((ID,))
    assert found.lengths.tolist() == [5, 7]
    for number in range(2):
        check_episode(found, number, episodes[number])


def test_rows_of_zeros_without_an_end_before_them_cut_an_episode(root):
    cut, last = steps((6, 6))
    cut[-1] = (*cut[-1][:3], False)
    first = steps((3,))[0]
    logs = root / "Breakout" / "1" / "replay_logs"
    write_file(logs, 0, [ZERO] * 3 + first + [ZERO] * 3 + cut + [ZERO] * 3 + last, 24)
    found = data.load((ID,))
    for number, (episode, terminated) in enumerate(((first, True), (cut, False), (last, True))):
        check_episode(found, number, episode, terminated)


def test_black_frames_of_a_game_stay_steps(root):
    """Black frames follow the pads, and two stand alone."""
    episode = steps((12,))[0]
    for black in (0, 1, 5, 6):
        episode[black] = ZERO
    write_file(root / "Breakout" / "1" / "replay_logs", 0, ([ZERO] * 3 + episode) * 2, 30)
    found = data.load((ID,))
    assert found.lengths.tolist() == [12, 12]
    check_episode(found, 1, episode)


def select_as_kzl(terminals: list[np.ndarray], seed: int, wanted: int, searched: int) -> list[list[tuple[int, int]]]:
    """create_dataset of kzl/decision-transformer, with the rows of each visit instead of their content."""
    draw, obss = np.random.RandomState(seed), []
    transitions_per_buffer = np.zeros(len(terminals), int)
    visits = []
    while len(obss) < wanted:
        buffer_num = draw.choice(np.arange(len(terminals)), 1)[0]
        i = transitions_per_buffer[buffer_num]
        done, curr_num_transitions, trajectories_to_load = False, len(obss), 10
        while not done:
            obss += [(int(buffer_num), int(i))]
            if terminals[buffer_num][i]:
                if trajectories_to_load == 0:
                    done = True
                else:
                    trajectories_to_load -= 1
            i += 1
            if i >= searched:
                obss = obss[:curr_num_transitions]
                i = transitions_per_buffer[buffer_num]
                done = True
        transitions_per_buffer[buffer_num] = i
        visits.append(obss[curr_num_transitions:])
    return visits


def test_the_papers_selection_is_that_of_their_code(monkeypatch):
    monkeypatch.setattr(dqn, "SEARCHED", 400)
    monkeypatch.setattr(dqn, "ROWS_PER_PERCENT", 9000)
    for seed in (123, 231, 312):
        generator = np.random.default_rng(seed)
        terminals = [generator.random(400) < 0.08 for _ in range(50)]
        visits = select_as_kzl(terminals, seed, 9000, 400)
        expected: defaultdict[int, int] = defaultdict(int)
        for number, row in (place for visit in visits for place in visit):
            expected[number] = max(expected[number], row + 1)
        asked = dqn.Selection(Path("logs"), "Breakout", 1.0, seed)
        assert dqn.select_rows(asked, lambda number, flags=terminals: flags[number][:399]) == expected
        assert any(not visit for visit in visits), "no visit reached the last row, so its rule was not tested"


def test_a_share_of_a_run_has_the_piece_at_a_files_beginning_and_drops_pads(root, monkeypatch):
    """The share is the first two ends of a file. File 0 gives the episodes 0 and 1, file 1 its piece and one episode."""
    for name, value in {"FILES": 2, "VISIT": 2, "ROWS_PER_PERCENT": 26}.items():
        monkeypatch.setattr(dqn, name, value)
    episodes = steps((4, 5, 6, 4, 7))
    write_run(root, episodes)
    found = data.load(("dqn/Breakout-1pct-s123",))
    assert found.lengths.tolist() == [4, 5, 4, 4]
    check_episode(found, 2, episodes[2][2:])
    check_episode(found, 3, episodes[3])
    with pytest.raises(ValueError, match=r"cannot give 1\.5 % of a run, which are 39 rows: .* give 26"):
        data.load(("dqn/Breakout-1.5pct-s123",))
    (root / "Breakout/1/replay_logs/$store$_observation_ckpt.1.gz").unlink()
    with pytest.raises(ValueError, match=r"is selected from 2 files; .*observation_ckpt\.1\.gz is not there"):
        data.load(("dqn/Breakout-2pct-s123",))


def spoil_column(key: str, change):
    def spoil(logs: Path) -> None:
        path = logs / f"$store$_{key}_ckpt.0.gz"
        with gzip.open(path) as file:
            array = np.load(file)
        save(path, change(array))

    return spoil


def with_row(row: int, value) -> object:
    def change(array: np.ndarray) -> np.ndarray:
        array[row] = value
        return array

    return change


def cut_off(logs: Path) -> None:
    path = logs / "$store$_observation_ckpt.0.gz"
    path.write_bytes(path.read_bytes()[:-30])


def no_gzip(logs: Path) -> None:
    (logs / "$store$_reward_ckpt.0.gz").write_bytes(b"text")


FAULTS = {
    "a truncated gzip": (cut_off, ["observation_ckpt.0.gz", "damaged or cut off in", "rows 1"]),
    "no gzip": (no_gzip, ["reward_ckpt.0.gz", "damaged"]),
    "a short column": (spoil_column("action", lambda a: a[:-1]), ["action_ckpt.0.gz ends at row 19", "20 rows"]),
    "an action outside": (spoil_column("action", with_row(7, 4)), ["action_ckpt.0.gz: row 7 has action 4", "0 to 3"]),
    "a negative action": (spoil_column("action", with_row(7, -1)), ["row 7 has action -1"]),
    "a reward of nan": (spoil_column("reward", with_row(5, np.nan)), ["reward_ckpt.0.gz", "row 5", "nan"]),
    "other frames": (spoil_column("observation", lambda a: a[:, :80]), ["observation_ckpt.0.gz", "(20, 80, 84)"]),
    "frames of floats": (spoil_column("observation", lambda a: a / 255), ["float64", "uint8"]),
    "flags in two columns": (spoil_column("terminal", lambda a: a[:, None]), ["terminal_ckpt.0.gz", "(20, 1)"]),
    "a negative add_count": (lambda logs: save(logs / "add_count_ckpt.0.gz", np.array(-1)), ["add_count_ckpt.0.gz is -1"]),
    "no add_count": (lambda logs: (logs / "add_count_ckpt.0.gz").unlink(), ["add_count_ckpt.0.gz", "No such file"]),
    "no end": (spoil_column("terminal", np.zeros_like), ["no complete episode"]),
    "objects": (spoil_column("action", lambda a: a.astype(object)), ["action_ckpt.0.gz", "Python objects"]),
}  # fmt: skip


@pytest.mark.parametrize("spoil, said", FAULTS.values(), ids=FAULTS)
def test_bad_files_are_one_clear_error_and_nothing_is_cached(root, spoil, said):
    logs = write_run(root, steps((4, 5, 3)))
    spoil(logs)
    with pytest.raises(ValueError) as error:
        data.load((ID,))
    for word in (str(logs), *said):
        assert word in str(error.value)
    assert "\n" not in str(error.value) and not list((home() / "cache").glob("*")) + list((home() / "cache").glob(".*"))


def test_an_end_without_pads_in_a_file_that_has_them_is_named(root):
    first, second, third = steps((4, 4, 4))
    second[:3] = [(row[0], 0, 0.0, False) for row in second[:3]]
    rows = [ZERO] * 3 + first + [ZERO] * 3 + third + second
    logs = root / "Breakout" / "1" / "replay_logs"
    write_file(logs, 0, rows, len(rows))
    with pytest.raises(
        ValueError, match=r"observation_ckpt\.0\.gz: no rows of zeros follow the episode's end at row 13"
    ):
        data.load((ID,))


@pytest.mark.parametrize("without", [1, 3])
def test_pads_after_some_ends_alone_are_an_error(root, without):
    rows = []
    for number, episode in enumerate(steps((4, 4, 4, 4))):
        rows += [*([ZERO] * 3 if number != without else []), *episode]
    write_file(root / "Breakout" / "1" / "replay_logs", 0, rows, len(rows))
    with pytest.raises(ValueError, match="rows of zeros follow the episode's end at row .* the first end in this file"):
        data.load((ID,))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Brakout-all", "unknown game 'Brakout'.*Did you mean 'Breakout'"),
        ("Breakout", "Its form is dqn/GAME-1pct-s123"),
        ("Breakout-1pct", "Its form is dqn/GAME-1pct-s123"),
        ("Breakout-0pct-s1", "more than 0 and at most 100"),
        ("Pong-all", "unknown dataset 'dqn/Pong-all'; .* has dqn/Breakout-all.*dmm data download dqn/Pong.*DMM_DQN"),
    ],
)
def test_a_wrong_name_says_what_exists(root, name, said):
    write_run(root, steps())
    with pytest.raises(ValueError, match=said):
        data.load((f"dqn/{name}",))


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
