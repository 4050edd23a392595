"""Finds tables: by a path, in ./tune_spaces, or among the tables that ship with dmm. Each file has one TABLE.

While a table's file loads, it can import the modules beside it, and `tune_spaces`. Afterwards both are gone again.
"""

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.resources import files
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import TYPE_CHECKING

from dmm.base.errors import raise_interrupt, unknown_name

if TYPE_CHECKING:  # the names of tables must be found fast, for the shell
    import dmm.config

REGISTERED: dict[str, Path] = {}  # Gymnasium's id of an environment -> the table's file that registered it


def shipped() -> Path:
    """The folder of the tables that ship with dmm. It is inside the package in a wheel, and beside it in a checkout."""
    package = Path(str(files("dmm"))).resolve()
    inside = package / "tune_spaces"
    return inside if inside.is_dir() else package.parent / "tune_spaces"


def folders() -> list[Path]:
    """The folders in which tables are looked up by name, in this order."""
    return [Path("tune_spaces").resolve(), shipped()]


def tables() -> dict[str, Path]:
    """All tables by name."""
    found = {}
    for folder in reversed(folders()):
        found |= {path.stem: path for path in sorted(folder.glob("*.py")) if _has_table(path)}
    return found


def _has_table(path: Path) -> bool:
    """Whether a file names a table. It can have any bytes."""
    return path.is_file() and b"TABLE" in path.read_bytes()


def find_table(name: str) -> "dmm.config.Table":
    """The table of that name, or at that path. Raises ValueError if there is none, or if the file is wrong.

    A budget and a source of data may follow the name: `quickstart.short.dmm`.
    """
    if name.endswith(".py"):
        return read_table(Path(name))
    if "/" in name or name.startswith("."):
        raise ValueError(
            f"no table at {name}; the path of a table ends in .py, and --budget and --source take what may follow a name"
        )
    base, *suffixes = name.split(".")
    if base not in tables():
        raise unknown_name("table", base, tables(), "tune_spaces")
    table = read_table(tables()[base])
    for suffix in suffixes:
        known = {*table.budgets, *(source for column in table.columns for source in column.sources)}
        if suffix not in known:
            raise unknown_name("budget or source of data", suffix, known, f"table {base}")
        table = table.at(suffix) if suffix in table.budgets else table.on(suffix)
    return table


def read_table(path: Path) -> "dmm.config.Table":
    """The TABLE of a file. Raises ValueError if the file is absent or wrong."""
    from dmm.architectures import table_file
    from dmm.config import Table

    if not path.is_file():
        raise ValueError(f"no table at {path}; a table is a Python file that defines TABLE")
    spec = importlib.util.spec_from_file_location(f"dmm_table_{path.stem}", path)
    assert spec and spec.loader, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    reading = table_file.set(path)  # paths of models are relative to its folder
    try:
        with imports_of_a_table(path.resolve().parent) as neighbours, registrations(path.resolve(), neighbours):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise_interrupt(error)
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        raise ValueError(f"{place_of(error, path)}: {kind}{error}") from error
    finally:
        table_file.reset(reading)
    table = getattr(module, "TABLE", None)
    if not isinstance(table, Table):
        raise ValueError(f"{path} does not define TABLE = Table(...)")
    return table


def place_of(error: BaseException, path: Path) -> str:
    """The file and line of a table, or of a module beside it, that raised an error: `my/table.py:12`.

    The line is unknown if the table's file itself cannot be read.
    """
    places = [(Path(frame.filename), frame.lineno) for frame in extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((Path(error.filename), error.lineno))
    own = [path.resolve().parent, *folders()]
    for file, line in reversed(places):
        if file.is_file() and file.resolve().parent in own:
            return f"{path if file.resolve() == path.resolve() else file}:{line}"
    return str(path)


@contextmanager
def imports_of_a_table(folder: Path) -> Iterator[set[str]]:
    """Makes `tune_spaces` and the modules of a table's folder importable, until the context ends. Gives their names.

    So two tables may have neighbours of the same name. Other modules of such a name are removed first and restored
    afterwards. Modules of the standard library and installed modules stay, so a neighbour of the same name is not imported.
    """
    names = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    names -= {"dmm", "__main__", *sys.stdlib_module_names, *filter(_is_installed, names)}
    # A table that ships with dmm never reads a user's file
    spaces = [shipped()] if folder == shipped() else [place for place in folders() if place.is_dir()]
    finder = _TableImports(folder, names, spaces)
    before = _take_out(names | {"tune_spaces"})
    sys.meta_path.insert(0, finder)
    try:
        yield names
    finally:
        sys.meta_path.remove(finder)
        _take_out(names | {"tune_spaces"})
        sys.modules.update(before)


@contextmanager
def registrations(path: Path, neighbours: set[str]) -> Iterator[None]:
    """Notes the environments that a table's file registers, so that workers can load the file too.

    The class of an environment is imported here if it is in a module beside the table, because later it cannot be.
    """
    if importlib.util.find_spec("gymnasium") is None:  # a GPU host needs none
        yield
        return
    from gymnasium.envs.registration import load_env_creator, registry

    before = dict(registry)
    yield
    for name, spec in registry.items():
        if before.get(name) is not spec:
            REGISTERED[name] = path
            if isinstance(spec.entry_point, str) and spec.entry_point.partition(":")[0].split(".")[0] in neighbours:
                spec.entry_point = load_env_creator(spec.entry_point)


class _TableImports(MetaPathFinder):
    def __init__(self, folder: Path, names: set[str], spaces: Sequence[Path]) -> None:
        self.folder, self.names, self.spaces = folder, names, spaces

    def find_spec(self, fullname, path=None, target=None) -> ModuleSpec | None:
        if fullname == "tune_spaces":
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [str(place) for place in self.spaces]
            return spec
        return PathFinder.find_spec(fullname, [str(self.folder)]) if fullname in self.names else None


def _is_installed(name: str) -> bool:
    """Whether a module of that name is loaded and was installed."""
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    return bool({"site-packages", "dist-packages"} & set(Path(file).parts))


def _take_out(names: set[str]) -> dict[str, ModuleType]:
    """Takes modules of these top-level names, and what is inside them, out of sys.modules and returns them."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in names}
