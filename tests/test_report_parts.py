"""Parts of a report that only some tables have, and files that a report no longer has."""

from dataclasses import replace

import pytest
from helpers import handmade_results as handmade
from test_report import SCORES, SOURCE, finished, lines, report, summaries

from dmm.config import LAST, PAPER_MAX
from dmm.report.files import write_report


def test_a_row_stands_beside_its_own_row(tmp_path):
    dt, dmm = handmade.TABLE.rows
    table = replace(
        handmade.TABLE, rows=(dt, dmm, replace(dmm, label="DMM, wide", beside="DMM", overrides={"width": 96}))
    )
    found = [
        handmade.result(trial, {**SCORES, 1.0: [1.0, 2.0, trial.config.width / 16 + trial.seed]})
        for trial in table.trials()
    ]
    text = report(tmp_path, table, summaries(found))
    assert "minus its own row" in lines(text, "architecture")[0]
    assert lines(text, "DMM, wide")[0][6] == "+2.0 [2.0, 2.0] (DMM)" and lines(text, "DMM")[0][6] == "-"
    assert "own row" not in report(tmp_path)
    with pytest.raises(ValueError, match="unknown row beside row 'DT' 'DNN'"):
        replace(handmade.TABLE, rows=(replace(dt, beside="DNN"), dmm))


def test_a_headline_over_seeds_has_no_aggregates(tmp_path):
    second = replace(handmade.TABLE.columns[0], label="again")
    table = replace(handmade.TABLE, readings=(PAPER_MAX, LAST), columns=(*handmade.TABLE.columns, second))
    assert "## Over all columns" not in report(tmp_path, table, finished(table))


def test_files_that_are_not_made_anew_are_deleted(tmp_path):
    report(tmp_path)
    (tmp_path / "notes.md").touch()
    (tmp_path / "asked.png").touch()
    write_report(handmade.TABLE, summaries(handmade.results()), tmp_path, SOURCE, ("md",))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "notes.md", "table.md"]
