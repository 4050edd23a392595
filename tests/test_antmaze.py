"""AntMaze: D4RL's constants one by one, Minari's maze, and data of one kind that are refused on the task of the other."""

import json
import os
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import gymnasium as gym
import h5py
import mujoco
import numpy as np
import pytest
from helpers.reacher import SETTINGS
from helpers.real_files import needs_files

import dmm
from dmm import data
from dmm.data.trajectories import assemble, check_task
from dmm.results.parameters import parameter_counts
from dmm.schema import from_json, to_json
from dmm.tables import find_table
from dmm.tasks import TASKS, Task, find_task
from dmm.tasks.antmaze import D4RL_TASKS, MINARI_UMAZE, ROBOTICS_TASKS, VIEW

UMAZE, ROBOTICS = find_task("antmaze-umaze"), find_task("antmaze-umaze-robotics")
MINARI = f"minari/D4RL/antmaze/umaze-v1@view={VIEW}"


@pytest.fixture(scope="module")
def ant():
    env = UMAZE.make()
    yield env
    env.close()


@cache
def real(dataset_id: str):
    """A dataset of the real files, read once."""
    root = Path(os.environ["DMM_TEST_DATA"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DMM_D4RL", str(root / "d4rl"))
        patch.setenv("MINARI_DATASETS_PATH", str(root / "minari"))
        return data.find_reader(dataset_id).read(dataset_id)


def walk(task, steps: int = 40, episodes: int = 2):
    """Episodes of random actions, as data."""
    env, generator = task.make(), np.random.default_rng(0)
    states, actions, rewards = [], [], []
    for episode in range(episodes):
        state, _ = env.reset(seed=episode)
        for _ in range(steps):
            states.append(state)
            actions.append(generator.uniform(-1, 1, 8))
            state, reward, *_ = env.step(actions[-1].astype(np.float32))
            rewards.append(reward)
    offsets = np.arange(episodes + 1) * steps
    return assemble("walk", np.array(states), np.array(actions), np.array(rewards), offsets, np.zeros(episodes, bool))


# D4RL's environment: d4rl/locomotion at 61b0d257


def test_torque_and_step_are_those_of_d4rl(ant):
    model, bare = ant.unwrapped.model, ant.unwrapped
    assert set(model.actuator_gear[:, 0]) == {30} and (model.opt.timestep, bare.frame_skip, bare.dt) == (0.02, 5, 0.1)
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    ant.reset(seed=0)
    ant.step(np.full(8, 0.5, np.float32))
    assert np.allclose(bare.data.qfrc_actuator[6:], 15)  # of the joints in their own order
    ant.step(np.full(8, 2.0, np.float32))
    assert np.allclose(bare.data.qfrc_actuator[6:], 30)


def test_contacts_are_those_of_d4rl_and_gymnasium_has_others(ant):
    geoms = ant.unwrapped.model
    assert np.allclose(geoms.geom_solimp[:, :3], (0.8, 0.8, 0.01))
    assert np.allclose(geoms.geom_solref, (0.02, 1)) and np.allclose(geoms.geom_friction, (1, 0.5, 0.5))
    other = gym.make("Ant-v5").unwrapped.model
    assert not np.allclose(other.geom_solimp[:, :3], (0.8, 0.8, 0.01))
    assert np.allclose(other.body_mass, geoms.body_mass) and np.allclose(other.dof_armature, geoms.dof_armature)


def test_walls_are_those_of_d4rl(ant):
    model = ant.unwrapped.model
    walls = [i for i in range(model.ngeom) if model.geom(i).name.startswith("wall")]
    assert {tuple(model.geom_size[i]) for i in walls} == {(2, 2, 1)} and {model.geom_pos[i, 2] for i in walls} == {1}
    around = {(x, y) for x in range(-4, 13, 4) for y in range(-4, 13, 4) if {x, y} & {-4, 12}}
    assert {(int(x), int(y)) for x, y in model.geom_pos[walls, :2]} == around | {(0, 4), (4, 4)}
    assert {int(model.geom_contype[i]) for i in walls} == {int(model.geom_conaffinity[i]) for i in walls} == {1}


@pytest.mark.parametrize(
    "name, goal, horizon", [("umaze", (0, 8), 700), ("medium", (20, 20), 1000), ("large", (32, 24), 1000)]
)
def test_goal_cells_and_horizons_are_those_of_d4rl(name, goal, horizon):
    task = find_task(f"antmaze-{name}")
    assert task.maze and tuple(task.maze.centre("g")) == goal and tuple(task.maze.centre("r")) == (0, 0)
    assert task.horizon == horizon == task.make().spec.max_episode_steps


def test_a_reset_draws_goal_positions_and_velocities_as_d4rl(ant):
    resets = [(ant.reset(seed=seed)[0], ant.unwrapped.goal - (0, 8)) for seed in range(200)]
    states, goals = (np.array(values) for values in zip(*resets))
    assert states.shape == (200, 29) and not np.allclose(goals[0], goals[1])
    assert 0 <= goals.min() < 0.2 and 1.3 < goals.max() <= 1.5 and goals.mean() == pytest.approx(0.75, abs=0.05)
    noise = states[:, :15] - [0, 0, 0.75, 1, *[0] * 11]
    assert 0.099 < np.abs(noise).max() <= 0.1 and states[:, 15:].std() == pytest.approx(0.1, rel=0.05)
    again, _ = ant.reset(seed=7)
    assert np.array_equal(again, states[7])


def test_half_a_metre_from_the_goal_is_a_success_which_ends_the_episode(ant):
    bare = ant.unwrapped

    def reward_at(distance: float) -> tuple:
        ant.reset(seed=0)
        position = bare.init_qpos.copy()
        position[:2] = bare.goal + (distance, 0)
        bare.set_state(position, np.zeros(14))
        _, reward, terminated, truncated, info = ant.step(np.zeros(8, np.float32))
        return reward, terminated, truncated, info["success"]

    assert reward_at(0.49) == (1.0, True, False, True) and reward_at(0.51) == (0.0, False, False, False)


def test_a_state_has_the_position_and_not_the_goal(ant):
    state, _ = ant.reset(seed=0)
    assert np.array_equal(state, np.concatenate([ant.unwrapped.data.qpos, ant.unwrapped.data.qvel]))
    assert (UMAZE.normalised_score(0), UMAZE.normalised_score(1)) == (0, 100)


def test_a_process_that_knows_nothing_of_antmaze_can_make_it(monkeypatch):
    for task in (*D4RL_TASKS, *ROBOTICS_TASKS):
        monkeypatch.delitem(gym.registry, task.environment.split(":")[1])
    monkeypatch.delitem(sys.modules, "dmm.environments.antmaze")
    assert UMAZE.make().spec.id == "antmaze-umaze-v2"


# gymnasium-robotics' environment


def test_the_robotics_tasks_have_the_state_of_d4rl_and_end_at_the_goal(robotics, tmp_path, capfd):
    for task in ROBOTICS_TASKS:
        env = task.make()
        state, _ = env.reset(seed=0)
        bare = env.unwrapped
        assert task.maze and bare.maze.maze_map == task.maze.map and bare.ant_env.dt == task.maze.seconds == 0.05
        assert np.array_equal(state, np.concatenate([bare.data.qpos, bare.data.qvel]))
        assert {tuple(bare.maze.cell_xy_to_rowcol(task.maze.centre(letter))) for letter in "rg"} == {
            tuple(map(int, np.argwhere(np.array(task.maze.map) == letter)[0])) for letter in "rg"
        }
        bare.goal = state[:2].copy()
        assert env.step(np.zeros(8, np.float32))[1:4] == (1.0, True, False)
        assert env.spec.max_episode_steps == task.horizon
    assert not list(tmp_path.glob("*.xml")) and "Adroit" not in capfd.readouterr().err


def test_mazes_of_medium_and_large_are_those_of_gymnasium_robotics(robotics):
    from gymnasium_robotics.envs.maze import maps

    for task, found in zip(ROBOTICS_TASKS[1:], (maps.MEDIUM_MAZE, maps.LARGE_MAZE), strict=True):
        assert task.maze and np.array_equal(task.maze.walls, np.array(found) == 1)


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium_robotics.envs.maze.ant_maze_v5", None)
    with pytest.raises(ValueError, match=r"task antmaze-umaze-robotics: .* pip install 'dmm-bench\[robotics\]'"):
        ROBOTICS.make()


@needs_files
def test_the_maze_is_that_of_minaris_data_and_not_of_its_evaluation_environment():
    file = Path(os.environ["DMM_TEST_DATA"], "minari/D4RL/antmaze/umaze-v1/data/metadata.json")
    specs = json.loads(file.read_text())
    made, evaluated = (json.loads(specs[key])["kwargs"]["maze_map"] for key in ("env_spec", "eval_env_spec"))
    assert ROBOTICS.maze and np.array_equal(np.array(made, object), np.array(ROBOTICS.maze.map, object))
    assert np.array_equal(np.array(evaluated) == "1", np.fliplr(ROBOTICS.maze.walls))  # mirrored: other walls
    assert MINARI_UMAZE == tuple(
        "".join({"1": "#", "0": "."}.get(str(cell), str(cell)) for cell in row) for row in made
    )


@needs_files
def test_recorded_actions_lead_to_the_recorded_states(robotics):
    """The rest is float32 of the file. The environment with D4RL's constants goes elsewhere within one step."""
    with h5py.File(Path(os.environ["DMM_TEST_DATA"], "d4rl/antmaze-umaze.hdf5")) as file:
        states, actions, timeouts = (file[key][:700] for key in ("observations", "actions", "timeouts"))
        positions, velocities = (file[f"infos/{key}"][:700].astype(float) for key in ("qpos", "qvel"))
    rows = [row for row in range(0, 690, 23) if not timeouts[row : row + 2].any()]

    def errors(task, simulator) -> np.ndarray:
        env = task.make()
        env.reset(seed=0)
        found = []
        for row in rows:  # infos belong to the state after a row's step
            simulator(env).set_state(positions[row], velocities[row])
            found.append(np.abs(env.step(actions[row + 1])[0] - states[row + 2]).max())
        return np.array(found)

    assert errors(ROBOTICS, lambda env: env.unwrapped.ant_env).max() < 2e-5
    assert errors(UMAZE, lambda env: env.unwrapped).min() > 0.5


# data of one kind on the task of the other


def test_data_of_d4rl_are_refused_on_the_robotics_task_with_the_reason():
    found = walk(UMAZE)
    check_task(found, UMAZE)
    with pytest.raises(ValueError, match=r"walk cannot come from task antmaze-umaze-robotics .*inside walls and its steps last "
                       r"0\.\d+ seconds, not 0\.05\. .* It fits antmaze-umaze"):  # fmt: skip
        check_task(found, ROBOTICS)


def test_data_of_gymnasium_robotics_are_refused_on_d4rls_task(robotics):
    found = walk(ROBOTICS)
    with pytest.raises(
        ValueError, match=r"walk cannot come from task antmaze-umaze .*its steps last 0\.0[45]\d seconds, not 0\.1"
    ):
        check_task(found, UMAZE)


def test_a_ghost_that_walks_through_a_wall_was_in_another_maze():
    straight = np.zeros((400, 29))
    straight[:, 1], straight[:, 16] = np.arange(400) * 0.02, 0.2  # from start to goal through the wall between them
    steps = np.arange(400.0)
    assert UMAZE.maze and UMAZE.maze.objections(straight, steps) == "50% of its positions are inside walls"
    around = straight.copy()
    around[:, 0] = 8
    assert not UMAZE.maze.objections(around, steps)
    assert UMAZE.maze.objections(around[::2], steps[::2]) == "its steps last 0.200 seconds, not 0.1"
    around[:, 16] = 0
    assert not UMAZE.maze.objections(around, steps)  # nothing moves, so nothing is known


def test_a_task_whose_option_has_another_maze_is_refused():
    mirrored = tuple(row[::-1] for row in ROBOTICS.maze.map)
    with pytest.raises(ValueError, match="options of antmaze-umaze-robotics has another maze_map than Task.maze"):
        replace(ROBOTICS, options=(("maze_map", mirrored),))
    with pytest.raises(ValueError, match="rows of one length"):
        replace(ROBOTICS.maze, rows=("##", "#"))


@needs_files
@pytest.mark.parametrize(
    "ids", [MINARI, f"d4rl/antmaze-umaze@ends=timeouts@view={VIEW}", f"d4rl/antmaze-umaze-diverse@view={VIEW}"]
)
def test_the_sample_files_fit_the_robotics_task_only(ids):
    found = real(ids)
    check_task(found, ROBOTICS)
    for task in D4RL_TASKS:
        with pytest.raises(
            ValueError, match="inside walls and its steps last 0.050 seconds, not 0.1.*It fits antmaze-umaze-robotics$"
        ):
            check_task(found, task)
    mirrored = replace(ROBOTICS.maze, rows=tuple(row[::-1] for row in ROBOTICS.maze.rows))
    with pytest.raises(ValueError, match="inside walls. It was made in another maze"):
        check_task(found, replace(ROBOTICS, maze=mirrored, options=()))


@needs_files
def test_states_without_keys_need_a_view_that_says_what_they_are():
    with pytest.raises(
        ValueError, match=f"has the view ''; task antmaze-umaze-robotics .* has '{VIEW}'".replace("+", r"\+")
    ):
        check_task(real("d4rl/antmaze-umaze"), ROBOTICS)


@needs_files
@pytest.mark.parametrize("view", ["achieved_goal+observation+goal", "observation+desired_goals"])
def test_a_goal_that_observations_lack_is_one_error(view):
    missing = view.split("+")[-1]
    with pytest.raises(
        ValueError, match=f"unknown key of a view '{missing}'.*achieved_goal, desired_goal, observation"
    ):
        real(f"minari/D4RL/antmaze/umaze-v1@view={view}")
    goal_conditioned = replace(ROBOTICS, view="achieved_goal+observation+desired_goal")
    with pytest.raises(ValueError, match="A view says which keys"):
        check_task(real(MINARI), goal_conditioned)


@pytest.mark.parametrize("task", [UMAZE, ROBOTICS])
def test_a_card_of_weights_keeps_the_maze(task):
    content = json.loads(json.dumps(to_json(task)))
    assert from_json(Task, content) == task
    del content["maze"]  # of a card that is older than mazes
    assert from_json(Task, content) == replace(task, maze=None)


# models


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A small file of D4RL's layout, of random actions in D4RL's dynamics."""
    found, path = walk(UMAZE), tmp_path_factory.mktemp("antmaze") / "antmaze.hdf5"
    with h5py.File(path, "w") as opened:
        for name in ("observations", "actions", "rewards"):
            opened[name] = getattr(found, name.replace("observations", "states"))
        opened["terminals"] = np.zeros(found.steps, bool)
        opened["timeouts"] = np.arange(1, found.steps + 1) % 40 == 0
    return path


@pytest.mark.parametrize("arch", ["metamamba", "dt", "hdm", "hdt", "ds4", "edt"])
def test_every_kind_of_model_trains_and_acts_on_antmaze(arch, file):
    few = {**SETTINGS, "updates": 2, "num_evaluations": 1, "episodes_per_evaluation": 2, "targets": (1.0,)}
    heads = {"heads": 2} if arch == "edt" else {}
    found = dmm.train(arch, f"d4rl:{file}", task=replace(UMAZE, horizon=3), **few, **heads)
    assert found.result.status == "finished"
    assert [result.returns for result in found.result.evaluations] == [[0.0, 0.0]]


# tables

table_of = cache(find_table)


def cell(table: str, row: str, column: str, source: str = "d4rl"):
    """A trial of a table that ships with dmm."""
    found = table_of(table).on(source)
    rows, columns = ({entry.label: entry for entry in entries} for entries in (found.rows, found.columns))
    return found.trial(rows[row], columns[column], 0)


def test_columns_of_antmaze_have_the_papers_targets_widths_and_cut():
    for row, width in {"DMM-C": 128, "DMM-L": 128, "DC": 128, "DM": 128, "DT": 128, "EDT": 256}.items():
        trial = cell("dmm_v1_table1", row, "antmaze-umaze")
        assert (trial.task, trial.dataset, trial.config.width) == (UMAZE, ("d4rl/antmaze-umaze-v2",), width)
        asked = [1.0] if row == "EDT" else [1.0, 10.0, 100.0, 1000.0, 100_000.0]
        assert [target.value for target in trial.evaluation.targets] == asked
    assert cell("dmm_v1_table2", "DMM-DC", "antmaze-umaze-diverse").config.width == 64
    assert (
        cell("dmm_v1_table1", "DT", "hopper-medium").evaluation.targets
        == table_of("dmm_v1_table1").protocol.evaluation.targets
    )
    minari = cell("dmm_v1_table1", "DT", "antmaze-umaze", "minari")
    assert (minari.task, minari.dataset) == (ROBOTICS, (MINARI,))
    meant = cell("dmm_v2_antmaze", "DT", "antmaze-umaze, as meant")
    assert meant.dataset == ("d4rl/antmaze-umaze-v2@ends=timeouts",)
    for table in ("dmm_v1_table1", "dmm_v1_table2", "dmm_v1_table5", "dmm_v1_table9", "dmm_v2_antmaze"):
        assert any("cut at every terminal step" in line for line in table_of(table).departures)


def test_tables_share_their_trials_on_antmaze():
    same = [("dmm_v1_table1", "DMM-C"), ("dmm_v1_table5", "DMM-C"), ("dmm_v1_table9", "DMM-SiLU")]
    assert len({cell(table, row, "antmaze-umaze").returns_id for table, row in same}) == 1
    same = [("dmm_v1_table1", "DT"), ("dmm_v1_table5", "DT"), ("dmm_v2_antmaze", "DT")]
    assert len({cell(table, row, "antmaze-umaze").returns_id for table, row in same}) == 1


def test_the_published_mixer_of_v2_is_frozen_and_the_meant_one_is_trained():
    counts = parameter_counts(table_of("dmm_v2_antmaze"))
    found = {row: counts[row, "antmaze-umaze"] for row, _ in counts if row != "DT"}
    assert {row: count.counted for row, count in found.items()} == {
        "DMM v2, as published": 278_408, "DMM v2, as meant": 475_016, "DMM v2, shared mixer": 278_408,
    }  # fmt: skip
    assert found["DMM v2, as published"].live == 180_104  # which the official code prints


def test_numbers_that_are_quoted_on_antmaze_only_are_not_compared_there():
    rows = {row.label: row for row in table_of("dmm_v1_table1").rows}
    assert (
        "does not say" in rows["EDT"].not_comparable and "Reinformer" in rows["EDT"].not_comparable_on["antmaze-umaze"]
    )
    with pytest.raises(ValueError, match="row 'DC' has a not_comparable_on and no published score on hopper"):
        replace(rows["DC"], not_comparable_on={"hopper": "quoted"})


def test_tasks_of_antmaze_are_found_by_name_and_others_are_suggested():
    assert {task.name for task in (*D4RL_TASKS, *ROBOTICS_TASKS)} <= TASKS.keys()
    with pytest.raises(ValueError, match="Did you mean 'antmaze-umaze'"):
        find_task("antmaze-umase")
