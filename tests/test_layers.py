"""Arrows only go down: a module imports from lower layers only, and heavy packages stay where architecture says."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [
    {"suggest", "home", "provenance"},
    {"lock"},
    {"batch", "tasks", "kernels", "physics", "replay"},
    {"layers"},
    {"models", "data", "config"},
    {"parallel"},
    {"train", "rollout", "tables"},
    {"collect", "score", "estimate", "storage", "catalogue", "profile", "rendezvous"},
    {"run", "behaviour"},
    {"workers", "record", "markdown"},
    {"progress"},
    {"sweep", "report", "bench", "jobs"},
    {"cli"},
]
LIGHT_LAYERS = 7  # the first so many run where Ray and MuJoCo are absent: a GPU host, say
ALLOWED = {("config", "models")}  # within a layer
ONLY = {"ray": {"workers", "rendezvous", "sweep", "jobs"}, "mlflow": {"record"}}
LIGHT = {"torch", "numpy", "einops", "jaxtyping"}  # all that they may import when they are loaded
ENTRIES = (ROOT / "dmm/__init__.py", ROOT / "dmm/__main__.py")
FILES = [path for path in sorted((ROOT / "dmm").rglob("*.py")) if path not in ENTRIES]


def module(path: Path) -> str:
    """The name that a file has in LAYERS."""
    return path.relative_to(ROOT / "dmm").parts[0].removesuffix(".py")


def layer(name: str) -> int:
    (found,) = [index for index, names in enumerate(LAYERS) if name in names] or [None]
    assert found is not None, f"{name} is in no layer: add it to LAYERS"
    return found


def imports(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    here = module(path)
    for name in imports(ast.parse(path.read_text())):
        package, *rest = name.split(".")
        if package == "dmm":
            there = rest[0]
            if there not in set().union(*LAYERS):
                continue  # an attribute of the package itself, such as its version
            assert there == here or layer(there) < layer(here) or (here, there) in ALLOWED, f"{here} imports {there}"
        if package in ONLY:
            assert here in ONLY[package], f"{here} imports {package}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_lower_layers_load_where_ray_and_mujoco_are_absent(path):
    if layer(module(path)) >= LIGHT_LAYERS:
        return
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
            for name in names:
                package = name.split(".")[0]
                assert package in LIGHT | {"dmm"} | sys.stdlib_module_names, (
                    f"{path.name} imports {package} when loaded"
                )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 400
