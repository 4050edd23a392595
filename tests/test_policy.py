"""Policies act in one's own loop as dmm's own rollouts do, and a video moves no number."""

import subprocess
import sys
from dataclasses import replace
from weakref import ref

import gymnasium as gym
import numpy as np
import pytest
from helpers.reacher import REACHER, SETTINGS, SMALL, parts
from helpers.uneven_env import UNEVEN
from PIL import Image

import dmm
from dmm.api.policy import Policy
from dmm.api.video import Video
from dmm.base.seeds import derive_seed
from dmm.config import Protocol, Target, Trial
from dmm.rollouts.history import StateStatistics
from dmm.rollouts.rollout import rollout
from dmm.training.fit import init_model
from dmm.trials import run


def untrained(arch: str, task=UNEVEN, overrides=None, **settings) -> Policy:
    """A policy with new weights, K = 3."""
    chosen = parts(Protocol(name="x").with_overrides(context_length=3, warmup=0, **settings))
    trial = Trial(
        arch=arch, task=task, dataset=("none",), seed=0, **chosen, overrides=tuple((overrides or SMALL).items())
    )
    statistics = StateStatistics(np.full(task.spaces.state_dim, 0.1), np.full(task.spaces.state_dim, 0.7))
    return Policy(init_model(trial).eval(), trial, statistics, 1.0, 5.0)


def own_loop(policy: Policy, seed: int, policy_seed: int | None = None) -> list[float]:
    """The rewards of an episode, stepped as a user would."""
    env = policy.trial.task.make()
    observation, _ = env.reset(seed=seed)
    policy.reset(seed=policy_seed)
    reward, rewards, ended = None, [], False
    while not ended:
        observation, reward, terminated, truncated, _ = env.step(policy(observation, reward))
        rewards.append(float(reward))
        ended = terminated or truncated
    return rewards


@pytest.mark.parametrize("rollout_mode", ["windowed", "recurrent"])
def test_an_own_loop_gives_the_stored_returns(tiny_trial, rollout_mode):
    """Episodes one by one in both, because the size of a batch moves float bits."""
    settings = replace(tiny_trial.evaluation, rollout_batch_size=1, rollout=rollout_mode)
    trial = replace(tiny_trial, evaluation=settings)
    done = run.run(trial)
    for target, entry in zip((1.0, 2.0), done.evaluations[2:], strict=True):
        policy = dmm.load(trial.returns_id).policy(target)
        assert policy.asked == entry.asked == -5.0 * target
        totals = [sum(own_loop(policy, derive_seed(0, "episode", 0, index))) for index in range(5)]
        assert totals == entry.returns


def test_a_return_that_is_given_as_a_number_is_not_taken_for_a_multiple(trained):
    model = dmm.load(trained.returns_id)
    with pytest.raises(ValueError, match=r'3600 times the target return.*-5; .*Target\(3600, "return"\)'):
        model.policy(3600)
    assert model.policy(Target(3600.0, "return")).asked == 3600 and model.policy(-20).asked == 100


def test_rollout_gives_the_returns_of_the_last_evaluation(trained):
    trial = replace(trained, evaluation=replace(trained.evaluation, targets=(2.0,)))
    stored = run.run(trial).evaluations[-1]
    found = dmm.rollout(dmm.load(trial.returns_id).policy(), episodes=5, seed=0)
    assert found.returns.tolist() == stored.returns and found.lengths.tolist() == [50] * 5
    assert found.score == pytest.approx(REACHER.normalised_score(np.mean(stored.returns)))
    other = dmm.rollout(dmm.load(trial.returns_id).policy(), episodes=5, seed=0, target=Target(-7.0, "return"))
    assert other.asked == -7.0 and other.returns.tolist() != stored.returns


def test_actions_are_scaled_to_the_box_and_an_own_loop_equals_a_rollout_of_one():
    policy = untrained("dt")
    rolled = [rollout(policy.model, policy.trial, policy.statistics, [3.0], [seed]) for seed in range(4)]
    assert len({lengths[0] for _, lengths in rolled}) > 1
    for seed, (returns, lengths) in enumerate(rolled):
        rewards = own_loop(policy, seed)
        assert ([sum(rewards)], [len(rewards)]) == (returns, lengths)


def test_a_model_that_draws_random_numbers_is_seeded_like_its_episode():
    sampled = {"width": 16, "layers": 1, "inverse_temperature": 25.0, "return_low": -3.0, "return_high": 3.0}
    policy = untrained("edt", overrides=sampled, sampling="episodes", padding="right")
    for seed in range(3):
        returns, _ = rollout(policy.model, policy.trial, policy.statistics, [3.0], [seed])
        assert [sum(own_loop(policy, seed, policy_seed=seed))] == returns


@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP"])
@pytest.mark.parametrize("rollout_mode", ["windowed", "recurrent"])
def test_lanes_of_a_vector_environment_restart_by_themselves(mode, rollout_mode):
    count, policy, single = 3, *(untrained("dt", rollout=rollout_mode) for _ in range(2))
    envs = gym.make_vec(
        UNEVEN.environment, num_envs=count, vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": gym.vector.AutoresetMode[mode]},
    )  # fmt: skip
    observation, _ = envs.reset(seed=4)
    reward, ended = None, np.zeros(count, bool)
    finished: list[list[list[float]]] = [[[]] for _ in range(count)]  # lane -> episodes -> rewards
    for _ in range(20):
        observation, reward, terminated, truncated, _ = envs.step(policy(observation, reward))
        restarted = ended if mode == "NEXT_STEP" else terminated | truncated
        for lane in range(count):
            if not (mode == "NEXT_STEP" and ended[lane]):  # else nothing was stepped
                finished[lane][-1].append(float(reward[lane]))
        ended = terminated | truncated
        for lane in np.flatnonzero(ended):
            finished[lane].append([])
        policy.reset(restarted)
    for lane in range(count):
        env = UNEVEN.make()
        for number, rewards in enumerate(finished[lane][:-1]):
            single.reset()
            seen, _ = env.reset(seed=4 + lane if number == 0 else None)
            before, again, over = None, [], False
            while not over:
                seen, before, over, _, _ = env.step(single(seen, before))
                again.append(float(before))
            assert again == pytest.approx(rewards, abs=1e-5)
        assert len(finished[lane]) > 2
    assert len({len(episodes[0]) for episodes in finished}) > 1


def test_a_second_step_without_a_reward_says_what_to_write():
    policy = untrained("dt")
    policy(np.zeros(2))
    with pytest.raises(ValueError, match=r"dt reads returns-to-go.*action = policy\(observation, reward\)"):
        policy(np.zeros(2))
    policy.reset()
    policy(np.zeros(2))


def test_a_model_that_reads_no_returns_to_go_needs_no_reward():
    policy, other = untrained("bc"), untrained("bc")
    for step in range(3):
        seen = np.array([0.3, step])
        assert policy(seen).tolist() == other(seen, 9.0).tolist()


def test_a_policy_says_what_is_wrong_with_its_input():
    policy = untrained("dt")
    with pytest.raises(ValueError, match=r"is \[2\], or \[B, 2\] for B environments; it was given \[3\]"):
        policy(np.zeros(3))
    policy(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="given 2 observations before and 3 now"):
        policy(np.zeros((3, 2)), np.zeros(3))
    with pytest.raises(ValueError, match=r"rewards of 2 observations are \[2\]; it was given \[1\]"):
        policy(np.zeros((2, 2)), 0.0)
    with pytest.raises(ValueError, match="takes a mask of 2 booleans"):
        policy.reset(np.zeros(3, bool))
    for _ in range(UNEVEN.horizon):
        policy(np.zeros((2, 2)), np.zeros(2))
    with pytest.raises(ValueError, match=r"ends after 7 steps; policy.reset\(\)"):
        policy(np.zeros((2, 2)), np.zeros(2))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((np.array([0.0, np.nan]), 0.0), "an observation is .*nan.*must be finite"),
        ((np.array([0.0, -np.inf]), 0.0), "an observation is .*inf.*must be finite"),
        ((np.zeros(2), float("nan")), "a reward is nan; its numbers must be finite"),
        ((np.array([0.0, 1e39]), 0.0), "an observation is .*e.39.*must be finite in float32"),
        ((np.zeros(2), 10**400), "a reward is 1000.*; its numbers must be finite"),
        ((np.zeros((0, 2)), None), r"it was given \[0, 2\]"),
    ],
)
def test_a_policy_refuses_what_is_no_finite_number(given, said):
    policy = untrained("dt")
    with pytest.raises(ValueError, match=said):
        policy(*given)
    assert np.isfinite(policy(np.zeros(2))).all()


def test_values_of_a_wrong_type_get_one_clear_error():
    """In a process of its own, because the types of calls are checked in this one."""
    code = """
import sys
sys.path.insert(0, "tests")
import dmm, numpy as np
from test_policy import untrained
policy = untrained("dt")
for call in (
    lambda: policy({"state": 1.0}), lambda: policy(np.zeros(2), "one"),
    lambda: policy.with_target("x1"), lambda: policy.with_target([1.0]),
    lambda: dmm.rollout(policy, "2"), lambda: dmm.rollout(policy, 1.5), lambda: dmm.rollout(policy, seed="2"),
    lambda: dmm.rollout(policy, video=3), lambda: policy.reset(seed="2"), lambda: dmm.load(None), lambda: dmm.load_dataset(3),
    lambda: dmm.train("dt", "x", protocol="quickstart"), lambda: dmm.train("dt", "x", budget=3),
):
    try:
        print(call())
    except ValueError as error:
        print("refused", error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(out) == 13 and all(line.startswith("refused ") for line in out), out


def test_one_environment_is_reset_by_its_own_flag():
    policy = untrained("dt")
    first = policy(np.zeros(2))
    policy(np.ones(2), 1.0)
    policy.reset(np.bool_(True))
    assert policy(np.zeros(2)).tolist() == first.tolist()  # without a reward, because the episode is new
    with pytest.raises(ValueError, match="the seed is -2; it must be an int of 0 or more"):
        policy.reset(seed=-2)


def test_the_mode_of_a_rollout_can_be_chosen_where_the_model_has_it(trained):
    model = dmm.load(trained.returns_id)
    assert "windowed" in repr(model.policy()) and "recurrent" in repr(model.policy(rollout="recurrent"))
    bc = dmm.train("bc", trained.dataset[0], task=REACHER, **SETTINGS)
    with pytest.raises(ValueError, match="bc of this Config has no recurrent rollout"):
        bc.policy(rollout="recurrent")


@pytest.mark.parametrize("name", ["episode.gif", "episode.GIF"])
def test_a_gif_shows_the_first_episode_in_real_time_and_moves_no_number(tmp_path, name):
    policy, path = untrained("dt"), tmp_path / name
    plain, filmed = dmm.rollout(policy, 6), dmm.rollout(policy, 6, video=path)
    assert filmed.returns.tolist() == plain.returns.tolist() and filmed.video == path
    pictures = []
    with Image.open(path) as image:
        assert image.info["duration"] == 40 and image.info["loop"] == 0  # 50 steps a second, every second one is drawn
        for number in range(image.n_frames):
            image.seek(number)
            pictures.append(image.convert("L").getpixel((0, 0)))
    assert pictures == [10 * step for step in range(0, plain.lengths[0] + 1, 2)]
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_a_video_keeps_none_of_the_pictures_that_it_was_given(tmp_path, monkeypatch, suffix):
    if suffix == ".mp4":
        pytest.importorskip("imageio_ffmpeg")
    drawn = []

    def draw() -> np.ndarray:
        picture = np.full((32, 32, 3), len(drawn), np.uint8)
        drawn.append(ref(picture))
        return picture

    with Video(tmp_path / f"x{suffix}", UNEVEN) as video:
        monkeypatch.setattr(video.lanes, "draw", draw)
        for _ in range(10 * video.every):
            video.watch(video.lanes)
        assert len(drawn) == 10 and sum(picture() is not None for picture in drawn) <= 1
    assert [path.name for path in tmp_path.iterdir()] == [f"x{suffix}"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("x.avi", "takes .gif or .mp4"), ("x", "takes .gif or .mp4"), ("x.mp4", r"dmm-bench\[video\]")],
)
def test_a_video_that_cannot_be_written_is_refused_before_any_episode(tmp_path, monkeypatch, name, said):
    monkeypatch.setattr("dmm.api.video.find_spec", lambda name: None)
    monkeypatch.setattr("dmm.api.episodes.roll", None)  # nothing may call it
    with pytest.raises(ValueError, match=said):
        dmm.rollout(untrained("dt"), 2, video=tmp_path / name)


def test_where_nothing_can_be_drawn_the_error_names_the_variable_and_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "nothing")  # glfw without a screen would end the process at the next picture
    with pytest.raises(ValueError, match=r"Reacher-v5 cannot be drawn .*MUJOCO_GL=egl .*libegl1"):
        dmm.rollout(untrained("dt", REACHER), 2, video=tmp_path / "x.gif")
    assert not list(tmp_path.iterdir())
