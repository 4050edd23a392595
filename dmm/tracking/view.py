"""The view of MLflow's run page for an ablation grid. The format is internal to MLflow's page: a change loses only the view."""

from typing import Any


def ablation_view(query: str) -> dict[str, Any]:
    """The page's state: charts of the last score over architecture, context length and width, averaged over seeds."""
    grid = ["arch", "context_length", "embed_dim"]
    chart = {"runsCountToCompare": 100, "metricSectionId": "ablation", "deleted": False, "isGenerated": False}
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
    charts = [
        {"type": "PARALLEL", "selectedParams": grid, "selectedMetrics": ["score/last"]},
        {"type": "BAR", "metricKey": "score/last"},
        {
            "type": "SCATTER",
            "xaxis": {"key": "model/parameters", "type": "METRIC"},
            "yaxis": {"key": "score/last", "type": "METRIC"},
        },
        {"type": "LINE", "metricKey": "eval/score_x1", "selectedMetricKeys": ["eval/score_x1"], **line},
    ]
    return {
        "searchFilter": query,
        "selectedColumns": [f"params.`{name}`" for name in [*grid, "dataset", "seed"]]
        + [f"metrics.`{name}`" for name in ("score/last", "score/best", "model/parameters")],
        "runsHiddenMode": "SHOWALL",
        "orderByKey": "metrics.`score/last`",
        "orderByAsc": False,
        "compareRunCharts": [{"uuid": f"c{i}", **chart, **entry} for i, entry in enumerate(charts, 1)],
        "compareRunSections": [{"uuid": "ablation", "name": "Ablation grid", "display": True, "isReordered": False}],
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "param", "groupByData": name} for name in grid],
        },
        "useGroupedValuesInCharts": True,
    }
