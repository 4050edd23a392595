"""The documents are true: their code blocks run, their commands and links exist, and they name no machine.

A block of ```python whose first line is a comment with a file's name becomes that file. Other blocks of ```python and of ```sh
run one after the other in a folder that was empty. `not-run` behind the language is for what takes minutes, a network or a
cluster.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mktestdocs import grab_code_blocks

from dmm.sweeps.profile import find_profile

ROOT = Path(__file__).parent.parent
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("dmm/*/README.md")])
}
FILE = re.compile(r"# ([\w.]+\.py)\n")


@pytest.fixture(scope="module")
def minari(tmp_path_factory) -> Path:
    """Minari's folder of all documents, so that data are collected once."""
    return tmp_path_factory.mktemp("minari")


@pytest.fixture
def run(tmp_path, minari):
    """Runs a command in an empty folder with a DMM_HOME of its own, where `dmm` is this code's."""
    folder, binaries = tmp_path / "folder", tmp_path / "bin"
    folder.mkdir()
    binaries.mkdir()
    (binaries / "dmm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dmm "$@"\n')
    (binaries / "dmm").chmod(0o755)
    env = {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "DMM_HOME": str(tmp_path / "home"),
        "MINARI_DATASETS_PATH": str(minari),
    }

    def run(*words: str) -> str:
        done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder = folder
    return run


@pytest.mark.parametrize("name", DOCUMENTS)
def test_code_blocks_run(name, run):
    text = DOCUMENTS[name].replace("hopper/medium-v0", "hopper/medium-n1000-s0-v0")  # collected in seconds
    python, shell = (grab_code_blocks(text, lang=lang) for lang in ("python", "sh"))
    files = {match[1]: block for block in python if (match := FILE.match(block))}
    scripts = [block for block in python if not FILE.match(block)]
    for file, content in files.items():
        (run.folder / file).write_text(content)
        assert any(Path(file).stem in block for block in (*scripts, *shell)), f"nothing runs {file}"
    for script in scripts:
        run(sys.executable, "-c", script)
    for block in shell:
        run("bash", "-e", "-u", "-c", block)
    for profile in grab_code_blocks(text, lang="toml"):
        (run.folder / "profile.toml").write_text(profile)
        find_profile(str(run.folder / "profile.toml"))


def commands() -> dict[tuple[str, ...], set[str]]:
    """The commands of dmm in all blocks of shell: the words that name the command, and its options."""
    found: dict[tuple[str, ...], set[str]] = {}
    blocks = [block for text in DOCUMENTS.values() for block in re.findall(r"```sh.*\n((?s:.*?))```", text)]
    for line in "".join(blocks).splitlines():
        words = line.split("#")[0].split()
        if words[:1] == ["dmm"]:
            path = [word for word in words[1:3] if word.islower() and not re.search(r"^-|[/.]", word)]
            path = path[: 2 if words[1] in ("data", "new") else 1]
            found.setdefault(tuple(path), set()).update(word for word in words if word.startswith("--"))
    return found


@pytest.mark.parametrize(("path", "options"), commands().items(), ids=lambda part: " ".join(sorted(part)))
def test_commands_exist(dmm, path, options):
    code, out, error = dmm(*path, "--help")
    assert code == 0, error
    assert "Example:" in out or not path
    assert options <= set(re.findall(r"--[a-z-]+", out))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    for link in re.findall(r"\]\(([^)#]+)", DOCUMENTS[name]):
        assert "://" in link or (ROOT / name).parent.joinpath(link).exists(), link


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {target for text in DOCUMENTS.values() for target in re.findall(r"`make ([a-z-]+)", text)}
    assert named <= targets


def test_the_tree_is_the_tree():
    (tree,) = [block for block in re.findall(r"```\n((?s:.*?))```", DOCUMENTS["CONTRIBUTING.md"]) if "config/" in block]
    listed = {line.split()[0] for line in tree.splitlines() if line.startswith("  ")}
    skipped = ("_", ".typed")
    here = {path.name + "/" * path.is_dir() for path in (ROOT / "dmm").iterdir()}
    assert listed == {name for name in here if not name.startswith(skipped) and not name.endswith(skipped)}
    for line in tree.splitlines():
        if not line.startswith("  "):
            assert (ROOT / line.split()[0]).is_dir()


PACKAGES = [
    path
    for path in sorted((ROOT / "dmm").rglob("__init__.py"))
    if path.parent.name not in ("dmm", "models")  # CONTRIBUTING lists the first, `dmm list --models` the second
]


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: path.parent.name)
def test_a_package_lists_its_files(path):
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    listed = set(re.findall(r"^([\w.]+\.(?:py|cpp|j2)|\w+/)(?:, (\w+\.cpp))?  ", docstring, re.M))
    listed = {name for names in listed for name in names if name}
    skipped = ("__init__.py", "__pycache__", "README.md")
    here = {entry.name + "/" * entry.is_dir() for entry in path.parent.iterdir() if entry.name not in skipped}
    assert listed == here


def test_no_path_of_a_machine_is_named():
    listed = [ROOT.glob("*.*"), (ROOT / ".github").rglob("*.*")]
    listed += [(ROOT / folder).rglob("*.*") for folder in ("dmm", "tests", "tune_spaces", "cluster", "reports")]
    for path in (path for paths in listed for path in paths):
        if path.suffix in (".py", ".md", ".toml", ".json", ".yaml", ".yml", ".cff", ".txt"):
            assert "/" + "work/" not in path.read_text(), path
