"""A frozen report of made-up results: a change of the page is seen as a change of these files.

If the change is wanted: `python tests/test_golden_report.py`, and look at the difference.
"""

import difflib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import handmade_cells as cells
from helpers import handmade_results as handmade

from dmm.config import Column, Row, Table, grid
from dmm.report.content import ReportContent
from dmm.report.files import report_files
from dmm.schema import ReportSource

FOLDER = Path(__file__).parent / "golden_report"
SOURCE = ReportSource(uri="sqlite:///somewhere", experiment="dmm", query="a query", commit="c0ffee", versions={})
PAPERS = Column(label="hopper-medium", task=handmade.HOPPER, dataset="d4rl/hopper-medium-v2")
OURS = Column(label="hopper-expert", task=handmade.HOPPER, dataset="dmm/hopper/expert-v0")
ROWS = (
    Row(
        label="DT",
        arch="dt",
        overrides={"width": 64},
        published={"hopper-medium": 68.4, "hopper-expert": 108.7},
        published_std={"hopper-medium": 1.3},
        published_reading="max over everything",
        note="a note of DT",
    ),
    Row(label="DMM & <friends>_1", arch="metamamba", overrides={"width": 64}, published_parameters={"hopper-medium": 123_587}),
    Row(label="CQL", published={"hopper-medium": 58.5}, not_comparable="quoted from another paper"),
    *grid(Row(label="DT", arch="dt"), context_length=(4, 8), width=(16, 32)),
    *grid(Row(label="BC", arch="bc"), width=(16, 32)),
)  # fmt: skip
TABLE: Table = replace(
    handmade.TABLE,
    name="golden",
    title="A report of made-up results",
    rows=ROWS,
    columns=(PAPERS, OURS),
    seeds=(0, 1, 2),
    source="nobody. These numbers are made up",
)
# last scores by seed: near each other, far apart, with a failed trial
ENDS = [
    (40, 45, 50),
    (60, 70, 52),
    (41, 44, 51),
    (30, None, 20),
    (10, 12, 11),
    (66, 70, 71),
    (25, 28, 24),
    (33, 30, 31),
]


def content() -> ReportContent:
    """The made-up report."""
    rows = [row.label for row in ROWS if not row.cited]
    scores = {
        column.label: {label: [None if v is None else v + 7 * i for v in ends] for label, ends in zip(rows, ENDS, strict=True)}
        for i, column in enumerate(TABLE.columns)
    }  # fmt: skip
    return ReportContent(TABLE, cells.summaries_of(TABLE, scores), baseline="DT")


def golden_files() -> dict[str, bytes]:
    """The files that are frozen."""
    files = report_files(content(), SOURCE, ("md", "csv", "tex"))
    return {name: files[name] for name in ("table.md", "table.csv", "table.tex", "scores.csv")}


@pytest.mark.parametrize("name", ["table.md", "table.csv", "table.tex", "scores.csv"])
def test_the_page_is_the_frozen_one(name):
    frozen, found = (FOLDER / name).read_text(), golden_files()[name].decode()
    assert found == frozen, "".join(
        difflib.unified_diff(frozen.splitlines(True), found.splitlines(True), "frozen", "found")
    )


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_the_tables_compile(tmp_path):
    (tmp_path / "table.tex").write_bytes(golden_files()["table.tex"])
    packages = r"\usepackage{booktabs}\usepackage{longtable}"
    (tmp_path / "main.tex").write_text(
        rf"\documentclass{{article}}{packages}\begin{{document}}\input{{table}}\end{{document}}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stdout
    assert (tmp_path / "main.pdf").stat().st_size > 10_000


if __name__ == "__main__":
    for name, data in golden_files().items():
        (FOLDER / name).write_bytes(data)
