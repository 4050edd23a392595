"""DQN-replay: what the reader gives for files as Dopamine writes them, and what it refuses."""

import gzip
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from helpers.dqn_files import (
    ID,
    ZERO,
    check_episode,
    save,
    steps,
    write_file,
    write_run,
)

from dmm import data
from dmm.base.paths import home
from dmm.data.readers import dqn


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DMM_DQN", str(tmp_path))
    return tmp_path


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
    "a third flag": (spoil_column("terminal", lambda a: a * 2), ["terminal_ckpt.0.gz", "2 at row", "takes 0 and 1"]),
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
