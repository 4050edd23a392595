"""The README is true: its tree is the folder's, its commands exist, and its `make` targets are in the Makefile."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(?:sh)?\n(.*?)```", TEXT, re.S)
COMMANDS = [line.split("#")[0].split() for block in BLOCKS for line in block.splitlines() if line.startswith("dmm ")]


def test_the_tree_is_the_tree():
    (tree,) = [block for block in BLOCKS if block.startswith("dmm/ ")]
    listed = {line.split()[0] for line in tree.splitlines() if line.startswith("  ")}
    here = {
        path.name + "/" * path.is_dir()
        for path in (ROOT / "dmm").iterdir()
        if path.name[0] != "_" and path.suffix != ".typed"
    }
    assert listed == here
    for line in tree.splitlines():
        if not line.startswith("  "):
            assert (ROOT / line.split()[0]).is_dir()


PACKAGES = [
    path
    for path in sorted((ROOT / "dmm").rglob("__init__.py"))
    if path.parent.name not in ("dmm", "models")  # README lists the first, `dmm list --models` the second
]


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: path.parent.name)
def test_a_package_lists_its_files(path):
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    listed = set(re.findall(r"^(\w+\.(?:py|cpp)|\w+/)(?:, (\w+\.cpp))?  ", docstring, re.M))
    listed = {name for names in listed for name in names if name}
    skipped = ("__init__.py", "__pycache__")
    here = {entry.name + "/" * entry.is_dir() for entry in path.parent.iterdir() if entry.name not in skipped}
    assert listed == here


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_exist(words):
    path = [word for word in words[1:3] if not word.startswith("-") and word.islower() and "/" not in word]
    path = path[:2] if words[1] == "data" else path[:1]
    done = subprocess.run([sys.executable, "-m", "dmm", *path, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if path:
        assert "Example:" in done.stdout
    for option in (word for word in words if word.startswith("--")):
        assert option in done.stdout


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`?make ([a-z-]+)", TEXT)) <= targets


def test_no_path_of_a_machine_is_named():
    for path in [
        *ROOT.glob("*.*"),
        *(p for d in ("dmm", "tests", "tune_spaces", "cluster") for p in (ROOT / d).rglob("*.*")),
    ]:
        if path.suffix in (".py", ".md", ".toml", ".json", ".yaml"):
            assert "/" + "work/" not in path.read_text(), path
