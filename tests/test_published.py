"""The tables of the papers: their numbers are those that the papers print, and tables share trials."""

import json
from dataclasses import replace
from itertools import chain
from pathlib import Path
from statistics import fmean

import pytest
import torch

from dmm.config import Row, Table, Trial
from dmm.data import fetchable_ids
from dmm.results.parameters import parameter_counts
from dmm.tables import find_table, tables

PRINTED = json.loads((Path(__file__).parent / "published.json").read_text())["tables"]
NAMES = sorted(tables())
PAPERS = sorted(set(NAMES) - {"quickstart", "five_seeds", "pointmaze", "precision", "zoo"})


class Tables(dict):
    """The tables that ship with dmm. Each is read when it is first asked for."""

    def __missing__(self, name: str) -> Table:
        self[name] = find_table(name)
        return self[name]


TABLES = Tables()


def by_column(name: str, kind: str) -> dict[str, dict[str, float]]:
    """The printed numbers of a kind: row -> column -> number."""
    columns = PRINTED[name]["columns"]
    found = PRINTED[name].get(kind, {})
    return {row: dict(zip(columns, numbers, strict=True)) for row, numbers in found.items()}


def in_table(numbers: dict[str, float], table: Table) -> dict[str, float]:
    """Those of the columns that the table has."""
    labels = {column.label for column in table.columns}
    return {label: number for label, number in numbers.items() if label in labels}


def trial(table: str, row: str, column: str, seed: int = 0) -> Trial:
    found = TABLES[table]
    rows = {entry.label: entry for entry in found.rows}
    columns = {entry.label: entry for entry in found.columns}
    return found.trial(rows[row], columns[column], seed)


def test_every_table_with_printed_numbers_is_held_against_them():
    assert {name for name in NAMES if any(row.published for row in TABLES[name].rows)} == set(PRINTED)


@pytest.mark.parametrize("name", sorted(PRINTED))
@pytest.mark.parametrize("kind", ["scores", "std", "parameters"])
def test_every_printed_number_stands_in_its_cell_and_no_other_does(name, kind):
    field = {"scores": "published", "std": "published_std", "parameters": "published_parameters"}[kind]
    table, printed = TABLES[name], by_column(name, kind)
    if name == "dmm_v1_table5" and kind == "scores":  # its scores are those of Tables 1 and 2
        single, double = by_column("dmm_v1_table1", "scores"), by_column("dmm_v1_table2", "scores")
        printed = {row: (single if row in single else double)[row] for row in by_column(name, "parameters")}
    expected = {row: in_table(numbers, table) for row, numbers in printed.items()}
    assert {row.label: getattr(row, field) for row in table.rows if getattr(row, field)} == expected


@pytest.mark.parametrize("name", sorted(PRINTED))
def test_no_printed_column_is_left_out(name):
    assert [column.label for column in TABLES[name].columns] == PRINTED[name]["columns"]


def test_printed_means_are_those_of_the_printed_scores():
    scores = by_column("dmm_v1_table1", "scores")
    for family, means in PRINTED["dmm_v1_table1"]["means"].items():
        for row, mean in means.items():
            of_row = [v for label, v in scores[row].items() if label.startswith("antmaze") == (family == "antmaze")]
            assert fmean(of_row) == pytest.approx(mean, abs=0.0501), (family, row)


def test_printed_ratios_are_parameters_per_score_but_for_the_two_that_are_swapped():
    wrong = set()
    for row, ratios in by_column("dmm_v1_table5", "parameters_per_score").items():
        entry = next(found for found in TABLES["dmm_v1_table5"].rows if found.label == row)
        for column, ratio in ratios.items():
            if entry.published_parameters[column] / entry.published[column] != pytest.approx(ratio, abs=0.0501):
                wrong.add((row, column))
    assert wrong == {("DMM-DC", "antmaze-umaze"), ("DMM-DL", "antmaze-umaze")}


def test_17_of_18_parameter_counts_are_the_printed_ones():
    counts = {cell: count.counted for cell, count in parameter_counts(TABLES["dmm_v1_table5"]).items()}
    printed = by_column("dmm_v1_table5", "parameters")
    assert len(counts) == 18
    misprint = {cell: count for cell, count in counts.items() if count != printed[cell[0]][cell[1]]}
    assert misprint == {("DT", "antmaze-umaze"): 733_606}
    note = TABLES["dmm_v1_table5"].rows[0].note
    assert "733,606" in note and "misprint" in note


def test_parameters_of_a_table_leave_out_cited_rows_and_keep_the_random_state():
    before = torch.random.get_rng_state()
    counts = parameter_counts(TABLES["dmamba_table1"].select(columns=["hopper-medium", "walker2d-medium"]))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert {row for row, _ in counts} == {"DT", "DC", "DMamba"}
    assert counts["DMamba", "hopper-medium"].counted == 3_155_459  # width 256
    assert counts["DMamba", "walker2d-medium"].counted == 878_854  # width 128
    assert counts["DT", "hopper-medium"].counted == 2_631_939  # the copy of the DC repository


@pytest.mark.parametrize("name", sorted(PRINTED))
def test_every_published_row_names_its_reading_or_says_why_it_cannot_be_compared(name):
    for row in TABLES[name].rows:
        if row.published:
            assert bool(row.published_reading) != bool(row.not_comparable), row.label
    assert "arXiv" in TABLES[name].source


def test_a_published_reading_is_one_of_the_tables():
    table = TABLES["dmm_v1_table7"]
    wrong = replace(table.rows[0], published_reading="max over everythin")
    with pytest.raises(ValueError, match="unknown reading in row 'DMM-DL 128' .*Did you mean 'max over everything'"):
        replace(table, rows=(wrong,))


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"published_std": {"b": 1.0}}, "published_std and no published score on b"),
        ({"published_reading": "last", "not_comparable": "quoted"}, "one of them"),
    ],
)
def test_published_fields_that_contradict_each_other_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        Row(label="DT", arch="dt", published={"a": 1.0}, **fields)


# shared trials


@pytest.mark.parametrize(
    "cells",
    [
        [
            ("dmm_v1_table1", "DT"),
            ("dmm_v1_table4", "Self-Attention"),
            ("dmm_v1_table5", "DT"),
            ("dmm_v2_context", "DT, context_length 20"),
            ("embed_dim", "DT, width 128"),
            ("context_x_width", "DT, context_length 20, width 128"),
            ("as_published", "DT"),
            ("readings", "DT"),
            ("seeds", "DT"),
        ],
        [
            ("dmm_v2_context", "DMM v2, context_length 8"),
            ("dmm_v2_mixers", "DMM v2, mixer dense, mixer_sharing per-layer, ssm mamba1"),
            ("embed_dim", "DMM v2, width 64"),
            ("context_x_width", "DMM v2, context_length 8, width 64"),
            ("as_published", "DMM v2"),
            ("readings", "DMM v2"),
            ("seeds", "DMM v2"),
        ],
        [("embed_dim", "DMM v2, width 128"), ("context_x_width", "DMM v2, context_length 8, width 128")],
        [("dmm_v1_table2", "DT"), ("embed_dim", "DT, width 64")],
        [
            ("dmm_v1_table1", "DC"),
            ("dmm_v1_table5", "DC"),
            ("dmm_v2_context", "DC, context_length 8"),
            ("readings", "DC"),
        ],
        [("dmm_v1_table1", "DC"), ("dmamba_table1", "DC")],
        [("dmm_v1_table1", "DM"), ("dmm_v2_context", "DMamba, context_length 20"), ("as_published", "DMamba")],
        [("dmm_v1_table1", "DMM-C"), ("dmm_v1_table5", "DMM-C"), ("as_published", "DMM-C")],
        [("dmm_v1_table2", "DMM-DL"), ("dmm_v1_table7", "DMM-DL 64"), ("embed_dim", "DMM-DL, width 64")],
        [("dmamba_table1", "DMamba"), ("dmamba_table3", "DMamba")],
    ],
    ids=lambda cells: f"{cells[0][1]}-{cells[-1][0]}",
)
def test_tables_that_mean_the_same_trial_share_it(cells):
    assert len({trial(table, row, "hopper-medium", seed=1).returns_id for table, row in cells}) == 1


def test_tables_that_differ_in_targets_only_share_weights():
    one, other = trial("dmm_v1_table1", "DM", "hopper-medium"), trial("dmamba_table1", "DMamba", "hopper-medium")
    assert one.weights_id == other.weights_id and one.returns_id != other.returns_id
    sampled, fed_back = (trial("as_published", row, "hopper-medium") for row in ("EDT", "EDT, expectile"))
    assert sampled.weights_id == fed_back.weights_id and sampled.returns_id != fed_back.returns_id


def test_budget_and_source_keep_trials_shared():
    tables = [TABLES[name].at("short").on("dmm") for name in ("embed_dim", "dmm_v2_context", "seeds", "readings")]
    shared = set.intersection(*({trial.returns_id for trial in table.trials()} for table in tables[2:]))
    assert len(shared) == 4  # DMM v2 and DT, two seeds
    assert all(shared <= {trial.returns_id for trial in table.trials()} for table in tables)


# what a paper says about its widths


@pytest.mark.parametrize(
    "table, row, widths",
    [
        ("dmm_v1_table1", "DMM-C", (128, 32, 128)),
        ("dmm_v1_table1", "DMM-L", (128, 32, 128)),
        ("dmm_v1_table2", "DMM-DC", (64, 32, 64)),
        ("dmm_v1_table2", "DMM-DL", (64, 32, 64)),
        ("dmm_v1_table2", "DT", (64, 64, 64)),
        ("dmm_v1_table1", "DC", (256, 128, 128)),
        ("dmamba_table1", "DMamba", (256, 128, 128)),
        ("dmm_v1_table7", "DMM-DL 64", (64, 64, 64)),
    ],
)
def test_widths_of_hopper_walker2d_and_halfcheetah(table, row, widths):
    labels = ("hopper-medium", "walker2d-medium", "halfcheetah-medium")
    assert tuple(trial(table, row, label).config.width for label in labels) == widths


# every table on every source and budget


@pytest.mark.parametrize("name", PAPERS)
def test_every_table_can_be_made_on_every_source_and_budget(name):
    table = TABLES[name]
    embeddable = [
        column for column in table.columns if not column.label.startswith("antmaze")
    ]  # no policy is of an ant
    expected = {"d4rl", "minari", "dmm", "local"} if embeddable else {"d4rl", "minari", "local"}
    sources = dict.fromkeys(chain.from_iterable(column.sources for column in table.columns))
    assert set(sources) == expected
    least = "dmm" if embeddable else "local"
    for source, budget in [*((source, "paper") for source in sources), *((least, budget) for budget in table.budgets)]:
        found = table.at(budget).on(source)
        assert all(
            found.trial(row, c, table.seeds[0]).updates for row in found.rows if not row.cited for c in found.columns
        )
        assert found.name == f"{name}{'' if budget == 'paper' else f'.{budget}'}.{source}"
    embedded = {id_ for column in embeddable if "dmm" in column.sources for id_ in column.sources["dmm"][1]}
    assert embedded <= set(fetchable_ids())


def test_budget_paper_is_the_table_as_its_file_has_it():
    table = TABLES["seeds"]
    assert table.at("paper") == table
    with pytest.raises(ValueError, match="has medium, paper, short, smoke"):
        table.at("papers")
    with pytest.raises(ValueError, match="is at budget smoke already"):
        table.at("smoke").at("paper")
    with pytest.raises(ValueError, match="needs another name for its own"):
        replace(table, budgets={"paper": table.budgets["smoke"]})


@pytest.mark.parametrize("name", NAMES)
def test_labels_notes_and_departures_are_plain(name):
    table = TABLES[name]
    texts = [table.title, *table.departures]
    for row in table.rows:
        texts += [row.label, *filter(None, (row.note, row.not_comparable))]
    for text in texts:
        assert text.isascii() and text.isprintable() and text == " ".join(text.split()), text
        assert len(text) < 320 and not text.endswith(".") and ";" not in text and "|" not in text, text
    assert table.departures and all(len(row.label) < 70 for row in table.rows)
