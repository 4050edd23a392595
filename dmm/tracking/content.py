"""What MLflow shows of a trial: its name, params, metrics and tags."""

import json
from collections.abc import Collection, Mapping
from statistics import fmean
from typing import NamedTuple

from dmm.base.checksums import json_sha256
from dmm.config import BEST, LAST, Table
from dmm.results.score import ms_per_action, trial_score, updates_per_second
from dmm.schema import TrialRecord, TrialResult, TrialSummary, from_json, to_json

TAG_LENGTH = 4500  # characters. MLflow cuts a longer tag silently, at 5,000 or 8,000 characters by version


class Point(NamedTuple):
    """A value of a metric."""

    key: str
    value: float
    step: int  # updates done. 0 for a summary metric, which MLflow draws as a bar


def run_name(trial: TrialRecord) -> str:
    """metamamba Hopper-v5 s0 K8 H64"""
    width = f" H{trial.width}" if trial.width else ""
    weights = trial.weights
    return f"{weights.arch} {trial.returns.environment} s{weights.seed} K{trial.context_length}{width}"


def params(trial: TrialRecord) -> dict[str, object]:
    """The params by which runs are filtered and grouped: every field of Training, Evaluation and Config, with defaults."""
    values = {
        **trial.weights.training,
        **trial.returns.evaluation,
        "targets": trial.targets,
        **trial.config,
        "arch": trial.weights.arch,
        "environment": trial.returns.environment,
        "dataset": "+".join(trial.weights.dataset),
        "seed": trial.weights.seed,
    }
    if trial.width:
        values["embed_dim"] = trial.width
    return {key: ",".join(map(str, value)) if isinstance(value, list) else value for key, value in values.items()}


def curve_metrics(result: TrialResult, losses: int, updates: Collection[int]) -> list[Point]:
    """The learning curves, without what was sent before: so many losses, and the evaluations after these updates.

    A resumed trial may evaluate an early update late. So the number of evaluations does not say which ones were sent.
    """
    points = [Point("train/loss", point.loss, point.update) for point in result.training.loss[losses:]]
    for evaluation in (entry for entry in result.evaluations if entry.update not in updates):
        target, mean = evaluation.target, fmean(evaluation.returns)
        points.append(Point(curve("return", target), mean, evaluation.update))
        points.append(Point(curve("score", target), result.task.normalised_score(mean), evaluation.update))
    return points


def curve(kind: str, target: str) -> str:
    """The metric of the returns or scores at a target: eval/score_0.5_of_max."""
    return f"eval/{kind}_{target.replace(' ', '_')}"


def final_metrics(summary: TrialSummary) -> list[Point]:
    """A finished trial's summary metrics. What was not measured has none."""
    found = [
        Point("model/parameters", summary.parameters, 0),
        Point("model/live_parameters", summary.live_parameters, 0),
        Point("time/train_s", summary.seconds.train, 0),
        Point("time/rollout_s", summary.seconds.rollout, 0),
    ]
    costs = {
        "cost/updates_per_s": updates_per_second(summary),
        "cost/ms_per_action": ms_per_action(summary),
        "cost/peak_memory_mib": summary.peak_memory or None,
    }
    found += [Point(name, value, 0) for name, value in costs.items() if value is not None]
    for reading in (LAST, BEST):
        found.append(Point(f"score/{reading.name}", trial_score(summary, reading, summary.task), 0))
    return found


def row_tag(table: str) -> str:
    """The tag of the runs of a table. Its value is the label of the run's row."""
    return f"dmm.row.{table}"


def row_labels(table: Table) -> dict[str, str]:
    """The label of each trial's row, by second id. If rows share a trial, the first one's."""
    labels: dict[str, str] = {}
    for row in table.rows:
        for column in table.columns:
            for trial in table.cell(row, column):
                labels.setdefault(trial.returns_id, row.label)
    return labels


def pack(result: TrialResult, summary: TrialSummary) -> dict[str, str]:
    """The tags that say what was sent: the points of the curves, and the summary as JSON. They have a checksum.

    Anyone can edit tags on MLflow's page. A long summary takes several tags.
    """
    text = json.dumps(to_json(summary), separators=(",", ":"))
    parts = [text[first : first + TAG_LENGTH] for first in range(0, len(text), TAG_LENGTH)]
    updates = dict.fromkeys(entry.update for entry in result.evaluations)
    tags = {"dmm.sent": " ".join(map(str, [len(result.training.loss), *updates])), "dmm.summaries": str(len(parts))}
    tags |= {f"dmm.summary.{i}": part for i, part in enumerate(parts)}
    return tags | {"dmm.sha256": json_sha256(tags)}


def unpack(tags: Mapping[str, str]) -> TrialSummary | None:
    """The summary that `pack` wrote into tags. None if nothing was sent yet. Raises ValueError if a tag was edited or cut."""
    if not any(name in tags for name in ("dmm.sent", "dmm.summaries", "dmm.sha256")):
        return None
    try:
        parts = {name: tags[name] for i in range(int(tags["dmm.summaries"])) if (name := f"dmm.summary.{i}")}
        packed = {name: tags[name] for name in ("dmm.sent", "dmm.summaries")} | parts
        if tags["dmm.sha256"] != json_sha256(packed):
            raise ValueError("its tags dmm.* do not have their checksum")
        summary = from_json(TrialSummary, json.loads("".join(parts.values())))
    except KeyError as error:
        raise ValueError(f"it has no tag {error}") from None
    if summary.id != tags["dmm.returns_id"]:
        raise ValueError(f"its tag dmm.returns_id is not {summary.id}, its trial")
    return summary
