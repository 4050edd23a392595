"""The status of a sweep: the numbers of finished, running and failed trials, and the time that the rest takes.

It is updated trial by trial. An update costs the same for any number of trials.
"""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from dmm.base.errors import explain
from dmm.base.lock import describe, is_held
from dmm.base.paths import home
from dmm.base.progress_bar import spell_duration
from dmm.base.secrets import masked_uri
from dmm.config import Table, Trial
from dmm.results.score import failure_reason
from dmm.schema import TrainingResult, TrialResult, TrialSummary
from dmm.trials.run import awaited
from dmm.trials.storage import evaluation_lock, load_failures, load_status, load_training, table_lock

STATUSES = ("finished", "running", "waiting", "failed", "stopped", "pending")


@dataclass
class Pace:
    """Work of all trials of one kind: updates, then evaluations."""

    done: list[int] = field(default_factory=lambda: [0, 0])
    seconds: list[float] = field(default_factory=lambda: [0.0, 0.0])  # that the work took
    left: list[int] = field(default_factory=lambda: [0, 0])  # of trials that are neither finished nor failed

    def seconds_left(self, mean: list[float]) -> float:
        """Seconds of the work that is left. If none of some work is done, its time is the mean over all kinds."""
        paces = [
            spent / done if done else other for spent, done, other in zip(self.seconds, self.done, mean, strict=True)
        ]
        return sum(pace * left for pace, left in zip(paces, self.left, strict=True))


@dataclass(frozen=True)
class Work:
    """What a trial has done: updates, then evaluations (of one update at one target), and their seconds."""

    done: tuple[int, int] = (0, 0)
    seconds: tuple[float, float] = (0.0, 0.0)

    @staticmethod
    def of(found: TrialResult | TrialSummary) -> "Work":
        """The work that a result holds."""
        curves = found.curve.values() if isinstance(found, TrialSummary) else [found.evaluations]
        return Work((found.update, sum(map(len, curves))), (found.seconds.train, found.seconds.rollout))


class SweepStatus:
    """The statuses of a table's trials by their second id."""

    def __init__(self, table: Table, trials: list[Trial] | None = None) -> None:
        self.table = table
        self.trials = {trial.returns_id: trial for trial in (table.trials() if trials is None else trials)}
        self.statuses = dict.fromkeys(self.trials, "pending")
        self.work = dict.fromkeys(self.trials, Work())
        self.totals = {
            trial_id: (trial.training.updates, len(trial.updates) * len(trial.evaluation.targets))
            for trial_id, trial in self.trials.items()
        }
        self.count = Counter(pending=len(self.trials))
        self.stages = Counter()  # trained, partly evaluated, evaluated
        self.updates_done, self.updates_total = 0, 0
        kinds: dict[tuple, Pace] = {}
        self.paces: dict[str, Pace] = {}
        for trial_id, trial in self.trials.items():
            self.paces[trial_id] = kinds.setdefault(trial.kind, Pace())
            self._count(trial_id, 1)
            self.updates_total += trial.training.updates
        self.kinds = list(kinds.values())

    def record(self, trial_id: str, found: TrialResult | TrialSummary) -> None:
        """Takes a trial's status and work from its result."""
        self.set(trial_id, found.status, Work.of(found))

    def record_training(self, trial_id: str, training: TrainingResult) -> None:
        """Takes the work of a trial that another table has trained, and whose own evaluation has not begun."""
        self.set(trial_id, "pending", Work((training.update, 0), (training.train_seconds, 0.0)))

    def set(self, trial_id: str, status: str, work: Work | None = None) -> None:
        """Sets a trial's status and, if given, its work."""
        self._count(trial_id, -1)
        self.count[self.statuses[trial_id]] -= 1
        self.count[status] += 1
        self.statuses[trial_id] = status
        if work is not None:
            self.updates_done += work.done[0] - self.work[trial_id].done[0]
            self.work[trial_id] = work
        self._count(trial_id, 1)

    def _count(self, trial_id: str, sign: int) -> None:
        """Adds a trial to the counts, or takes it out."""
        pace, work, totals = self.paces[trial_id], self.work[trial_id], self.totals[trial_id]
        is_over = self.statuses[trial_id] in ("finished", "failed")
        for i in range(2):
            pace.done[i] += sign * work.done[i]
            pace.seconds[i] += sign * work.seconds[i]
            pace.left[i] += 0 if is_over else sign * (totals[i] - work.done[i])
        self.stages["trained"] += sign * (work.done[0] == totals[0])
        self.stages["partly evaluated"] += sign * (0 < work.done[1] < totals[1])
        self.stages["evaluated"] += sign * (work.done[1] == totals[1])

    def seconds_left(self) -> float | None:
        """Wall seconds until the end, with as many trials at once as run now. None before the first update.

        Each kind of trial has its own pace.
        """
        done, seconds = (
            [sum(getattr(kind, name)[i] for kind in self.kinds) for i in range(2)] for name in ("done", "seconds")
        )
        if not done[0]:
            return None
        mean = [spent / max(count, 1) for spent, count in zip(seconds, done, strict=True)]
        return sum(kind.seconds_left(mean) for kind in self.kinds) / max(self.count["running"], 1)

    def line(self) -> str:
        """quickstart: 1/4 done, 2 running, 0 failed, 0 stopped, 1 pending; 50 % of updates, 2.8 min left, 2 at once"""
        count, left = self.count, self.seconds_left()
        name = f"{self.table.name} ({self.table.part})" if self.table.part else self.table.name
        done = f"{count['finished']}/{len(self.trials)} done"
        shown = (status for status in STATUSES[1:] if status != "waiting" or count[status])
        others = ", ".join(f"{count[status]} {status}" for status in shown)
        time_left = "time left unknown" if left is None else f"{spell_duration(left)} left"
        return (
            f"{name}: {done}, {others}; {100 * self.updates_done / self.updates_total:.0f} % of updates, "
            f"{time_left}, {max(count['running'], 1)} at once"
        )

    def stage_line(self) -> str:
        """3 trained, 1 partly evaluated, 2 evaluated"""
        return ", ".join(f"{self.stages[stage]} {stage}" for stage in ("trained", "partly evaluated", "evaluated"))


def status_lines(table: Table, uri: str | None = None, again: str = "") -> list[str]:
    """The status of a table's trials in words, from the files in DMM_HOME or, with a URI, from a tracking store.

    `again` is the command that continues the sweep.
    """
    status, problems = SweepStatus(table), dict[str, str]()  # trial -> why it failed
    unwritten: dict[str, str] = {}  # trial -> why it failed, where its own files do not say it
    free = False  # whether it is known that no process sweeps the table
    found: Mapping[str, TrialResult | TrialSummary]
    if uri:
        from dmm.tracking.mlflow_store import Recorder

        found = Recorder(uri, must_write=False).summaries(table)
        where = f"as recorded in {masked_uri(uri)}"
    else:
        found = {}
        for trial_id, trial in status.trials.items():
            try:
                if result := load_status(trial):
                    found[trial_id] = result
                elif training := load_training(trial):
                    status.record_training(trial_id, training)
            except (OSError, ValueError) as error:  # this user may not read a file, or it is damaged
                with suppress(OSError, ValueError):
                    if training := load_training(trial):
                        status.record_training(trial_id, training)
                status.set(trial_id, "failed")
                problems[trial_id] = explain(error) if isinstance(error, OSError) else str(error)
        lock, unwritten = table_lock(table), load_failures(table)
        free = not is_held(lock)
        where = f"{'no sweep of it is running' if free else f'swept by {describe(lock)}'}, in {home()}"
    for trial_id, result in found.items():
        status.record(trial_id, result)
        if result.status == "failed":
            problems[trial_id] = result.error or ""
    for trial_id, reason in unwritten.items():
        if status.statuses.get(trial_id) in ("pending", "stopped"):
            status.set(trial_id, "failed")
            problems[trial_id] = reason
    if free and again and status.count["finished"] < len(status.trials):
        where += f"; this continues it: {again}"
    runs_in = {} if uri else holders(status)
    names, lines = table.names(), [status.line(), status.stage_line()]
    for wanted in ("running", "waiting", "stopped", "failed"):
        for trial_id, now in status.statuses.items():
            if now == wanted:
                update = f"update {status.work[trial_id].done[0]:,}{runs_in.get(trial_id, '')}"
                why = failure_reason(problems[trial_id]) if now == "failed" else update
                lines.append(f"{now}: {names[trial_id]} ({trial_id}): {why}")
    return [*lines, where]


def holders(status: SweepStatus) -> dict[str, str]:
    """The processes that run trials, and those that trials wait for. Sets the status of trials that wait."""
    found = {}
    for trial_id, trial in status.trials.items():
        now = status.statuses[trial_id]
        if now in ("running", "pending") and (whom := awaited(trial)):
            status.set(trial_id, "waiting")
            found[trial_id] = f"; {whom}"
        elif now == "running":
            found[trial_id] = f", run by {describe(evaluation_lock(trial))}"
    return found
