"""Results made by hand, in the form in which trials write them, and a table of such trials."""

import json
from pathlib import Path

from dmm.config import Column, Protocol, Row, Table, Trial
from dmm.results.score import summarise
from dmm.schema import (
    DataRecord,
    EvaluationResult,
    LossPoint,
    Provenance,
    ReturnsResult,
    Status,
    TrainingResult,
    TrialResult,
    TrialSummary,
)
from dmm.tasks import find_task
from dmm.trials.storage import load_result, write_checked

HOPPER, WALKER = find_task("hopper"), find_task("walker2d")
PROTOCOL = Protocol(name="by hand").with_overrides(
    context_length=8, updates=30, warmup=5, learning_rate=1e-3, num_evaluations=3, episodes_per_evaluation=2,
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


def result(
    trial: Trial,
    scores: dict[float, list[float]],
    status: Status = "finished",
    *,
    update: int | None = None,
    error=None,
) -> TrialResult:
    """A trial's result whose evaluations have these mean scores by target. Two episodes each, 10 apart in return."""
    updates = [10, 20, 30][: max(len(values) for values in scores.values())]
    evaluations = [
        EvaluationResult(
            update=at,
            target=f"x{target:g}",
            asked=target * 3600.0,
            returns=[raw(values[i]) - 5, raw(values[i]) + 5],
            lengths=[100, 200],
            weights_sha256=SHA,
        )
        for i, at in enumerate(updates)
        for target, values in scores.items()
    ]
    provenance = Provenance(
        commit="c0ffee", versions={"torch": "2.13.0"}, machine="a machine", device="cpu", workers="1", scan="C++"
    )
    training = TrainingResult(
        weights_id=trial.weights_id,
        weights=trial.weights_record,
        status="finished" if status == "finished" else "running",
        error=None,
        parameters=123587 if trial.arch == "metamamba" else 700000,
        live_parameters=123587 if trial.arch == "metamamba" else 698000,
        data=DataRecord(
            ids=list(trial.dataset), sha256=SHA, episodes=446, steps=200450, return_mean=1642.0, return_max=3200.0
        ),
        provenance=provenance,
        update=(updates[-1] if updates else 0) if update is None else update,
        loss=[LossPoint(at, 1 / at) for at in updates],
        train_seconds=12.0,
    )
    returns = ReturnsResult(
        returns_id=trial.returns_id,
        returns=trial.record().returns,
        task=trial.task,
        status=status,
        error=error,
        provenance=provenance,
        evaluations=evaluations,
        rollout_seconds=4.5,
    )
    return TrialResult(training=training, returns=returns, status=status)


def write(result: TrialResult, folder: Path) -> None:
    """Writes a result to a folder of trials, as the trial itself would."""
    place = folder / result.training.weights_id
    write_checked(place / "training.json", result.training)
    write_checked(place / "evaluations" / f"{result.id}.json", result.returns)


OLD = "0123456789abcdef"


def write_old(folder: Path) -> Path:
    """Writes a result of version 4 to a folder of trials. Its one file was not checksummed. Returns the file."""
    trial = {
        "results_version": 4,
        "arch": "dt",
        "config": {"width": 64},
        "dataset": ["dmm/hopper/medium-v0"],
        "seed": 3,
    }
    path = folder / OLD / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"id": OLD, "trial": trial, "status": "finished", "update": 30, "evaluations": []}))
    return path


def results() -> list[TrialResult]:
    """The four trials of TABLE, all finished: at x1 DT ends at 10 and 20, DMM at 50 and 60."""
    by_arch = {"dt": 10.0, "metamamba": 50.0}
    return [
        result(trial, {1.0: [5.0, last + 30, last], 0.5: [4.0, 4.5, last / 2]})
        for trial in TABLE.trials()
        for last in [by_arch[trial.arch] + 10 * trial.seed]
    ]


def load_summaries(table: Table) -> dict[str, TrialSummary]:
    """The summaries of a table's trials by second id, from their result files."""
    found = (load_result(trial) for trial in table.trials())
    return {result.id: summarise(result) for result in found if result}
