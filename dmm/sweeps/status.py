"""The status of a sweep: how many trials are finished, running, failed, and how long the rest takes.

It is updated trial by trial. An update costs the same for any number of trials.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from dmm.base.lock import describe, is_held
from dmm.base.paths import home
from dmm.config import Table, Trial
from dmm.results.score import failure_reason
from dmm.schema import TrialResult, TrialSummary
from dmm.trials.storage import load_status, table_lock

STATUSES = ("finished", "running", "failed", "stopped", "pending")


@dataclass
class Pace:
    """Work of all trials of one kind."""

    updates: int = 0  # done
    seconds: float = 0.0  # that these updates took
    left: int = 0  # updates of trials that are neither finished nor failed


class SweepStatus:
    """The statuses of a table's trials by id."""

    def __init__(self, table: Table, trials: list[Trial] | None = None) -> None:
        self.table = table
        self.trials = {trial.id: trial for trial in (table.trials() if trials is None else trials)}
        self.statuses = dict.fromkeys(self.trials, "pending")
        self.updates = dict.fromkeys(self.trials, 0)  # done
        self.seconds = dict.fromkeys(self.trials, 0.0)
        self.count = Counter(pending=len(self.trials))
        self.updates_done, self.updates_total = 0, 0
        kinds: dict[tuple, Pace] = {}
        self.paces: dict[str, Pace] = {}
        for trial_id, trial in self.trials.items():
            self.paces[trial_id] = pace = kinds.setdefault(trial.kind, Pace())
            pace.left += trial.protocol.updates
            self.updates_total += trial.protocol.updates
        self.kinds = list(kinds.values())

    def record(self, trial_id: str, found: TrialResult | TrialSummary) -> None:
        """Takes a trial's status, updates and seconds from its result."""
        self.set(trial_id, found.status, found.update, found.seconds.total)

    def set(self, trial_id: str, status: str, update: int | None = None, seconds: float | None = None) -> None:
        """Sets a trial's status and, if given, its number of updates and the seconds that they took."""
        pace = self.paces[trial_id]
        pace.left -= self._updates_left(trial_id)
        self.count[self.statuses[trial_id]] -= 1
        self.count[status] += 1
        self.statuses[trial_id] = status
        if update is not None:
            pace.updates += update - self.updates[trial_id]
            self.updates_done += update - self.updates[trial_id]
            self.updates[trial_id] = update
        if seconds is not None:
            pace.seconds += seconds - self.seconds[trial_id]
            self.seconds[trial_id] = seconds
        pace.left += self._updates_left(trial_id)

    def _updates_left(self, trial_id: str) -> int:
        """Updates that a sweep still has to make in a trial."""
        if self.statuses[trial_id] in ("finished", "failed"):
            return 0
        return self.trials[trial_id].protocol.updates - self.updates[trial_id]

    def seconds_left(self) -> float | None:
        """Wall seconds until the end, with as many trials at once as run now. None before the first update.

        Each kind of trial has its own pace. A kind that has no update yet takes the mean pace.
        """
        updates, seconds = sum(kind.updates for kind in self.kinds), sum(kind.seconds for kind in self.kinds)
        if not updates:
            return None
        work = sum(
            kind.left * (kind.seconds / kind.updates if kind.updates else seconds / updates) for kind in self.kinds
        )
        return work / max(self.count["running"], 1)

    def line(self) -> str:
        """quickstart: 1/4 done, 2 running, 0 failed, 0 stopped, 1 pending; 50 % of updates, 2.8 min left, 2 at once"""
        count, left = self.count, self.seconds_left()
        done = f"{count['finished']}/{len(self.trials)} done"
        others = ", ".join(f"{count[status]} {status}" for status in STATUSES[1:])
        time_left = "time left unknown" if left is None else f"{left / 60:.1f} min left"
        return (
            f"{self.table.name}: {done}, {others}; {100 * self.updates_done / self.updates_total:.0f} % of updates, "
            f"{time_left}, {max(count['running'], 1)} at once"
        )


def status_lines(table: Table, uri: str | None = None) -> list[str]:
    """The status of a table's trials in words, from the files in DMM_HOME or, with a URI, from a tracking store."""
    status, problems = SweepStatus(table), dict[str, str]()  # trial -> why it failed
    found: Mapping[str, TrialResult | TrialSummary]
    if uri:
        from dmm.tracking.mlflow_store import Recorder

        found = Recorder(uri).summaries(table)
        where = f"as recorded in {uri}"
    else:
        found = {}
        for trial_id, trial in status.trials.items():
            try:
                if result := load_status(trial):
                    found[trial_id] = result
            except ValueError as error:  # a damaged file
                status.set(trial_id, "failed")
                problems[trial_id] = str(error)
        lock = table_lock(table)
        held = f"swept by {describe(lock)}"
        free = f"no sweep of it is running; `dmm sweep {table.name}` continues"
        where = f"{held if is_held(lock) else free}, in {home()}"
    for trial_id, result in found.items():
        status.record(trial_id, result)
        if result.status == "failed":
            problems[trial_id] = result.error or ""
    names, lines = table.names(), [status.line()]
    for wanted in ("running", "stopped", "failed"):
        for trial_id, now in status.statuses.items():
            if now == wanted:
                why = failure_reason(problems[trial_id]) if now == "failed" else f"update {status.updates[trial_id]:,}"
                lines.append(f"{now}: {names[trial_id]} ({trial_id}): {why}")
    return [*lines, where]
