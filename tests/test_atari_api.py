"""Policies on Atari: an own loop acts as rollouts do, and a video shows the first episode in colours."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ale_py")
from test_discrete_rollouts import CARTPOLE, NO_STATISTICS, STILL, a_trial, perturbed

import dmm
from dmm.api.policy import Policy
from dmm.environments.lanes import make_lanes
from dmm.rollouts.rollout import rollout
from dmm.tasks import find_task

BREAKOUT = find_task("breakout")


def a_policy(**settings) -> Policy:
    trial = a_trial(BREAKOUT, "DT, Atari", **settings)
    return Policy(perturbed(trial), trial, NO_STATISTICS, 1.0, 5.0)


def test_an_own_loop_with_stacks_of_frames_equals_a_rollout_of_one():
    policy = a_policy(actions="sampled", max_steps=40)
    lanes = make_lanes(BREAKOUT, 1)
    expected = rollout(policy.model, policy.trial, NO_STATISTICS, [policy.asked], [7])
    states, reward, taken, total = lanes.reset([7]), None, [], 0.0
    policy.reset(seed=7)
    for _ in range(40):
        action = policy(states[0], reward)
        states, (reward,), _ = lanes.step(np.array([action]))
        taken.append(int(action))
        total += reward
    assert ([total], [40]) == expected and len(set(taken)) > 2


def test_lanes_of_frames_have_a_number_as_action_each():
    actions = a_policy()(np.zeros((3, 4, 84, 84), np.uint8))
    assert actions.shape == (3,) and actions.dtype == np.int64
    trial = a_trial(CARTPOLE)
    assert Policy(perturbed(trial), trial, STILL, 1.0, 5.0)(np.zeros(4)) in (0, 1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((4, 84, 84)), "frames are uint8, from 0 to 255; the observation was given as float64"),
        (
            np.zeros((84, 84), np.uint8),
            r"is \[4, 84, 84\], or \[B, 4, 84, 84\] for B environments; it was given \[84, 84\]",
        ),
        (np.zeros((84, 84, 4), np.uint8), r"it was given \[84, 84, 4\]"),
    ],
)
def test_what_is_no_stack_of_frames_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        a_policy()(given)


def test_a_video_of_a_game_has_its_colours_and_moves_no_number(tmp_path):
    policy, path = a_policy(actions="sampled", max_steps=12), tmp_path / "breakout.gif"
    plain, filmed = dmm.rollout(policy, 2), dmm.rollout(policy, 2, video=path)
    assert filmed.returns.tolist() == plain.returns.tolist() and filmed.lengths.tolist() == [12, 12]
    with Image.open(path) as image:
        assert image.size == (160, 210) and image.n_frames <= 13  # GIF merges pictures that are equal
        colours = np.asarray(image.convert("RGB")).reshape(-1, 3)
        assert len(np.unique(colours, axis=0)) > 5 and np.ptp(colours.astype(int), axis=1).max() > 50
