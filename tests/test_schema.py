"""Typed results survive JSON unchanged, and JSON of another form is refused with the place of the error."""

import json

import pytest
from helpers import handmade_results as handmade

from dmm.results.score import summarise
from dmm.schema import ReturnsResult, TrainingProgress, TrainingResult, TrialRecord, TrialSummary, from_json, to_json

RESULT = handmade.results()[0]


@pytest.mark.parametrize(
    "value",
    [RESULT, RESULT.training, RESULT.returns, RESULT.trial, summarise(RESULT)],
    ids=lambda value: type(value).__name__,
)
def test_a_trip_through_json_changes_nothing(value):
    assert from_json(type(value), json.loads(json.dumps(to_json(value)))) == value


def test_the_files_have_the_names_that_users_know():
    training, returns = to_json(RESULT.training), to_json(RESULT.returns)
    assert {"weights_id", "weights", "status", "data", "provenance", "update", "loss"} <= set(training)
    assert {"returns_id", "returns", "task", "status", "provenance", "evaluations"} <= set(returns)
    assert training["loss"][0] == [10, 0.1] and returns["evaluations"][0]["target"] == "x1"
    assert training["weights"]["training"]["context_length"] == 8
    assert returns["returns"]["weights_id"] == training["weights_id"]
    assert "name" not in {*training["weights"]["training"], *returns["returns"]["evaluation"]}  # of the protocol


def test_a_record_has_every_field_once():
    record = RESULT.trial
    assert (record.context_length, record.width, record.targets) == (8, 64, ["x1", "x0.5"])
    evaluation = record.returns.evaluation
    assert not set(record.weights.training) & set(evaluation)
    assert not set(record.config) & {*record.weights.training, *evaluation}


def training(**changes) -> dict:
    return to_json(RESULT.training) | changes


def returns(**changes) -> dict:
    return to_json(RESULT.returns) | changes


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (TrainingResult, [], ["TrainingResult is []", "an object"]),
        (TrainingResult, 0, ["TrainingResult is 0", "an object"]),
        (TrainingResult, {}, ["TrainingResult has no"]),
        (TrainingResult, training(update="30"), ["TrainingResult.update is '30'", "int"]),
        (TrainingResult, training(update=True), ["TrainingResult.update is True", "int"]),
        (TrainingResult, training(parameters=None), ["TrainingResult.parameters is None", "int"]),
        (TrainingResult, training(status="done"), ["TrainingResult.status is 'done'", "finished"]),
        (TrainingResult, training(stats="running"), ["unknown field 'stats'", "Did you mean 'status'"]),
        (TrainingResult, training(loss=[[10]]), ["TrainingResult.loss[0] is [10]", "LossPoint"]),
        (TrainingResult, training(loss=[[10, "x"]]), ["TrainingResult.loss[0] is 'x'", "float"]),
        (TrainingResult, training(data={}), ["TrainingResult.data has no ids"]),
        (ReturnsResult, returns(evaluations=[{"update": 1}]), ["ReturnsResult.evaluations[0] has no target"]),
        (ReturnsResult, returns(rollout_seconds="1"), ["ReturnsResult.rollout_seconds is '1'", "float"]),
        (TrialRecord, {"weights": 1, "returns": 2}, ["TrialRecord.weights is 1"]),
    ],
)
def test_another_form_is_refused_with_its_place(kind, value, words):
    with pytest.raises(ValueError) as caught:
        from_json(kind, value)
    for word in words:
        assert word in str(caught.value)


def test_whole_numbers_are_floats_where_floats_are_due():
    values = {"parameters": 3, "live_parameters": 2, "loss": [[1, 2]], "train_seconds": 1}
    progress = from_json(TrainingProgress, values)
    assert progress.loss[0].loss == 2.0 and type(progress.loss[0].loss) is float
    assert progress.train_seconds == 1.0 and type(progress.train_seconds) is float and progress.update == 0


def test_a_summary_of_no_evaluation_is_a_summary():
    empty = TrialSummary(**{**vars(summarise(RESULT)), "asked": {}, "curve": {}})
    assert from_json(TrialSummary, to_json(empty)) == empty
