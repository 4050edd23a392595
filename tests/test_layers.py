"""Imports go down only, between packages and inside them. Ray and MLflow are each one package. Low levels load without them."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEVELS = [
    {"base", "batch"},
    {"tasks", "kernels"},
    {"layers", "environments", "schema"},
    {"models", "data", "config"},
    {"training", "rollouts", "tables", "catalogue"},
    {"trials"},
    {"results"},
    {"tracking"},
    {"sweeps", "bench"},
    {"cli"},
]
WITHIN_A_LEVEL = {("config", "models")}  # the one arrow between packages of one level
LIGHT_LEVELS = 5  # levels 0 to 4 load on a machine without Ray and MuJoCo, such as a GPU host
LIGHT = {"torch", "numpy", "einops", "jaxtyping"}  # what these levels may import when they are loaded
ONLY = {"ray": "sweeps", "mlflow": "tracking"}
ENTRIES = {"dmm", "dmm.__main__"}  # they stand above all levels


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


PATHS = {module_name(path): path for path in sorted((ROOT / "dmm").rglob("*.py"))}
MODULES = [name for name in PATHS if name not in ENTRIES]


def level(name: str) -> int:
    (found,) = [number for number, names in enumerate(LEVELS) if name in names] or [None]
    assert found is not None, f"{name} is on no level: add it to LEVELS"
    return found


def imported(nodes) -> list[str]:
    """The modules that these statements import. For `from a import b` it is a.b where that is a module of dmm, else a."""
    found = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if name in PATHS else str(node.module) for name in names]
    return found


IMPORTS = {name: imported(ast.walk(ast.parse(PATHS[name].read_text()))) for name in MODULES}


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down_between_packages(name):
    here = name.split(".")[1]
    for other in IMPORTS[name]:
        package, *rest = other.split(".")
        if package == "dmm" and rest:
            there = rest[0]
            down = there == here or level(there) < level(here) or (here, there) in WITHIN_A_LEVEL
            assert down, f"{here} imports {there}"
        assert here == ONLY.get(package, here), f"{here} imports {package}"


def test_imports_point_down_inside_packages():
    """No cycle among the files, imports inside functions included: so each package has an order from low to high."""
    graph = {name: {other for other in IMPORTS[name] if other in PATHS and other != name} for name in MODULES}
    order = list(TopologicalSorter(graph).static_order())  # a cycle raises CycleError, which names it
    assert set(MODULES) <= set(order)


@pytest.mark.parametrize("name", [name for name in MODULES if level(name.split(".")[1]) < LIGHT_LEVELS])
def test_low_levels_load_without_ray_and_mujoco(name):
    statements = [
        node for node in ast.parse(PATHS[name].read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    for other in imported(statements):
        package = other.split(".")[0]
        assert package in LIGHT | {"dmm"} | sys.stdlib_module_names, f"{name} imports {package} when it is loaded"


@pytest.mark.parametrize("name", PATHS)
def test_files_are_short(name):
    assert len(PATHS[name].read_text().splitlines()) <= 400
