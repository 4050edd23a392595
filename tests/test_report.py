"""A table's files from results made by hand: what stands where, what is refused, and that the bytes follow the results only."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import handmade_results as handmade

from dmm.base.paths import home
from dmm.config import BEST, LAST, Budget, Column, Row, Table, Target, grid
from dmm.report.files import write_report
from dmm.results.score import summarise
from dmm.schema import ReportSource, ReturnPoint, TrialResult, TrialSummary, to_json

SCORES = {1.0: [1.0, 2.0, 3.0], 0.5: [1.0, 2.0, 3.0]}
SOURCE = ReportSource(uri="sqlite:///somewhere", experiment="dmm", query="a query", commit="c0ffee", versions={})
TEXTS = ("md", "csv", "tex")


def summaries(results: list[TrialResult] | None = None) -> dict[str, TrialSummary]:
    return {result.id: summarise(result) for result in results or handmade.results()}


def report(folder: Path, table: Table = handmade.TABLE, found: dict | None = None) -> str:
    """The text of table.md."""
    write_report(table, summaries() if found is None else found, folder, SOURCE, TEXTS)
    return (folder / "table.md").read_text()


def lines(text: str, start: str) -> list[list[str]]:
    """The cells of the Markdown lines that begin with a label."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith(f"| {start} ")
    ]


def rows(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_numbers_by_hand(tmp_path):
    text = report(tmp_path)
    # DT ends at 10 and 20, DMM at 50 and 60, and half of Student's interval is 12.706 * 5. The best are 40 and 50, 80 and 90
    (dt, *_), (dmm, *_) = lines(text, "DT"), lines(text, "DMM")
    assert dt == [
        "DT",
        "15.0 [-48.5, 78.5] (2)",
        "45.0 (+30.0 [30.0, 30.0])",
        "50.0 (+35.0)",
        "-40.0 [-40.0, -40.0]",
        "-",
        "68.4 (a)",
    ]
    assert dmm == [
        "DMM",
        "**55.0 [-8.5, 118.5] (2)**",
        "**85.0 (+30.0 [30.0, 30.0])**",
        "**90.0 (+35.0)**",
        "-",
        "-",
        "-",
    ]
    header = ["last", "best", "max over everything", "minus DMM", "seeds to tell apart", "published"]
    assert lines(text, "architecture")[0][1:] == header
    (efficiency,) = [line for line in lines(text, "DT") if "live" in line[2]]
    assert efficiency == ["DT", "hopper-medium", "700,000 (698,000 live)", "46666.7"]


def test_all_that_is_needed_to_read_it_is_on_it(tmp_path):
    text = report(tmp_path)
    for said in (
        "# Made by hand",
        "Protocol by hand: K=8, 30 updates of 64 windows, learning rate 0.001 after 5 updates of warm-up, "
        "3 evaluations of 2 episodes a target, targets x1, x0.5; seeds 0, 1.",
        "- (a) not comparable: published for other data than dmm/hopper/medium-v0",
        "sha256 5ca1ab1e5ca1; 446 episodes, 200,450 steps, mean return 1642.0 (normalised 51.1)",
        "- max over everything: best evaluation, best of all targets, max over seeds, floored at 0",
        "- hopper: 0 is a return of -20.2723, 100 is 3234.3",
        "- three evaluations only",
        "- DT: a note of DT",
        "- published: nobody",
    ):
        assert said in text, said
    assert "Failed" not in text and "Unfinished" not in text and "mixes" not in text


def test_return_asked_for_and_got(tmp_path):
    text = report(tmp_path)
    high, low = [line for line in lines(text, "DMM") if line[2] in ("x1", "x0.5") and len(line) == 6]
    mean, half = (handmade.raw(50) + handmade.raw(60)) / 2, (handmade.raw(25) + handmade.raw(30)) / 2
    assert high[:4] == ["DMM", "hopper-medium", "x1", "3600"] and high[4].startswith(f"{mean:.1f} [")
    assert low[:4] == ["DMM", "hopper-medium", "x0.5", "1800"] and low[4].startswith(f"{half:.1f} [")
    assert (high[5], low[5]) == ("outside", "inside")  # the data's returns end at 3200
    miss = 1800 - half
    assert f"x0.5 | {miss:.1f} [" in " ".join(text.split())
    one = handmade.PROTOCOL.with_overrides(targets=(1.0,))
    table = replace(handmade.TABLE, protocol=one)
    found = summaries([handmade.result(trial, {1.0: [1.0, 2.0, 3.0]}) for trial in table.trials()])
    assert "asked" not in report(tmp_path, table, found)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"published_reading": "best"}, "comparable with best"),
        ({}, "not comparable: the table does not say how it was read"),
        ({"not_comparable": "quoted from elsewhere"}, "not comparable: quoted from elsewhere"),
    ],
)
def test_a_published_number_says_with_what_it_can_be_compared(tmp_path, row, said):
    column = Column(task=handmade.HOPPER, dataset="d4rl/hopper-medium-v2", label="hopper-medium")
    table = replace(handmade.TABLE, columns=(column,), rows=(replace(handmade.TABLE.rows[0], **row),))
    text = report(tmp_path, table, summaries([handmade.result(trial, SCORES) for trial in table.trials()]))
    assert lines(text, "DT")[0][-1] == "68.4 (a)" and f"- (a) {said}\n" in text
    csv_rows = {row["reading"]: row["not_comparable"] for row in rows(tmp_path / "table.csv")}
    if "comparable with" in said:
        assert csv_rows == {"last": "read as best", "best": "", "max over everything": "read as best"}
    else:
        assert set(csv_rows.values()) == {said.removeprefix("not comparable: ")}
    short = replace(table, budgets={"tenth": BUDGET}).at("tenth")
    text = report(tmp_path, short, summaries([handmade.result(trial, SCORES) for trial in short.trials()]))
    assert "published for the whole training, not for budget tenth" in text


BUDGET = Budget(factor=0.1, num_evaluations=3, episodes_per_evaluation=2, seeds=1)
TWO_SOURCES = replace(
    handmade.TABLE,
    rows=(
        *handmade.TABLE.rows,
        Row(label="CQL", published={"hopper-medium": 58.5, "walker2d-medium": 72.5}, note="printed by another paper"),
    ),
    columns=(
        Column(
            label="hopper-medium",
            sources={
                "d4rl": (handmade.HOPPER, "d4rl/hopper-medium-v2"),
                "dmm": (handmade.HOPPER, "dmm/hopper/medium-v0"),
            },
        ),
        Column(label="walker2d-medium", task=handmade.WALKER, dataset="d4rl/walker2d-medium-v2"),
    ),
    budgets={"tenth": BUDGET},
)


def finished(table: Table) -> dict[str, TrialSummary]:
    """Summaries of a table whose trials are all finished."""
    return summaries([handmade.result(trial, SCORES) for trial in table.trials()])


def test_the_face_says_what_of_the_table_is_shown(tmp_path):
    part = TWO_SOURCES.at("tenth").on("dmm").select(rows=["DT", "CQL"], seeds=[0])
    text = report(tmp_path, part, finished(part))
    assert "Protocol by hand: K=8, 3 updates of 64 windows, learning rate 0.001 after 0 updates of warm-up, " in text
    assert f"\n\nBudget tenth: {BUDGET.describe()}.\n\n" in text
    assert "\n\nData of source dmm. Columns without such data: walker2d-medium.\n\n" in text
    assert "\n\nThis is a part of the table: rows DT, CQL; seeds 0.\n\n" in text
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    expected = {"table": "handmade.tenth.dmm", "budget": "tenth", "data_source": "dmm"}
    assert {key: manifest[key] for key in expected} == expected and manifest["part"] == "rows DT, CQL; seeds 0"
    assert manifest["protocol"]["training"]["updates"] == 3
    whole = report(tmp_path, TWO_SOURCES, finished(TWO_SOURCES))
    assert not any(said in whole for said in ("Budget", "Data of source", "Columns without", "a part of the table"))


def test_a_column_that_select_left_out_is_not_said_to_lack_data(tmp_path):
    part = TWO_SOURCES.on("d4rl").select(columns=["walker2d-medium"])
    text = report(tmp_path, part, finished(part))
    assert "\n\nData of source d4rl.\n\nThis is a part of the table: columns walker2d-medium.\n\n" in text


def test_cited_rows_stand_beside_the_others_with_what_was_printed(tmp_path):
    table = TWO_SOURCES.on("d4rl")
    text = report(tmp_path, table, finished(table))
    overview, hopper, walker = lines(text, "CQL")
    assert overview == ["CQL (published)", "58.5 (a)", "72.5 (a)"]
    assert hopper == ["CQL", "-", "-", "-", "-", "-", "58.5 (a)"] and walker[-1] == "72.5 (a)"
    assert "- CQL: printed by another paper" in text and "CQL on" not in text
    assert "- (a) not comparable: the table does not say how it was read" in text
    cited = [row for row in rows(tmp_path / "table.csv") if row["row"] == "CQL"]
    assert len(cited) == 2 * 3
    first = cited[0]
    assert (first["arch"], first["parameters"], first["score"], first["n"], first["of"]) == ("", "", "", "0", "0")
    assert (first["published"], first["data_sha256"]) == ("58.5", "")
    assert "CQL" not in (tmp_path / "cost.csv").read_text() + (tmp_path / "manifest.json").read_text()


def test_cited_numbers_for_other_data_have_a_mark_everywhere(tmp_path):
    other = Column(label="walker2d-medium", task=handmade.WALKER, dataset="dmm/walker2d/medium-v0")
    table = replace(TWO_SOURCES, columns=(TWO_SOURCES.columns[0], other))
    text = report(tmp_path, table, finished(table))
    assert lines(text, "CQL (published)")[0] == ["CQL (published)", "58.5 (a)", "72.5 (b)"]
    assert (
        "- (b) not comparable: published for other data than dmm/walker2d/medium-v0\n"
        in text.split("## hopper-medium")[0]
    )


def test_settings_of_a_column_and_their_targets_are_said(tmp_path):
    settings = {"width": 32, "targets": (1.0, Target(6000, "return"), Target(0.5, "data")), "learning_rate": 3e-4}
    dt, *others = TWO_SOURCES.rows
    table = replace(TWO_SOURCES, rows=(replace(dt, per_column={"hopper-medium": settings}), *others)).on("d4rl")
    found = finished(table)
    scores = [5.0, 6.0, 7.0]
    for trial in table.trials():
        if len(trial.evaluation.targets) == 3:
            asked = {"x1": 3600.0, "6000": 6000.0, "0.5 of max": 1600.0}
            found[trial.returns_id] = replace(
                found[trial.returns_id],
                asked=asked,
                curve={
                    label: [ReturnPoint(at, handmade.raw(score)) for at, score in zip((10, 20, 30), scores)]
                    for label in asked
                },
            )
    text = report(tmp_path, table, found)
    said = "- DT on hopper-medium: width 32; targets x1, 6000, 0.5 of max; learning_rate 0.0003\n"
    assert said in text and "- DT: width 64\n" in text
    asked = [line[2:4] for line in lines(text, "DT") if len(line) == 6 and line[3].isdigit()]
    assert asked[:3] == [["x1", "3600"], ["6000", "6000"], ["0.5 of max", "1600"]]


def test_a_table_of_cited_rows_only_is_refused():
    with pytest.raises(ValueError, match="table handmade has only cited rows in this part .rows CQL.; it needs"):
        TWO_SOURCES.select(rows=["CQL"])


def test_a_grid_has_a_row_for_each_point(tmp_path):
    dt = Row(label="DT", arch="dt")
    table = replace(handmade.TABLE, rows=grid(dt, context_length=(4, 8), width=(32, 64)))
    text = report(tmp_path, table, finished(table))
    assert table.axes == {"context_length": (4, 8), "width": (32, 64)}
    assert lines(text, "DT, context_length 4, width 64")[0][1] == "3.0 [3.0, 3.0] (2) ≈"
    assert "## DT on hopper-medium: context_length x width\n" in text
    assert lines(text, "8") == [["8", "3.0 [3.0, 3.0]", "3.0 [3.0, 3.0]"]]
    assert lines(text, "context_length \\\\ width") == [["context_length \\\\ width", "32", "64"]]
    assert "context_length 4; width 64" not in text  # the label says it
    assert "DT, context_length 4, width 64" in [row["row"] for row in rows(tmp_path / "table.csv")]


def test_unfinished_and_failed_trials_are_named_and_not_counted(tmp_path):
    _, dmm_0, dt_1, dmm_1 = handmade.results()
    reason = "FloatingPointError: the loss is nan\nbetween updates 10 and 20"
    dt_1 = replace(dt_1, status="failed", returns=replace(dt_1.returns, status="failed", error=reason))
    dmm_1 = replace(dmm_1, status="running")
    text = report(tmp_path, found=summaries([dmm_0, dt_1, dmm_1]))
    (dt, *_), (dmm, *_) = lines(text, "DT"), lines(text, "DMM")
    assert dt[1:4] == ["- (0 of 2)", "-", "-"] and dmm[1] == "50.0 (1 of 2)"
    failed, unfinished = text.split("## Failed trials")[1].split("## Unfinished trials")
    assert (
        failed.strip() == "- DT on hopper-medium, seed 1: FloatingPointError: the loss is nan between updates 10 and 20"
    )
    assert unfinished.split("\n- ")[1:] == ["DT on hopper-medium, seed 0", "DMM on hopper-medium, seed 1\n"]


def test_csv_costs_and_manifest(tmp_path):
    found = summaries()
    first = handmade.TABLE.trials()[0].returns_id
    found[first] = replace(found[first], run_id="a run")
    paths = write_report(handmade.TABLE, found, tmp_path, SOURCE)
    texts = {"cost.csv", "manifest.json", "scores.csv", "table.csv", "table.md", "table.tex"}
    assert texts | {"curves.png", "curves.svg"} <= {path.name for path in paths}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
    scores = rows(tmp_path / "table.csv")
    assert len(scores) == 2 * 3
    last = scores[0]
    assert (last["row"], last["reading"], last["score"], last["std"]) == ("DT", "last", "15.0000", "7.0711")
    assert (last["n"], last["of"], last["published"], last["mark"]) == ("2", "2", "68.4", "")
    assert [row["mark"] for row in scores[3:]] == ["best"] * 3 and scores[0]["minus_best"] == "-40.0000"
    assert last["not_comparable"] == "published for other data than dmm/hopper/medium-v0"
    cost = rows(tmp_path / "cost.csv")
    assert [line["id"] for line in cost[:1]] == [first] and len(cost) == 4
    assert (cost[0]["train_s"], cost[0]["rollout_s"], cost[0]["updates_per_s"]) == ("12.00", "4.50", "2.5")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["source"] == to_json(SOURCE) and manifest["trials"][0]["run_id"] == "a run"
    assert manifest["trials"][0]["provenance"]["commit"] == "c0ffee"
    assert [reading["name"] for reading in manifest["readings"]] == ["last", "best", "max over everything"]


def test_table_holds_scores_only_whoever_computed_them_when_and_where(tmp_path):
    report(tmp_path / "a")
    here = handmade.results()[0].training.provenance
    elsewhere = replace(here, commit="other", machine="elsewhere", versions={})
    other = [
        replace(
            result,
            training=replace(result.training, provenance=elsewhere, train_seconds=99.0),
            returns=replace(result.returns, provenance=elsewhere, rollout_seconds=98.0),
        )
        for result in handmade.results()
    ]
    found = {key: replace(value, run_id="r") for key, value in reversed(summaries(other).items())}
    write_report(handmade.TABLE, found, tmp_path / "b", replace(SOURCE, uri="http://elsewhere"), TEXTS)
    for name in ("table.md", "table.csv", "table.tex", "scores.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    for name in ("cost.csv", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "b" / name).read_bytes()


def with_source(result: TrialResult, part: str = "training", **changes) -> TrialResult:
    """The same result, whose training or returns were made elsewhere."""
    made = getattr(result, part)
    return replace(result, **{part: replace(made, provenance=replace(made.provenance, **changes))})


def test_a_cell_that_mixes_devices_or_workers_says_so(tmp_path):
    results = handmade.results()
    results[0] = with_source(results[0], device="cuda")
    results[3] = with_source(results[3], workers="2")
    versions = {"torch": "2.13.0", "mujoco": "3.3.7"}
    here = {"versions": versions, "machine": "A, 2 cores"}
    results = [with_source(with_source(found, **here), "returns", **here) for found in results]
    results[1] = with_source(results[1], "returns", scan="torch", versions=versions | {"mujoco": "9.9"})
    results[2] = with_source(results[2], versions=versions | {"torch": "9.9", "ray": "9.9"}, machine="B, 4 cores")
    text = report(tmp_path, found=summaries(results))
    assert "- DT on hopper-medium mixes trials with device cpu and cuda\n" in text
    assert "- DMM on hopper-medium mixes trials with rollouts with scan C++ and torch\n" in text
    assert "- DMM on hopper-medium mixes trials with workers 1 and 2\n" in text
    assert "- DMM on hopper-medium mixes trials with rollouts with mujoco 3.3.7 and 9.9\n" in text
    assert "- DT on hopper-medium mixes trials with processor A and B\n" in text
    assert "- DT on hopper-medium mixes trials with torch 2.13.0 and 9.9\n" in text and "with ray" not in text
    assert "only some trials ran on device cuda: DT on hopper-medium\n" in text
    for i in (1, 3):  # alike, and mixed all the same
        results[i] = with_source(results[i], workers="1, then 2")
    assert "- DMM on hopper-medium mixes trials with workers 1, then 2\n" in report(tmp_path, found=summaries(results))


def test_rows_on_other_devices_are_named(tmp_path):
    results = handmade.results()
    assert "ran on device" not in report(tmp_path, found=summaries(results))
    alike = [with_source(found, device="cuda") if i % 2 == 0 else found for i, found in enumerate(results)]
    text = report(tmp_path, found=summaries(alike))
    assert "- only some trials ran on device cuda: DT on hopper-medium\n" in text and "mixes trials" not in text


def test_several_columns_have_an_overview(tmp_path):
    second = Column(task=handmade.WALKER, dataset="d4rl/walker2d-medium-v2", label="walker2d-medium")
    table = replace(handmade.TABLE, columns=(*handmade.TABLE.columns, second), readings=(LAST, BEST))
    results = handmade.results() + [
        handmade.result(trial, {1.0: [1.0, 2.0, 3.0]}) for trial in table.trials() if trial.task.name == "walker2d"
    ]
    text = report(tmp_path, table, summaries(results))
    label, hopper, walker = lines(text, "DT")[0]
    # the made returns are Hopper's: a score of 3 there is 1.67 in Walker2d
    walked = 100 * (handmade.raw(3.0) - 1.629008) / (4592.3 - 1.629008)
    assert (hopper, walker) == (
        "15.0 [-48.5, 78.5] (2)",
        f"**{walked:.1f} [{walked:.1f}, {walked:.1f}] (2)**",
    )  # the first of equals
    (total,) = [line for line in lines(text, "DT") if len(line) == 6 and "[" in line[5]]
    iqm = f"{(10 + walked) / 2:.1f} [{walked + (10 - walked) / 2:.1f}, {walked + (20 - walked) / 2:.1f}]"
    assert total[1] == iqm and total[5] == "1.8 [1.8, 1.8]"
    assert "## walker2d-medium" in text
    del results[-1]
    text = report(tmp_path, table, summaries(results))
    assert not any(len(line) == 6 and "[" in line[5] for line in lines(text, "DMM"))


def test_a_folder_that_cannot_be_written_is_said_before_anything_else(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write a report: Not a directory: .*file/report"):
        write_report(handmade.TABLE, {}, tmp_path / "file" / "report", SOURCE)


def test_a_table_without_a_result_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="no finished trial"):
        write_report(handmade.TABLE, {}, tmp_path, SOURCE)
    assert list(tmp_path.iterdir()) == []


def test_results_are_found_in_their_folder(tmp_path):
    for result in handmade.results()[:3]:
        handmade.write(result, home() / "trials")
    assert handmade.load_summaries(handmade.TABLE) == summaries(handmade.results()[:3])


def test_printed_numbers_of_parameters_need_no_trial(tmp_path):
    """They stand beside the counts of the models, as in the papers' tables of parameters."""
    dt, dmm = handmade.TABLE.rows
    table = replace(handmade.TABLE, rows=(replace(dt, published_parameters={"hopper-medium": 200_000}), dmm))
    text = report(tmp_path, table, {})
    (counted,) = [line for line in lines(text, "DT") if line[1] == "hopper-medium"]
    assert counted == ["DT", "hopper-medium", "216,399 (215,555 live)", "200,000", "-", "2924.0"]  # 200,000 / 68.4
    assert "- DMM on hopper-medium, seeds 0, 1\n" in text
    assert "efficiency.png" not in text and not (tmp_path / "scores.csv").exists()
