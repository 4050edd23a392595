"""Lanes of Atari: frames as Gymnasium's wrappers give them, lanes that depend on their seed alone, and clear errors."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ale_py")
from dmm.batch import Spaces
from dmm.environments.atari import AtariLanes
from dmm.tasks import Task
from dmm.tasks.atari import OPTIONS, TASKS

TASK = {task.name: task for task in TASKS}


def without_noops(name: str) -> Task:
    return replace(TASK[name], options=tuple({**dict(OPTIONS), "noop_max": 0}.items()))


@pytest.mark.parametrize("name", ["breakout", "qbert"])
def test_frames_rewards_and_ends_are_those_of_gymnasiums_wrappers(name):
    pytest.importorskip("cv2")
    import gymnasium as gym

    bare = gym.make(TASK[name].environment, frameskip=1, repeat_action_probability=0.0, obs_type="grayscale")
    wrapped = gym.wrappers.AtariPreprocessing(bare, noop_max=0, frame_skip=4, screen_size=84, grayscale_obs=True)
    env = gym.wrappers.FrameStackObservation(wrapped, 4, padding_type="zero")
    lanes = AtariLanes(without_noops(name), 1)
    draw = np.random.default_rng(0)
    expected, _ = env.reset(seed=1)
    np.testing.assert_array_equal(lanes.reset([1])[0], expected)
    steps, total = 0, 0.0
    while steps < 500:
        action = int(draw.integers(TASK[name].spaces.actions))
        expected, reward, terminated, truncated, _ = env.step(action)
        found = lanes.step(np.array([action]))
        np.testing.assert_array_equal(found.states[0], expected)
        assert (found.rewards[0], found.finished[0]) == (reward, terminated or truncated)
        steps, total = steps + 1, total + reward
        if found.finished[0]:
            expected, _ = env.reset(seed=1)
            np.testing.assert_array_equal(lanes.reset([1])[0], expected)
    assert total > 0, "no reward was compared"
    env.close()


def roll(task: Task, seeds: list[int], steps: int, watched: int, lanes: AtariLanes | None = None) -> list[bytes]:
    """The states of the lane with the seed `watched`. Each lane has random actions of its own."""
    lanes = lanes or AtariLanes(task, len(seeds))
    states, running, found = lanes.reset(seeds), list(seeds), []
    draws = {seed: np.random.default_rng(seed) for seed in seeds}
    for _ in range(steps):
        found.append(states[running.index(watched)].tobytes())
        actions = np.array([draws[seed].integers(task.spaces.actions) for seed in running])
        step = lanes.step(actions)
        over = step.finished
        if over[running.index(watched)]:
            break
        lanes.keep(~over)
        states, running = step.states[~over], [seed for seed, end in zip(running, over, strict=True) if not end]
    return found


def test_a_lane_alone_equals_itself_among_others_and_after_other_games():
    task = TASK["seaquest"]
    alone = roll(task, [5], 200, 5)
    assert len(set(alone)) > 100
    lanes = AtariLanes(task, 3)
    assert roll(task, [3, 5, 2**32 - 1], 200, 5, lanes) == alone
    assert roll(task, [8, 9, 5], 200, 5, lanes) == alone, "the games before it moved the lane"


def test_the_first_lane_is_drawn_as_its_frames_are_and_drawing_moves_nothing():
    task, draw = TASK["seaquest"], np.random.default_rng(0)
    plain, drawn = AtariLanes(task, 1), AtariLanes(task, 1, pictures=True)
    assert drawn.steps_per_second == 15
    np.testing.assert_array_equal(plain.reset([3, 4]), drawn.reset([3, 4]))  # one lane more than was made
    for _ in range(100):
        actions = draw.integers(task.spaces.actions, size=2)
        found, expected = drawn.step(actions), plain.step(actions)
        np.testing.assert_array_equal(found.states, expected.states)
    picture = drawn.draw()
    assert picture.shape == (210, 160, 3)
    grey = np.asarray(Image.fromarray(picture).convert("L").resize((84, 84), Image.Resampling.BOX), int)
    assert np.abs(grey - found.states[0, -1]).mean() < 2


def test_seeds_differ_in_the_frames_without_an_action():
    lanes = AtariLanes(TASK["seaquest"], 4)
    first = [state.tobytes() for state in lanes.reset([0, 1, 2, 0])]
    assert first[0] == first[3] and len(set(first)) > 1


def test_finished_lanes_are_not_asked_and_the_others_go_on():
    limit = replace(TASK["breakout"], options=tuple({**dict(OPTIONS), "max_num_frames_per_episode": 60}.items()))
    lanes = AtariLanes(limit, 2)
    lanes.reset([3, 4])
    lanes.keep(np.array([False, True]))
    for _ in range(40):
        step = lanes.step(np.array([1]))
        assert step.states.shape == (1, 4, 84, 84) and step.finished.shape == step.rewards.shape == (1,)
        if step.finished[0]:
            return
    raise AssertionError("the limit of frames ended no episode")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"environment": "ALE/Brakout-v5"}, "unknown game of task breakout 'ALE/Brakout-v5'.*Did you mean 'ALE/Breakout-v5'"),
        ({"options": (("frameskip", 0),)}, "cannot be made with the options {'frameskip': 0}"),
        ({"options": (("frame_skips", 4),)}, "cannot be made with the options .*frame_skips"),
        ({"spaces": Spaces(states=(4, 84, 84), actions=6, discrete=True)}, "expects .* 6 discrete .*ALE has .* 4 discrete"),
    ],
)  # fmt: skip
def test_a_wrong_task_is_one_clear_error(changes, said):
    with pytest.raises(ValueError, match=said):
        AtariLanes(replace(TASK["breakout"], **changes), 1)


@pytest.mark.parametrize("action", [4, -1])
def test_an_action_that_the_game_has_not_is_an_error(action):
    lanes = AtariLanes(TASK["breakout"], 2)
    lanes.reset([0, 1])
    with pytest.raises(ValueError, match=f"action {action} is not in 0 to 3"):
        lanes.step(np.array([0, action]))


def test_the_tasks_have_the_action_sets_of_ale():
    for task in TASKS[:3]:
        AtariLanes(task, 1).close()
