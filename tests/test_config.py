"""Ids: what moves a number moves the id, what does not leaves it; and wrong names are said with the right ones."""

from dataclasses import replace

import pytest
from helpers.reacher import REACHER, TINY

from dmm import config
from dmm.config import Column, Protocol, Reading, Row, Table, Trial
from dmm.tables import find_table, tables
from dmm.tasks import find_task

GOLDEN = ["76d85653f2a979ba", "b085f9c872279fdc"]
BASE = Trial(
    arch="dt", task=find_task("hopper"), dataset=("d4rl/hopper-medium-v2",), protocol=Protocol(name="p"), seed=0
)


def test_golden_ids():
    """A change here loses every stored result: raise config.RESULTS_VERSION and say so in LOG.md, or find the mistake."""
    metamamba = replace(BASE, arch="metamamba", seed=3, overrides=(("width", 128),))
    assert [BASE.id, metamamba.id] == GOLDEN


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"arch": "dc"},
        {"overrides": (("width", 64),)},
        {"dataset": ("d4rl/hopper-expert-v2", "d4rl/hopper-medium-v2")},
        {"task": replace(find_task("hopper"), return_scale=1.0)},
        {"protocol": Protocol(name="p", grad_clip_norm=1.0)},
        {"protocol": Protocol(name="p", top_fraction=0.1)},
        {"protocol": Protocol(name="p", window_anchor="end")},
    ],
)
def test_what_moves_a_number_moves_the_id(change):
    assert replace(BASE, **change).id != BASE.id


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": Protocol(name="another name")},
        {"task": replace(find_task("hopper"), ref_min_score=0.0, source="elsewhere")},
        {"overrides": (("width", 128),)},  # the default, said aloud
        {"protocol": Protocol(name="p", grad_clip_norm=0.25, targets=(1,))},
    ],
)
def test_what_moves_no_number_leaves_the_id(change):
    assert replace(BASE, **change).id == BASE.id


def test_results_constant_moves_every_id(monkeypatch):
    before = BASE.id
    monkeypatch.setattr(config, "RESULTS_VERSION", config.RESULTS_VERSION + 1)
    assert replace(BASE).id != before


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replace(BASE, arch="metamanba"), ["metamanba", "dc", "Did you mean 'metamamba'"]),
        (lambda: replace(BASE, overrides=(("widht", 3),)), ["widht", "layers", "Did you mean 'width'"]),
        (lambda: replace(BASE, overrides=(("width", "3"),)), ["dt.width", "'3'", "int"]),
        (lambda: replace(BASE, seed=-1), ["-1", "0 or more"]),
        (lambda: find_task("hoper"), ["hoper", "walker2d", "Did you mean 'hopper'"]),
        (lambda: find_table("quickstrat"), ["quickstrat", "Did you mean 'quickstart'"]),
        (lambda: find_table("no/such/file.py"), ["no/such/file.py"]),
        (lambda: Protocol(name="p").with_overrides(lr=3), ["lr", "learning_rate"]),
        (lambda: Protocol(name="p", padding="middle"), ["middle", "left", "right"]),
        (lambda: Protocol(name="p", updates=10, num_evaluations=3), ["10", "3"]),
        (lambda: Protocol(name="p", targets=()), ["targets"]),
        (lambda: Protocol(name="p", window_anchor="whole"), ["whole", "'episodes'", "'steps'"]),
        (lambda: Protocol(name="p", top_fraction=0.0), ["top_fraction is 0.0", "at most 1"]),
        (lambda: Protocol(name="p", top_fraction=10), ["top_fraction is 10.0", "at most 1"]),
        (lambda: Row(label="x", arch="dt", preset="DMM-Q").config_overrides(REACHER), ["DMM-Q", "dt.py"]),
    ],
)
def test_wrong_names_and_values(make, words):
    with pytest.raises(ValueError) as caught:
        make()
    for word in words:
        assert word in str(caught.value)


def test_a_table_lists_each_trial_once():
    column = Column(task=REACHER, dataset="d4rl:x.hdf5", label="reacher")
    rows = (Row(label="a", arch="dt"), Row(label="same as a", arch="dt"), Row(label="b", arch="dc"))
    table = Table(name="t", title="t", rows=rows, columns=(column,), seeds=(0, 1), protocol=TINY)
    assert len(table.trials()) == 4
    assert [trial.seed for trial in table.trials()] == [0, 0, 1, 1]
    assert table.cell(rows[0], column) == table.cell(rows[1], column)
    with pytest.raises(ValueError, match="each once"):
        replace(table, seeds=(0, 0))
    with pytest.raises(ValueError, match="Did you mean 'reacher'"):
        replace(table, rows=(Row(label="a", arch="dt", published={"reachr": 1.0}),))


@pytest.mark.parametrize("name", tables())
def test_every_table_loads(name):
    table = find_table(name)
    assert table.name == name
    trials = table.trials()
    assert len({trial.id for trial in trials}) == len(trials) > 0


def test_readings_describe_themselves():
    assert Reading(name="r").describe() == "last evaluation, target x1, mean over seeds"
    assert "floored at 0" in config.PAPER_MAX.describe() and "max over seeds" in config.PAPER_MAX.describe()
