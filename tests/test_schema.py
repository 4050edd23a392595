"""Typed results survive JSON unchanged, and JSON of another form is refused with the place of the error."""

import json

import pytest
from helpers import handmade_results as handmade

from dmm.results.score import summarise
from dmm.schema import TrainingProgress, TrialResult, TrialSummary, from_json, to_json

RESULT = handmade.results()[0]


@pytest.mark.parametrize("value", [RESULT, summarise(RESULT)], ids=["result", "summary"])
def test_a_trip_through_json_changes_nothing(value):
    assert from_json(type(value), json.loads(json.dumps(to_json(value)))) == value


def test_the_file_is_flat_and_has_the_names_that_users_know():
    found = to_json(RESULT)
    assert {"id", "trial", "task", "status", "data", "provenance", "loss", "evaluations", "seconds"} <= set(found)
    assert found["loss"][0] == [10, 0.1] and found["evaluations"][0]["target"] == 1.0
    assert found["trial"]["protocol"]["context_length"] == 8 and "name" not in found["trial"]["protocol"]


def broken(**changes) -> dict:
    return to_json(RESULT) | changes


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], ["TrialResult is []", "an object"]),
        (0, ["TrialResult is 0", "an object"]),
        ({}, ["TrialResult has no"]),
        (broken(update="30"), ["TrialResult.update is '30'", "int"]),
        (broken(update=True), ["TrialResult.update is True", "int"]),
        (broken(parameters=None), ["TrialResult.parameters is None", "int"]),
        (broken(status="done"), ["TrialResult.status is 'done'", "finished"]),
        (broken(stats="running"), ["unknown field 'stats'", "Did you mean 'status'"]),
        (broken(loss=[[10]]), ["TrialResult.loss[0] is [10]", "LossPoint"]),
        (broken(loss=[[10, "x"]]), ["TrialResult.loss[0] is 'x'", "float"]),
        (broken(data={}), ["TrialResult.data has no ids"]),
        (broken(evaluations=[{"update": 1}]), ["TrialResult.evaluations[0] has no target"]),
    ],
    ids=lambda value: None if isinstance(value, list) else "value",
)
def test_another_form_is_refused_with_its_place(value, words):
    with pytest.raises(ValueError) as caught:
        from_json(TrialResult, value)
    for word in words:
        assert word in str(caught.value)


def test_whole_numbers_are_floats_where_floats_are_due():
    progress = from_json(TrainingProgress, {"parameters": 3, "loss": [[1, 2]], "seconds": {"train": 1}})
    assert progress.loss[0].loss == 2.0 and type(progress.loss[0].loss) is float
    assert progress.seconds.train == 1.0 and progress.evaluations == []


def test_a_summary_of_no_evaluation_is_a_summary():
    empty = TrialSummary(**{**vars(summarise(RESULT)), "asked": {}, "curve": {}})
    assert from_json(TrialSummary, to_json(empty)) == empty
