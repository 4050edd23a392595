"""The rules of the contract: the written model keeps them all, and each rule finds a model that breaks it, in words."""

from pathlib import Path

import pytest
import torch
from helpers.broken_models import BROKEN, HEAD, SEES, recurrent

import dmm
from dmm.architectures import resolve
from dmm.contract import HARD_RULES, RULES, check, check_rule, learning, require, running
from dmm.contract.subject import Subject
from dmm.contract.writing import write_model


@pytest.fixture
def written(tmp_path) -> Path:
    return write_model("mine", tmp_path)


def subject(path: Path, **overrides) -> Subject:
    name, source = resolve(path)
    return Subject(source or name, {"width": 32, **overrides})


def change(path: Path, changes: list[tuple[str, str]]) -> Subject:
    """The written model with changes of its text, each at one place."""
    text = path.read_text()
    for old, new in changes:
        assert text.count(old) == 1, (old, text.count(old))
        text = text.replace(old, new)
    path.write_text(text)
    return subject(path)


def test_the_written_model_keeps_every_rule_at_its_default_size(written):
    outcomes = list(check(resolve(written)[1]))
    assert [outcome.failure for outcome in outcomes] == [""] * len(RULES)
    assert [outcome.rule for outcome in outcomes][6] == "no step sees the future"
    assert all(outcome.asks.endswith(".") for outcome in outcomes)


@pytest.mark.parametrize(
    "rule, changes, said", BROKEN, ids=[f"{number} {case[0].__name__}" for number, case in enumerate(BROKEN)]
)
def test_a_broken_rule_is_said_in_words(rule, changes, said, written):
    outcome = check_rule(rule, change(written, changes))
    for words in said:
        assert words in outcome.failure
    assert outcome.failure[-1] in ".?" and "\n" not in outcome.failure


def test_every_rule_has_a_model_that_breaks_it():
    assert {rule for rule, *_ in BROKEN} == set(RULES)


def test_a_recurrent_model_that_keeps_its_state_passes(written):
    read, write = 'state["gru"].transpose(0, 1) if state else None', 'state["gru"] = hidden.transpose(0, 1)'
    model = change(written, recurrent(read, write))
    for rule in (running.steps_equal_the_full_history, running.it_acts_in_rollouts):
        outcome = check_rule(rule, model)
        assert not outcome.failure and not outcome.note


def test_a_model_that_does_not_run_is_said_once(written):
    (outcome,) = check(change(written, [("self.head(x)", "self.heed(x)")]).arch)
    assert "'heed'" in outcome.failure


@pytest.mark.parametrize(
    "changes, words",
    [
        ([("width: int = 128", "width: int")], "width has no default"),
        ([(HEAD, HEAD.replace("config.width", "config.widht"))], "cannot be built: AttributeError.*widht"),
        ([(SEES, "None")], r"sees\(\) returns None; it returns a dict"),
        ([(SEES, '{"states": 0.0}')], r"sees\(\) returns {'states': 0.0}; it returns"),
        ([("super().__init__(config, spaces, context_length)", "super().__init__()")], "cannot be built: TypeError"),
    ],
)
def test_a_model_that_cannot_be_built_is_one_error(changes, words, written):
    model = change(written, changes)
    with pytest.raises(ValueError, match=words):
        list(check(model.arch))


def test_checking_leaves_the_global_generator_alone(written):
    before = torch.get_rng_state()
    list(check(resolve(written)[1], {"width": 16}))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_field_without_another_known_value_is_noted(written):
    field = ("        layers: int = 1\n", '        layers: int = 1\n        label: str = "a"\n')
    outcome = check_rule(learning.every_field_of_the_Config_has_an_effect, change(written, [field]))
    assert not outcome.failure and "not tried" in outcome.note and "label" in outcome.note


def test_a_broken_first_rule_is_the_last_that_is_tried(written):
    changes = [("x, _ = self.gru(self.dropout", "batch.states.add_(1)\n        x, _ = self.gru(self.dropout")]
    outcomes = list(check(change(written, changes).arch))
    assert [bool(outcome.failure) for outcome in outcomes] == [False, False, True]
    assert outcomes[2].rule == "a batch is left unchanged" and outcomes[2].hard


def test_no_hard_rule_trains():
    assert set(HARD_RULES) < set(RULES)
    assert not {learning.it_memorises_a_batch, running.it_trains} & set(HARD_RULES)


def test_required_rules_are_tried_once_for_a_source_and_its_overrides(written, tmp_path, monkeypatch):
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "home"))
    tried = []
    monkeypatch.setattr("dmm.contract.check_rule", lambda *given: tried.append(given) or check_rule(*given))
    source = subject(written).arch
    require(source, {"width": 16})
    assert len(tried) == len(HARD_RULES)
    require(source, {"width": 16})
    assert len(tried) == len(HARD_RULES)
    require(source, {"width": 32})
    assert len(tried) == 2 * len(HARD_RULES)


def test_a_model_that_breaks_a_required_rule_is_refused_each_time(written, tmp_path, monkeypatch):
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "home"))
    source = change(written, [(", batch_first=True", "")]).arch
    said = "^mine of mine.py breaks the contract: rows do not mix: .*; `dmm check` with the path"
    for _ in range(2):
        with pytest.raises(ValueError, match=said):
            require(source, {})


def test_a_model_that_cannot_memorise_is_not_refused(written, tmp_path, monkeypatch):
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "home"))
    require(change(written, [("self.gru(self.dropout(x *", "self.gru(self.dropout(0 * x *")]).arch, {"width": 16})


def test_training_refuses_a_model_that_breaks_a_required_rule(written, tmp_path, monkeypatch):
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "home"))
    change(written, [(", batch_first=True", "")])
    with pytest.raises(ValueError, match="breaks the contract: rows do not mix"):
        dmm.train(written, "dmm/hopper/medium-v0", updates=10)
    assert not list((tmp_path / "home").rglob("*"))
