"""Pong and Breakout are collected here: the game that can be looked into, the followers, and what a reader gives."""

import sys
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("ale_py")
from dmm import data
from dmm.data import collect, scripts
from dmm.data.scripts import atari
from dmm.data.trajectories import check_task
from dmm.environments.atari import AtariLanes
from dmm.environments.screens import shrink
from dmm.tasks import find_task


@pytest.mark.parametrize("name", ["breakout", "pong-minari"])
def test_a_game_that_can_be_looked_into_has_the_frames_of_lanes(name):
    task = find_task(name)
    task = replace(task, options=tuple({**dict(task.options), "noop_max": 0}.items()))
    lanes, env = AtariLanes(task, 1), atari.make_game(replace(task, name=name.removesuffix("-minari")))
    draw, off = np.random.default_rng(0), []
    expected = lanes.reset([0])[0, -1]
    found, _ = env.reset(seed=0)
    for _ in range(60):
        off.append(np.abs(found.astype(int) - expected))
        action = int(draw.integers(task.spaces.actions))
        step = lanes.step(np.array([action]))
        found, reward, ended, _, _ = env.step(action)
        assert (reward, ended) == (step.rewards[0], step.finished[0])
        expected = step.states[0, -1]
        if ended:
            break
    env.close()
    assert np.max(off) <= 1 and np.mean(np.array(off) > 0) < 1e-4


def test_a_screen_is_shrunk_by_exact_means():
    """Each of the 84 x 84 pixels is the mean of 5 x 40 parts, where a pixel of the screen has 2 x 21."""
    screens = np.random.default_rng(0).integers(0, 256, (3, 210, 160), dtype=np.uint8)
    parts = screens.astype(int).repeat(2, axis=1).repeat(21, axis=2).reshape(3, 84, 5, 84, 40)
    assert np.array_equal(shrink(screens), np.rint(parts.sum((2, 4)) / 200))


@pytest.fixture
def short_games(monkeypatch):
    monkeypatch.setattr(atari, "LIMIT", 40)


@pytest.mark.parametrize("name, actions", [("pong", 6), ("breakout", 4)])
def test_collected_games_are_read_as_frames_and_depend_on_the_seed_only(short_games, name, actions):
    found = data.load((f"dmm/{name}/medium-n70-s1-v0",))
    assert found.episodes == 2 and all(32 <= length <= 40 for length in found.lengths) and not found.terminated.any()
    assert found.frames is not None and found.frame_starts is not None and found.num_actions == actions
    for first in found.frame_starts:
        assert not found.frames[first : first + 3].any() and found.frames[first + 3].any()
    check_task(found, find_task(name))
    behaviour, length = scripts.BEHAVIOURS[f"{name}-medium"], found.lengths[0]
    again = next(collect.roll_steps(behaviour, 1, 1))
    assert np.array_equal(again.observations[:-1], found.frames[3 : 3 + length])
    assert again.actions.tolist() == found.actions[:length, 0].tolist()
    other = next(collect.roll_steps(behaviour, 2, 1))
    assert other.actions.tolist() != again.actions.tolist()


def test_a_paddle_goes_towards_its_aim_and_stays_when_it_is_near():
    near = [atari.towards(distance, 5, atari.RIGHT, atari.LEFT) for distance in (-9, -4, 4, 9)]
    assert near == [atari.LEFT, atari.NOTHING, atari.NOTHING, atari.RIGHT]


def test_cards_say_what_collected_the_data():
    for name in ("pong", "breakout"):
        card = scripts.BEHAVIOURS[f"{name}-medium"].card
        assert card.actions == "scripted" and card.return_std > 0 and "3,000 steps" in card.algorithm
        assert card.environment == find_task(name).environment and f"dmm/{name}/medium-v0" in data.fetchable_ids()


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    monkeypatch.delitem(sys.modules, "dmm.environments.atari_game", raising=False)
    with pytest.raises(ValueError, match=r"task pong .* needs ALE: pip install 'dmm-bench\[atari\]'"):
        data.load(("dmm/pong/medium-n70-s1-v0",))
