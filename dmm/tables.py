"""Finds tables: by a path, in ./tune_spaces, or among the tables that are installed with dmm. Each file has one TABLE."""

import importlib.util
import sys
from importlib.resources import files
from pathlib import Path

from dmm.base.errors import unknown_name
from dmm.config import Column, Row, Table


def folders() -> list[Path]:
    """The folders in which tables are looked up by name, in this order."""
    return [Path("tune_spaces").resolve(), Path(str(files("tune_spaces")))]


def tables() -> dict[str, Path]:
    """All tables by name."""
    found = {}
    for folder in reversed(folders()):
        found |= {path.stem: path for path in sorted(folder.glob("*.py")) if "TABLE" in path.read_text()}
    return found


def find_table(name: str) -> Table:
    """The table of that name, or at that path. Raises ValueError if there is none, or if the file is wrong."""
    path = Path(name) if name.endswith(".py") else tables().get(name)
    if path is None:
        raise unknown_name("table", name, tables(), "tune_spaces")
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


def find_row(table: Table, label: str) -> Row:
    """A table's row by its label. Raises ValueError if there is none."""
    rows = {row.label: row for row in table.rows}
    if label not in rows:
        raise unknown_name("row", label, rows, f"table {table.name}")
    return rows[label]


def find_column(table: Table, label: str) -> Column:
    """A table's column by its label. Raises ValueError if there is none."""
    columns = {column.label: column for column in table.columns}
    if label not in columns:
        raise unknown_name("column", label, columns, f"table {table.name}")
    return columns[label]
