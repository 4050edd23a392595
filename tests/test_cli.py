"""The command line as a user sees it: help, listings, and one clear line for a mistake."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import handmade_results as handmade

from dmm.base.paths import home
from dmm.cli.options import split_labels
from dmm.data import behaviour  # noqa: F401  here, because CPython 3.11.7 can fail to compile a file deep in a stack

TESTS = Path(__file__).parent
TOY = str(TESTS / "helpers/toy_table.py")


def test_every_command_has_an_example_and_help_imports_nothing_heavy():
    code = (
        "import sys, typer; from dmm.cli import app; heavy = {'torch', 'numpy', 'ray', 'mlflow', 'gymnasium'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules);"
        "groups = [typer.main.get_command(app)]; groups += [c for c in groups[0].commands.values() if hasattr(c, 'commands')];"
        "leaves = [c for group in groups for c in group.commands.values() if not hasattr(c, 'commands')];"
        "assert len(leaves) >= 13 and all('Example: `dmm ' in c.help for c in leaves), [c.name for c in leaves]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=TESTS.parent)
    assert done.returncode == 0, done.stderr


def test_list_and_doctor(dmm):
    _, listed, _ = dmm("list")
    for word in ("metamamba", "DMM-DL", "seaquest-minari, walker2d", "dmm/hopper/medium-v0", "quickstart", "laptop"):
        assert word in listed
    assert max(map(len, listed.splitlines())) <= 80
    _, found, _ = dmm("doctor")
    assert "scan on cpu" in found and "torch" in found


def test_list_prints_the_error_of_a_broken_table_beside_its_name(dmm, tmp_path, monkeypatch):
    (tmp_path / "tune_spaces").mkdir()
    (tmp_path / "tune_spaces/broken.py").write_text("TABLE = 1 / 0")
    monkeypatch.chdir(tmp_path)
    code, listed, _ = dmm("list")
    assert code == 0 and "quickstart" in listed
    assert "broken.py:1: ZeroDivisionError: division by zero" in " ".join(listed.split())


def test_show_needs_no_data_and_no_ray(tmp_path):
    code = "import sys; from dmm.cli import main; sys.argv = ['dmm', 'show', 'quickstart']; main()"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "4 trials" in done.stdout and "pending" in done.stdout and "core-hours" in done.stdout
    assert not re.search(r"\| +ray$", done.stderr, re.M) and re.search(r"\| +torch$", done.stderr, re.M)


def test_a_part_of_a_table_at_a_budget_has_its_own_names_and_the_ids_of_the_whole(dmm):
    def ids(*words: str) -> set[str]:
        code, out, error = dmm("show", *words)
        assert code == 0, error
        return set(re.findall(r"^[0-9a-f]{16}  [0-9a-f]{16}", out, re.M))

    smoke = ids("quickstart.smoke.dmm")
    assert len(smoke) == 2 and smoke == ids("quickstart", "--budget", "smoke", "--source", "dmm")
    part = ids("quickstart", "--rows", "DT", "--seeds", "1", "--columns", "hopper-medium")
    assert len(part) == 1 and part < ids("quickstart") and not smoke & ids("quickstart")


def test_results_of_earlier_versions_are_counted_and_listed(dmm):
    def listed(*words: str) -> str:
        return dmm("list", *words)[1]

    assert "earlier version" not in listed() and listed("--old") == "no results of earlier versions\n"
    handmade.write_old(home() / "trials")
    assert "\n1 result of an earlier version is kept and not reused: `dmm list --old`" in listed()
    (line,) = listed("--old").splitlines()[2:]
    assert line.split() == [handmade.OLD, "4", "dt", "dmm/hopper/medium-v0", "3", "finished"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "quickstrat"), "Did you mean 'quickstart'"),
        (("run", "quickstart", "DMN v2"), "Did you mean 'DMM v2'"),
        (("run", "quickstart", "DT", "--column", "hoper-medium"), "Did you mean 'hopper-medium'"),
        (("sweep", "quickstart", "--profile", "laptob"), "Did you mean 'laptop'"),
        (("data", "collect", "dmm/hoper/medium-v0"), "hopper"),
        (("data", "train-behaviour", "Hoper-v5"), "Hopper"),
        (("run", "quickstart", "DT", "--seed", "-1"), "Trial.seed is -1; it must be at least 0"),
        (
            ("evaluate", "quickstart", "DT"),
            "no kept weights at update 500, 1,000, 1,500, 2,000; `dmm run quickstart DT` trains it",
        ),
        (("show", "quickstart.smok"), "unknown budget or source of data 'smok'"),
        (("show", "quickstart", "--budget", "shrt"), "Did you mean 'short'"),
        (("show", "quickstart.smoke", "--budget", "short"), "is at budget smoke already"),
        (("status", "quickstart", "--source", "d4lr"), "unknown source of data 'd4lr'; table quickstart has dmm"),
        (("sweep", "quickstart", "--rows", "DMM v2,DTT"), "unknown row 'DTT'"),
        (
            ("show", "as_published", "--budget", "laptop", "--rows", "DT,EDT"),
            "leaves out row 'EDT'; it has 'DMM v2', 'DMM v2, ",
        ),
        (("report", "quickstart", "--columns", "hoper-medium"), "Did you mean 'hopper-medium'"),
        (("report", "quickstart", "--format", "mdd"), "Did you mean 'md'"),  # before it speaks of missing results
        (("status", "quickstart", "--seeds", "0,x"), "--seeds is '0,x'; it takes whole numbers with commas"),
    ],
)
def test_a_wrong_name_is_one_line(dmm, words, said):
    code, _, error = dmm(*words)
    assert code == 2
    assert said in error and error.count("\n") == 1 and "Traceback" not in error


def test_labels_may_have_commas():
    known = {"DT", "BC, context_length 1"}
    assert split_labels(["DT,BC", "BC, context_length 1"], known) == ["DT", "BC", "BC, context_length 1"]
    assert split_labels(["DT,BC, context_length 1,BC"], known) == ["DT", "BC, context_length 1", "BC"]
    assert split_labels(["BC, contxt_length 1"], known) == ["BC", "contxt_length 1"]


def test_a_file_that_is_no_dataset_is_one_line_and_leaves_nothing(dmm, tmp_path, monkeypatch):
    broken = tmp_path / "broken.hdf5"
    broken.write_bytes(b"not hdf5")
    monkeypatch.setenv("DMM_TOY_DATA", str(broken))
    code, _, error = dmm("run", TOY, "DT")
    assert code == 2 and str(broken) in error and error.count("\n") == 1
    assert not (home() / "cache").exists() and not (home() / "trials").exists()


def test_a_home_that_cannot_be_written_is_said_at_once(dmm, tmp_path, monkeypatch, reacher_file):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DMM_TOY_DATA", reacher_file)
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "file" / "home"))
    code, _, error = dmm("sweep", TOY)
    assert code == 2 and "DMM_HOME" in error and error.count("\n") == 1
