"""The public API: cheap to import, the same trials as a table's, and policies that act as dmm's own rollouts do."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import handmade_results as handmade
from helpers.foreign import write_gru
from helpers.reacher import REACHER, SETTINGS, TINY

import dmm
from dmm.api.export import export_model
from dmm.api.trained import locate
from dmm.api.trials import task_of, with_budget
from dmm.base.paths import home
from dmm.config import Column, Protocol, Row, Table, grid
from dmm.tasks import find_task
from dmm.trials import run
from dmm.trials.weights import load_weights

ROOT = Path(__file__).parent.parent
NAMES = [
    "list_datasets",
    "list_models",
    "list_tables",
    "list_tasks",
    "load",
    "load_dataset",
    "load_results",
    "rollout",
    "train",
]


def python(code: str, cwd: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_dmm_loads_nothing_heavy_and_offers_every_name():
    out = python(
        "import sys, dmm; heavy = {'torch', 'numpy', 'pandas', 'gymnasium', 'ray', 'mlflow', 'typer'};"
        "print(sorted(heavy & set(sys.modules)));"
        "print(sorted(set(dmm.__all__) & set(dir(dmm))))"
    )
    assert out.splitlines() == ["[]", repr(NAMES)]


def test_training_and_loading_import_neither_ray_nor_mlflow():
    out = python(
        "import sys, dmm; dmm.train, dmm.load, dmm.rollout, dmm.load_results; print({'ray', 'mlflow'} & set(sys.modules))"
    )
    assert out.strip() == "set()"


def test_public_names_are_functions_after_every_submodule_is_imported(tmp_path):
    code = f"""
import importlib, pkgutil, dmm
for module in pkgutil.walk_packages(dmm.__path__, "dmm."):
    if module.name != "dmm.__main__":
        importlib.import_module(module.name)
assert "dt" in dmm.list_models() and "hopper" in dmm.list_tasks() and "quickstart" in dmm.list_tables()
assert "dmm/hopper/medium-v0" in dmm.list_datasets()
wrong = dict(load="abcdef", load_dataset="nothing", load_results="nothing", rollout=None)
for name, value in wrong.items():
    try:
        getattr(dmm, name)(value)
    except ValueError as error:
        print(name)
try:
    dmm.train("dtt", "dmm/hopper/medium-v0")
except ValueError as error:
    print("train", "Did you mean 'dt'?" in str(error))
assert {NAMES!r} == sorted(dmm.__all__)
"""
    assert python(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + code, tmp_path).splitlines() == [
        "load", "load_dataset", "load_results", "rollout", "train True",
    ]  # fmt: skip


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match="no attribute 'fit'; it has .*train"):
        dmm.fit  # noqa: B018


def test_a_dataset_shows_its_shapes_and_returns(reacher_file):
    found = dmm.load_dataset(f"d4rl:{reacher_file}")
    assert found.states.shape == (600, 10) and found.lengths.tolist() == [50] * 12
    for part in (
        f"d4rl:{reacher_file}",
        "12 episodes",
        "600 steps",
        f"return {found.episode_returns.mean():.0f}",
        "[600, 10]",
    ):
        assert part in repr(found)
    both = dmm.load_dataset([f"d4rl:{reacher_file}"] * 2)
    assert both.episodes == 24


@pytest.mark.parametrize("wrong", [[], "", ["x", ""]])
def test_data_that_are_no_ids_are_refused(wrong):
    with pytest.raises(ValueError, match="takes the id of a dataset"):
        dmm.load_dataset(wrong)


def test_train_is_the_trial_of_a_table_and_runs_once(tiny_trial, monkeypatch, capsys):
    data = tiny_trial.dataset[0]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = dmm.train("dt", data, task=REACHER, **SETTINGS)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert (found.id, found.result.training.weights_id) == (tiny_trial.returns_id, tiny_trial.weights_id)
    assert "8/8" in capsys.readouterr().err
    monkeypatch.setattr(run, "train_and_evaluate", None)  # nothing may call it
    assert dmm.train("dt", data, task=REACHER, **SETTINGS).result == found.result
    assert run.run(tiny_trial) == found.result


def test_a_finished_trial_shows_its_last_evaluation_at_the_first_target(trained):
    found = dmm.train("dt", trained.dataset[0], task=REACHER, **SETTINGS)
    last = found.result.evaluations[2]
    assert (last.update, last.target) == (8, "x1")
    assert found.returns.tolist() == last.returns
    assert found.score == pytest.approx(100 * (np.mean(last.returns) + 60) / 56)
    assert found.curve[["update", "target"]].values.tolist() == [[4, "x1"], [4, "x2"], [8, "x1"], [8, "x2"]]
    assert found.curve.score[2] == found.score and found.curve.std_return[2] == pytest.approx(
        np.std(last.returns, ddof=1)
    )
    assert found.loss["update"].tolist() == list(range(1, 9))
    assert f"score {found.score:.1f}" in repr(found) and found.id in repr(found)


def test_the_default_budget_is_that_of_a_table():
    table = Table(
        name="t", title="t", rows=(Row(label="DT", arch="dt", overrides={"context_length": 4}),), seeds=(0,),
        columns=(Column(label="hopper", task=find_task("hopper"), dataset="dmm/hopper/medium-v0"),), protocol=TINY,
    )  # fmt: skip
    for budget in ("short", "smoke"):
        trial = table.at(budget).trials()[0]
        found = with_budget(TINY, budget, {"context_length": 4})
        assert replace(trial, training=found.training, evaluation=found.evaluation) == trial
    assert with_budget(TINY, None, {}) == with_budget(TINY, "short", {})


def test_what_is_given_is_not_scaled_and_updates_replace_the_budget():
    full = Protocol(name="full")  # 100,000 updates, a warm-up of 10,000, 10 evaluations of 100 episodes
    given = with_budget(full, "short", {"warmup": 70, "num_evaluations": 3, "episodes_per_evaluation": 7})
    assert (given.training.updates, given.training.warmup) == (2001, 70)
    assert (given.evaluation.num_evaluations, given.evaluation.episodes_per_evaluation) == (3, 7)
    fewer = with_budget(full, None, {"updates": 500})
    assert (fewer.training.updates, fewer.training.warmup, fewer.evaluation.num_evaluations) == (500, 50, 10)
    assert with_budget(full, None, {"updates": 500, "warmup": 0}).training.warmup == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"budget": "shrot"}, "Did you mean 'short'"),
        ({"budget": "short", "updates": 8}, "budget 'short' sets the updates"),
        ({"updates": 0}, "Training.updates is 0; it must be at least 1"),
        ({"widht": 8}, "unknown field 'widht'.*Did you mean 'width'"),
        ({"preset": "DTT"}, "unknown preset 'DTT'"),
        ({"task": "hoper"}, "Did you mean 'hopper'"),
        ({"task": None}, "names no task; say which task it is of: task='hopper' or"),
        ({"device": "cudda"}, "device 'cudda' cannot be used"),
        ({"seed": -1}, "at least 0"),
        ({"seed": True}, "Trial.seed is True, a bool; it takes an int"),
    ],
)
def test_wrong_words_of_train_are_refused_before_anything_runs(reacher_file, changes, said):
    with pytest.raises(ValueError, match=said):
        dmm.train("dt", f"d4rl:{reacher_file}", **{"task": REACHER, **changes})
    assert not (home() / "trials").exists()


@pytest.mark.parametrize(
    ("ids", "name"),
    [
        (["dmm/hopper/medium-v0"], "hopper"),
        (["minari/mujoco/walker2d/expert-v0"], "walker2d"),
        (["d4rl/halfcheetah-medium-v2"], "halfcheetah"),
        (["d4rl:/hopper/files/walker2d_x.hdf5"], "walker2d"),
        (["d4rl/hopper-medium-v2", "d4rl/hopper-expert-v2"], "hopper"),
        (["dmm/hopper/medium-replay-v0"], "hopper"),
        (["dmm/pointmaze-umaze/medium-v0@view=observation+desired_goal"], "pointmaze-umaze"),
        (["dmm/maze2d-medium/medium-v0"], "maze2d-medium"),
        (["dmm/antmaze-umaze-robotics/expert-v0@view=achieved_goal+observation"], "antmaze-umaze-robotics"),
        (["d4rl/antmaze-medium-play-v2", "d4rl/antmaze-medium-diverse-v2@ends=timeouts"], "antmaze-medium"),
        (["minari/D4RL/antmaze/umaze-v1@view=achieved_goal+observation"], "antmaze-umaze-robotics"),
        (["minari/D4RL/pointmaze/umaze-v2@view=observation+desired_goal"], "pointmaze-umaze"),
        (["minari/atari/pong/expert-v0"], "pong-minari"),
        (["dmm/pong/medium-v0"], "pong"),
        (["dqn/Breakout-all"], "breakout"),
        (["dqn:/hopper/Qbert-1pct-s123"], "qbert"),
    ],
)
def test_the_task_is_the_one_that_the_data_are_named_after(ids, name):
    assert task_of(ids).name == name


@pytest.mark.parametrize(
    "ids",
    [
        ["d4rl/pen-v0"], ["d4rl/hopper-v2", "d4rl/walker2d-v2"], ["d4rl:hopper-walker2d.hdf5"], ["d4rl/hopper-v2", "d4rl/x"],
        ["d4rl/maze2d-umaze-dense-v1"], ["d4rl/bullet-hopper-medium-v0"], ["d4rl/maze2d-eval-umaze-v1"], ["dqn/Alien-all"],
    ],
)  # fmt: skip
def test_data_of_no_task_or_of_two_need_one_named(ids):
    with pytest.raises(ValueError, match="say which task it is of: task='hopper' or task='walker2d'"):
        task_of(ids)


def test_an_id_or_its_beginning_loads_the_latest_weights_or_those_of_an_update(trained):
    for name in (trained.returns_id, trained.weights_id, trained.returns_id[:6], trained.weights_id[:8]):
        found = dmm.load(name)
        assert (found.card.update, found.trial.returns_id) == (8, trained.returns_id)
    assert dmm.load(trained.returns_id, update=4).card.update == 4
    with pytest.raises(ValueError, match="no kept weights at update 5; it has 4, 8"):
        dmm.load(trained.returns_id, update=5)
    for device in ("cuda:99", "foo"):
        with pytest.raises(ValueError, match=f"device '{device}' cannot be used"):
            dmm.load(trained.returns_id, device=device)
    assert "update 8 of 8" in repr(found) and f"score {found.score:.1f} at x1" in repr(found)


def test_weights_with_two_evaluations_ask_which(trained):
    other = replace(trained, evaluation=replace(trained.evaluation, targets=(0.5,)))
    run.run(other)
    with pytest.raises(ValueError, match="need one evaluation") as error:
        dmm.load(trained.weights_id)
    assert trained.returns_id in str(error.value) and other.returns_id in str(error.value)
    assert dmm.load(other.returns_id).policy().asked == -2.5


def test_an_unknown_or_ambiguous_id_names_those_that_are_near(trained, tmp_path, monkeypatch):
    last = "0" if trained.returns_id[5] != "0" else "1"
    with pytest.raises(ValueError, match=f"near it: .*{trained.returns_id}"):
        dmm.load(trained.returns_id[:5] + last)
    shutil.copytree(home() / "trials" / trained.weights_id, home() / "trials" / (trained.weights_id[:8] + "0" * 8))
    with pytest.raises(ValueError, match="is the beginning of .*write more digits"):
        locate(trained.weights_id[:7])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "facade").mkdir()
    with pytest.raises(ValueError, match="no trial facade .*; the folder of that name is ./facade"):
        dmm.load("facade")
    with pytest.raises(ValueError, match="neither an id of a trial .* nor a folder"):
        dmm.load("abc")
    with pytest.raises(ValueError, match="'zzz' is no id of a trial, which has 6 to 16 hex digits"):
        export_model("zzz", tmp_path / "best")


def test_an_exported_folder_loads_without_the_trial(trained, tmp_path, monkeypatch):
    expected = dmm.rollout(dmm.load(trained.returns_id, update=4).policy(), 3).returns
    folder = tmp_path / "best"
    folder.mkdir()  # an empty folder is taken
    assert export_model(trained.returns_id, folder, update=4) == folder
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "elsewhere"))
    found = dmm.load(folder)
    assert found.card.update == 4 and found.trial.returns_id == trained.returns_id
    assert dmm.rollout(found.policy(), 3).returns.tolist() == expected.tolist()
    code = [line.strip() for line in (folder / "README.txt").read_text().splitlines() if line.startswith("    ")]
    assert python("\n".join([f"import sys; sys.path.insert(0, {str(ROOT)!r})", *code, "print(policy)"]), tmp_path) == (
        "Policy(dt in Reacher-v5, target x1: return -5 asked for, windowed, K = 4)\n"
    )
    with pytest.raises(ValueError, match="leave `update` out"):
        dmm.load(folder, update=4)


def test_an_export_is_whole_or_not_there_and_replaces_nothing(trained, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match="is not an empty folder"):
        export_model(trained.returns_id, tmp_path / "full")
    monkeypatch.setattr("dmm.api.export.write_atomic", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_model(trained.returns_id, tmp_path / "half")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_model_from_a_file_is_trained_and_loads_where_its_code_is_trusted(trained, tmp_path, monkeypatch):
    path = write_gru(tmp_path / "models")
    found = dmm.train(path, trained.dataset[0], task=REACHER, **SETTINGS)
    assert found.policy().asked == -5.0 and "gru on" in repr(found)
    with pytest.raises(ValueError, match="unknown field 'widht'.*Did you mean 'width'"):
        dmm.train(path, trained.dataset[0], task=REACHER, widht=3)
    folder = export_model(found.id, tmp_path / "best")
    shutil.rmtree(path.parent)
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(ValueError, match="brings its own source code, of gru.py; pass trust_code=True"):
        dmm.load(folder)
    policy = dmm.load(folder, trust_code=True).policy()
    assert dmm.rollout(policy, 5).score == pytest.approx(found.score, abs=1e-3)
    assert 'dmm.load("best", trust_code=True).policy()' in (folder / "README.txt").read_text()


@pytest.mark.parametrize("name", ["model.safetensors", "card.json", "evaluation.json"])
@pytest.mark.parametrize("how", ["absent", "altered", "a folder"])
def test_an_exported_folder_that_is_incomplete_or_altered_is_refused(trained, tmp_path, name, how):
    folder = export_model(trained.returns_id, tmp_path / "best")
    path = folder / name
    if how == "absent":
        path.unlink()
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        data = path.read_bytes()
        path.write_bytes(data[:-9] + (b"1" if data[-9:-8] == b"0" else b"0") + data[-8:])
    said = {"absent": f"has no {name}", "altered": f"{name} is damaged", "a folder": f"{name} is damaged|has no {name}"}
    with pytest.raises(ValueError, match=said[how]):
        dmm.load(folder)


def test_files_of_two_trials_in_one_folder_are_refused(trained, tmp_path):
    other = replace(trained, seed=1)
    run.run(other)
    folder = export_model(trained.returns_id, tmp_path / "best")
    shutil.copy(export_model(other.returns_id, tmp_path / "other") / "evaluation.json", folder)
    with pytest.raises(ValueError, match="is altered: its card is of weights"):
        dmm.load(folder)


def test_results_have_a_row_for_each_trial_evaluation_and_target():
    for result in handmade.results()[:3]:
        handmade.write(result, home() / "trials")
    found = dmm.load_results(handmade.TABLE)
    assert len(found) == 3 * 3 * 2
    assert list(found.columns) == [
        "row", "column", "arch", "seed", "update", "target", "asked", "mean_return", "std_return", "score", "episodes",
        "parameters", "live_parameters", "status", "weights_id", "returns_id", "data_sha256",
    ]  # fmt: skip
    last = found[(found.row == "DT") & (found["update"] == 30) & (found.target == "x1") & (found.seed == 1)].iloc[0]
    assert last.score == pytest.approx(20.0) and last.asked == 3600 and last.episodes == 2
    assert last.mean_return == pytest.approx(handmade.raw(20.0)) and last.std_return == pytest.approx(50**0.5)
    assert (last.parameters, last.live_parameters, last.status) == (700000, 698000, "finished")


def test_results_of_a_tracking_store_are_those_of_the_files():
    from dmm.tracking.mlflow_store import Recorder

    recorder = Recorder()
    for result in handmade.results():
        handmade.write(result, home() / "trials")
        recorder.push(result, {"handmade": "DT"})
    files, store = (
        dmm.load_results(handmade.TABLE),
        dmm.load_results(handmade.TABLE, mlflow=f"sqlite:///{home()}/mlflow.db"),
    )
    assert store.std_return.isna().all()
    keys = ["returns_id", "update", "target"]
    files, store = (frame.drop(columns="std_return").sort_values(keys, ignore_index=True) for frame in (files, store))
    assert files.equals(store)


def test_a_table_without_results_has_the_columns_and_one_for_each_axis():
    found = dmm.load_results(replace(handmade.TABLE, rows=grid(Row(label="DT", arch="dt"), width=(16, 32))))
    assert found.empty and list(found.columns)[:6] == ["row", "column", "arch", "seed", "width", "update"]


def test_rows_of_a_grid_have_their_point():
    table = replace(handmade.TABLE, rows=grid(Row(label="DT", arch="dt"), width=(16, 32)))
    for trial in table.trials():
        handmade.write(handmade.result(trial, {1.0: [5.0]}), home() / "trials")
    assert dmm.load_results(table).pivot_table("score", "width", "seed").round().values.tolist() == [[5, 5], [5, 5]]


def test_the_command_exports_and_says_how_to_load(trained, tmp_path, capsys):
    from dmm.cli.export import export

    export(trained.returns_id[:8], tmp_path / "best")
    out = capsys.readouterr().out
    assert 'dmm.load("best").policy()' in out and trained.returns_id in out
    assert json.loads((tmp_path / "best" / "card.json").read_bytes())["content"]["update"] == 8
    assert load_weights(tmp_path / "best")[1].weights_id == trained.weights_id
