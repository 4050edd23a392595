"""The progress of a trial: its newest numbers, and `run` with a bar."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from dmm.base.progress_bar import ProgressBar
from dmm.config import Trial
from dmm.schema import EvaluationResult, TrialResult
from dmm.trials.run import run
from dmm.trials.storage import returns_path
from dmm.trials.weights import intact_returns, missing_entries, must_train


def last_evaluation(result: TrialResult) -> Sequence[EvaluationResult]:
    """The newest evaluation: an entry for each target. Empty before the first."""
    return [entry for entry in result.evaluations if entry.update == result.evaluations[-1].update]


def newest_numbers(result: TrialResult) -> dict[str, str]:
    """The newest loss, and the newest score at the first target, as far as there are any."""
    numbers = {}
    if result.training.loss:
        numbers["loss"] = f"{result.training.loss[-1].loss:.3g}"
    if newest := last_evaluation(result):
        numbers["score"] = f"{result.task.normalised_score(fmean(newest[0].returns)):.1f}"
    return numbers


def run_with_bar(trial: Trial, name: str = "", **settings: Any) -> TrialResult:
    """`run` with the same settings. A bar shows updates a second, the newest loss, the last score and the time left.

    If nothing is left to train, the bar counts evaluations. If nothing is left at all, there is no bar.
    """
    missing, trains = missing_entries(trial, intact_returns(returns_path(trial))), must_train(trial)
    done, total = len(trial.updates) - len(missing), len(trial.updates)
    if trains:
        bar = ProgressBar(trial.training.updates, "updates", name, evaluations=len(missing))
    else:
        bar = ProgressBar(total, "evaluations", name)
        if missing:
            bar.start(done)

    def on_update(update: int, loss: float | None) -> None:
        if not bar.started:
            bar.start(update)
        else:
            bar.advance(update, {} if loss is None else {"loss": f"{loss:.3g}"}, evaluates=update in missing)

    def on_progress(result: TrialResult) -> None:
        nonlocal done
        before, done = done, total - len(missing_entries(trial, result.returns))
        if done > before and trains:
            bar.evaluated(newest_numbers(result))
        elif done > before:
            bar.advance(done, newest_numbers(result))

    with bar:
        return run(trial, on_update=on_update, on_progress=on_progress, **settings)
