"""Imports point down only, between packages and inside them. Ray and MLflow are imported in one package each.

Low levels load without Ray and MuJoCo.
"""

import ast
import sys
from collections.abc import Container, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEVELS = [
    {"base"},
    {"batch"},
    {"tasks", "kernels"},
    {"layers", "environments", "schema"},
    {"models", "data"},
    {"architectures"},
    {"config"},
    {"training", "rollouts", "tables", "catalogue"},
    {"trials", "contract"},
    {"results"},
    {"report"},
    {"tracking"},
    {"sweeps", "bench"},
    {"api"},
    {"cli"},
]
LEVEL = {package: number for number, packages in enumerate(LEVELS) for package in packages}
LIGHT_LEVELS = 8  # levels 0 to 7 load on a machine without Ray and MuJoCo, for example a GPU host
LIGHT = {"dmm", "torch", "numpy", "einops", "jaxtyping"} | sys.stdlib_module_names
ONLY = {"ray": "sweeps", "mlflow": "tracking"}  # library -> the one package that imports it
BY_NAME = {
    "dmm.environments.antmaze",
    "dmm.environments.atari_game",
    "dmm.environments.maze2d",
    "dmm.environments.pointmaze",
}  # Gymnasium imports these, when a task is made. No module of dmm does
ENTRIES = {"dmm", "dmm.__main__"}  # above all levels


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


PATHS = {module_name(path): path for path in sorted((ROOT / "dmm").rglob("*.py"))}
SOURCES = {name: path.read_text() for name, path in PATHS.items() if name not in ENTRIES}


@cache
def imports(source: str, when_loaded: bool) -> list[ast.Import | ast.ImportFrom]:
    """The import statements of a module, or those that run when it is loaded."""

    def walk(parent: ast.AST) -> Iterator[ast.AST]:
        for node in ast.iter_child_nodes(parent):
            later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)  # runs when it is called
            later |= isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"  # never runs
            if not (when_loaded and later):
                yield node
                yield from walk(node)

    return [node for node in walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]


def imported(source: str, modules: Container[str], when_loaded: bool = False) -> list[str]:
    """The modules that a source imports. `from a import b` imports a.b where that is a module of dmm, else a."""
    found = []
    for node in imports(source, when_loaded):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        else:
            package = "." * node.level + (node.module or "")
            names = [f"{package}.{alias.name}" for alias in node.names]
            found += [name if name in modules else package for name in names]
    return found


def problems(sources: dict[str, str]) -> list[str]:
    """All that is wrong with the imports of these modules. Imports inside functions count as well."""
    said, graph = [], {}
    for name, source in sources.items():
        here = name.split(".")[1]
        graph[name] = {other for other in imported(source, sources) if other in sources} - {name}
        for other in imported(source, sources):
            library, *rest = other.split(".")
            there = rest[0] if library == "dmm" and rest else here
            if other in BY_NAME:
                said.append(f"{name} imports {other}, which only Gymnasium imports")
            down = here == there or LEVEL.get(there, -1) < LEVEL.get(here, -1)
            if not library:
                said.append(f"{name} has a relative import: {other}")
            elif missing := {here, there} - set(LEVEL):
                said.append(f"{missing.pop()} is on no level: add it to LEVELS")
            elif not down:
                said.append(f"{name} imports {other}, which is not below it")
            elif here != ONLY.get(library, here):
                said.append(f"{name} imports {library}, which only {ONLY[library]} may import")
        for other in imported(source, sources, when_loaded=True):
            if name not in BY_NAME and LEVEL.get(here, 0) < LIGHT_LEVELS and other.split(".")[0] not in LIGHT:
                said.append(f"{name} imports {other} when it is loaded")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        said.append("cycle: " + " <- ".join(error.args[1]))
    return said


def test_imports_point_down():
    assert not problems(SOURCES)
    assert {name.split(".")[1] for name in SOURCES} == set(LEVEL)


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("dmm.layers", "from dmm.models import find", "dmm.layers imports dmm.models, which is not below it"),
        (
            "dmm.models.dt",
            "def f():\n    from dmm import data",
            "dmm.models.dt imports dmm.data, which is not below it",
        ),
        ("dmm.kernels.scan", "from dmm.kernels import ssd\nimport dmm.kernels", "cycle: "),
        ("dmm.base.paths", "import dmm.base.lock", "cycle: "),
        ("dmm.models.bc", "def f():\n    import ray.tune", "only sweeps may import"),
        ("dmm.bench.cases", "from mlflow import MlflowClient", "only tracking may import"),
        ("dmm.data.collect", "import gymnasium", "dmm.data.collect imports gymnasium when it is loaded"),
        (
            "dmm.data",
            "try:\n    from minari import x\nexcept ImportError:\n    pass",
            "imports minari when it is loaded",
        ),
        ("dmm.tasks", "class A:\n    import gymnasium", "imports gymnasium when it is loaded"),
        ("dmm.trials.run", "from . import storage", "relative import"),
        ("dmm.trials.run", "import dmm.environments.antmaze", "which only Gymnasium imports"),
        ("dmm.trials.run", "import dmm.later", "later is on no level"),
        ("dmm.later", "import dmm.base", "later is on no level"),
    ],
)
def test_a_wrong_import_is_found(name, line, said):
    found = problems({**SOURCES, name: f"{SOURCES.get(name, '')}\n{line}\n"})
    assert any(said in problem for problem in found), found


def test_an_import_inside_a_function_loads_nothing():
    source = SOURCES["dmm.data.collect"] + "\n\ndef f():\n    import gymnasium\n"
    assert not problems({**SOURCES, "dmm.data.collect": source})


@pytest.mark.parametrize("name", PATHS)
def test_files_are_short(name):
    assert len(PATHS[name].read_text().splitlines()) <= 400
