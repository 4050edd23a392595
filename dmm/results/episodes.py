"""The episodes behind a table. Summaries have means only, so these are read only where they are asked for.

They lie in DMM_HOME, in each trial's file of evaluations, in MLflow, in the artifact episodes.json of each finished run, and in
the runs.jsonl.gz of kept reports. The method `episodes` of all `Results` gives a mapping from second id to evaluations.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from statistics import fmean

import numpy as np
from jaxtyping import Float

from dmm.config import Trial
from dmm.results.score import Cell
from dmm.schema import EvaluationResult, TrialSummary
from dmm.trials.storage import load_returns

Episodes = Mapping[str, list[EvaluationResult]]  # by second id


def episodes_here(summaries: Mapping[str, TrialSummary], trials: Iterable[Trial]) -> dict[str, list[EvaluationResult]]:
    """The evaluations of finished trials that lie in this machine's DMM_HOME, by second id. Nothing is downloaded.

    A trial is left out if its file is absent or damaged, or has other episodes than those of its summary.
    """
    found = {}
    for trial in trials:
        summary = summaries.get(trial.returns_id)
        with suppress(ValueError):
            if summary and summary.status == "finished" and (stored := load_returns(trial)):
                check_episodes(summary, stored.evaluations)
                found[summary.id] = stored.evaluations
    return found


def check_episodes(summary: TrialSummary, evaluations: Iterable[EvaluationResult]) -> None:
    """Raises ValueError if the episodes do not have the means of a summary. Then the two are of different runs."""
    means = {(entry.target, entry.update): fmean(entry.returns) for entry in evaluations}
    curve = {(target, point.update): point.mean_return for target, points in summary.curve.items() for point in points}
    if means != curve:
        raise ValueError(f"the episodes of trial {summary.id} do not have the means of its summary")


def arm_scores(cell: Cell, episodes: Episodes) -> Float[np.ndarray, "arms stored"]:
    """The score of each stored episode of every policy of a cell: all checkpoints, targets and seeds of its finished trials.

    A finished trial without episodes is left out. Without any, there are no arms. Raises ValueError if the episodes are not
    those of the summaries.
    """
    arms = []
    for summary in cell.finished:
        if summary.id in episodes:
            check_episodes(summary, episodes[summary.id])
            arms += [[cell.column.task.normalised_score(value) for value in e.returns] for e in episodes[summary.id]]
    return np.array(arms) if arms else np.empty((0, 0))
