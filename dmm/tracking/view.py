"""The view of MLflow's run page for a table. The format is internal to MLflow's page. A change loses only the view."""

from typing import Any

from dmm.config import Table
from dmm.tracking.content import curve, row_tag


def table_view(table: Table, query: str) -> dict[str, Any]:
    """The page's state: charts of a table's runs, averaged over the runs of each row.

    Params in the charts are numbers. A param that is text makes MLflow drop the chart.
    """
    numbers = ["context_length", "embed_dim"]
    chart = {"runsCountToCompare": 100, "metricSectionId": "table", "deleted": False, "isGenerated": False}
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
    cells = [
        row.protocol(table.protocol, column.label) for row in table.rows if not row.cited for column in table.columns
    ]
    targets = dict.fromkeys(table.at_budget(protocol).evaluation.targets[0].label for protocol in cells)
    curves = [curve("score", target) for target in targets]
    charts = [
        {
            "type": "PARALLEL",
            "selectedParams": numbers,
            "selectedMetrics": ["model/parameters", "score/last"],
            "showAllRuns": False,
        },
        {"type": "BAR", "metricKey": "score/last"},
        {
            "type": "SCATTER",
            "xaxis": {"key": "model/parameters", "type": "METRIC"},
            "yaxis": {"key": "score/last", "type": "METRIC"},
        },
        {"type": "LINE", "metricKey": curves[0], "selectedMetricKeys": curves, **line},
    ]
    section = {"display": True, "isReordered": False, "columns": 2, "cardHeight": 360}
    return {
        "searchFilter": query,
        "selectedColumns": [f"tags.`{row_tag(table.name)}`"]
        + [f"params.`{name}`" for name in ("arch", *numbers, "dataset", "seed")]
        + [f"metrics.`{name}`" for name in ("score/last", "score/best", "model/parameters")],
        "runsHiddenMode": "SHOWALL",
        "orderByKey": "metrics.`score/last`",
        "orderByAsc": False,
        "compareRunCharts": [{"uuid": f"c{i}", **chart, **entry} for i, entry in enumerate(charts, 1)],
        "compareRunSections": [
            {"uuid": "table", "name": table.title, "deleted": False, "isGenerated": False, **section}
        ],
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": row_tag(table.name)}],
        },
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": False,
    }
