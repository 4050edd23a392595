"""The files of habits agree with one another: versions, Pythons, tools, the list of the top folder."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from dmm.config import RESULTS_VERSION

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TOP = {
    "LICENSE", "Makefile", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "constraints.txt", "pyproject.toml",
    ".ci", ".github", ".gitignore", ".pre-commit-config.yaml",
    "cluster", "dmm", "reports", "tests", "tune_spaces",
}  # fmt: skip


def load(path: str):
    return yaml.safe_load((ROOT / path).read_text())


def test_the_top_folder_is_short():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert {line.split("/")[0] for line in listed.stdout.splitlines()} == TOP


def test_the_citation_names_this_version():
    assert load("CITATION.cff")["version"] == PROJECT["version"]


def test_the_changelog_has_every_version_of_results():
    headings = re.findall(r"^## RESULTS (\d+), \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings == [str(number) for number in range(RESULTS_VERSION, 0, -1)]


def test_the_workflow_runs_every_python_that_is_promised():
    promised = [line.split()[-1] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert PROJECT["requires-python"] == f">={promised[0]}"
    jobs = load(".github/workflows/ci.yml")["jobs"]
    assert {name: job["strategy"]["matrix"]["python"] for name, job in jobs.items()} == {
        "locked": promised, "lowest": promised
    }  # fmt: skip


def test_hooks_are_the_tools_of_make_lint():
    hooks = [hook for repo in load(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert all(hook["language"] == "system" for hook in hooks)
    entries = [hook["entry"].removeprefix(".venv/bin/").replace(" --force-exclude", "") for hook in hooks]
    lint = re.search(r"^lint:.*\n((?:\t.*\n?)+)", (ROOT / "Makefile").read_text(), re.M)
    assert lint and entries == re.findall(r"\$\(BIN\)/(ruff check|ruff format --check|pyright)", lint[1])


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    used = [(ROOT / ".ci/run").read_text(), (ROOT / ".github/workflows/ci.yml").read_text()]
    for text in used:
        assert set(re.findall(r"^(?:\s+- run: )?make ([a-z-]+)", text, re.M)) <= targets


def test_everything_that_is_needed_is_pinned_and_has_a_lower_bound():
    pinned = {
        line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    extras = PROJECT["optional-dependencies"]
    needed = [
        *PROJECT["dependencies"],
        *(line for name in ("test", "dev", "collect", "bench") for line in extras[name]),
    ]
    for line in needed:
        name, bound = re.fullmatch(r"([\w-]+)(?:\[.*\])?(.*)", line).groups()  # pyright: ignore[reportOptionalMemberAccess]
        if name not in ("dmm-bench", "setuptools"):  # this project, and what builds it
            assert bound.startswith(">=") and name in pinned, line
