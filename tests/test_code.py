"""dmm's own code under a result: what counts, what does not, the pins, and what an edit does to ids and reports."""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import handmade_results as handmade
from helpers.foreign import GRU, write_gru
from helpers.reacher import REACHER, parts

from dmm.architectures import list_models, resolve
from dmm.base import code_hash
from dmm.base.code_hash import PINS, canonical, model_code, pins, to_pin
from dmm.config import Trial, edited_code
from dmm.schema import Provenance, WeightsRecord, from_json, to_json
from dmm.trials.run import run
from dmm.trials.train import merge_provenance

ROOT = Path(__file__).parent.parent
ATTENTION, HISTORY, MAMBA = "dmm/layers/attention.py", "dmm/rollouts/history.py", "dmm/layers/mamba.py"


def test_the_pins_are_those_of_the_tree():
    assert to_pin() == pins(), "run `make pin` if the golden curves stand, or raise RESULTS_VERSION and pin then"
    for arch in list_models():
        assert not model_code(arch).edited and model_code(arch).edited_sha256 == ""


def files(arch: str) -> set[str]:
    return set(code_hash.hashes((*code_hash.LOOP, (f"dmm.models.{arch}", ""))))


def test_the_code_of_a_model_is_what_can_move_its_numbers():
    dt, metamamba = files("dt"), files("metamamba")
    assert {ATTENTION, HISTORY, "dmm/training/fit.py", "dmm/kernels/sampling.cpp", "dmm/base/seeds.py"} <= dt & files(
        "dt"
    )
    assert {MAMBA, "dmm/kernels/scan.cpp", "dmm/kernels/ssd.py", "dmm/models/metamamba.py"} <= metamamba
    assert not {MAMBA, "dmm/kernels/ssd.py", "dmm/models/metamamba.py", "dmm/models/bc.py"} & dt
    around = {f"dmm/trials/{name}.py" for name in ("train", "weights", "run", "storage")}
    around |= {"dmm/sweeps/train_group.py", "dmm/sweeps/rollout_actors.py"}
    assert around <= dt & metamamba
    for path in {*pins()} - around:
        assert path.split("/")[1] not in ("cli", "results", "tracking", "sweeps", "trials", "bench", "tables.py"), path
    assert not {"dmm/config/table.py", "dmm/config/budget.py", "dmm/base/paths.py", "dmm/base/lock.py"} & set(pins())


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("def f(x):\n    # why\n    return (x\n        + 1)", True),
        ('def f(x):\n    """What."""\n    return x + 1', True),
        ('"""A module."""\ndef f(x): return x + 1', True),
        ("def f(x):\n    return x + 2", False),
        ("def f(x):\n    return x + 1.0", False),
        ("def f(x):\n    return x - 1", False),
        ("def g(x):\n    return x + 1", False),
        ("def f(x, *, y=0):\n    return x + 1", False),
        ("def f(x):\n    'a'\n    return x + 1", True),
        ("def f(x):\n    return x + 1\nX = 'a'", False),
    ],
)
def test_comments_and_docstrings_do_not_count(text, same):
    assert (tree(text) == tree("def f(x):\n    return x + 1")) == same


def tree(text: str) -> list[str]:
    return canonical(ast.parse(text), [])


def test_every_python_gives_the_same_hashes():
    """On a machine with one Python this compares with the pins, which may come from another."""
    code = "from dmm.base.code_hash import to_pin, short; print(short(to_pin()))"
    for version in ("3.11", "3.12", "3.13"):
        if python := shutil.which(f"python{version}"):
            done = subprocess.run([python, "-c", code], cwd=ROOT, capture_output=True, text=True, env={"PATH": "/bin"})
            assert done.stdout.strip() in (code_hash.short(pins()), ""), (version, done.stderr)


@pytest.fixture
def copy(tmp_path):
    """A copy of dmm in which files may be edited, as a function of (file, old text, new text). It returns the package."""
    shutil.copytree(ROOT / "dmm", tmp_path / "dmm", ignore=shutil.ignore_patterns("__pycache__", "policies"))

    def edit(path: str = "", old: str = "", new: str = "") -> Path:
        if path:
            text = (tmp_path / path).read_text()
            assert text.count(old) >= 1
            (tmp_path / path).write_text(text.replace(old, new, 1))
        model_code.cache_clear()
        code_hash.parsed.cache_clear()
        return tmp_path / "dmm"

    return edit


def test_an_edit_that_can_move_a_number_is_seen_and_others_are_not(copy):
    before = model_code("dt", copy())
    assert before == model_code("dt") and not before.edited
    docstring = ast.get_docstring(ast.parse((ROOT / ATTENTION).read_text()))
    assert model_code("dt", copy(ATTENTION, docstring, "Other words.")) == before
    assert model_code("dt", copy(ATTENTION, "\nclass ", "\n# a comment\nclass ")) == before
    assert model_code("dt", copy("dmm/config/table.py", "\nclass ", "\nX = 1\n\n\nclass ")) == before
    assert (
        model_code("dt", copy("dmm/layers/__init__.py", "\nfrom ", "\nX = 1\nfrom ")) == before
    )  # it only hands on names
    changed = model_code("dt", copy(ATTENTION, "\nclass ", "\nX = 1\n\n\nclass "))
    assert changed.edited == (ATTENTION,) and changed.edited_sha256 and changed.sha256 != before.sha256
    again = model_code("dt", copy(ATTENTION, "X = 1", "X = 2"))
    assert again.edited == (ATTENTION,) and again.edited_sha256 != changed.edited_sha256
    assert not model_code("decision_mamba", copy()).edited
    assert not model_code("dt", copy(ATTENTION, "X = 2\n\n\n", "")).edited
    for path in ("dmm/kernels/sampling.cpp", HISTORY, "dmm/base/seeds.py"):
        assert path in model_code("dt", copy(path, "", "X = 1\n")).edited


def test_an_environment_of_dmm_counts_for_its_own_tasks(copy):
    for path, environment in (
        ("dmm/environments/pointmaze.py", "dmm.environments.pointmaze:PointMaze-umaze-v3"),
        ("dmm/environments/point_mass.py", "dmm.environments.maze2d:maze2d-umaze-v1"),
        ("dmm/environments/antmaze.py", "dmm.environments.antmaze:antmaze-umaze-v2"),
    ):
        package = copy(path, "\nfrom ", "\nX = 1\nfrom ")
        assert path in model_code("dt", package, environment).edited
        assert not model_code("dt", package, "Hopper-v5").edited
        copy(path, "\nX = 1\nfrom ", "\nfrom ")


def test_the_file_of_an_environment_from_outside_is_part_of_the_provenance(tiny_trial, tmp_path, monkeypatch):
    from helpers import waiting_env

    monkeypatch.setenv("DMM_TOY_GATES", str(tmp_path))

    assert "environment" not in run(tiny_trial).returns.provenance.code
    outside = replace(tiny_trial, task=replace(tiny_trial.task, environment="helpers.waiting_env:Waiting-v0"))
    sha256 = hashlib.sha256(Path(waiting_env.__file__).read_bytes()).hexdigest()
    code = run(outside).returns.provenance.code
    assert code == f"{outside.code.sha256} + environment {sha256[:16]}"


def test_the_statistics_of_rollouts_count(copy):
    train = "dmm/trials/train.py"
    package = copy(train, "trajectories.state_mean.tolist()", "(2 * trajectories.state_mean).tolist()")
    assert model_code("dt", package).edited == (train,)


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "\x00"])
def test_absent_or_damaged_pins_are_named(copy, text):
    package = copy()
    (package / PINS).unlink()
    if text is not None:
        (package / PINS).write_text(text)
    with pytest.raises(ValueError, match=r"models/code.json cannot be read: .*Restore it, or install dmm again"):
        model_code("dt", package)


def test_a_module_that_a_shipped_model_begins_to_use_counts(copy):
    package = copy(
        "dmm/models/dt.py", "from dmm.layers import (", "from dmm.kernels.ssd import dual\nfrom dmm.layers import ("
    )
    (package / PINS).write_text(json.dumps({path: sha for path, sha in pins().items() if "ssd" not in path}))
    assert set(model_code("dt", package).edited) == {"dmm/models/dt.py", "dmm/kernels/ssd.py"}


def test_a_model_from_outside_depends_on_what_it_imports_from_dmm(copy, tmp_path):
    alone = resolve(write_gru(tmp_path / "a"))[1].code
    mamba = resolve(
        write_gru(tmp_path / "b", GRU, "from dmm.layers import MambaBlock\n" + (tmp_path / "a/helpers.py").read_text())
    )
    package = copy(MAMBA, "\nclass ", "\nX = 1\n\n\nclass ")
    assert not model_code(alone, package).edited
    assert model_code(mamba[1].code, package).edited == (MAMBA,)


def test_each_file_is_parsed_once_a_process(monkeypatch):
    model_code.cache_clear()
    code_hash.parsed.cache_clear()
    seen = []
    parse = code_hash.ast.parse
    monkeypatch.setattr(code_hash.ast, "parse", lambda source: seen.append(source) or parse(source))
    for arch in list_models() * 3:
        model_code(arch)
    assert len(seen) == len(set(seen)) > 40


def some_trial(**changes) -> Trial:
    return Trial(arch="dt", task=REACHER, dataset=("d4rl:none",), seed=0, **parts(), **changes)


def as_edited(monkeypatch, text: str = "0123456789abcdef") -> None:
    """Lets a pinned hash be another, as if the file were edited."""
    changed = {**pins(), ATTENTION: text}
    monkeypatch.setattr(code_hash, "pins", lambda package: changed)
    model_code.cache_clear()


@pytest.fixture(autouse=True)
def _forget():
    yield
    model_code.cache_clear()
    code_hash.parsed.cache_clear()


def test_edited_code_is_in_the_id_and_is_said(monkeypatch):
    pinned = some_trial()
    assert edited_code([pinned]) == "" and pinned.weights_record.code == ""
    as_edited(monkeypatch)
    edited = some_trial()
    assert (
        edited.weights_record.code and edited.weights_id != pinned.weights_id and edited.returns_id != pinned.returns_id
    )
    assert edited_code([edited, edited]) == f"edited since the pins: {ATTENTION}; results get their own ids"
    bc = replace(edited, arch="bc")
    assert bc.weights_record.code == "" and edited_code([bc]) == ""  # it has no attention


def test_commands_say_what_is_edited(tmp_path, copy):
    copy(ATTENTION, "\nclass ", "\nX = 1\n\n\nclass ")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT / 'tests'}", "DMM_TOY_DATA": "none"}
    command = [sys.executable, "-m", "dmm", "show", str(ROOT / "tests/helpers/toy_table.py"), "--rows", "DT"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"edited since the pins: {ATTENTION}; results get their own ids" in done.stdout


def test_a_result_records_the_code_that_made_it(tiny_trial):
    done = run(tiny_trial)
    assert done.training.provenance.code == done.returns.provenance.code == model_code("dt").sha256
    assert done.training.weights.code == ""


def test_a_worker_with_other_code_than_the_driver_is_refused(monkeypatch):
    from dmm.sweeps.nodes import check_code

    trial = some_trial()
    check_code(trial, trial.returns_id)
    here = trial.returns_id
    as_edited(monkeypatch)
    with pytest.raises(
        RuntimeError, match=f"code of dmm on node .* is not the driver's: edited since the pins: {ATTENTION}"
    ):
        check_code(some_trial(), here)


def test_a_resumed_trial_says_if_the_code_changed():
    first = handmade.results()[0].training.provenance
    assert merge_provenance(replace(first, code="a"), replace(first, code="b")).code == "a, then b"
    assert merge_provenance(first, replace(first, code="b")).code == "not recorded, then b"
    newer = merge_provenance(
        replace(first, versions={"torch": "2"}), replace(first, versions={"torch": "3", "ray": "2"})
    )
    assert newer.versions == {"torch": "2, then 3", "ray": "2"}
    without = merge_provenance(replace(first, versions={"mujoco": "3"}), replace(first, versions={}))
    assert merge_provenance(without, replace(first, versions={"mujoco": "4"})).versions == {"mujoco": "3, then 4"}
    moved = [replace(first, machine=machine) for machine in ("A, 2 cores", "A, 4 cores", "B, 4 cores")]
    assert merge_provenance(moved[0], moved[1]).machine == "A, 4 cores"
    assert merge_provenance(moved[1], moved[2]).machine == "A, 4 cores, then B, 4 cores"


def test_a_cell_whose_trials_come_from_other_code_says_so():
    from dmm.report.notes import settings_of_rows
    from dmm.results.score import gather_cells, summarise

    found = {result.id: summarise(result) for result in handmade.results()}
    said = lambda: " ".join(settings_of_rows(handmade.TABLE, gather_cells(handmade.TABLE, found)))  # noqa: E731
    assert "code of dmm" not in said()  # results without a record of their code
    first, second, *_ = (
        trial.returns_id for trial in handmade.TABLE.cell(handmade.TABLE.rows[0], handmade.TABLE.columns[0])
    )
    for id_, commit in ((first, "c1"), (second, "c2-dirty")):
        found[id_] = replace(found[id_], provenance=replace(found[id_].provenance, code="aaa", commit=commit))
    assert "code of dmm" not in said()  # other commits with the same code move no number
    for id_, code in ((first, "aaa"), (second, "bbb")):
        found[id_] = replace(found[id_], provenance=replace(found[id_].provenance, code=code))
    assert "DT on hopper-medium mixes trials with code of dmm aaa and bbb; from commit c1 and c2-dirty" in said()
    found[first] = replace(found[first], provenance=replace(found[first].provenance, code=""))
    assert "mixes trials with code of dmm bbb and not recorded" in said()


def test_results_without_the_new_fields_are_read():
    result = handmade.results()[0]
    weights, provenance = to_json(result.training.weights), to_json(result.training.provenance)
    for name in ("source_sha256", "distribution", "code"):
        del weights[name]
    del provenance["code"]
    assert from_json(WeightsRecord, weights) == result.training.weights
    assert from_json(Provenance, provenance) == result.training.provenance
