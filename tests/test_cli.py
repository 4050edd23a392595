"""The command line as a user sees it: help, listings, and one clear line for a mistake."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import handmade_results as handmade

from dmm.cli.options import split_labels

TESTS = Path(__file__).parent


def dmm(*words: str, cwd=None, **env) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "dmm", *words], capture_output=True, text=True, cwd=cwd, timeout=120,
        env={**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}", **env},
    )  # fmt: skip


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


def test_list_and_doctor():
    listed = dmm("list").stdout
    for word in ("metamamba", "DMM-DL", "hopper (Hopper-v5)", "dmm/hopper/medium-v0", "quickstart", "laptop"):
        assert word in listed
    found = dmm("doctor").stdout
    assert "scan on cpu" in found and "torch" in found


def test_show_needs_no_data_and_no_ray(tmp_path):
    shown = dmm("show", "quickstart", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "4 trials" in shown.stdout and "pending" in shown.stdout and "core-hours" in shown.stdout


def test_a_part_of_a_table_at_a_budget_has_its_own_names_and_the_ids_of_the_whole(tmp_path):
    def ids(*words: str) -> set[str]:
        done = dmm("show", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return set(re.findall(r"^[0-9a-f]{16}  [0-9a-f]{16}", done.stdout, re.M))

    smoke = ids("quickstart.smoke.dmm")
    assert len(smoke) == 2 and smoke == ids("quickstart", "--budget", "smoke", "--source", "dmm")
    part = ids("quickstart", "--rows", "DT", "--seeds", "1", "--columns", "hopper-medium")
    assert len(part) == 1 and part < ids("quickstart") and not smoke & ids("quickstart")


def test_results_of_earlier_versions_are_counted_and_listed(tmp_path):
    def listed(*words: str) -> str:
        return dmm("list", *words, DMM_HOME=str(tmp_path)).stdout

    assert "earlier version" not in listed() and listed("--old") == "no results of earlier versions\n"
    handmade.write_old(tmp_path / "trials")
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
        (("report", "quickstart", "--columns", "hoper-medium"), "Did you mean 'hopper-medium'"),
        (("status", "quickstart", "--seeds", "0,x"), "--seeds is '0,x'; it takes whole numbers with commas"),
    ],
)
def test_a_wrong_name_is_one_line(words, said):
    done = dmm(*words)
    assert done.returncode == 2
    assert said in done.stderr and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_labels_may_have_commas():
    known = {"DT", "BC, context_length 1"}
    assert split_labels(["DT,BC", "BC, context_length 1"], known) == ["DT", "BC", "BC, context_length 1"]


def test_a_file_that_is_no_dataset_is_one_line_and_leaves_nothing(tmp_path):
    broken = tmp_path / "broken.hdf5"
    broken.write_bytes(b"not hdf5")
    done = dmm(
        "run", str(TESTS / "helpers/toy_table.py"), "DT", DMM_TOY_DATA=str(broken), DMM_HOME=str(tmp_path / "home")
    )
    assert done.returncode == 2 and str(broken) in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "home" / "cache").exists() and not (tmp_path / "home" / "trials").exists()


def test_a_home_that_cannot_be_written_is_said_at_once(tmp_path, reacher_file):
    (tmp_path / "file").write_text("")
    done = dmm(
        "sweep",
        str(TESTS / "helpers/toy_table.py"),
        DMM_TOY_DATA=reacher_file,
        DMM_HOME=str(tmp_path / "file" / "home"),
    )
    assert done.returncode == 2 and "DMM_HOME" in done.stderr and done.stderr.count("\n") == 1
