"""The trials of a cell as the page shows them: scores, a learning curve, episode returns, and where they were made."""

import math
from dataclasses import dataclass

from markupsafe import Markup

from dmm.config import Reading, Target, Trial
from dmm.report.content import ReportContent
from dmm.report.inline_svg import Point, sparkline
from dmm.report.sections import NOTHING, decimal
from dmm.results.episodes import Episodes, check_episodes
from dmm.results.score import Cell, failure_reason, status_of
from dmm.schema import TrialSummary


@dataclass(frozen=True)
class TrialView:
    """A trial as its cell shows it."""

    trial: Trial
    status: str
    error: str  # why it failed
    updates: str
    scores: list[str]  # under each reading
    curve: Markup | str  # scores over updates, at the headline's target
    target: str  # of the curve and the returns
    mean: str  # of the returns of the last evaluation
    returns: list[str]  # of its episodes. Empty where they are not at hand
    commit: str
    code: str
    device: str


def trial_views(content: ReportContent, cell: Cell, episodes: Episodes) -> list[TrialView]:
    """The trials of a cell, one for each seed. Their curves have one scale.

    Raises ValueError if the episodes of a finished trial are not those of its summary.
    """
    readings, views, task = content.table.readings, [], cell.column.task
    targets = [headline_target(trial, content.headline) for trial in cell.trials]
    curves: list[list[Point]] = [
        [(point.update, task.normalised_score(point.mean_return)) for point in summary.curve.get(target, [])]
        if summary
        else []
        for summary, target in zip(cell.summaries, targets, strict=True)
    ]
    scores = [score for curve in curves for _, score in curve] or [0.0]
    for trial, summary, target, curve in zip(cell.trials, cell.summaries, targets, curves, strict=True):
        done = summary if summary and summary.status == "finished" else None
        views.append(
            TrialView(
                trial=trial,
                status=status_of(summary),
                error=failure_reason(summary.error) if summary and summary.status == "failed" else "",
                updates=f"{summary.update:,}" if summary else "0",
                scores=[decimal(cell.seed_scores(reading).get(trial.seed, math.nan)) for reading in readings],
                curve=Markup(sparkline(curve, trial.training.updates, min(scores), max(scores))) if curve else NOTHING,
                target=target,
                mean=f"{done.curve[target][-1].mean_return:.1f}" if done else NOTHING,
                returns=last_returns(done, target, episodes) if done else [],
                commit=origin(summary, "commit", 12),
                code=origin(summary, "code", 12),
                device=origin(summary, "device"),
            )
        )
    return views


def headline_target(trial: Trial, headline: Reading) -> str:
    """The target that the headline reads, or the first one where it reads several."""
    return headline.target.label if isinstance(headline.target, Target) else trial.evaluation.targets[0].label


def last_returns(summary: TrialSummary, target: str, episodes: Episodes) -> list[str]:
    """The undiscounted returns of the last evaluation at a target."""
    evaluations = episodes.get(summary.id, [])
    if not evaluations:
        return []
    check_episodes(summary, evaluations)
    last = max((entry for entry in evaluations if entry.target == target), key=lambda entry: entry.update)
    return [f"{value:.1f}" for value in last.returns]


def origin(summary: TrialSummary | None, field: str, length: int | None = None) -> str:
    """A field of a trial's provenance: of its training, and of its rollouts where they differ."""
    if summary is None:
        return NOTHING
    training, rollouts = (
        (getattr(source, field) or "not recorded") for source in (summary.provenance, summary.rollouts)
    )
    texts = [", then ".join(part[:length] for part in text.split(", then ")) for text in (training, rollouts)]
    return texts[0] if training == rollouts else f"{texts[0]}; rollouts {texts[1]}"
