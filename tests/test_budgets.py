"""Budgets: what a table is in a part of its updates, batches and rows."""

from dataclasses import replace

import pytest
from test_config import table

from dmm.config import Budget, Protocol, Row


def test_a_budget_scales_updates_and_warm_up_by_one_factor():
    budget = Budget(factor=0.02, num_evaluations=4, episodes_per_evaluation=3, seeds=1)
    paper = Protocol(name="p").with_overrides(updates=100_000, warmup=10_000)
    rows = (Row(label="a", arch="dt"), Row(label="b", arch="dt", overrides={"updates": 50_000, "warmup": 50_000}))
    found = table(protocol=paper, budgets={"short": budget}, rows=rows).at("short")
    a, b = found.trials()
    assert (a.training.updates, a.training.warmup, a.updates) == (2_000, 200, (500, 1_000, 1_500, 2_000))
    assert (b.training.updates, b.training.warmup) == (1_000, 1_000)
    assert a.evaluation.episodes_per_evaluation == 3 and found.seeds == (0,) and found.name == "t.short"
    with pytest.raises(ValueError, match="unknown budget 'shrot'.*Did you mean 'short'"):
        table(budgets={"short": budget}).at("shrot")
    with pytest.raises(ValueError, match="at budget short already"):
        found.at("short")


def test_a_budget_bounds_the_batch():
    budget = Budget(factor=1.0, num_evaluations=1, episodes_per_evaluation=1, seeds=1, batch_size=16)
    for size, part, expected in ((64, 8, (16, 8)), (64, 16, (16, 0)), (4, 2, (4, 2))):
        training = budget.apply(Protocol(name="p").with_overrides(batch_size=size, micro_batch_size=part)).training
        assert (training.batch_size, training.micro_batch_size) == expected
    assert budget.describe().endswith("1 seed, batches of at most 16 windows")


def test_a_budget_takes_large_batches_in_parts():
    budget = Budget(factor=1.0, num_evaluations=1, episodes_per_evaluation=1, seeds=1, micro_batch_size=16)
    for size, part, expected in ((128, 0, 16), (128, 8, 8), (16, 0, 0)):
        training = budget.apply(Protocol(name="p").with_overrides(batch_size=size, micro_batch_size=part)).training
        assert (training.batch_size, training.micro_batch_size) == (size, expected)
    assert budget.describe().endswith("1 seed, gradients of 16 windows at a time")


def test_a_budget_keeps_some_rows():
    budget = Budget(factor=1.0, num_evaluations=1, episodes_per_evaluation=1, seeds=1, rows=("b",))
    found = table(budgets={"part": budget}).at("part")
    assert [row.label for row in found.rows] == ["b"] and "1 row of the table" in budget.describe()
    with pytest.raises(ValueError, match="unknown row in budget 'part' 'c'; table t has a, b, same as a"):
        table(budgets={"part": replace(budget, rows=("c",))})
    assert table(budgets={"part": budget}).select(rows=["a"]).part == "rows a"


def test_a_budget_scales_a_cosine_and_has_no_more_episodes_than_the_protocol():
    budget = Budget(factor=0.1, num_evaluations=2, episodes_per_evaluation=20, seeds=1)
    settings = {
        "schedule": "cosine",
        "warmup": 0,
        "warmup_actions": 500,
        "cosine_passes": 6.0,
        "episodes_per_evaluation": 10,
    }
    found = budget.apply(Protocol(name="p").with_overrides(**settings))
    assert (found.training.warmup_actions, found.training.cosine_passes) == (50, pytest.approx(0.6))
    assert found.evaluation.episodes_per_evaluation == 10 and "of at most 20 episodes" in budget.describe()
