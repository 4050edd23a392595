"""The command line as a user sees it: help, listings, and one clear line for a mistake."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "quickstrat"), "Did you mean 'quickstart'"),
        (("run", "quickstart", "DMN v2"), "Did you mean 'DMM v2'"),
        (("run", "quickstart", "DT", "--column", "hoper-medium"), "Did you mean 'hopper-medium'"),
        (("sweep", "quickstart", "--profile", "laptob"), "Did you mean 'laptop'"),
        (("data", "collect", "dmm/hoper/medium-v0"), "hopper"),
        (("data", "train-behaviour", "Hoper-v5"), "Hopper"),
        (("run", "quickstart", "DT", "--seed", "-1"), "0 or more"),
    ],
)
def test_a_wrong_name_is_one_line(words, said):
    done = dmm(*words)
    assert done.returncode == 2
    assert said in done.stderr and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


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


def test_the_wheel_is_whole(tmp_path):
    """The wheel is built, installed into an empty folder, and run elsewhere. Policies, profiles and tables are inside."""
    run = dict(check=True, capture_output=True, text=True)
    source = tmp_path / "source"  # a copy, because a build writes files beside its sources
    shutil.copytree(
        TESTS.parent, source, ignore=shutil.ignore_patterns(".*", "tests", "reports", "*.egg-info", "build")
    )
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path / "dist", source], **run)
    (wheel,) = (tmp_path / "dist").glob("dmm_bench-*.whl")
    target, empty = tmp_path / "target", tmp_path / "empty"
    empty.mkdir()
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", target, wheel], **run)
    here, there = ({p.relative_to(root) for p in (root / "dmm").rglob("*.*")} for root in (source, target))
    assert not {p for p in here - there if "__pycache__" not in p.parts}, "pyproject.toml does not name these packages"
    for words, said in (
        (("show", "quickstart"), "4 trials"),
        (("list",), "laptop"),
        (("data", "list"), "hopper/medium"),
    ):
        code = f"import sys; sys.path.insert(0, {str(target)!r}); sys.argv[1:] = {words!r}; from dmm.cli import main; main()"
        env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "DMM_HOME")}
        done = subprocess.run([sys.executable, "-I", "-c", code], cwd=empty, capture_output=True, text=True, env=env)
        assert done.returncode == 0 and said in done.stdout, done.stderr
