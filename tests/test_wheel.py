"""The wheel: it is built, installed into an environment of its own, and run in a folder that has no checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
from setuptools import find_packages

ROOT = Path(__file__).parent.parent
PIP = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
MINE = """
from dataclasses import replace
from tune_spaces.protocols import DT_GYM
from tune_spaces.quickstart import TABLE as QUICKSTART
from my_rows import ROWS

TABLE = replace(QUICKSTART, name="mine", title="A table of mine", rows=ROWS, protocol=DT_GYM)
"""
MY_ROWS = 'from dmm.config import Row\nROWS = (Row(label="DT", arch="dt"),)\n'


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy, because a build writes files beside its sources
    ignored = shutil.ignore_patterns(".*", "tests", "reports", "*.egg-info", "build", "__pycache__")
    shutil.copytree(ROOT, source, ignore=ignored)
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source], check=True)
    (built,) = folder.glob("dmm_bench-*.whl")
    return built


@pytest.fixture(scope="module")
def binaries(wheel, tmp_path_factory) -> Path:
    """The folder of commands of an environment that has the wheel, and this one's libraries."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin/python"
    paths = {"base": str(environment), "platbase": str(environment)}
    site = Path(sysconfig.get_path("purelib", "venv", paths))
    (site / "libraries.pth").write_text(
        sysconfig.get_path("purelib")
    )  # its own .pth files, dmm's among them, are not read
    subprocess.run([*PIP, "--python", python, "install", "--no-deps", wheel], check=True)
    return python.parent


@pytest.fixture
def run(binaries, tmp_path):
    """Runs a command of the environment in an empty folder."""

    def run(command: str, *words: str) -> subprocess.CompletedProcess:
        env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "DMM_HOME")}
        return subprocess.run([binaries / command, *words], cwd=tmp_path, capture_output=True, text=True, env=env)

    return run


def test_all_packages_are_named():
    assert set(SETTINGS["tool"]["setuptools"]["packages"]) == {
        *find_packages(str(ROOT), include=["dmm", "dmm.*"]), *SETTINGS["tool"]["setuptools"]["package-dir"]
    }  # fmt: skip


def test_the_wheel_has_every_file(wheel):
    inside = set(ZipFile(wheel).namelist())
    for folder, place in (("dmm", "dmm"), ("tune_spaces", "dmm/tune_spaces")):
        files = [
            path for path in (ROOT / folder).rglob("*.*") if "__pycache__" not in path.parts and path.suffix != ".md"
        ]
        assert {f"{place}/{path.relative_to(ROOT / folder).as_posix()}" for path in files} <= inside
    assert {f"dmm/profiles/{path.name}" for path in (ROOT / "cluster").glob("*.toml")} <= inside
    assert {name.split("/")[0] for name in inside if ".dist-info/" not in name} == {"dmm"}


def test_tables_that_ship_are_found(run):
    shown = run("dmm", "show", "precision")
    assert shown.returncode == 0 and "20 trials" in shown.stdout, shown.stderr
    listed = run("dmm", "list").stdout
    assert all(word in listed for word in ("quickstart", "laptop", "dmm/hopper/medium-v0"))


def test_tune_spaces_is_no_module_of_its_own(run):
    done = run("python", "-c", "import dmm.tables; dmm.tables.find_table('precision'); import tune_spaces")
    assert "ModuleNotFoundError: No module named 'tune_spaces'" in done.stderr


def test_a_table_of_ones_own_imports_what_ships(run, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "my_rows.py").write_text(MY_ROWS)
    shown = run("dmm", "show", "./mine.py")
    assert shown.returncode == 0 and "A table of mine" in shown.stdout and "protocol DT, gym" in shown.stdout, (
        shown.stderr
    )
