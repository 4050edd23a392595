"""How a table's file is found, and what it can import while it loads."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import dmm
from dmm.cli import app
from dmm.tables import find_table, read_table, shipped, tables
from dmm.trials import estimate
from tune_spaces.shared import LOCOMOTION

TEXT = """
from dataclasses import replace
from tune_spaces.quickstart import TABLE as QUICKSTART
from rows_beside import TITLE
import parts_beside.deep

TABLE = replace(QUICKSTART, name="mine", title=TITLE + parts_beside.deep.MORE)
"""


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """The current folder is empty, and tests import no tables themselves."""
    monkeypatch.chdir(tmp_path)


def write(folder: Path, title: str) -> Path:
    (folder / "parts_beside").mkdir(parents=True)
    (folder / "parts_beside/__init__.py").touch()
    (folder / "parts_beside/deep.py").write_text("MORE = '!'")
    (folder / "rows_beside.py").write_text(f"TITLE = {title!r}")
    (folder / "mine.py").write_text(TEXT)
    return folder / "mine.py"


def test_two_tables_have_neighbours_of_the_same_name(tmp_path):
    first, second = write(tmp_path / "a", "First"), write(tmp_path / "b", "Second")
    assert [read_table(path).title for path in (first, second, first)] == ["First!", "Second!", "First!"]


def test_what_a_table_imported_is_gone_afterwards(tmp_path):
    before = set(sys.modules)
    (tmp_path / "broken.py").write_text("import rows_beside, tune_spaces.protocols\n1 / 0")
    read_table(write(tmp_path / "a", "First"))
    (tmp_path / "rows_beside.py").touch()
    with pytest.raises(ValueError, match="broken.py:2: ZeroDivisionError: division by zero"):
        read_table(tmp_path / "broken.py")
    left = {name.split(".")[0] for name in set(sys.modules) - before}
    assert not left & {"rows_beside", "parts_beside", "tune_spaces"}
    assert not any(type(finder).__module__ == "dmm.tables" for finder in sys.meta_path)


def test_modules_of_the_same_name_come_back(tmp_path, monkeypatch):
    mine = type(sys)("rows_beside")
    monkeypatch.setitem(sys.modules, "rows_beside", mine)
    assert read_table(write(tmp_path / "a", "First")).title == "First!"
    assert sys.modules["rows_beside"] is mine


def test_a_neighbour_never_takes_the_place_of_a_library(tmp_path):
    import numpy

    for name in ("numpy", "decimal", "dmm"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit")
    (tmp_path / "mine.py").write_text("import decimal, numpy, dmm\nfrom tune_spaces.quickstart import TABLE")
    assert read_table(tmp_path / "mine.py").name == "quickstart"
    assert sys.modules["numpy"] is numpy


def test_tune_spaces_of_the_current_folder_comes_first(tmp_path):
    (tmp_path / "tune_spaces").mkdir()
    text = (shipped() / "quickstart.py").read_text()
    (tmp_path / "tune_spaces/quickstart.py").write_text(text.replace('title="Quickstart', 'title="Mine'))
    (tmp_path / "mine.py").write_text("from tune_spaces.quickstart import TABLE\nfrom tune_spaces import protocols")
    assert find_table("quickstart").title.startswith("Mine: ")
    assert find_table("./mine.py").title.startswith("Mine: ")
    # a table that ships imports what ships
    (tmp_path / "tune_spaces/quickstart.py").write_text("1 / 0")
    assert find_table("precision").title.startswith("float32 and bfloat16")


# the tables that ship with dmm


def test_the_readme_has_every_table_with_its_title():
    """The lines of tune_spaces/README.md are those of the files, so they cannot grow old."""
    text = (shipped() / "README.md").read_text()
    listed = dict(re.findall(r"^\| \[(\w+)\]\(\1\.py\) \| (.+) \|$", text, re.MULTILINE))
    assert listed == {name: find_table(name).title for name in dmm.list_tables()}


@pytest.fixture
def shown(monkeypatch):
    """What `dmm show` prints, without timing the models."""
    monkeypatch.setattr(estimate, "time_steps", lambda trial, episodes: estimate.StepSeconds(1.0, 1.0))
    return show


def show(*words: str) -> str:
    result = CliRunner().invoke(app, ["show", *words])
    assert result.exit_code == 0, result.output
    return result.output


def test_show_says_parameters_and_printed_counts_in_an_empty_home(shown):
    found = shown("dmm_v1_table5", "--rows", "DMM-C,DT", "--seeds", "0", "--budget", "paper")
    lines = [re.split(r"\s{2,}", line.strip()) for line in found.splitlines()]
    assert ["DT", "733,606 (729,608 live)", "antmaze-umaze", "730,008"] in lines
    assert ["DMM-C", "32,390", "walker2d-medium", "32,390"] in lines
    assert "- DT: a misprint on antmaze-umaze" in found
    assert "6 trials, at most " in found and "core-hours" in found


def test_show_says_budget_source_departures_and_how_to_get_missing_data(shown):
    found = shown("dmm_v1_table2", "--rows", "DT", "--budget", "smoke", "--source", "dmm")
    assert "Budget smoke: 0.01 % of the updates" in found
    assert "Data of source dmm. Columns without such data: antmaze-umaze, antmaze-umaze-diverse." in found
    assert "- environments of Gymnasium v5" in found
    assert "dmm/hopper/mixed-v0" in found and ": collected at the first use" in found
    d4rl = shown("dmm_v1_table7", "--seeds", "0")
    assert "d4rl/hopper-medium-v2, d4rl/walker2d-medium-v2, d4rl/halfcheetah-medium-v2: " in d4rl
    assert "gym_mujoco_v2/hopper_medium-v2.hdf5" in d4rl and "DMM_D4RL" in d4rl
    assert (
        "All of them: dmm data download d4rl/hopper-medium-v2 d4rl/walker2d-medium-v2 d4rl/halfcheetah-medium-v2"
        in d4rl
    )
    assert "dmm data download minari/mujoco/hopper/medium-v0" in shown(
        "dmm_v1_table7", "--seeds", "0", "--source", "minari"
    )


def test_models_of_one_shape_are_timed_once(monkeypatch):
    timed = []
    step = estimate.StepSeconds(1.0, 2.0)
    monkeypatch.setattr(estimate, "time_steps", lambda trial, episodes: timed.append(episodes) or step)
    table = find_table("dmm_v1_table2").select(rows=["DC"], columns=LOCOMOTION)
    cost = estimate.estimates(table)
    assert len(cost) == 45 and len(timed) == 2  # Hopper; Walker2d and HalfCheetah. Learning rates cost nothing
    calls = 10 * 4 * 2 * 1000  # evaluations, targets, batches of 50 episodes, steps
    assert {(found.train, found.rollout) for found in cost.values()} == {(100_000.0, 2.0 * calls)}
    assert timed == [50, 50]
    estimate.estimates(table.at("smoke"))
    assert timed[2:] == [8, 8]  # two episodes at each of four targets are rolled out together


def test_slow_work_is_timed_on_a_few_rows(tiny_trial, monkeypatch):
    seen: list[int] = []
    for each_row, rows in ((0.03, [4, 4]), (0.001, [4, 4, 64, 64, 64])):  # seconds: 4 rows take 0.12, or 0.004
        monkeypatch.setattr(
            estimate, "timed", lambda work, batch, each=each_row: work(batch) or each * len(batch.states)
        )
        seen.clear()
        found = estimate.seconds(lambda batch: seen.append(len(batch.states)), tiny_trial, 64)
        assert found == pytest.approx(64 * each_row) and seen == rows


@pytest.fixture(scope="module")
def one_ray(tmp_path_factory):
    """One Ray and one DMM_HOME for the sweeps of all tables. They share trials and data."""
    from dmm.sweeps.sweep import sweep  # isort: skip  before Ray

    import ray

    from dmm.sweeps.workers import ENVIRONMENT

    ray.init("local", num_cpus=2, include_dashboard=False, runtime_env={"env_vars": ENVIRONMENT}, logging_level="error")
    yield sweep, tmp_path_factory.mktemp("shared")
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(tables()) - {"quickstart", "five_seeds", "precision", "zoo"}))
def test_every_table_runs_end_to_end_on_embedded_data(name, one_ray, tmp_path, monkeypatch):
    """Sweep and report at budget smoke.

    The rows are cut, so that a table takes about a minute: a grid has its first two points along each axis.
    """
    from dmm.report.files import write_report
    from dmm.sweeps.profile import Profile
    from dmm.tracking.mlflow_store import Recorder

    sweep, place = one_ray
    if not any("dmm" in column.sources for column in find_table(name).columns):
        pytest.skip("the table has no column with embedded data")
    monkeypatch.setenv("DMM_HOME", str(place))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(place / "minari"))
    whole = find_table(name).at("smoke").on("dmm")
    first = {axis: values[:2] for axis, values in whole.axes.items()}
    rows = [row for row in whole.rows if all(row.axes[axis] in first[axis] for axis in row.axes)]
    table = replace(whole, rows=tuple(rows))
    counts = sweep(table, Profile(name="one"), say=lambda line: None)
    assert counts.done == counts.total == len(table.trials())
    recorder = Recorder(None)
    paths = write_report(table, recorder.summaries(table), tmp_path / name, recorder.source(table))
    text = paths[0].read_text()
    assert text.startswith(f"# {table.title}") and "Budget smoke" in text and "source dmm" in text
    assert all(row.label in text for row in rows) and all(line in text for line in table.departures)
