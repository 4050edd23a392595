"""Results made by hand, in the form in which trials write them, and a table of such trials."""

import json
from dataclasses import replace
from pathlib import Path

from dmm.config import Column, Protocol, Row, Table, Trial
from dmm.results.score import summarise
from dmm.schema import (
    DataRecord,
    EvaluationResult,
    LossPoint,
    Provenance,
    Seconds,
    Status,
    TrialResult,
    TrialSummary,
    to_json,
)
from dmm.tasks import find_task
from dmm.trials.storage import load_result

HOPPER, WALKER = find_task("hopper"), find_task("walker2d")
PROTOCOL = Protocol(
    name="by hand", context_length=8, updates=30, warmup=5, learning_rate=1e-3, num_evaluations=3, episodes_per_evaluation=2,
    targets=(1.0, 0.5),
)  # fmt: skip
TABLE = Table(
    name="handmade",
    title="Made by hand",
    rows=(
        Row(label="DT", arch="dt", overrides={"width": 64}, published={"hopper-medium": 68.4}, note="a note of DT"),
        Row(label="DMM", arch="metamamba", overrides={"width": 64}),
    ),
    columns=(Column(task=HOPPER, dataset="dmm/hopper/medium-v0", label="hopper-medium"),),
    seeds=(0, 1),
    protocol=PROTOCOL,
    source="nobody",
    departures=("three evaluations only",),
)
SHA = "5ca1ab1e" * 8


def raw(score: float) -> float:
    """The return in Hopper that has this normalised score; D4RL's constants, written out."""
    return -20.272305 + score / 100 * (3234.3 - -20.272305)


def result(trial: Trial, scores: dict[float, list[float]], status: Status = "finished", **changes) -> TrialResult:
    """A trial's result whose evaluations have these mean scores by target. Two episodes each, 10 apart in return."""
    updates = [10, 20, 30][: max(len(values) for values in scores.values())]
    evaluations = [
        EvaluationResult(
            update=update,
            target=target,
            asked=target * 3600.0,
            returns=[raw(values[i]) - 5, raw(values[i]) + 5],
            lengths=[100, 200],
        )
        for i, update in enumerate(updates)
        for target, values in scores.items()
    ]
    found = TrialResult(
        id=trial.id,
        trial=trial.record(),
        task=trial.task,
        status=status,
        error=None,
        parameters=123587 if trial.arch == "metamamba" else 700000,
        data=DataRecord(ids=list(trial.dataset), sha256=SHA, episodes=446, steps=200450, return_mean=1642.0),
        provenance=Provenance(
            commit="c0ffee",
            versions={"torch": "2.13.0"},
            machine="a machine",
            device="cpu",
            workers="1",
            scan="C++",
        ),
        update=updates[-1],
        loss=[LossPoint(update, 1 / update) for update in updates],
        evaluations=evaluations,
        seconds=Seconds(train=12.0, rollout=4.5),
    )
    return replace(found, **changes)


def write(result: TrialResult, folder: Path) -> None:
    """Writes a result to a folder of trials, as the trial itself would."""
    (folder / result.id).mkdir(parents=True, exist_ok=True)
    (folder / result.id / "result.json").write_text(json.dumps(to_json(result)))


def results() -> list[TrialResult]:
    """The four trials of TABLE, all finished: at x1 DT ends at 10 and 20, DMM at 50 and 60."""
    by_arch = {"dt": 10.0, "metamamba": 50.0}
    return [
        result(trial, {1.0: [5.0, last + 30, last], 0.5: [4.0, 4.5, last / 2]})
        for trial in TABLE.trials()
        for last in [by_arch[trial.arch] + 10 * trial.seed]
    ]


def load_summaries(table: Table) -> dict[str, TrialSummary]:
    """The summaries of a table's trials by id, from their result files."""
    found = (load_result(trial) for trial in table.trials())
    return {result.id: summarise(result) for result in found if result}
