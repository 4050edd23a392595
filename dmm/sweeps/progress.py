"""The driver's bookkeeping: reads result files, sends them to MLflow, prints a line when something changes.

Its cost for one trial is the same for any number of trials.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from operator import itemgetter

from dmm.base.errors import explain
from dmm.base.lock import describe, is_held
from dmm.base.paths import home
from dmm.base.text_tables import counted
from dmm.config import Table, Trial
from dmm.results.score import failure_reason
from dmm.schema import TrialResult
from dmm.sweeps.status import SweepStatus
from dmm.tracking.content import row_labels
from dmm.tracking.mlflow_store import Recorder, TrackingError
from dmm.trials.progress import newest_numbers
from dmm.trials.run import fail
from dmm.trials.storage import (
    evaluation_lock,
    load_failures,
    load_result,
    load_status,
    load_training,
    save_failures,
    trial_folder,
)

MLFLOW_RETRY_SECONDS = 20  # after MLflow did not answer, until the next try
END_SECONDS = 15  # that the end of a sweep waits for processes of interrupted trials
LINE_SECONDS = 1  # between two lines, at least


def count_turn(turn: Counter, key: str) -> int:
    """How often a key was counted before."""
    turn[key] += 1
    return turn[key]


class SweepProgress:
    """The status of a sweep, and the results that MLflow has not taken yet."""

    def __init__(self, table: Table, trials: list[Trial], recorder: Recorder, say: Callable[[str], None]) -> None:
        self.table, self.recorder, self.say = table, recorder, say
        self.status = SweepStatus(table, trials)
        self.trials, self.labels = self.status.trials, row_labels(table)
        self.failed: dict[str, str] = {}  # trial -> reason
        self.unsent: dict[str, TrialResult] = {}  # trial -> the result that MLflow has not taken
        self.away_since: float | None = None  # when MLflow last failed
        self.last_line: float | None = None  # when a line was last printed
        self.newest = ""  # loss and score of the trial that reported last

    def __getstate__(self) -> dict[str, object]:
        """Nothing, because Tune writes its callbacks to a file that nobody reads, and `say` may be what cannot be pickled."""
        return {}

    @cached_property
    def names(self) -> dict[str, str]:
        """The names of the table's trials."""
        return self.table.names()

    def name(self, trial_id: str) -> str:
        """The name of a trial: `DT on hopper-medium, seed 0`."""
        return self.names.get(trial_id, trial_id)

    def start(self) -> list[Trial]:
        """Reads the results of earlier sweeps. Returns the trials that are not finished."""
        self.recorder.keep_only(self.table)
        for trial_id in self.trials:
            self.push(trial_id, load_status)  # a killed sweep may have left a run that seems to be running
            if self.status.statuses[trial_id] != "finished":
                self.status.set(trial_id, "pending")
        pending = [trial for trial_id, trial in self.trials.items() if self.status.statuses[trial_id] == "pending"]
        # among trials that share weights, all but the first come last, because they would wait for the first
        turn = Counter()
        return [
            trial
            for _, trial in sorted(
                ((count_turn(turn, trial.weights_id), trial) for trial in pending), key=itemgetter(0)
            )
        ]

    def push(self, trial_id: str, load: Callable[[Trial], TrialResult | None] = load_result) -> None:
        """Reads a trial's files, if there are any, and sends the result to MLflow."""
        try:
            found, training = load(self.trials[trial_id]), load_training(self.trials[trial_id])
        except (OSError, ValueError) as error:  # storage is away, or the file is damaged. The trial itself will fail
            why = explain(error) if isinstance(error, OSError) else error
            return self.say(f"{trial_folder(self.trials[trial_id])}: {why}")
        if found is not None:
            self.record(trial_id, found)
        elif training is not None:
            self.status.record_training(trial_id, training)

    def record(self, trial_id: str, found: TrialResult) -> None:
        """Takes a trial's result, and sends it unless MLflow did not answer a moment ago."""
        self.status.record(trial_id, found)
        if found.status == "failed":
            self.failed[trial_id] = failure_reason(found.error)
        if numbers := newest_numbers(found):
            values = ", ".join(f"{name} {value}" for name, value in numbers.items())
            self.newest = f"; {self.name(trial_id)} at {found.update:,}: {values}"
        self.unsent[trial_id] = found
        if self.away_since is None or time.monotonic() - self.away_since > MLFLOW_RETRY_SECONDS:
            self.send()

    def waits(self, trial_id: str, whom: str) -> None:
        """Takes whom a running trial waits for. "" if it waits no longer."""
        self.status.set(trial_id, "waiting" if whom else "running")
        self.say(f"{self.name(trial_id)} waits: {whom}" if whom else f"{self.name(trial_id)} waits no longer")

    def send(self) -> None:
        """Sends results to MLflow until one fails. A result that fails is kept and sent again later."""
        while self.unsent:
            trial_id, found = next(iter(self.unsent.items()))
            try:
                self.recorder.push(found, {self.table.name: self.labels[trial_id]})
            except TrackingError as error:
                if self.away_since is None:
                    self.say(
                        f"MLflow does not answer ({error}); results are kept in {home() / 'trials'} and sent again"
                    )
                # it goes behind the others, in case MLflow refuses only this one
                self.unsent[trial_id] = self.unsent.pop(trial_id)
                self.away_since = time.monotonic()
                return
            del self.unsent[trial_id]  # not before, because Ctrl-C may interrupt the sending
        if self.away_since is not None:
            self.say("MLflow has all results again")
        self.away_since = None

    def died(self, trial_id: str, error: str) -> None:
        """Records that Tune has given up a trial. The result gets the reason if the trial's process could not write it."""
        self.push(trial_id)
        if self.status.statuses[trial_id] != "failed":
            self.record(trial_id, fail(self.trials[trial_id], error))

    def is_written(self, trial_id: str) -> bool:
        """Whether a trial's own files say that it failed."""
        try:
            found = load_result(self.trials[trial_id])
        except (OSError, ValueError):
            return False
        return found is not None and found.status == "failed"

    def line(self, always: bool = False) -> None:
        """Prints the sweep's status, and the newest loss and score, at most once a second."""
        now = time.monotonic()
        if always or self.last_line is None or now - self.last_line >= LINE_SECONDS:
            self.last_line = now
            self.say(self.status.line() + self.newest)

    def wait_for_ends(self) -> None:
        """Waits until the processes of interrupted trials have ended. Ray ends them, and does not wait until they are gone."""
        until = time.monotonic() + END_SECONDS
        under_way = [trial_id for trial_id, status in self.status.statuses.items() if status == "running"]
        while under_way := [trial_id for trial_id in under_way if is_held(evaluation_lock(self.trials[trial_id]))]:
            if time.monotonic() >= until:
                for trial_id in under_way:
                    self.say(
                        f"{self.name(trial_id)} is still run by {describe(evaluation_lock(self.trials[trial_id]))}"
                    )
                return
            time.sleep(0.1)

    def close(self) -> None:
        """Sends the remaining results, marks interrupted trials as stopped in MLflow, and prints the end of the sweep."""
        with suppress(KeyboardInterrupt):  # a second Ctrl-C ends the wait
            self.wait_for_ends()
        for trial_id, status in self.status.statuses.items():
            if status in ("pending", "running", "waiting"):
                with suppress(OSError, ValueError):
                    # Tune may not have passed on its last result, even if it is finished
                    if found := load_status(self.trials[trial_id]):
                        self.unsent[trial_id] = found
                        if found.status != "failed":  # Tune had tries left
                            self.status.record(trial_id, found)
        self.send()
        self.line(always=True)
        unwritten = {id_: why for id_, why in load_failures(self.table).items() if id_ not in self.trials}
        for trial_id, why in self.failed.items():
            if self.status.statuses[trial_id] == "failed":
                self.say(f"failed: {self.name(trial_id)} ({trial_folder(self.trials[trial_id])}): {why}")
                if not self.is_written(trial_id):
                    unwritten[trial_id] = why
        with suppress(OSError):  # on a full disk. The reasons are said above
            save_failures(self.table, unwritten)
        if self.unsent:
            self.say(f"not in MLflow yet: {counted(len(self.unsent), 'result')}")
