"""scores.csv: one line a trial, evaluation and target, the same rows as those of load_results."""

import csv
import io
from dataclasses import replace

import pandas as pd
import pytest
from helpers import handmade_results as handmade

import dmm
from dmm.base.paths import home
from dmm.config import Row, Table, grid
from dmm.results.evaluations import evaluation_rows, scores_csv
from dmm.results.score import summarise


def summaries(table: Table = handmade.TABLE):
    scores = {1.0: [5.0, 40.0, 30.0], 0.5: [4.0, 4.5, 15.0]}
    return {result.id: summarise(result) for result in (handmade.result(trial, scores) for trial in table.trials())}


def read(text: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO(text)))


def test_scores_csv_is_load_results_without_the_spread():
    for result in handmade.results():
        handmade.write(result, home() / "trials")
    loaded = dmm.load_results(handmade.TABLE)
    text = scores_csv(handmade.TABLE, {result.id: summarise(result) for result in handmade.results()})
    again = pd.read_csv(io.StringIO(text))
    assert loaded.drop(columns="std_return").equals(again.astype(loaded.drop(columns="std_return").dtypes))


def test_a_line_has_what_a_notebook_needs():
    lines = read(scores_csv(handmade.TABLE, summaries()))
    assert len(lines) == 2 * 2 * 3 * 2
    first = lines[0]
    assert list(first) == [
        "row", "column", "arch", "seed", "update", "target", "asked", "mean_return", "score", "episodes",
        "parameters", "live_parameters", "status", "weights_id", "returns_id", "data_sha256",
    ]  # fmt: skip
    assert (first["row"], first["column"], first["seed"], first["update"]) == ("DT", "hopper-medium", "0", "10")
    assert (first["target"], first["asked"], first["status"]) == ("x1", "3600.0", "finished")
    assert float(first["score"]) == pytest.approx(5.0, abs=1e-9)
    assert float(first["mean_return"]) == next(iter(summaries().values())).curve["x1"][0].mean_return  # not rounded
    places = [(line["row"], line["seed"], line["update"], line["target"]) for line in lines[:7]]
    assert places[:3] == [("DT", "0", "10", "x1"), ("DT", "0", "10", "x0.5"), ("DT", "0", "20", "x1")]
    assert places[6] == ("DT", "1", "10", "x1")


def test_lines_have_the_point_of_a_grid():
    table = replace(handmade.TABLE, rows=grid(Row(label="DT", arch="dt"), context_length=(4,), width=(16, 32)))
    lines = read(scores_csv(table, summaries(table)))
    assert {(line["row"], line["context_length"], line["width"]) for line in lines} == {
        ("DT, context_length 4, width 16", "4", "16"),
        ("DT, context_length 4, width 32", "4", "32"),
    }


def test_scores_csv_follows_the_results_only():
    found = summaries()
    elsewhere = {
        id_: replace(summary, run_id="r", provenance=replace(summary.provenance, commit="other", machine="elsewhere"))
        for id_, summary in reversed(found.items())
    }
    assert scores_csv(handmade.TABLE, found) == scores_csv(handmade.TABLE, elsewhere)


def test_trials_that_rows_share_stand_under_both_rows():
    table = replace(handmade.TABLE, rows=(Row(label="one", arch="dt"), Row(label="other", arch="dt")))
    lines = evaluation_rows(table, summaries(table))
    assert len(lines) == 2 * 2 * 3 * 2 and len({line["returns_id"] for line in lines}) == 2


def test_trials_without_evaluations_have_no_line():
    found = dict(list(summaries().items())[:1])
    assert len(evaluation_rows(handmade.TABLE, found)) == 3 * 2
    with pytest.raises(ValueError, match="table handmade has no evaluation yet"):
        scores_csv(handmade.TABLE, {})


def test_a_label_never_starts_a_formula():
    table = replace(handmade.TABLE, rows=(Row(label="=1+1", arch="dt"),))
    assert {line["row"] for line in read(scores_csv(table, summaries(table)))} == {"'=1+1"}
