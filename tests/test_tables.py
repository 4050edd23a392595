"""How a table's file is found, and what it can import while it loads."""

import sys
from pathlib import Path

import pytest

from dmm.tables import find_table, read_table, shipped

TEXT = """
from dataclasses import replace
from tune_spaces.quickstart import TABLE as QUICKSTART
from rows_beside import TITLE
import parts_beside.deep

TABLE = replace(QUICKSTART, name="mine", title=TITLE + parts_beside.deep.MORE)
"""


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """The current folder is empty, and tests import no tables themselves."""
    monkeypatch.chdir(tmp_path)


def write(folder: Path, title: str) -> Path:
    (folder / "parts_beside").mkdir(parents=True)
    (folder / "parts_beside/__init__.py").touch()
    (folder / "parts_beside/deep.py").write_text("MORE = '!'")
    (folder / "rows_beside.py").write_text(f"TITLE = {title!r}")
    (folder / "mine.py").write_text(TEXT)
    return folder / "mine.py"


def test_two_tables_have_neighbours_of_the_same_name(tmp_path):
    first, second = write(tmp_path / "a", "First"), write(tmp_path / "b", "Second")
    assert [read_table(path).title for path in (first, second, first)] == ["First!", "Second!", "First!"]


def test_what_a_table_imported_is_gone_afterwards(tmp_path):
    before = set(sys.modules)
    (tmp_path / "broken.py").write_text("import rows_beside, tune_spaces.protocols\n1 / 0")
    read_table(write(tmp_path / "a", "First"))
    (tmp_path / "rows_beside.py").touch()
    with pytest.raises(ValueError, match="broken.py:2: ZeroDivisionError: division by zero"):
        read_table(tmp_path / "broken.py")
    left = {name.split(".")[0] for name in set(sys.modules) - before}
    assert not left & {"rows_beside", "parts_beside", "tune_spaces"}
    assert not any(type(finder).__module__ == "dmm.tables" for finder in sys.meta_path)


def test_modules_of_the_same_name_come_back(tmp_path, monkeypatch):
    mine = type(sys)("rows_beside")
    monkeypatch.setitem(sys.modules, "rows_beside", mine)
    assert read_table(write(tmp_path / "a", "First")).title == "First!"
    assert sys.modules["rows_beside"] is mine


def test_a_neighbour_never_takes_the_place_of_a_library(tmp_path):
    import numpy

    for name in ("numpy", "decimal", "dmm"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit")
    (tmp_path / "mine.py").write_text("import decimal, numpy, dmm\nfrom tune_spaces.quickstart import TABLE")
    assert read_table(tmp_path / "mine.py").name == "quickstart"
    assert sys.modules["numpy"] is numpy


def test_tune_spaces_of_the_current_folder_comes_first(tmp_path):
    (tmp_path / "tune_spaces").mkdir()
    text = (shipped() / "quickstart.py").read_text()
    (tmp_path / "tune_spaces/quickstart.py").write_text(text.replace('title="Quickstart', 'title="Mine'))
    (tmp_path / "mine.py").write_text("from tune_spaces.quickstart import TABLE\nfrom tune_spaces import protocols")
    assert find_table("quickstart").title.startswith("Mine: ")
    assert find_table("./mine.py").title.startswith("Mine: ")
    # a table that ships imports what ships
    (tmp_path / "tune_spaces/quickstart.py").write_text("1 / 0")
    assert find_table("precision").title.startswith("float32 and bfloat16")
