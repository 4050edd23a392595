"""From finished trials to a table: Markdown, CSV, costs, learning curves and a manifest.

table.md and table.csv hold no time, date, run id or URI: the same trials give the same bytes, wherever they are read from.
Timings are in cost.csv, provenance in manifest.json.
"""

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import numpy as np

from dmm.base.paths import check_writable, home, write_atomic
from dmm.config import Reading, Table, canonical
from dmm.results.markdown import markdown
from dmm.results.score import Cell, gather, is_papers_data, parameters_per_score, state, summarise, target_label


def results_in(table: Table, folder: Path | None = None) -> dict[str, dict]:
    """The summaries of a table's trials by id, from their result files."""
    folder = folder or home() / "trials"
    paths = {trial.id: folder / trial.id / "result.json" for trial in table.trials()}
    return {id_: summarise(json.loads(path.read_text())) for id_, path in paths.items() if path.exists()}


def write(table: Table, summaries: Mapping[str, dict], folder: Path, provenance: Mapping) -> list[Path]:
    """Writes a table's files from the summaries of its trials by id; returns their paths."""
    check_writable(folder, "a report")
    cells = gather(table, summaries)
    files = {
        "table.md": markdown(table, cells).encode(),
        "table.csv": scores_csv(table, cells).encode(),
        "cost.csv": cost_csv(cells).encode(),
        "curves.png": curves(cells, table.readings[0]),
        "manifest.json": manifest(table, cells, provenance).encode(),
    }
    for name, data in files.items():
        write_atomic(folder / name, data)
    return [folder / name for name in files]


def scores_csv(table: Table, cells: list[Cell]) -> str:
    """table.csv: one line a cell and reading."""
    lines = []
    for cell in cells:
        for reading in table.readings:
            score = cell.score(reading)
            lines.append({
                "column": cell.column.label,
                "row": cell.row.label,
                "arch": cell.row.arch,
                "parameters": cell.parameters,
                "reading": reading.name,
                "score": number(score.value),
                "std": number(score.std),
                "n": score.n,
                "of": score.of,
                "parameters_per_score": number(parameters_per_score(cell.parameters or 0, score.value)),
                "published": cell.row.published.get(cell.column.label),
                "published_data": "same" if is_papers_data(cell.column) else "other",
                "data": "+".join(cell.column.dataset),
                "data_sha256": cell.finished[0]["data"]["sha256"] if cell.finished else None,
            })  # fmt: skip
    return csv_text(lines)


def cost_csv(cells: list[Cell]) -> str:
    """cost.csv: one line a trial."""
    lines = []
    for cell in cells:
        for trial, summary in zip(cell.trials, cell.found):
            seconds = summary["seconds"] if summary else {}
            train = seconds.get("train", 0)
            lines.append({
                "id": trial.id,
                "row": cell.row.label,
                "column": cell.column.label,
                "seed": trial.seed,
                "status": state(summary),
                "updates": summary["update"] if summary else 0,
                "train_s": f"{train:.2f}",
                "rollout_s": f"{seconds.get('rollout', 0):.2f}",
                "updates_per_s": f"{summary['update'] / train:.1f}" if summary and train else "",
                "parameters": summary["parameters"] if summary else None,
                "machine": summary["provenance"]["machine"] if summary else None,
            })  # fmt: skip
    return csv_text(lines)


def manifest(table: Table, cells: list[Cell], provenance: Mapping) -> str:
    """manifest.json: what the table was made from and how its numbers are read."""
    trials = [
        {
            "id": trial.id,
            "row": cell.row.label,
            "column": cell.column.label,
            "seed": trial.seed,
            "status": state(summary),
        }
        | ({key: summary.get(key) for key in ("run_id", "data", "provenance")} if summary else {})
        for cell in cells
        for trial, summary in zip(cell.trials, cell.found)
    ]
    content = {
        "table": table.name,
        "protocol": canonical(table.protocol),
        "readings": [canonical(reading) for reading in table.readings],
        "source": dict(provenance),
        "trials": trials,
    }
    return json.dumps(content, indent=1) + "\n"


def curves(cells: list[Cell], reading: Reading) -> bytes:
    """curves.png: score over updates, one line a row, a panel a column; mean over seeds, the band one deviation wide.

    Without bands where there are many lines.
    """
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    columns = list({cell.column.label: cell.column for cell in cells}.values())
    across = min(len(columns), 3)
    down = math.ceil(len(columns) / across)
    lines = len({cell.row.label for cell in cells})
    crowded = lines > 8  # then the legend stands beside the panel, and bands would hide each other
    height = max(3.8, 0.21 * lines + 1) if crowded else 3.8
    figure = Figure(figsize=((7.5 if crowded else 5.5) * across, height * down), dpi=120, layout="constrained")
    styles = cycler(linestyle=["-", "--", ":"]) * cycler(color=matplotlib.color_sequences["tab10"])
    for panel, column in zip(figure.subplots(down, across, squeeze=False).flat, columns):
        shown = [cell for cell in cells if cell.column is column and cell.finished]
        panel.set_prop_cycle(styles)
        for cell in shown:
            steps, scores = learning_curve(cell, reading)
            average = scores.mean(axis=0)
            (line,) = panel.plot(steps, average, marker="o", markersize=3, label=f"{cell.row.label} ({len(scores)})")
            if len(scores) > 1 and not crowded:
                spread = scores.std(axis=0, ddof=1)
                panel.fill_between(steps, average - spread, average + spread, color=line.get_color(), alpha=0.2, lw=0)
        panel.set(title=column.label, xlabel="updates", ylabel="normalised score")
        panel.grid(alpha=0.3)
        if shown:
            beside = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.02)} if crowded else {}
            panel.legend(title="mean of seeds (n)", fontsize="small", **beside)
    for panel in figure.axes[len(columns) :]:
        panel.remove()
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def learning_curve(cell: Cell, reading: Reading) -> tuple[list[int], np.ndarray]:
    """Updates, and scores [seeds, evaluations] at the reading's target, or the mean or maximum over all targets."""
    over_targets = fmean if reading.target == "mean" else max
    scores = []
    for summary in cell.finished:
        curve = summary["curve"]
        names = curve if isinstance(reading.target, str) else [target_label(reading.target)]
        steps = [update for update, _ in curve[next(iter(names))]]
        returns = [[mean for _, mean in curve[name]] for name in names]
        scores.append([cell.column.task.normalised_score(over_targets(at)) for at in zip(*returns)])
    return steps, np.array(scores)


def number(value: float) -> str:
    """For CSV."""
    return "" if math.isnan(value) else f"{value:.4f}"


def csv_text(lines: list[dict]) -> str:
    """Lines as CSV."""
    file = io.StringIO()
    writer = csv.DictWriter(file, lines[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()
