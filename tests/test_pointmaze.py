"""PointMaze and maze2d: D4RL's constants, one physics in two coordinates, scripted data, and what is refused."""

import os
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from helpers.reacher import SETTINGS
from helpers.real_files import needs_files

import dmm
from dmm import data
from dmm.data import collect, scripts
from dmm.data.inventory import inventory
from dmm.data.readers.dmm import with_size
from dmm.data.trajectories import check_task
from dmm.environments.vector_env import SubEnv, step_all
from dmm.tasks import find_task
from dmm.tasks.pointmaze import D4RL_TASKS, ROBOTICS_TASKS

MAZE2D, POINTMAZE = find_task("maze2d-umaze"), find_task("pointmaze-umaze")
MINARI = "minari/D4RL/pointmaze/umaze-v2@view="


@cache
def real(dataset_id: str):
    """A dataset of the real files, read once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(Path(os.environ["DMM_TEST_DATA"]) / "minari"))
        return data.find_reader(dataset_id).read(dataset_id)


# D4RL's environment: d4rl/pointmaze at 61b0d257


def test_the_point_mass_has_the_constants_of_d4rl():
    model = MAZE2D.make().unwrapped.model
    assert set(model.actuator_gear[:, 0]) == {100} and model.opt.timestep == 0.01 and not model.opt.gravity.any()
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_EULER and model.opt.iterations == 20
    assert set(model.dof_damping) == {1} and model.body_mass[1] == pytest.approx(1000 * 4 / 3 * np.pi * 0.1**3)
    assert set(model.geom_margin) == {0.002} and set(model.geom_condim) == {1}


@pytest.mark.parametrize(
    "name, goal, horizon", [("umaze", (1, 1), 300), ("medium", (6, 6), 600), ("large", (7, 9), 800)]
)
def test_goals_walls_and_horizons_are_those_of_d4rl(name, goal, horizon):
    task = find_task(f"maze2d-{name}")
    env = task.make()
    bare, model = env.unwrapped, env.unwrapped.model
    assert tuple(bare.goal) == goal and task.horizon == horizon == env.spec.max_episode_steps
    walls = {(int(x) - 1, int(y) - 1) for x, y, _ in model.geom_pos[model.geom_type == mujoco.mjtGeom.mjGEOM_BOX]}
    free = {tuple(map(int, start)) for start in bare.starts}
    rows, columns = np.array([*walls, *free]).max(0) + 1
    assert not walls & free and len(walls) + len(free) == rows * columns and goal in free
    assert {(0, 0), (rows - 1, columns - 1), (2, 1)} <= walls or name != "umaze"


def test_a_start_is_near_a_free_cell_with_a_velocity():
    env = MAZE2D.make()
    states = np.array([env.reset(seed=seed)[0] for seed in range(200)])
    cells = np.round(states[:, :2])
    assert {tuple(cell) for cell in cells} == {tuple(start) for start in env.unwrapped.starts}
    assert 0.09 < np.abs(states[:, :2] - cells).max() <= 0.1 and states[:, 2:].std() == pytest.approx(0.1, rel=0.1)
    assert np.array_equal(env.reset(seed=7)[0], states[7])


def test_steps_at_the_goal_count_and_end_nothing():
    env = MAZE2D.make()
    env.reset(seed=0)

    def step_at(distance: float) -> tuple:
        env.unwrapped.set_state(env.unwrapped.goal + (distance, 0), np.zeros(2))
        return env.step(np.zeros(2, np.float32))[1:4]

    assert step_at(0.49) == (1.0, False, False) and step_at(0.51) == (0.0, False, False)
    assert (MAZE2D.normalised_score(23.85), MAZE2D.normalised_score(161.86)) == (0, 100)


# gymnasium-robotics' environment


def test_both_mazes_have_one_physics(robotics):
    """x, y of gymnasium-robotics are y, -x of D4RL with an offset. So are velocities and forces."""
    ours, theirs = (task.make().unwrapped for task in (MAZE2D, POINTMAZE))
    generator = np.random.default_rng(0)
    ours.reset(seed=0), theirs.reset(seed=0)

    def turned(state: np.ndarray, offset: tuple = (0, 0)) -> np.ndarray:
        return np.array([state[1] + offset[0], offset[1] - state[0]])

    there = (-1.8, 1.8)  # from the centre of the first cell, D4RL's -0.2, to gymnasium-robotics' -2 and 2
    ours.set_state(np.array([2.8, 0.9]), np.zeros(2))
    theirs.point_env.set_state(turned(ours.data.qpos, there), np.zeros(2))
    hits = 0
    for step in range(150):
        push = generator.uniform(-1, 1, 2) if step % 10 == 0 else push
        state, *_ = ours.step(push)
        observation, *_ = theirs.step(turned(push))
        hits += ours.data.ncon > 0
        assert np.allclose(observation["achieved_goal"], turned(state[:2], there), atol=1e-9)
        assert np.allclose(observation["observation"][2:], turned(state[2:]), atol=1e-9)
    assert hits > 5  # walls as well


def test_start_and_goal_are_free_cells_and_the_goal_ends_the_episode(robotics, tmp_path):
    env = POINTMAZE.make()
    assert not list(tmp_path.iterdir())  # gymnasium-robotics leaves a file for each environment
    states = np.array([env.reset(seed=seed)[0] for seed in range(100)])
    for places in (states[:, :2], states[:, 4:]):
        assert not POINTMAZE.maze.inside(places).any() and len(np.unique(np.round(places), axis=0)) == 7
    env.unwrapped.point_env.set_state(states[-1, 4:] + (0.44, 0), np.zeros(2))
    state, reward, terminated, truncated, info = env.step(np.zeros(2, np.float32))
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)
    assert np.array_equal(state[4:], states[-1, 4:])


@pytest.mark.parametrize("task", [POINTMAZE, MAZE2D], ids=lambda task: task.name)
def test_a_step_of_many_has_the_bits_of_single_steps(task, robotics):
    single, many = [task.make() for _ in range(4)], [SubEnv(task.make(), task.horizon) for _ in range(4)]
    assert many[0].step_many
    generator, running = np.random.default_rng(0), list(range(4))
    for i in running:
        assert np.array_equal(single[i].reset(seed=i)[0], many[i].reset(seed=i)[0])
    for step in range(75):
        push = generator.uniform(-1.3, 1.3, (4, 2)).astype(np.float32) if step % 15 == 0 else push
        if step == 50 and task is POINTMAZE:
            for env in (single[0], many[0].env):
                env.unwrapped.point_env.set_state(env.unwrapped.goal + (0.3, 0), np.zeros(2))
        states, rewards, ended, *_ = zip(*(single[i].step(push[i]) for i in running))
        found = step_all([many[i] for i in running], push[running])
        assert np.array_equal(states, found.states) and np.array_equal(rewards, found.rewards)
        assert np.array_equal(ended, found.finished)
        running = [i for i, over in zip(running, ended) if not over]
    assert (0 in running) is (task is MAZE2D)


def test_another_time_limit_or_wrapper_takes_single_steps(robotics):
    assert SubEnv(POINTMAZE.make(), POINTMAZE.horizon + 1).step_many is None
    assert SubEnv(gym.wrappers.ClipReward(MAZE2D.make(), 0, 1), 10).step_many is None


def test_a_process_that_knows_nothing_of_mazes_can_make_them(robotics, monkeypatch):
    for task in (*ROBOTICS_TASKS, *D4RL_TASKS):
        module, name = task.environment.split(":")
        monkeypatch.delitem(gym.registry, name, raising=False)
        monkeypatch.delitem(sys.modules, module, raising=False)
    for task in (MAZE2D, POINTMAZE):
        assert task.make().spec.id == task.environment.split(":")[1]


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium_robotics.envs.maze.point_maze", None)
    monkeypatch.delitem(sys.modules, "dmm.environments.pointmaze", raising=False)
    with pytest.raises(
        ValueError, match=r"v3' cannot be made: it needs gymnasium-robotics: pip install 'dmm-bench\[robotics\]'"
    ):
        POINTMAZE.make()


# data


def collected(task, policy: str, steps: int, seed: int = 0):
    return data.load((f"dmm/{task.name}/{policy}-n{steps}-s{seed}-v0" + (f"@view={task.view}" if task.view else ""),))


def test_scripted_data_are_the_tasks_and_deterministic(robotics, monkeypatch, tmp_path):
    expert, medium = (collected(POINTMAZE, name, 700) for name in ("expert", "medium"))
    check_task(expert, POINTMAZE)
    assert expert.terminated.all() and expert.episode_returns.tolist() == [1] * expert.episodes
    assert set(medium.episode_returns.tolist()) == {0, 1} and expert.steps >= 700 > expert.offsets[-2]
    assert medium.lengths[medium.episode_returns == 0].tolist() == [300] * int((medium.episode_returns == 0).sum())
    assert collected(POINTMAZE, "expert", 700, seed=1).sha256 != expert.sha256
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "elsewhere"))
    assert collected(POINTMAZE, "expert", 700).sha256 == expert.sha256


def test_an_id_without_a_view_is_collected_with_that_of_its_task():
    assert (
        with_size("dmm/pointmaze-umaze/expert-v0", None, None) == f"dmm/pointmaze-umaze/expert-v0@view={POINTMAZE.view}"
    )
    for given in ("", f"@view={POINTMAZE.view}"):
        assert with_size(f"dmm/pointmaze-umaze/expert-v0{given}", 50, 1).endswith(
            f"expert-n50-s1-v0@view={POINTMAZE.view}"
        )
    assert with_size("dmm/pointmaze-umaze/expert-v0@view=observation", 50, None).endswith("-v0@view=observation")
    assert with_size("dmm/maze2d-umaze/expert-v0", None, 2) == "dmm/maze2d-umaze/expert-n100000-s2-v0"


def test_returns_of_medium_maze2d_are_spread():
    medium = collected(MAZE2D, "medium", 3000)
    assert set(medium.lengths) == {300} and not medium.terminated.any()
    assert medium.episode_returns.min() < 60 and medium.episode_returns.max() > 150
    check_task(medium, MAZE2D)


def test_cards_have_the_returns_of_their_scripts():
    for name, behaviour in scripts.pointmaze.BEHAVIOURS.items():
        task = find_task(name.rpartition("-")[0])
        assert behaviour.card.environment == task.environment and behaviour.card.algorithm.startswith("way-points")
    behaviour = scripts.BEHAVIOURS["maze2d-umaze-expert"]
    found = [episode.rewards.sum() for episode in collect.roll_steps(behaviour, 1, 1800)]
    assert np.mean(found) == pytest.approx(behaviour.card.return_mean, abs=4 * behaviour.card.return_std / 6**0.5)


def test_a_collected_maze_says_where_it_is_from_and_is_listed_with_its_view(robotics):
    import minari

    collected(POINTMAZE, "expert", 300)
    dataset = minari.load_dataset("dmm/pointmaze-umaze/expert-n300-s0-v0")
    assert dataset.env_spec.kwargs["maze_map"][1] == [1, 0, 0, 0, 1] and dataset.env_spec.max_episode_steps == 300
    assert set(dataset[0].observations) == {"observation", "achieved_goal", "desired_goal"}
    assert dataset.storage.metadata["dmm"]["versions"]["gymnasium-robotics"]
    card = dataset.storage.metadata["dmm"]["card"]
    assert card["algorithm"].startswith("way-points") and "command" not in card and card["return_mean"] == 1
    rows = {row.id: row for row in inventory()}
    assert rows[f"dmm/pointmaze-umaze/expert-n300-s0-v0@view={POINTMAZE.view}"].return_mean == 1
    for name in scripts.BEHAVIOURS:
        task, _, policy = name.rpartition("-")
        view = f"@view={POINTMAZE.view}" if task.startswith("pointmaze") else ""
        assert rows[f"dmm/{task}/{policy}-v0{view}"].source == "collected on first use"


@needs_files
def test_data_of_one_kind_are_refused_on_the_tasks_of_the_other(robotics):
    sample, walk = real(f"{MINARI}{POINTMAZE.view}"), collected(MAZE2D, "medium", 1000)
    check_task(sample, POINTMAZE)
    for task in (*ROBOTICS_TASKS, *D4RL_TASKS):
        for found, home_task in ((sample, POINTMAZE), (walk, MAZE2D)):
            if task is not home_task:
                with pytest.raises(ValueError, match=f"cannot come from task {task.name}.* It fits {home_task.name}$"):
                    check_task(found, task)


@needs_files
def test_a_goal_missing_from_observations_is_one_error(robotics):
    with pytest.raises(
        ValueError, match="has the view 'observation'; task pointmaze-umaze .* 'observation.desired_goal'"
    ):
        check_task(real(f"{MINARI}observation"), POINTMAZE)
    with pytest.raises(ValueError, match="unknown key of a view 'goal'.* has achieved_goal, desired_goal, observation"):
        real(f"{MINARI}observation+goal")


@needs_files
def test_minaris_data_train_and_roll(robotics, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(Path(os.environ["DMM_TEST_DATA"]) / "minari"))
    task = replace(POINTMAZE, horizon=40)
    trained = dmm.train("dt", f"{MINARI}{POINTMAZE.view}", task=task, **SETTINGS)
    returns = [value for evaluation in trained.result.evaluations for value in evaluation.returns]
    assert len(returns) == 20 and set(returns) <= {0, 1}
