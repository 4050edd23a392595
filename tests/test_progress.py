"""The driver's bookkeeping, with a store that comes and goes: nothing is lost, and trials cost the same however many."""

import json
import os
import pickle
from contextlib import ExitStack
from dataclasses import replace

import pytest
from helpers import handmade_results as handmade

from dmm.base.lock import hold
from dmm.base.paths import home
from dmm.schema import Status
from dmm.sweeps import progress
from dmm.sweeps.progress import MLFLOW_RETRY_SECONDS, SweepProgress
from dmm.tracking.mlflow_store import TrackingError
from dmm.trials.storage import evaluation_lock, returns_path

TRIALS = handmade.TABLE.trials()


class Store:
    """A recorder that may be away, and that never takes some results."""

    def __init__(self) -> None:
        self.away, self.poison, self.tries, self.taken = False, set(), 0, {}

    def keep_only(self, table) -> None:
        """Takes a tag from runs, of which there are none here."""

    def push(self, found, rows) -> None:
        self.tries += 1
        if self.away or found.id in self.poison:
            raise TrackingError("no answer")
        self.taken[found.id] = (found.status, found.update)


@pytest.fixture
def clock(monkeypatch):
    """Time stands still unless it is moved, or somebody sleeps."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def write(trial, status: Status = "finished", **changes) -> None:
    handmade.write(handmade.result(trial, {1.0: [1.0] * 3, 0.5: [1.0] * 3}, status, **changes), home() / "trials")


def start(store: Store, trials=TRIALS, table=handmade.TABLE) -> tuple[SweepProgress, list[str]]:
    said: list[str] = []
    return SweepProgress(table, trials, store, said.append), said  # pyright: ignore[reportArgumentType]


def test_a_store_that_is_away_is_left_alone_and_gets_all_later(clock):
    store = Store()
    found, said = start(store)
    store.away = True
    for trial in TRIALS[:3]:
        write(trial, "running", update=10)
        found.push(trial.returns_id)
    assert store.tries == 1 and len(found.unsent) == 3
    assert [line.startswith("MLflow does not answer (no answer); results are kept in") for line in said] == [True]
    write(TRIALS[0])
    clock[0] += MLFLOW_RETRY_SECONDS + 1
    found.push(TRIALS[0].returns_id)
    assert store.tries == 2 and len(said) == 1
    store.away = False
    clock[0] += MLFLOW_RETRY_SECONDS + 1
    found.push(TRIALS[1].returns_id)
    assert not found.unsent and said[-1] == "MLflow has all results again"
    assert store.taken[TRIALS[0].returns_id][0] == "finished" and len(store.taken) == 3


def test_one_result_that_is_refused_does_not_hold_up_the_others(clock):
    store = Store()
    store.poison = {TRIALS[0].returns_id}
    found, _ = start(store)
    for trial in TRIALS:
        write(trial)
        found.push(trial.returns_id)
        clock[0] += MLFLOW_RETRY_SECONDS + 1
    found.close()
    assert set(found.unsent) == {TRIALS[0].returns_id} and set(store.taken) == {
        trial.returns_id for trial in TRIALS[1:]
    }


def test_the_end_sends_the_rest_and_says_what_stays(clock):
    store = Store()
    found, said = start(store)
    store.away = True
    for trial, status in zip(TRIALS, ("finished", "running", "running", "failed")):
        write(trial, status, error="OSError: disk full" if status == "failed" else None)
        found.push(trial.returns_id)
    with hold(evaluation_lock(TRIALS[2]), "trial"):
        found.close()
        assert said[-1] == "not in MLflow yet: 4 results"
        store.away = False
        found.close()
    assert [store.taken[trial.returns_id][0] for trial in TRIALS[:4]] == ["finished", "stopped", "running", "failed"]
    assert json.loads(returns_path(TRIALS[1]).read_text())["content"]["status"] == "running"
    assert any(line.startswith("failed: ") and line.endswith("OSError: disk full") for line in said)


def under_way(store: Store, *trials) -> SweepProgress:
    """A sweep that is interrupted while these trials run."""
    found, _ = start(store)
    for trial in trials:
        write(trial, "running", update=10)
        found.status.set(trial.returns_id, "running")
        found.push(trial.returns_id)
    return found


def test_a_trial_whose_process_ends_after_the_sweep_is_marked_as_stopped(clock, monkeypatch):
    """Ray is told to end a trial's process, and the sweep closes before it has ended."""
    store = Store()
    found = under_way(store, TRIALS[0])
    process = ExitStack()
    process.enter_context(hold(evaluation_lock(TRIALS[0]), "trial"))
    monkeypatch.setattr(progress.time, "sleep", lambda seconds: process.close())
    found.close()
    assert store.taken[TRIALS[0].returns_id][0] == "stopped" and found.status.count["stopped"] == 1


@pytest.mark.parametrize("status", ["finished", "failed"])
def test_a_trial_that_ends_while_the_sweep_is_interrupted_has_its_end_in_mlflow(clock, status):
    store = Store()
    found = under_way(store, TRIALS[0])
    write(TRIALS[0], status, error="OSError: actor died" if status == "failed" else None)
    found.close()
    assert store.taken[TRIALS[0].returns_id][0] == status and found.status.count["failed"] == 0


def test_a_second_interrupt_ends_the_wait_for_a_process_and_loses_no_result(clock, monkeypatch):
    store = Store()
    found = under_way(store, *TRIALS[:2])

    def interrupted(*_) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store, "push", interrupted)
        write(TRIALS[0])
        found.push(TRIALS[0].returns_id)
    monkeypatch.setattr(progress.time, "sleep", interrupted)
    with hold(evaluation_lock(TRIALS[1]), "trial"):
        found.close()
    assert store.taken[TRIALS[0].returns_id][0] == "finished" and not found.unsent


def test_a_run_that_a_killed_sweep_left_does_not_seem_to_run_when_the_next_sweep_starts(clock):
    """The next sweep may end before it comes to the trial."""
    store = Store()
    found, _ = start(store, TRIALS[:2])
    for trial in TRIALS[:2]:
        write(trial, "running", update=10)
    with hold(evaluation_lock(TRIALS[1]), "another table"):
        assert found.start() == TRIALS[:2]
    assert [store.taken[trial.returns_id] for trial in TRIALS[:2]] == [("stopped", 10), ("running", 10)]


def test_a_process_that_does_not_end_is_named(clock):
    store = Store()
    found = under_way(store, TRIALS[0])
    found.say = (said := []).append
    with hold(evaluation_lock(TRIALS[0]), "trial"):
        found.close()
    assert said[0].startswith("DT on hopper-medium, seed 0 is still run by ") and f"process {os.getpid()}" in said[0]


def test_a_result_that_cannot_be_read_stops_no_sweep(clock):
    found, said = start(Store())
    write(TRIALS[0])
    returns_path(TRIALS[0]).write_text("{")
    found.push(TRIALS[0].returns_id)
    assert (
        f"{returns_path(TRIALS[0])} is damaged" in said[-1] and found.status.statuses[TRIALS[0].returns_id] == "pending"
    )


def test_a_trial_costs_the_same_however_many_there_are(clock, monkeypatch):
    def cost(count: int) -> int:
        """How many times a function of dmm is called between a trial's start and its end, the last of `count`."""
        table = replace(handmade.TABLE, rows=handmade.TABLE.rows[:1], seeds=tuple(range(count)))
        trials = table.trials()
        found, _ = start(Store(), trials, table)
        for trial in trials[:-1]:
            write(trial)
            found.push(trial.returns_id)
        write(trials[-1])
        calls = 0

        def tally(frame, event, argument):
            nonlocal calls
            calls += "/dmm/" in frame.f_code.co_filename

        import sys

        sys.setprofile(tally)
        try:
            found.status.set(trials[-1].returns_id, "running")
            found.line()
            found.push(trials[-1].returns_id)
            found.line(always=True)
        finally:
            sys.setprofile(None)
        return calls

    assert cost(5) == cost(40) > 0


def test_weights_of_another_table_count_as_trained(clock):
    found, said = start(Store(), TRIALS[:1])
    other = handmade.result(
        replace(TRIALS[0], evaluation=replace(TRIALS[0].evaluation, rollout_batch_size=7)), {1.0: [1.0] * 3}
    )
    handmade.write(other, home() / "trials")
    assert found.start() == TRIALS[:1]
    found.line()
    assert "1 pending; 100 % of updates" in said[-1]


def test_a_line_has_totals_and_time_left(clock):
    found, said = start(Store(), TRIALS[:2])
    found.line(always=True)
    updates = TRIALS[0].training.updates
    write(TRIALS[0], update=updates)
    clock[0] += 60
    found.push(TRIALS[0].returns_id)
    found.line(always=True)
    none = "handmade: 0/2 done, 0 running, 0 failed, 0 stopped, 2 pending; 0 % of updates, time left unknown, 1 at once"
    assert said[0] == none
    # the other trial has as many updates as the finished one, which took 16.5 seconds
    half = "handmade: 1/2 done, 0 running, 0 failed, 0 stopped, 1 pending; 50 % of updates, 16 s left, 1 at once; "
    half += "DT on hopper-medium, seed 0 at 30: loss 0.0333, score 1.0"
    assert said[1] == half


def test_tune_can_write_its_callbacks_whatever_they_say_with():
    """Ray replaces `print` once it draws bars, and the old one can no longer be pickled."""
    bookkeeping = SweepProgress(handmade.TABLE, TRIALS, Store(), lambda line: None)
    assert not vars(pickle.loads(pickle.dumps(bookkeeping)))
