"""dmm compare: cells by their labels, differences paired by seed, and nothing compared that cannot be."""

import csv
import io
import re
from dataclasses import replace

import pytest
from helpers import handmade_cells as made
from helpers import handmade_results as handmade
from pytest import approx

from dmm.base.paths import home
from dmm.config import BEST, LAST, PAPER_MAX, Reading, Target
from dmm.results import kept
from dmm.results.compare import Side, compare, comparison_csv, comparison_markdown, only_one, told_apart
from dmm.results.kept import RUNS, kept_bytes
from dmm.schema import TrialSummary

FILE = handmade.__file__  # of the table
A = {"dt": [10.0, 20.0, 30.0], "dmm": [50.0, 60.0, 70.0]}
B = {"dt": [11.0, 23.0, 35.0], "dmm": [50.0, 60.0, None]}


def side(name: str, scores: made.Scores, columns=("medium",), change=lambda summary: summary, **more) -> Side:
    """A side of DT at several widths, whose trials end at these scores in every column."""
    table = made.table(list(scores), columns)
    summaries = made.summaries_of(table, dict.fromkeys(columns, scores))
    found = Side.of_table(name, table, {id_: change(summary) for id_, summary in summaries.items()})
    return replace(found, **more)


def test_differences_are_those_of_each_seed_with_students_interval():
    dt, dmm = compare(side("a", A), side("b", B), LAST)
    assert (dt.row, dt.column, dt.a, dt.a_seeds, dt.b, dt.b_seeds) == (
        "dt", "medium", approx(20), 3, approx(23), 3,
    )  # fmt: skip
    found = dt.difference.interval  # 1, 3, 5: t(0.975, 2) is 4.3027, s is 2
    assert (found.value, found.n) == (approx(3), 3) and found.low == approx(3 - 4.30265 * 2 / 3**0.5, abs=1e-3)
    assert told_apart(dt) == "no"
    assert (dmm.b_seeds, dmm.difference.interval.n, dmm.difference.interval.value) == (2, 2, approx(0))
    higher = side("b", {label: [score + 5 + i for i, score in enumerate(scores)] for label, scores in A.items()})
    assert [told_apart(cell) for cell in compare(side("a", A), higher, LAST)] == ["yes", "yes"]
    assert [told_apart(cell) for cell in compare(higher, side("a", A), LAST)] == ["yes", "yes"]


def test_other_readings_and_a_maximum_over_seeds():
    (dt, _) = compare(side("a", A), side("b", B), BEST)  # each trial's best evaluation is 10 above its last
    assert (dt.a, dt.b, dt.difference.interval.value) == (approx(30), approx(33), approx(3))
    (dt, _) = compare(side("a", A), side("b", B), PAPER_MAX)
    assert (dt.a, dt.b, dt.difference.interval.value, dt.difference.interval.known) == (
        approx(40), approx(45), approx(5), False,
    )  # fmt: skip
    assert told_apart(dt) == "'max over everything' is a maximum over seeds"
    with pytest.raises(
        ValueError, match="dt on medium: reading 'far' wants target 9; the trials were asked for x1, x0.5"
    ):
        compare(side("a", A), side("b", B), Reading(name="far", target=Target(9, "return")))


def other_data(summary: TrialSummary) -> TrialSummary:
    return replace(summary, data=replace(summary.data, sha256="0ther" * 12))


def other_task(summary: TrialSummary) -> TrialSummary:
    return replace(summary, task=replace(summary.task, horizon=500))


def renamed_source(summary: TrialSummary) -> TrialSummary:
    return replace(summary, task=replace(summary.task, source="the same numbers, told in other words"))


def test_other_data_and_another_task_are_not_compared():
    for change, said in ((other_data, "other data: not compared"), (other_task, "other task: not compared")):
        a, b = side("a", A), side("b", A, change=change)
        cells = compare(a, b, LAST)
        assert {(told_apart(cell), cell.difference.interval.n, cell.a) for cell in cells} == {
            (said, 0, cell.a) for cell in cells
        }
        line = next(line for line in comparison_markdown(a, b, LAST, cells).splitlines() if line.startswith("| dt"))
        assert [cell.strip() for cell in line.strip("|").split("|")] == [
            "dt", "medium", "20.0 (3)", "20.0 (3)", "-", "0", said,
        ]  # fmt: skip
    assert told_apart(compare(side("a", A), side("b", A, change=renamed_source), LAST)[0]) == "no"


def test_rows_and_columns_of_one_side_are_named():
    a, b = (
        side("a", A | {"old|row": [1.0] * 3}, ("medium", "replay")),
        side("b", A | {"new": [1.0] * 3}, ("medium", "expert")),
    )
    cells = compare(a, b, LAST)
    assert [(cell.row, cell.column) for cell in cells] == [("dt", "medium"), ("dmm", "medium")]
    assert only_one(a, b) == [
        "rows that only A has: old|row",
        "columns that only A has: replay",
        "rows that only B has: new",
        "columns that only B has: expert",
    ]
    assert r"- rows that only A has: old\|row" in comparison_markdown(a, b, LAST, cells)
    with pytest.raises(
        ValueError, match="no cell is in both: a has rows dt, dmm, .* and columns medium, replay; b has rows x"
    ):
        compare(a, side("b", {"x": [1.0]}), LAST)


def test_cells_without_a_finished_seed_have_no_number():
    a, b = side("a", A), side("b", {"dt": [None, None, None], "dmm": [None, None, 70.0]})
    dt, dmm = compare(a, b, LAST)
    assert told_apart(dt) == "no common finished seed" and told_apart(dmm) == "one common finished seed"
    text = comparison_markdown(a, b, LAST, [dt, dmm])
    assert "| 20.0 (3) |        - |" in text and "+0.0 |" in text
    first, second = csv.DictReader(io.StringIO(comparison_csv([dt, dmm])))
    assert (first["a"], first["b"], first["difference"], first["low"]) == (str(dt.a), "", "", "")
    assert (second["difference"], second["high"], second["common_seeds"]) == (
        str(dmm.difference.interval.value),
        "",
        "1",
    )


@pytest.fixture
def places(tmp_path) -> tuple[str, str]:
    """A DMM_HOME with the results of `handmade.TABLE`, and a kept file of them in which seed 1 of DT is higher."""
    results = handmade.results()
    for result in results:
        handmade.write(result, home() / "trials")
    better = handmade.result(handmade.TABLE.trials()[2], {1.0: [5.0, 50.0, 24.0], 0.5: [4.0, 4.5, 10.0]})
    path = tmp_path / RUNS
    path.write_bytes(kept_bytes(handmade.TABLE, {result.id: result for result in [*results[:2], better, results[3]]}))
    return str(home()), str(path)


def test_a_folder_and_a_kept_file_are_compared_by_the_command(places, dmm):
    code, out, error = dmm("compare", *places, "--table", FILE)
    assert (code, error) == (0, "")
    assert out.startswith(
        f"- A: {places[0]}, table handmade, results of version 5\n- B: {places[1]}, table handmade, results of version 5\n"
    )
    assert "read as last: last evaluation, first target, mean over seeds" in out
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines() if line[0:1] == "|"]
    assert rows[0] == ["row", "column", "A", "B", "B - A [95 % interval]", "common seeds", "told apart"]
    assert rows[2:] == [
        ["DT", "hopper-medium", "15.0 (2)", "17.0 (2)", "+2.0 [-23.4, 27.4]", "2", "no"],
        ["DMM", "hopper-medium", "55.0 (2)", "55.0 (2)", "+0.0 [0.0, 0.0]", "2", "no"],
    ]
    code, out, error = dmm("compare", *reversed(places), "--table", FILE, "--reading", "best", "--format", "csv")
    first, second = csv.DictReader(io.StringIO(out))
    assert code == 0 and error.startswith(f"A: {places[1]}, table handmade") and float(first["a"]) == approx(45)
    assert float(second["difference"]) == 0 and (second["a_seeds"], second["told_apart"]) == ("2", "no")


def test_results_of_an_older_version_are_compared_and_both_versions_are_said(places, dmm, tmp_path, monkeypatch):
    old = tmp_path / "old"
    old.mkdir()
    with monkeypatch.context() as earlier:
        earlier.setattr(kept, "RESULTS_VERSION", 4)
        (old / RUNS).write_bytes(kept_bytes(handmade.TABLE, {result.id: result for result in handmade.results()}))
    out = dmm("compare", str(old), places[1])[1]
    assert f"- A: {old}, table handmade, results of version 4\n" in out and "results of version 5\n" in out
    assert "| +2.0 [-23.4, 27.4] |" in " ".join(out.split())


def test_a_wrong_word_is_one_line_that_says_what_there_is(places, dmm):
    expected = {
        ("quikstart", places[1]): "unknown table 'quikstart'; tune_spaces has .* Did you mean 'quickstart'",
        ("./quikstart", places[1]): "there is no ./quikstart; results are read from a DMM_HOME",
        (places[0], places[0]): "has results of many tables; --table names the one to compare",
        (*places, "--table", FILE, "--reading", "lst"): "unknown reading 'lst'; there are best, last, .* mean 'last'",
        (*places, "--format", "tex"): "unknown format 'tex'; dmm compare has csv, md.",
        (places[0], places[1], "--table", "quickstart"): "has no result of table quickstart",
    }
    for words, said in expected.items():
        code, out, error = dmm("compare", *words)
        assert (code, out) == (2, "") and error.count("\n") == 1
        assert re.search(said, error), error
