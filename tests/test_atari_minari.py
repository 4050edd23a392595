"""Minari's datasets of Atari: screens as RGB or JPEG become the frames that the task's environment gives."""

import json
import os
import tracemalloc
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from dmm import data
from dmm.base.paths import home
from dmm.data import images
from dmm.data.readers import minari
from dmm.data.trajectories import check_task, join
from dmm.environments.atari import AtariLanes
from dmm.tasks import atari

ID, SAMPLES = "minari/atari/pong/expert-v0", Path(os.environ.get("DMM_TEST_DATA", "/nowhere"))
PONG = next(task for task in atari.TASKS if task.name == "pong-minari")
STEPS = 12


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def jpeg(screen: np.ndarray) -> np.ndarray:
    buffer = BytesIO()
    Image.fromarray(screen).save(buffer, format="JPEG")
    return np.frombuffer(buffer.getvalue(), np.uint8)


def screens(steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (steps + 1, 210, 160, 3), dtype=np.uint8)


def episode(observations, **changes) -> dict[str, np.ndarray]:
    steps = len(observations) - 1
    ends = np.arange(1, steps + 1) == steps
    rewards = np.array([3.0, -2.0, *np.ones(steps)])[:steps]
    arrays = {"observations": observations, "actions": np.arange(steps) % 6, "rewards": rewards}
    return arrays | {"terminations": ends, "truncations": ends & False} | changes


def write(root: Path, *episodes: dict[str, np.ndarray]) -> None:
    """The layout of Minari's HDF5. JPEGs are rows of bytes, each of its own length."""
    folder = root / "atari" / "pong" / "expert-v0" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    space = json.dumps({"type": "Discrete", "dtype": "int64", "start": 0, "n": 6})
    (folder / "metadata.json").write_text(json.dumps({"total_episodes": len(episodes), "action_space": space}))
    with h5py.File(folder / "main_data.hdf5", "w") as file:
        for number, arrays in enumerate(episodes):
            for key, value in arrays.items():
                bytes_of_jpegs = value.dtype == object and not isinstance(value[0], str)
                kind = (
                    h5py.vlen_dtype(np.uint8)
                    if bytes_of_jpegs
                    else h5py.string_dtype()
                    if value.dtype == object
                    else value.dtype
                )
                file.create_dataset(f"episode_{number}/{key}", data=value, dtype=kind, chunks=True)


def as_jpegs(found: np.ndarray) -> np.ndarray:
    kept = np.empty(len(found), object)
    kept[:] = [jpeg(screen) for screen in found]
    return kept


def play(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The screens of random actions in Minari's environment, and the frames of the task's lanes for the same actions."""
    gym = pytest.importorskip("gymnasium")
    pytest.importorskip("ale_py")
    env, lanes = gym.make(PONG.environment, frameskip=4, repeat_action_probability=0.0), AtariLanes(PONG, 1)
    actions = np.random.default_rng(0).integers(0, 6, steps)
    seen, frames = [env.reset(seed=0)[0]], [lanes.reset([0])[0, -1]]
    for action in actions:
        seen.append(env.step(action)[0])
        frames.append(lanes.step(np.array([action])).states[0, -1])
    env.close()
    return np.stack(seen), np.stack(frames)


def test_frames_are_those_of_the_tasks_environment_and_jpegs_are_near(root):
    seen, expected = play(120)
    write(root, episode(seen), episode(as_jpegs(seen)))
    found = data.load((ID,))
    assert found.frames is not None and found.frame_starts is not None
    check_task(found, PONG)
    for first, length, allowed, share in zip(found.frame_starts, found.lengths, (1, 12), (1e-5, 0.06), strict=True):
        assert not found.frames[first : first + 3].any()
        off = np.abs(found.frames[first + 3 : first + 3 + length].astype(int) - expected[:-1])
        assert off.max() <= allowed and np.mean(off > 0) <= share


def test_data_keep_raw_rewards_and_the_task_clips_them(root):
    write(root, episode(screens(4)))
    found = data.load((ID,))
    assert found.rewards.tolist() == [3, -2, 1, 1] and found.episode_returns.tolist() == [3] and found.num_actions == 6
    assert found.clip_rewards(PONG.reward_clip).returns_to_go.tolist() == [2, 1, 2, 1]


def test_jpegs_of_one_length_are_rows_of_bytes(root):
    """Minari stores JPEGs that have the same number of bytes as one array of two axes."""
    same = np.repeat(screens(0), 5, axis=0)
    write(root, episode(np.stack([jpeg(screen) for screen in same])))
    one = data.load((ID,))
    write(root, episode(as_jpegs(same)))
    assert one.sha256 == data.load((ID,)).sha256


def test_screens_are_read_a_chunk_at_a_time(root, monkeypatch):
    """The episode's screens are 30 MB. A chunk is 1 MB."""
    monkeypatch.setattr(images, "CHUNK", 10)
    write(root, episode(np.zeros((301, 210, 160, 3), np.uint8)))
    tracemalloc.start()
    found = data.load((ID,))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.steps == 300 and peak < 10e6


def cut_jpegs(length: int) -> np.ndarray:
    kept = as_jpegs(screens(STEPS))
    kept[2] = kept[2][:length]
    return kept


def other_size(row: int) -> np.ndarray:
    kept = as_jpegs(screens(STEPS))
    kept[row] = jpeg(screens(0)[0, :84, :84])
    return kept


FAULTS = {
    "a cut JPEG": (episode(cut_jpegs(900)), ["'episode_0/observations': row 2 is no image", "truncated"]),
    "no JPEG": (episode(cut_jpegs(2)), ["'episode_0/observations': row 2 is no image"]),
    "another size": (episode(other_size(1)), ["row 1 is 84 x 84", "210 to 250 x 160"]),
    "two sizes": (
        episode(np.concatenate([as_jpegs(screens(2)), as_jpegs(np.zeros((2, 250, 160, 3), np.uint8))])),
        ["row 3 is (250, 160), and the rows before it (210, 160)"],
    ),
    "an action outside": (
        episode(screens(STEPS), actions=np.full(STEPS, 6)), ["'episode_0/actions': row 0 has action 6", "0 to 5"]
    ),
    "a negative action": (episode(screens(STEPS), actions=np.full(STEPS, -1)), ["row 0 has action -1"]),
    "a short column": (episode(screens(STEPS), rewards=np.zeros(3)), ["rows; with 3 rewards it takes"]),
    "a reward of nan": (episode(screens(STEPS), rewards=np.full(STEPS, np.nan)), ["rewards", "row 0", "nan"]),
    "vectors after images": (episode(np.zeros((STEPS + 1, 4))), ["several shapes"]),
}  # fmt: skip


@pytest.mark.parametrize("wrong, said", FAULTS.values(), ids=FAULTS)
def test_bad_episodes_are_one_clear_error_and_nothing_is_cached(root, wrong, said):
    write(root, *([episode(screens(2))] if "vectors" in said[0] or "shapes" in said[0] else []), wrong)
    with pytest.raises(ValueError) as error:
        data.load((ID,))
    for word in (ID, *said):
        assert word in str(error.value)
    assert "\n" not in str(error.value) and not list((home() / "cache").glob("*")) + list((home() / "cache").glob(".*"))


def test_a_download_with_a_broken_image_is_not_whole(root):
    write(root, episode(cut_jpegs(900)))
    with pytest.raises(ValueError, match="row 2 is no image"):
        minari.check_whole(root / "atari" / "pong" / "expert-v0")


def test_a_download_with_other_images_and_texts_is_whole(root):
    """Small images of minigrid in a dictionary with a mission, and JPEGs of another size."""
    places = np.zeros((STEPS + 1, 7, 7, 3), np.uint8)
    rows = episode(places, **{"observations/image": places, "observations/direction": np.zeros(STEPS + 1, int)})
    rows["observations/pov"] = np.zeros((STEPS + 1, 2), np.float32)
    rows["observations/mission"] = np.array(["go"] * (STEPS + 1), object)
    del rows["observations"]
    write(root, rows)
    minari.check_whole(root / "atari" / "pong" / "expert-v0")
    with pytest.raises(ValueError, match="arrays of shapes .*; it takes vectors"):
        data.load((ID,))
    assert data.load((f"{ID}@view=pov",)).states.shape == (STEPS, 2)
    write(root, episode(as_jpegs(screens(STEPS)[:, :64, :64])))
    minari.check_whole(root / "atari" / "pong" / "expert-v0")
    with pytest.raises(ValueError, match="row 0 is 64 x 64; screens of ALE"):
        data.load((ID,))
    write(root, episode(places))
    minari.check_whole(root / "atari" / "pong" / "expert-v0")
    with pytest.raises(ValueError, match="images are read from Minari's datasets of Atari only"):
        data.load((ID,))


def test_actions_without_a_space_may_be_fewer_than_the_tasks(root):
    actions, metadata = np.arange(STEPS) % 5, root / "atari" / "pong" / "expert-v0" / "data" / "metadata.json"
    write(root, episode(screens(STEPS), actions=actions))
    metadata.write_text(json.dumps({"total_episodes": 1}))
    for _ in range(2):  # the second time from the cache
        found = data.load((ID,))
        check_task(found, PONG)
    check_task(join([found, found]), PONG)
    small = replace(PONG, spaces=replace(PONG.spaces, actions=4))
    with pytest.raises(ValueError, match="has 5 discrete actions; .* has 4 discrete actions"):
        check_task(found, small)


def test_a_view_of_images_is_refused(root):
    write(root, episode(screens(2)))
    with pytest.raises(ValueError, match="the view is 'pixels', and the observations of .* are one array"):
        data.load((f"{ID}@view=pixels",))


def test_the_task_of_these_data_shows_the_last_frame_of_a_step():
    options = dict(PONG.options)
    assert options["maxpool"] is False and options["noop_max"] == 0 and options["repeat_action_probability"] == 0
    plain = next(task for task in atari.TASKS if task.name == "pong")
    assert replace(PONG, name="pong", options=plain.options) == plain


def test_the_shared_sample_reads(monkeypatch):
    if not (SAMPLES / "minari" / "atari").is_dir():
        pytest.skip("the folder DMM_TEST_DATA has no Atari of Minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(SAMPLES / "minari"))
    found = data.load((ID,))
    assert (found.episodes, found.steps, found.episode_returns.tolist()) == (2, 800, [4, 2])
    assert found.frames is not None and len(found.frames) == 806 and not found.terminated.any()
    check_task(found, PONG)
