"""The view of MLflow's run page for a table. The format is internal to MLflow's page. A change loses only the view."""

from typing import Any

from dmm.config import Table
from dmm.results.grids import family_of
from dmm.tracking.content import curve, row_tag

SCORE = "score/last"
LOADED = 100  # runs that MLflow's page loads at first. It averages only over those


def table_view(table: Table, query: str, count: int) -> dict[str, Any]:
    """The page's state: charts of a table's runs, averaged over the runs of each row. There are `count` runs at the end.

    Runs are ordered by score, the best first. A table with more runs than the page loads is ordered by seed, because the page
    would otherwise show means of the best runs only. Then the name of the section says so.
    """
    chart = {"runsCountToCompare": LOADED, "metricSectionId": "table", "deleted": False, "isGenerated": False}
    section = {"display": True, "isReordered": False, "columns": 2, "cardHeight": 360}
    title, order, is_ascending = table.title, f"metrics.`{SCORE}`", False
    if count > LOADED:
        title = f"{LOADED} of {count} runs, Load more is below the list: {title}"
        order, is_ascending = "params.`seed`", True
    columns = ["arch", *dict.fromkeys(["context_length", "embed_dim", *axes_of(table)]), "dataset", "seed"]
    return {
        "searchFilter": query,
        "selectedColumns": [f"tags.`{row_tag(table.name)}`"]
        + [f"params.`{name}`" for name in columns]
        + [f"metrics.`{name}`" for name in (SCORE, "score/best", "model/parameters")],
        "runsHiddenMode": "SHOWALL",
        "orderByKey": order,
        "orderByAsc": is_ascending,
        "compareRunCharts": [{"uuid": f"c{i}", **chart, **entry} for i, entry in enumerate(charts(table), 1)],
        "isAccordionReordered": True,  # else the sections are sorted by name, and `cost` would come first
        "compareRunSections": [{"uuid": "table", "name": title, "deleted": False, "isGenerated": False, **section}],
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": row_tag(table.name)}],
        },
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": False,
    }


def axes_of(table: Table) -> list[str]:
    """The params of the axes of a table's grids. Their values are numbers, because MLflow drops a chart of a text."""
    numbers = [axis for axis, values in table.axes.items() if {type(value) for value in values} <= {int, float}]
    return ["embed_dim" if axis == "width" else axis for axis in numbers]


def charts(table: Table) -> list[dict[str, Any]]:
    """The charts of a table, as MLflow's page has them. A table with grids shows the score along their axes."""
    cells = [
        row.protocol(table.protocol, column.label) for row in table.rows if not row.cited for column in table.columns
    ]
    targets = dict.fromkeys(table.at_budget(protocol).evaluation.targets[0].label for protocol in cells)
    curves = [curve("score", target) for target in targets]
    line = {
        "lineSmoothness": 0,
        "scaleType": "linear",
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "selectedXAxisMetricKey": "",
        "selectedYAxisMetricKey": "metric",
        "yAxisExpressions": [],
        "yAxisKey": "metric",
        "range": {},
    }
    axes = axes_of(table)
    families = {family_of(row) for row in table.rows if not row.cited}
    is_plane = len(families) == 1 and len(axes) == len(table.axes) == 2  # else several rows would share a point
    return [
        parallel(axes, [SCORE]) if axes else parallel(["context_length", "embed_dim"], ["model/parameters", SCORE]),
        {"type": "BAR", "metricKey": SCORE},
        scatter("METRIC", "model/parameters"),
        {"type": "LINE", "metricKey": curves[0], "selectedMetricKeys": curves, **line},
        *(scatter("PARAM", axis) for axis in axes),
        *([contour(*axes)] if is_plane else []),
    ]


def parallel(params: list[str], metrics: list[str]) -> dict[str, Any]:
    """A chart with one line a row, coloured by the last metric."""
    return {"type": "PARALLEL", "selectedParams": params, "selectedMetrics": metrics, "showAllRuns": False}


def scatter(kind: str, key: str) -> dict[str, Any]:
    """A chart of the score against a param or a metric, with one dot a row."""
    return {"type": "SCATTER", "xaxis": {"key": key, "type": kind}, "yaxis": {"key": SCORE, "type": "METRIC"}}


def contour(across: str, up: str) -> dict[str, Any]:
    """A chart of the score over two params."""
    axes = {name: {"key": key, "type": "PARAM"} for name, key in (("xaxis", across), ("yaxis", up))}
    return {"type": "CONTOUR", **axes, "zaxis": {"key": SCORE, "type": "METRIC"}}
