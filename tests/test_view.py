"""The view of a table on MLflow's page. Views of these forms were looked at in MLflow 3.17, and every chart drew."""

import json
from dataclasses import replace

import pytest
from helpers import handmade_results as handmade
from helpers.tracking import RISING, ROWS, TRIAL, finished
from mlflow import MlflowClient

from dmm.config import Table, grid
from dmm.tracking.mlflow_store import Recorder
from dmm.tracking.view import LOADED, table_view

DT, DMM = (replace(row, published={}, overrides={}) for row in handmade.TABLE.rows)
AXES = {"context_length": (4, 8), "width": (32, 64)}


def stored_view(recorder: Recorder, uri: str, table: Table = handmade.TABLE) -> dict:
    """The view that the recorder has put into the store."""
    recorder.view_link(table)
    tags = MlflowClient(uri).get_experiment(recorder.experiment).tags
    return json.loads(tags[f"mlflow.sharedViewState.table-{table.name}"])


def test_the_link_names_the_store_the_view_and_the_kind_of_page(uri):
    recorder = Recorder(uri)
    link = recorder.view_link(handmade.TABLE)
    assert f"--backend-store-uri {uri} " in link
    page = f"#/experiments/{recorder.experiment}/runs?viewStateShareKey=table-handmade&compareRunsMode=CHART"
    assert link.endswith(f"{page}&workflowType=machine_learning")


@pytest.mark.parametrize("table", [handmade.TABLE, replace(handmade.TABLE, rows=grid(DMM, **AXES))])
def test_a_view_shows_a_tables_runs_by_row_and_each_chart_has_its_numbers(table, uri):
    recorder = Recorder(uri)
    recorder.push(finished(), ROWS)
    recorder.push(handmade.result(replace(TRIAL, seed=77), RISING), {"other": "DMM"})
    view = stored_view(recorder, uri, table)
    (run,) = MlflowClient(uri).search_runs([recorder.experiment], view["searchFilter"], order_by=[view["orderByKey"]])
    assert run.data.tags["dmm.returns_id"] == TRIAL.returns_id and run.data.tags["dmm.row.handmade"] == "DMM"
    assert view["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "dmm.row.handmade"}]
    metrics, params = set(), set()
    for chart in view["compareRunCharts"]:
        metrics |= {chart[key] for key in ("metricKey",) if key in chart}
        metrics |= {*chart.get("selectedMetricKeys", ()), *chart.get("selectedMetrics", ())}
        params |= set(chart.get("selectedParams", ()))
        for axis in (chart[key] for key in ("xaxis", "yaxis", "zaxis") if key in chart):
            (metrics if axis["type"] == "METRIC" else params).add(axis["key"])
    assert metrics == {"score/last", "model/parameters", "eval/score_x1"} <= set(run.data.metrics)
    assert params == {"context_length", "embed_dim"} and all(float(run.data.params[name]) for name in params)


def test_the_form_is_one_whose_charts_were_seen_to_draw():
    view = table_view(handmade.TABLE, "", 4)
    assert view["hideEmptyCharts"] is False and view["useGroupedValuesInCharts"] is True
    assert view["isAccordionReordered"] is True  # the table's section comes first
    (section,) = view["compareRunSections"]
    assert {"uuid", "name", "display", "isReordered", "columns", "cardHeight", "deleted", "isGenerated"} == set(section)
    assert section["name"] == "Made by hand"
    assert {chart["metricSectionId"] for chart in view["compareRunCharts"]} == {section["uuid"]}


def forms(table: Table) -> list[tuple]:
    """The kinds of a table's charts. Those of params have them beside."""
    found = []
    for chart in table_view(table, "", 4)["compareRunCharts"]:
        axes = [chart[key] for key in ("xaxis", "yaxis") if key in chart]
        names = chart.get("selectedParams", [axis["key"] for axis in axes if axis["type"] == "PARAM"])
        found.append((chart["type"], *names))
    return found


USUAL = [("BAR",), ("SCATTER",), ("LINE",)]


def test_a_table_without_a_grid_shows_context_length_and_width():
    assert forms(handmade.TABLE) == [("PARALLEL", "context_length", "embed_dim"), *USUAL]


def test_a_grid_of_one_row_shows_the_score_along_its_axes_and_over_both():
    assert forms(replace(handmade.TABLE, rows=grid(DT, **AXES))) == [
        ("PARALLEL", "context_length", "embed_dim"),
        *USUAL,
        ("SCATTER", "context_length"),
        ("SCATTER", "embed_dim"),
        ("CONTOUR", "context_length", "embed_dim"),
    ]


@pytest.mark.parametrize(
    "rows",
    [
        (*grid(DT, **AXES), *grid(DMM, **AXES)),
        (*grid(DT, **AXES), DMM),
        grid(DT, **AXES, layers=(1, 2)),
        grid(DMM, **AXES, residual=(True, False)),
    ],
)
def test_a_contour_never_has_two_rows_at_one_point(rows):
    found = forms(replace(handmade.TABLE, rows=rows))
    assert found[: len(USUAL) + 1] == [("PARALLEL", "context_length", "embed_dim", *found[0][3:]), *USUAL]
    assert {kind for kind, *_ in found[len(USUAL) + 1 :]} == {"SCATTER"}


def test_an_axis_that_is_no_number_is_in_no_chart():
    """MLflow drops a chart of a param that is text."""
    rows = grid(DMM, width=(32, 64), residual=(True, False), mixer_sharing=("shared", "frozen-shared"))
    table = replace(handmade.TABLE, rows=rows)
    assert forms(table) == [("PARALLEL", "embed_dim"), *USUAL, ("SCATTER", "embed_dim")]


def test_a_table_of_more_runs_than_the_page_loads_does_not_show_its_best_ones():
    small, large = (table_view(handmade.TABLE, "", count) for count in (LOADED, LOADED + 2))
    assert (small["orderByKey"], small["orderByAsc"]) == ("metrics.`score/last`", False)
    assert (large["orderByKey"], large["orderByAsc"]) == ("params.`seed`", True)
    (section,) = large["compareRunSections"]
    assert section["name"] == "100 of 102 runs, Load more is below the list: Made by hand"


def test_the_view_of_a_large_table_knows_its_size(uri):
    view = stored_view(Recorder(uri), uri, replace(handmade.TABLE, seeds=tuple(range(51))))
    assert view["compareRunSections"][0]["name"].startswith("100 of 102 runs")
