"""Damaged files and values that are not finite: the table keeps its bytes, or there is one clear error."""

import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.mujoco.reacher_v5 import ReacherEnv
from helpers.handmade_results import load_summaries
from helpers.reacher import REACHER, TINY

from dmm import data
from dmm.base.paths import home
from dmm.base.text_tables import csv_text
from dmm.config import Column, Row, Table
from dmm.data import cache
from dmm.data.inventory import verify
from dmm.data.trajectories import Trajectories, assemble, check_task
from dmm.report.content import ReportContent
from dmm.report.files import score_rows
from dmm.report.markdown import markdown
from dmm.report.sections import sections
from dmm.trials import run, train, weights
from dmm.trials.progress import run_with_bar
from dmm.trials.storage import returns_path, trial_folder

# single bits of every file


@pytest.fixture
def table(reacher_file) -> Table:
    """A table of one trial with two evaluations."""
    row = Row(label="DT", arch="dt", overrides={"width": 16, "layers": 1})
    column = Column(task=REACHER, dataset=f"d4rl:{reacher_file}", label="reacher")
    protocol = TINY.with_overrides(num_evaluations=2, episodes_per_evaluation=2, targets=(1.0,))
    return Table(name="tiny", title="Tiny", rows=(row,), columns=(column,), seeds=(0,), protocol=protocol)


def files_of(table: Table) -> str:
    """The text of a table, from the files of its trials."""
    content = ReportContent(table, load_summaries(table))
    return markdown(content, sections(content)) + csv_text(score_rows(content))


def forget_data() -> None:
    """Opens data anew, as another process would."""
    train.dataset.cache_clear()
    train.selected.cache_clear()


def flip_bit(path: Path, generator: random.Random) -> str:
    """Flips one bit of a file. Says which."""
    content = bytearray(path.read_bytes())
    place, bit = generator.randrange(len(content)), generator.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"{path.relative_to(home())}, byte {place}, bit {bit}"


def end_of(table: Table) -> str:
    """The table after its trial has run, or gone on, to its end."""
    run.run(*table.trials())
    return files_of(table)


def count_same(table: Table, expected: str, flips: int) -> int:
    """Flips single bits of DMM_HOME's files, in turn, and runs the table each time. How often its text is as expected.

    Otherwise there is one clear error.
    """
    generator, whole, same = random.Random(flips), home().with_name(f"{home().name}-whole"), 0
    home().rename(whole)
    names = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.stat().st_size)
    for number in range(flips):
        shutil.rmtree(home(), ignore_errors=True)
        shutil.copytree(whole, home())
        where = flip_bit(home() / names[number % len(names)], generator)
        forget_data()
        try:
            found = end_of(table)
        except ValueError as error:
            assert "\n" not in str(error) and len(str(error)) > 20, where
        else:
            assert found == expected, where
            same += 1
    return same


def few_or_many(few: int, many: int):
    """The number of flips, in the fast tests and in those behind the marker."""
    return pytest.mark.parametrize("flips", [few, pytest.param(many, marks=pytest.mark.faults)])


@few_or_many(50, 1000)
def test_a_flipped_bit_of_a_finished_trial_changes_no_table(table, flips):
    assert count_same(table, end_of(table), flips) == flips


class Killed(BaseException):
    pass


@few_or_many(10, 150)
def test_a_flipped_bit_of_a_trial_that_was_stopped_changes_no_table(table, flips):
    def die(found):
        if found.update == 4:
            raise Killed

    with pytest.raises(Killed):
        run.run(*table.trials(), on_progress=die)
    stopped = home().with_name(f"{home().name}-stopped")
    shutil.copytree(home(), stopped)
    expected = end_of(table)
    shutil.rmtree(home())
    stopped.rename(home())
    assert count_same(table, expected, flips) > 0.7 * flips  # weights that an evaluation needs are no longer there


# the dataset cache


def cached(reacher_file: str) -> tuple[tuple[str], Path]:
    """The id of the data, and their cache."""
    ids = (f"d4rl:{reacher_file}",)
    data.load(ids)
    return ids, cache.folder_of(ids)


def in_memory(found: Trajectories) -> list:
    """What data are. Copied, because a mapped file that is cut kills the process that reads it."""
    arrays = (found.table, found.offsets, found.terminated, found.state_mean, found.state_std)
    return [found.sha256, *(array.copy() for array in arrays)]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    flip_bit(path, random.Random(0))


DAMAGE = [cut, flip, Path.unlink, lambda path: path.write_bytes(b"")]


@pytest.mark.parametrize("name", ["table.npy", "offsets.npy", "terminated.npy", "manifest.json"])
@pytest.mark.parametrize("damage", DAMAGE, ids=["cut", "flipped", "gone", "empty"])
def test_a_damaged_cache_is_rebuilt_and_a_line_says_so(reacher_file, name, damage, capsys):
    ids, folder = cached(reacher_file)
    before = in_memory(data.load(ids))
    damage(folder / name)
    found = in_memory(data.load(ids))
    assert found[0] == before[0] and all(map(np.array_equal, found[1:], before[1:]))
    told = capsys.readouterr().err.splitlines()
    if (name, damage) != ("manifest.json", Path.unlink):  # a folder without a manifest is no cache
        assert len(told) == 1 and name in told[0] and told[0].endswith(f"; it is rebuilt from {ids[0]}")
    assert data.load(ids) and not capsys.readouterr().err  # it is whole again
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("content", [b"{}", b"[]", b"0", b'"format"', b"null", b'{"content": 1}'])
def test_a_manifest_of_another_kind_is_rebuilt(reacher_file, content):
    ids, folder = cached(reacher_file)
    (folder / "manifest.json").write_bytes(content)
    assert data.load(ids).episodes == 12 and cache.manifests()


def test_a_damaged_cache_without_its_source_is_an_error_and_stays(reacher_file, tmp_path):
    source = tmp_path / "copy.hdf5"
    shutil.copy(reacher_file, source)
    ids, folder = cached(str(source))
    flip(folder / "table.npy")
    source.unlink()
    content = (folder / "table.npy").read_bytes()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"table.npy is damaged: .*, and it cannot be rebuilt: .*not there"):
            data.load(ids)
    assert (folder / "table.npy").read_bytes() == content


def test_a_joined_dataset_is_rebuilt_from_its_parts(reacher_file, tmp_path, capsys):
    source = tmp_path / "copy.hdf5"
    shutil.copy(reacher_file, source)
    ids = (f"d4rl:{reacher_file}", f"d4rl:{source}")
    before = data.load(ids)
    source.unlink()  # the cache of this part is whole
    flip(cache.folder_of(ids) / "table.npy")
    assert data.load(ids).sha256 == before.sha256 and len(capsys.readouterr().err.splitlines()) == 1


@pytest.fixture
def large(monkeypatch) -> list[str]:
    """Every array counts as large. Lists the files that are read for their checksum."""
    read, sha256 = [], cache.file_sha256

    def noted(path: Path) -> str:
        read.append(path.name)
        return sha256(path)

    monkeypatch.setattr(cache, "LARGE", 0)
    monkeypatch.setattr(cache, "file_sha256", noted)
    return read


def another_process(monkeypatch, ids) -> None:
    monkeypatch.setattr(cache, "CHECKED", set())
    data.load(ids)


def test_large_arrays_are_read_again_only_if_their_files_are_not_as_they_were(reacher_file, large, monkeypatch):
    ids, folder = cached(reacher_file)
    large.clear()
    another_process(monkeypatch, ids)
    assert large == []  # they were whole when they were written
    os.utime(folder / "table.npy")
    another_process(monkeypatch, ids)
    assert large == ["table.npy"]
    another_process(monkeypatch, ids)
    assert large == ["table.npy"]
    shutil.copy2(folder / "offsets.npy", folder / "copy")
    (folder / "copy").rename(folder / "offsets.npy")
    another_process(monkeypatch, ids)
    assert large == ["table.npy", "offsets.npy"]
    monkeypatch.setattr(cache, "LARGE", 256 * 2**20)
    another_process(monkeypatch, ids)
    assert large[2:] == ["table.npy", "offsets.npy", "terminated.npy"]


def test_verify_reads_all_and_rebuilds_what_a_disk_has_changed(reacher_file, large, capsys):
    ids, folder = cached(reacher_file)
    flip(folder / "table.npy")
    cache.write_checks(folder, {path.name: cache.state_of(path) for path in folder.glob("*.npy")})  # nobody wrote to it
    data.load(ids)
    told = []
    assert verify(told.append) and told == [f"{ids[0]}: was damaged, and is rebuilt"]
    assert "table.npy is damaged" in capsys.readouterr().err
    told.clear()
    assert verify(told.append) and told == [f"{ids[0]}: whole, {size(folder):,.1f} MB"]


def size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.glob("*.npy")) / 1e6


def test_verify_goes_on_and_says_what_could_not_be_rebuilt(reacher_file, tmp_path):
    shutil.copy(reacher_file, tmp_path / "a.hdf5")
    _, folder = cached(str(tmp_path / "a.hdf5"))
    (tmp_path / "a.hdf5").unlink()
    cached(reacher_file)
    cut(folder / "offsets.npy")
    told = []
    assert not verify(told.append) and len(told) == 2
    assert sum("cannot be rebuilt" in line for line in told) == sum("whole" in line for line in told) == 1


def test_arrays_are_on_disk_before_the_manifest(reacher_file, monkeypatch):
    order, flush, write = [], cache.flush, cache.write_atomic
    monkeypatch.setattr(cache, "flush", lambda path: (order.append(path.name), flush(path)))
    monkeypatch.setattr(cache, "write_atomic", lambda path, content: (order.append(path.name), write(path, content)))
    cached(reacher_file)
    assert set(order[:3]) == {"table.npy", "offsets.npy", "terminated.npy"} and order[-1] == "manifest.json"


# files of another trial


def test_files_of_another_trial_are_refused_or_made_anew(tiny_trial):
    other = replace(tiny_trial, seed=1)
    expected = run.run(tiny_trial)
    run.run(other)
    mine, foreign = trial_folder(tiny_trial), trial_folder(other)
    shutil.copy(returns_path(other), returns_path(tiny_trial))
    assert run.run(tiny_trial).evaluations == expected.evaluations
    assert "belongs to" in (mine / "log.txt").read_text()
    shutil.copy(returns_path(other), returns_path(tiny_trial))
    assert run_with_bar(tiny_trial).evaluations == expected.evaluations
    shutil.copy(foreign / "training.json", mine / "training.json")
    assert run.run(tiny_trial).training.loss == expected.training.loss
    returns_path(tiny_trial).unlink()
    shutil.copytree(foreign / "weights" / "4", mine / "weights" / "4", dirs_exist_ok=True)
    assert weights.kept_updates(tiny_trial) == [4, 8]
    with pytest.raises(ValueError, match="at update 4 are not kept; --retrain"):
        run.run(tiny_trial)
    assert run.run(tiny_trial, retrain=True).evaluations == expected.evaluations


@pytest.mark.parametrize("name", ["checkpoint.pt", "checkpoint-before.pt"])
def test_a_checkpoint_of_another_trial_is_refused(tiny_trial, name):
    other = replace(tiny_trial, seed=1)
    run.run(other)
    trial_folder(tiny_trial).mkdir()
    shutil.copy(trial_folder(other) / name, trial_folder(tiny_trial) / name)
    with pytest.raises(
        ValueError, match=f"{name} is a checkpoint of trial {other.weights_id}, not of trial {tiny_trial.weights_id}"
    ):
        run.run(tiny_trial)


# values that are not finite


class Spoiling(ReacherEnv):
    """Reacher that gives one bad value at the fifth step, while `bad` says so."""

    bad: str | None = None
    steps = 0  # of the episode

    def reset(self, **options):
        self.steps = 0
        return super().reset(**options)

    def step(self, action):
        self.steps += 1
        state, reward, *rest = super().step(action)
        if self.steps == 5:
            state = {"state": np.full_like(state, np.nan), "large state": np.full(len(state), 1e39)}.get(
                self.bad or "", state
            )
            state = np.append(state, 0.0) if self.bad == "longer state" else state
            reward = {"reward": np.nan, "infinite reward": -np.inf, "reward in a list": [0.5]}.get(
                self.bad or "", reward
            )
        return state, reward, *rest


gymnasium.register("Spoiling-v0", entry_point=Spoiling, max_episode_steps=50)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("reward", "the reward of step 4 is nan"),
        ("infinite reward", "the reward of step 4 is -inf"),
        ("state", r"the state of step 5 is \[nan"),
        ("large state", r"the state of step 5 is \[1.e\+39"),
    ],
)
def test_a_value_of_an_environment_that_is_not_finite_is_named_and_spoils_nothing(tiny_trial, monkeypatch, bad, said):
    trial = replace(tiny_trial, task=replace(REACHER, name="spoiling", environment="Spoiling-v0"))
    monkeypatch.setattr(Spoiling, "bad", bad)
    for _ in range(2):
        with pytest.raises(
            ValueError, match=rf"spoiling \(Spoiling-v0\): {said}.* in the episode with seed \d+; it must"
        ):
            run.run(trial)
    monkeypatch.setattr(Spoiling, "bad", None)
    assert [len(entry.returns) for entry in run.run(trial).evaluations] == [5] * 4


@pytest.mark.parametrize("bad", ["longer state", "reward in a list"])
def test_values_of_an_environment_of_another_shape_are_named(tiny_trial, monkeypatch, bad):
    trial = replace(tiny_trial, task=replace(REACHER, name="spoiling", environment="Spoiling-v0"))
    monkeypatch.setattr(Spoiling, "bad", bad)
    with pytest.raises(ValueError, match=r"states are float.. of shape \(1.,\), and rewards have the shape \(1?,?\)"):
        run.run(trial)


def of_rewards(*rewards: float):
    """An episode of one step, then one with these rewards."""
    zeros = np.zeros((len(rewards) + 1, 1))
    return assemble("large", zeros, zeros, np.array([1, *rewards]), np.array([0, 1, len(zeros)]), np.ones(2, bool))


def test_returns_to_go_that_overflow_are_named():
    with pytest.raises(ValueError, match="large: the return-to-go at row 1, in episode 1, overflows float32"):
        of_rewards(1e38, 3e38, 2e38)
    found, task = (
        of_rewards(2e38),
        replace(REACHER, spaces=replace(REACHER.spaces, states=(1,), actions=1, low=(), high=())),
    )
    check_task(found, replace(task, return_scale=1.0))
    with pytest.raises(ValueError, match="the return_scale 0.1 of task reacher .* is 2e.39, which overflows float32"):
        check_task(found, replace(task, return_scale=0.1))


def test_states_that_never_change_are_named_before_training(tiny_trial, monkeypatch, capsys):
    whole = train.training_data(tiny_trial)
    assert whole.still_states == [] and capsys.readouterr().err == ""
    states = whole.states.copy()
    states[:, [2, 7]] = 0.1
    still = assemble("still", states, whole.actions, whole.rewards, whole.offsets, whole.terminated)
    forget_data()
    monkeypatch.setattr(train.data, "load", lambda ids: still)
    train.training_data(tiny_trial)
    assert capsys.readouterr().err.startswith("still: state dimensions 2, 7 never change in these data.")
    run.check(tiny_trial)
    forget_data()
    states[:, [2, 7]] = 0.0
    still = assemble("still", states, whole.actions, whole.rewards, whole.offsets, whole.terminated)
    with pytest.raises(
        ValueError, match="state dimensions 2, 7 never change .*std_offset is 0, so they would be divided"
    ):
        run.check(replace(tiny_trial, training=replace(tiny_trial.training, std_offset=0.0)))
    forget_data()
