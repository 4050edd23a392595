"""Who stands where in a sweep: reads result files, passes them to MLflow, says a line when something changes.

What it does for one trial costs the same however many there are.
"""

import time
from collections import Counter
from contextlib import suppress

from dmm.base.paths import home
from dmm.config import Table, Trial
from dmm.results.score import reason
from dmm.tracking.mlflow_store import Recorder, TrackingError
from dmm.trials.run import fail
from dmm.trials.storage import folder, load_result, load_status

PAUSE = 20  # seconds that MLflow is left alone after it did not answer
LINE = 1  # seconds between two lines


class Progress:
    """The states of a sweep's trials, and what MLflow has not taken of them yet."""

    def __init__(self, table: Table, trials: list[Trial], recorder: Recorder, say) -> None:
        self.table, self.recorder, self.say = table, recorder, say
        self.trials = {trial.id: trial for trial in trials}
        self.states = dict.fromkeys(self.trials, "pending")
        self.updates = dict.fromkeys(self.trials, 0)
        self.count, self.done = Counter(pending=len(trials)), 0
        self.total = sum(trial.protocol.updates for trial in trials)
        self.failed: dict[str, str] = {}  # trial -> reason
        self.unsent: dict[str, dict] = {}  # trial -> the result that MLflow has not taken
        self.away = self.said = -1e9  # when MLflow last failed, when a line was last said
        self.began, self.before = time.monotonic(), None

    def start(self) -> list[Trial]:
        """Takes up what there is from before; returns the trials that are not finished."""
        for trial_id in self.trials:
            self.push(trial_id)
            if self.states[trial_id] != "finished":
                self.move(trial_id, "pending")
        return [trial for trial in self.trials.values() if self.states[trial.id] == "pending"]

    def move(self, trial_id: str, state: str, update: int | None = None) -> None:
        """Puts a trial into a state."""
        self.count[self.states[trial_id]] -= 1
        self.count[state] += 1
        self.states[trial_id] = state
        if update is not None:
            self.done += update - self.updates[trial_id]
            self.updates[trial_id] = update

    def push(self, trial_id: str) -> None:
        """Takes up a trial's result file, if there is one, and passes it to MLflow."""
        try:
            found = load_result(self.trials[trial_id])
        except (OSError, ValueError) as error:  # of storage that is away, or a damaged file: the trial itself will fail
            return self.say(f"{folder(self.trials[trial_id])}: {error}")
        if found is not None:
            self.take(trial_id, found)

    def take(self, trial_id: str, found: dict) -> None:
        """Takes up a trial's result."""
        self.move(trial_id, found["status"], found["update"])
        if found["status"] == "failed":
            self.failed[trial_id] = reason(found)
        self.unsent[trial_id] = found
        if time.monotonic() - self.away > PAUSE:
            self.send()

    def send(self) -> None:
        """Passes results to MLflow until it fails; what it does not take is kept, and sent again later."""
        while self.unsent:
            trial_id, found = next(iter(self.unsent.items()))
            del self.unsent[trial_id]
            try:
                self.recorder.push(found, [self.table.name])
            except TrackingError as error:
                if self.away < 0:
                    self.say(
                        f"MLflow does not answer ({error}); results are kept in {home() / 'trials'} and sent again"
                    )
                self.unsent[trial_id] = found  # behind the others, in case that it alone is refused
                self.away = time.monotonic()
                return
        if self.away > 0:
            self.say("MLflow has all results again")
        self.away = -1e9

    def died(self, trial_id: str, error: str) -> None:
        """Takes up a trial that Tune has given up; where its process could not say so, its result says it now."""
        self.push(trial_id)
        if self.states[trial_id] != "failed":
            self.take(trial_id, fail(self.trials[trial_id], error))

    def line(self, always: bool = False) -> None:
        """Says: done / running / failed / ETA, from the updates that were made since the sweep began."""
        now = time.monotonic()
        if now - self.said < LINE and not always:
            return
        self.said = now
        if self.before is None:
            self.before = self.done
        rate = (self.done - self.before) / max(now - self.began, 1e-9)
        eta = f"{(self.total - self.done) / rate / 60:.1f} min" if rate else "unknown"
        self.say(
            f"{self.table.name}: {self.count['finished']}/{len(self.trials)} done, {self.count['running']} running, "
            f"{self.count['failed']} failed, {100 * self.done / self.total:.0f} % of updates, ETA {eta}"
        )

    def close(self) -> None:
        """Sends what MLflow has not taken, with the trials that were stopped as such, and says how the sweep ended."""
        for trial_id, state in self.states.items():
            if state in ("pending", "running"):
                with suppress(OSError, ValueError):
                    found = load_status(self.trials[trial_id])
                    if found and found["status"] == "stopped":
                        self.unsent[trial_id] = found
        self.send()
        self.line(always=True)
        for trial_id, why in self.failed.items():
            if self.states[trial_id] == "failed":
                trial = self.trials[trial_id]
                self.say(f"failed: {trial.arch} seed {trial.seed} ({folder(trial)}): {why}")
        if self.unsent:
            self.say(f"{len(self.unsent)} results are not in MLflow yet; `dmm sync {self.table.name}` sends them")
