"""Observations that are dictionaries: the reader and the environment make the same vector. Formats and actions of Minari."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.dict_env import make_dataset
from helpers.real_files import needs_files
from helpers.spaces import box

from dmm import data
from dmm.base.checksums import dump_json, load_json
from dmm.batch import Spaces
from dmm.data import cache
from dmm.data.readers import minari
from dmm.data.trajectories import check_task, join
from dmm.environments.vector_env import SubEnv, step_all
from dmm.tasks import Task
from dmm.tasks.view import flatten

TASK = Task(
    name="dict", environment="DmmDict-v0", spaces=box(4, 1), horizon=10, return_scale=1.0, target_return=1.0, ref_min_score=0.0,
    ref_max_score=1.0, source="a test", view="observation+achieved_goal",
)  # fmt: skip
VIEWS = {
    "": [20, 21, 30, 40, 10, 11],  # sorted by keys, as Gymnasium flattens
    "observation": [10, 11],
    "observation+achieved_goal": [10, 11, 20, 21],
    "achieved_goal+observation": [20, 21, 10, 11],
    "desired_goal/b+observation": [40, 10, 11],
    "desired_goal": [30, 40],
}
FORMATS = ("hdf5", "arrow", "parquet")


def with_view(name: str, view: str) -> str:
    return f"minari/{name}@view={view}" if view else f"minari/{name}"


def folder(name: str) -> Path:
    return Path(os.environ["MINARI_DATASETS_PATH"]) / name / "data"


@pytest.mark.parametrize(("view", "first"), VIEWS.items())
def test_reader_and_environment_make_the_same_vector(view, first):
    make_dataset("toy/dict-v0")
    found = data.load((with_view("toy/dict-v0", view),))
    assert found.states.tolist() == [[value + 100 * step for value in first] for step in (0, 1, 2, 0, 1)]
    task = replace(TASK, view=view, spaces=box(len(first), 1))
    env = task.make()
    assert env.reset(seed=0)[0].tolist() == first
    assert env.step(np.zeros(1, np.float32))[0].tolist() == [value + 100 for value in first]
    vector = SubEnv(task.make(), 10)
    vector.reset(seed=0)
    assert step_all([vector], np.zeros((1, 1), np.float32)).states.tolist() == [[value + 100 for value in first]]
    check_task(found, task)


def test_the_empty_view_is_the_order_of_gymnasium():
    import gymnasium as gym

    space = TASK.make().unwrapped.observation_space
    sample = space.sample()
    assert np.array_equal(flatten(sample, ""), gym.spaces.flatten(space, sample))


@pytest.mark.parametrize("view", ["goal", "observation/x", "observation+", "desired_goal/c"])
def test_a_key_that_is_missing_is_one_error_on_both_sides(view):
    make_dataset("toy/dict-v0")
    for use in (lambda: data.load((with_view("toy/dict-v0", view),)), replace(TASK, view=view).make):
        with pytest.raises(ValueError, match="unknown key of a view ") as error:
            use()
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="has achieved_goal, desired_goal, observation"):
        data.load((with_view("toy/dict-v0", "goal"),))


def test_a_view_of_an_array_is_refused():
    make_dataset("toy/dict-v0")
    file = folder("toy/dict-v0") / "main_data.hdf5"
    with h5py.File(file, "a") as opened:
        for episode in opened.values():
            states = episode["observations/observation"][()]
            del episode["observations"]
            episode["observations"] = states
    assert data.load(("minari/toy/dict-v0",)).state_dim == 2
    with pytest.raises(
        ValueError, match="the view is 'observation', and the observations of .* are one array without keys"
    ):
        data.load(("minari/toy/dict-v0@view=observation",))
    with pytest.raises(ValueError, match="cannot be made: the view is 'observation'"):
        replace(TASK, environment="Reacher-v5", view="observation").make()


def test_data_of_another_view_than_the_task_are_refused():
    make_dataset("toy/dict-v0")
    both = [data.load((with_view("toy/dict-v0", view),)) for view in ("achieved_goal+observation", TASK.view)]
    assert both[0].sha256 != both[1].sha256
    check_task(both[1], TASK)
    check_task(data.load((both[1].id, both[1].id)), TASK)
    for wrong in (both[0], data.load((both[1].id, both[0].id)), data.load(("minari/toy/dict-v0",))):
        with pytest.raises(ValueError, match="has the view '.*'; task dict .* has 'observation.achieved_goal'"):
            check_task(wrong, TASK)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("discrete", [False, True])
def test_all_formats_of_minari_give_the_same_data(kind, discrete):
    for name in {kind, "hdf5"}:
        make_dataset(f"toy/{name}-v0", name, discrete)
    found, expected = (data.load((f"minari/toy/{name}-v0@view={TASK.view}",)) for name in (kind, "hdf5"))
    assert found.sha256 == expected.sha256 and found.lengths.tolist() == [3, 2]
    assert found.terminated.tolist() == [True, False] and found.discrete is discrete
    assert found.actions[:, 0].tolist() == ([0, 1, 2, 0, 1] if discrete else [0] * 5)
    assert data.load((found.id,)).discrete is discrete  # from the cache


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("fault", ["fewer", "more", "no number", "other format", "an episode is gone"])
def test_metadata_that_do_not_fit_the_episodes_are_one_error(kind, fault):
    make_dataset("toy/dict-v0", kind)
    file = folder("toy/dict-v0") / "metadata.json"
    content = json.loads(file.read_text())
    values = {"fewer": 1, "more": 3, "no number": "many"}
    if fault == "an episode is gone" and kind == "hdf5":
        with h5py.File(folder("toy/dict-v0") / "main_data.hdf5", "a") as opened:
            del opened["episode_1"]
    elif fault == "an episode is gone":
        shutil.rmtree(folder("toy/dict-v0") / "1")
    else:
        key = "data_format" if fault == "other format" else "total_episodes"
        file.write_text(json.dumps(content | {key: values.get(fault, "csv")}))
    with pytest.raises(ValueError, match="^minari/toy/dict-v0: ") as error:
        data.load(("minari/toy/dict-v0",))
    assert "\n" not in str(error.value) and str(folder("toy/dict-v0").parent) in str(error.value)


def test_discrete_data_fit_no_box_and_the_reverse():
    make_dataset("toy/discrete-v0", discrete=True)
    make_dataset("toy/box-v0")
    discrete, boxed = (data.load((f"minari/toy/{name}-v0@view={TASK.view}",)) for name in ("discrete", "box"))
    with pytest.raises(ValueError, match="has 3 discrete actions; task dict .* has a box of actions"):
        check_task(discrete, TASK)
    with pytest.raises(ValueError, match="has a box of actions; task dict .* has 3 discrete actions"):
        check_task(boxed, replace(TASK, spaces=Spaces(states=(4,), actions=3, discrete=True)))
    with pytest.raises(ValueError, match="toy/discrete-v0@view=.* has states .* and discrete actions"):
        join([boxed, discrete])
    assert join([discrete, discrete]).discrete


def test_no_more_than_one_episode_is_open(monkeypatch):
    make_dataset("toy/dict-v0")
    order = []
    read = minari.read_episode
    episodes = minari.episodes

    def told(place):
        for episode in episodes(place):
            order.append("open")
            yield episode

    monkeypatch.setattr(minari, "episodes", told)
    monkeypatch.setattr(minari, "read_episode", lambda *args: order.append("taken") or read(*args))
    data.load(("minari/toy/dict-v0",))
    assert order == ["open", "taken"] * 2


def test_a_cache_of_a_version_without_discrete_actions_is_read():
    make_dataset("toy/box-v0")
    data.load(("minari/toy/box-v0",))
    file = cache.folder_of(("minari/toy/box-v0",)) / cache.MANIFEST
    content = load_json(file.read_bytes())
    assert content.pop("num_actions") == 0
    file.write_bytes(dump_json(content))
    shutil.rmtree(folder("toy/box-v0"))
    assert data.load(("minari/toy/box-v0",)).episodes == 2


# the real files, where they are

FIGURES = {  # id: episodes, steps, S, A, mean return
    "minari/D4RL/antmaze/umaze-v1@view=achieved_goal+observation": (30, 21_000, 29, 8, 152.3),
    "minari/D4RL/pointmaze/umaze-v2@view=observation+desired_goal": (292, 20_047, 6, 2, 1.0),
    "minari/D4RL/kitchen/partial-v2@view=observation": (20, 4_259, 59, 9, 176.4),
    "d4rl/antmaze-umaze": (5745, 30_100, 29, 8, 1.0),  # as published: thousands of episodes of one step
    "d4rl/antmaze-umaze@ends=timeouts": (43, 30_100, 29, 8, 132.9),
    "d4rl/antmaze-umaze-diverse": (84, 30_458, 29, 8, 0.8),
    "d4rl/ant-medium": (36, 30_896, 27, 8, 3123.9),
    "d4rl/bullet-hopper-medium": (38, 30_383, 15, 3, 2030.3),
    "d4rl/bullet-halfcheetah-medium": (30, 30_000, 26, 6, 2539.6),
}


@pytest.fixture
def real(monkeypatch):
    root = Path(os.environ["DMM_TEST_DATA"])
    monkeypatch.setenv("DMM_D4RL", str(root / "d4rl"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root / "minari"))


@needs_files
@pytest.mark.parametrize("dataset_id", FIGURES)
def test_real_files(dataset_id, real):
    found = data.load((dataset_id,))
    mean = round(float(found.episode_returns.mean()), 1)
    assert (found.episodes, found.steps, found.state_dim, found.action_dim, mean) == FIGURES[dataset_id]
