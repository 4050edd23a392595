"""Finds tables: by a path, in ./tune_spaces, or among the tables that are installed with dmm. Each file has one TABLE."""

import importlib.util
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from dmm.base.errors import unknown_name

if TYPE_CHECKING:  # the names of tables must be found fast, for the shell
    import dmm.config


def folders() -> list[Path]:
    """The folders in which tables are looked up by name, in this order."""
    return [Path("tune_spaces").resolve(), Path(str(files("tune_spaces")))]


def tables() -> dict[str, Path]:
    """All tables by name."""
    found = {}
    for folder in reversed(folders()):
        found |= {path.stem: path for path in sorted(folder.glob("*.py")) if "TABLE" in path.read_text()}
    return found


def find_table(name: str) -> "dmm.config.Table":
    """The table of that name, or at that path. Raises ValueError if there is none, or if the file is wrong.

    A name may have a budget and a source of data behind it: `quickstart.short.dmm`.
    """
    if name.endswith(".py"):
        return read_table(Path(name))
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
    from dmm.config import Table

    if not path.is_file():
        raise ValueError(f"no table at {path}; a table is a Python file that defines TABLE")
    spec = importlib.util.spec_from_file_location(f"dmm_table_{path.stem}", path)
    assert spec and spec.loader, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from error
    table = getattr(module, "TABLE", None)
    if not isinstance(table, Table):
        raise ValueError(f"{path} does not define TABLE = Table(...)")
    return table
