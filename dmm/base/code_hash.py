"""The code of dmm under a result: which of its files can move a number of a trial, and a hash of each.

These are the model's file, the code that trains and rolls out, the environment if it is dmm's own, and all that they
import. The files that hand data, weights and statistics from one to the other count too. Readers of data do not count,
because the sha256 of the data covers what they read. A trial with other data is refused.

The syntax tree without docstrings is hashed, so comments and layout do not count. dmm/models/code.json pins the hashes
of the code with which the golden curves were made. `python -m dmm.base.code_hash` writes it anew. `make pin` runs the golden
curves first.
"""

import ast
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dmm.base.source_code import SourceCode, imports

PACKAGE = Path(__file__).parent.parent  # the folder dmm
PINS = "models/code.json"
# modules that every trial passes through. They count without what they import: it is locks, files and words
AROUND = ("dmm.trials.train", "dmm.trials.weights", "dmm.trials.run", "dmm.trials.storage",
          "dmm.sweeps.train_group", "dmm.sweeps.rollout_actors")  # fmt: skip
# the code that trains and rolls out every model
LOOP = tuple((module, "") for module in ("dmm.training.fit", "dmm.rollouts.rollout", *AROUND))
COMPILES = "dmm.kernels.build"  # the module that builds the C++ files beside it
SEEDS = "dmm.base.seeds"  # nothing else in dmm.base can move a number. It has errors, files and locks


@dataclass(frozen=True)
class ModelCode:
    """The files of dmm that can move a number of a model."""

    sha256: str  # of all of them, sixteen hex digits
    edited: tuple[str, ...]  # the files that have changed since they were pinned
    edited_sha256: str  # of the edited files, sixteen hex digits. "" if there is none


@dataclass(frozen=True)
class ParsedFile:
    """The hash of a Python file of dmm, and its imports."""

    sha256: str
    imports: tuple[tuple[str, str], ...]  # module and name
    exports: dict[str, tuple[str, str]]  # an imported name -> its module and its name there


@cache
def model_code(model: str | SourceCode, package: Path = PACKAGE, environment: str = "") -> ModelCode:
    """The code of dmm under a model: a name of a shipped one, or source code from outside. Looked up once a process.

    Gymnasium imports the module of an environment of dmm by its name, so no import leads there. It counts if `environment`
    is one: dmm.environments.pointmaze:PointMaze-umaze-v3.
    """
    if isinstance(model, str):
        first = ((f"dmm.models.{model}", ""),)
    else:
        trees = (ast.parse(text) for _, text in model.files)
        first = tuple(found for tree in trees for found in imports(tree, ""))
    module = environment.partition(":")[0]
    first += ((module, ""),) if module.startswith("dmm.") else ()
    files = hashes((*LOOP, *first), package)
    pinned = pins(package)
    edited = {path: sha for path, sha in files.items() if pinned.get(path) != sha}
    return ModelCode(short(files), tuple(edited), short(edited) if edited else "")


def hashes(first: Iterable[tuple[str, str]], package: Path = PACKAGE) -> dict[str, str]:
    """The hash of each file that some imports run, by path: dmm/batch.py. An import is a module and a name, or "".

    If a package re-exports a name of one of its modules, only this module counts. C++ files count together with the module
    that builds them.
    """
    found: dict[str, str] = {}
    waiting = list(first)
    while waiting:
        module, path = defined_in(*waiting.pop(), package)
        if path is None or module == "dmm" or (module.startswith("dmm.base") and module != SEEDS):
            continue
        name = path.relative_to(package.parent).as_posix()
        if name not in found:
            file = parsed(path)
            found[name] = file.sha256
            waiting += () if module in AROUND else file.imports
            if module == COMPILES:
                for source in path.parent.glob("*.cpp"):
                    text = source.read_text().encode()
                    found[source.relative_to(package.parent).as_posix()] = hashlib.sha256(text).hexdigest()[:16]
    return dict(sorted(found.items()))


def defined_in(module: str, name: str, package: Path) -> tuple[str, Path | None]:
    """The module of dmm that defines a name, and its file. The file is None if it is no module of dmm."""
    if name and (path := module_file(f"{module}.{name}", package)):
        return f"{module}.{name}", path
    path = module_file(module, package)
    if name and path and path.name == "__init__.py" and name in parsed(path).exports:
        return defined_in(*parsed(path).exports[name], package)
    return module, path


def module_file(module: str, package: Path) -> Path | None:
    """The file of a module of dmm. None if there is none."""
    library, *parts = module.split(".")
    place = package.joinpath(*parts)
    files = (place / "__init__.py", place.with_suffix(".py")) if library == "dmm" else ()
    return next((path for path in files if path.is_file()), None)


@cache
def parsed(path: Path) -> ParsedFile:
    """Parses a file of dmm, once a process."""
    tree = ast.parse(path.read_bytes())
    sha256 = hashlib.sha256("\n".join(canonical(tree, [])).encode()).hexdigest()[:16]
    return ParsedFile(
        sha256=sha256,
        imports=tuple(imports(tree, "")),
        exports={
            alias.asname or alias.name: (node.module, alias.name)
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dmm.")
            for alias in node.names
        },
    )


def canonical(value: Any, lines: list[str]) -> list[str]:
    """Adds the lines of a syntax tree, the same in every version of Python. Docstrings and empty fields are left out."""
    if isinstance(value, ast.AST):
        lines.append(type(value).__name__)
        for field, entry in ast.iter_fields(value):
            if entry is not None and entry != [] and field not in ("ctx", "kind", "type_comment"):
                lines.append(f".{field}")
                canonical(entry, lines)
        lines.append(")")
    elif isinstance(value, list):
        for entry in value:
            text = isinstance(entry, ast.Expr) and isinstance(entry.value, ast.Constant)
            if not (text and isinstance(entry.value.value, str)):
                canonical(entry, lines)
    else:
        lines.append(ascii(value))
    return lines


def pins(package: Path = PACKAGE) -> dict[str, str]:
    """The pinned hashes, by path. Raises ValueError if their file is absent or damaged."""
    path = package / PINS
    try:
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("it has no hashes by path")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read: {error}. It has the hashes of dmm's code and comes with dmm. Restore it, or install "
            "dmm again"
        ) from error
    return found


def to_pin(package: Path = PACKAGE) -> dict[str, str]:
    """The hashes of all code under the shipped models and in the shipped environments as it is now."""
    folders = ("models", "environments")
    modules = [(f"dmm.{name}.{path.stem}", "") for name in folders for path in (package / name).glob("[!_]*.py")]
    return hashes((*LOOP, *modules), package)


def short(files: dict[str, str]) -> str:
    """Sixteen hex digits for the hashes of some files."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]


if __name__ == "__main__":
    (PACKAGE / PINS).write_text(json.dumps(to_pin(), indent=1) + "\n")
    print(f"the code that can move a number is pinned in dmm/{PINS}")
