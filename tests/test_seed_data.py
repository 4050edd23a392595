"""Data that go with the seed: `{seed}` in a column's dataset, in trials, in reports and beside other results."""

from dataclasses import replace

import pytest
from helpers.handmade_results import HOPPER, TABLE, result

from dmm.config import LAST, Column, Table
from dmm.report.content import ReportContent
from dmm.report.files import score_rows
from dmm.report.sections import column_section
from dmm.results.compare import Side, compare
from dmm.results.score import gather_cells, is_papers_data, summarise
from dmm.schema import TrialSummary

COLUMN = Column(label="hopper-medium", task=HOPPER, dataset=("dmm/hopper/medium-n2000-s{seed}-v0",))
SEEDED = replace(TABLE, columns=(COLUMN,))
HASHES = {0: "a0" * 32, 1: "b1" * 32}  # by seed


def summaries(table: Table, hashes: dict[int, str]) -> dict[str, TrialSummary]:
    found = {}
    for trial in table.trials():
        made = result(trial, {1.0: [5.0, 6.0, 10.0 + trial.seed], 0.5: [4.0, 4.5, 5.0]})
        made = replace(
            made, training=replace(made.training, data=replace(made.training.data, sha256=hashes[trial.seed]))
        )
        found[trial.returns_id] = summarise(made)
    return found


def side(hashes: dict[int, str], table: Table = SEEDED) -> Side:
    cells = {
        (cell.row.label, cell.column.label): cell.finished for cell in gather_cells(table, summaries(table, hashes))
    }
    return Side(name="s", table=table.name, version=5, cells=cells)


def test_each_seed_has_its_own_data():
    for row in SEEDED.rows:
        assert [trial.dataset for trial in SEEDED.cell(row, COLUMN)] == [
            ("dmm/hopper/medium-n2000-s0-v0",), ("dmm/hopper/medium-n2000-s1-v0",),
        ]  # fmt: skip
    fixed = Column(label=COLUMN.label, task=HOPPER, dataset="dmm/hopper/medium-n2000-s1-v0")
    same = replace(SEEDED, columns=(fixed,), seeds=(1,))
    assert {trial.returns_id for trial in same.trials()} < {trial.returns_id for trial in SEEDED.trials()}


def test_other_names_in_braces_are_refused():
    with pytest.raises(
        ValueError, match="unknown name in braces '{sed}'; Column.dataset of 'x' has {seed}. Did you mean"
    ):
        Column(label="x", task=HOPPER, dataset="dqn/Pong-1pct-s{sed}")


def test_a_report_names_the_data_of_each_seed():
    content = ReportContent(SEEDED, summaries(SEEDED, HASHES))
    said = [part for part in column_section(content, COLUMN).parts if isinstance(part, str)]
    assert [line for line in said if "s0-v0; sha256 a0a0a0" in line] and [
        line for line in said if "s1-v0; sha256 b1b1" in line
    ]
    assert {row.data_sha256 for row in score_rows(content)} == {f"{HASHES[0]}+{HASHES[1]}"}


def test_rows_that_learnt_from_other_data_of_one_name_are_refused():
    found = summaries(SEEDED, HASHES)
    first = next(iter(found))
    found[first] = replace(found[first], data=replace(found[first].data, sha256="c2" * 32))
    with pytest.raises(ValueError, match="hopper-medium of table handmade was trained on different data, sha256 a0a0"):
        gather_cells(SEEDED, found)


def test_seeds_are_compared_with_the_same_seeds_of_other_results():
    assert compare(side(HASHES), side(HASHES), LAST)[0].not_compared == ""
    one = replace(SEEDED, seeds=(1,))
    assert compare(side(HASHES), side({1: HASHES[1]}, one), LAST)[0].not_compared == ""
    for other in (side({0: HASHES[1], 1: HASHES[0]}), side({1: HASHES[0]}, one)):
        assert compare(side(HASHES), other, LAST)[0].not_compared == "other data: not compared"
    apart = side({2: HASHES[0]}, replace(SEEDED, seeds=(2,)))
    assert compare(side(HASHES), apart, LAST)[0].not_compared == "other data: not compared"


def test_data_selected_with_the_seed_are_those_of_the_papers():
    for dataset, papers in {"dqn/Pong-1pct-s{seed}": True, "dqn/Pong-1pct-s7": False, "dqn/Pong-all": False}.items():
        assert is_papers_data(Column(label="pong", task=HOPPER, dataset=dataset)) == papers
