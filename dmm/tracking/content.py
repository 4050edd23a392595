"""What MLflow shows of a trial: its name, params, metrics and tags."""

import json
from collections.abc import Collection, Mapping
from statistics import fmean
from typing import NamedTuple

from dmm.config import BEST, LAST
from dmm.results.score import trial_score
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

    A resumed trial may evaluate an early update late. So a number of evaluations would not say which were sent.
    """
    points = [Point("train/loss", point.loss, point.update) for point in result.training.loss[losses:]]
    for evaluation in (entry for entry in result.evaluations if entry.update not in updates):
        label, mean = evaluation.target.replace(" ", "_"), fmean(evaluation.returns)
        points.append(Point(f"eval/return_{label}", mean, evaluation.update))
        points.append(Point(f"eval/score_{label}", result.task.normalised_score(mean), evaluation.update))
    return points


def final_metrics(summary: TrialSummary) -> list[Point]:
    """A finished trial's summary metrics."""
    found = [
        Point("model/parameters", summary.parameters, 0),
        Point("model/live_parameters", summary.live_parameters, 0),
        Point("time/train_s", summary.seconds.train, 0),
        Point("time/rollout_s", summary.seconds.rollout, 0),
    ]
    for reading in (LAST, BEST):
        found.append(Point(f"score/{reading.name}", trial_score(summary, reading, summary.task), 0))
    return found


def pack(summary: TrialSummary) -> dict[str, str]:
    """A summary as JSON in tags: one tag, or several if it is long."""
    text = json.dumps(to_json(summary), separators=(",", ":"))
    parts = [text[first : first + TAG_LENGTH] for first in range(0, len(text), TAG_LENGTH)]
    return {"dmm.summaries": str(len(parts))} | {f"dmm.summary.{i}": part for i, part in enumerate(parts)}


def unpack(tags: Mapping[str, str]) -> TrialSummary:
    """The summary that `pack` wrote into tags."""
    count = int(tags["dmm.summaries"])
    return from_json(TrialSummary, json.loads("".join(tags[f"dmm.summary.{i}"] for i in range(count))))
