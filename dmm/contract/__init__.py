"""The contract of an architecture: the rules that every model must keep, and a message for each broken rule.

A rule is a function. The name of the function is the rule, and its docstring explains the rule. It returns a note, or
raises RuleBroken. The message says what was seen and what to change.

subject.py   a model that is checked: how it is built, and the batches that it is given
seeing.py    rules of what a model reads and predicts
learning.py  rules of its weights, its Config and its loss
calling.py   rules of what a call may depend on and may change
running.py   rules of training, of several workers and of rollouts
writing.py   writes the file of a new model
template.py  the model that is written
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from dmm.base.code_hash import hashes, model_code
from dmm.base.paths import home, write_atomic
from dmm.contract import calling, learning, running, seeing
from dmm.contract.subject import RuleBroken, Subject, described
from dmm.schema import ModelSource

Rule = Callable[[Subject], str]
FIRST: tuple[Rule, ...] = (*seeing.FIRST, *calling.FIRST)  # the others build on them
RULES: tuple[Rule, ...] = (*FIRST, *seeing.RULES, *calling.RULES, *learning.RULES, *running.RULES)
HARD_RULES: tuple[Rule, ...] = (  # a model that breaks one has wrong results. None of them trains
    *FIRST,
    seeing.rows_do_not_mix,
    seeing.no_step_sees_the_future,
    seeing.padding_is_not_in_the_loss,
    *calling.RULES,
    learning.a_checkpoint_is_the_whole_model,
    learning.a_checkpoint_holds_everything_once,
    learning.gradients_are_clipped_once,
    learning.acting_fields_leave_the_weights,
    running.dropout_takes_its_mask_from_the_batch,
    running.nothing_draws_random_numbers,
    running.workers_share_a_batch,
    running.steps_equal_the_full_history,
    running.it_acts_in_rollouts,
)


@dataclass(frozen=True)
class Outcome:
    """A rule that was checked."""

    rule: str  # its name, in words
    asks: str  # what it asks, one sentence or a few
    failure: str = ""  # what was seen and what to change. Empty: the model keeps the rule
    note: str = ""  # a remark about a rule that is kept
    hard: bool = False  # whether results of a model that breaks it are wrong


def check(arch: Any, overrides: Mapping[str, Any] | None = None) -> Iterator[Outcome]:
    """Checks every rule on a model, one after the other. `arch` is what `find_model` takes.

    A broken rule of FIRST is the last outcome, because the other rules build on it. Raises ValueError for an unknown
    architecture, a wrong Config, or a model that cannot be built.
    """
    subject = Subject(arch, overrides or {})
    subject.require_build()
    for rule in RULES:
        outcome = check_rule(rule, subject)
        yield outcome
        if outcome.failure and rule in FIRST:
            return


def check_rule(rule: Rule, subject: Subject) -> Outcome:
    """Checks one rule. An error of the model is a broken rule. Torch's global generator is left unchanged."""
    name, asks, failure, note = rule.__name__.replace("_", " "), " ".join((rule.__doc__ or "").split()), "", ""
    with torch.random.fork_rng(devices=[]):
        try:
            note = rule(subject)
        except RuleBroken as error:
            failure = str(error)
        except Exception as error:
            failure = f"The model raised {described(error, subject)}."
    return Outcome(name, asks, failure, note, rule in HARD_RULES)


def require(source: ModelSource, overrides: Mapping[str, Any]) -> None:
    """Raises ValueError if a model from outside breaks one of HARD_RULES.

    Success is remembered in DMM_HOME for this source, these overrides and the code of dmm that takes part.
    """
    code = model_code(source.code).sha256, hashes((("dmm.contract", ""),))
    key = hashlib.sha256(json.dumps([source.sha256, dict(overrides), code], sort_keys=True).encode()).hexdigest()
    path = home() / "checked" / f"{key}.json"
    if path.is_file():
        return
    subject = Subject(source, overrides)
    subject.require_build()
    for rule in HARD_RULES:
        if failure := (outcome := check_rule(rule, subject)).failure:
            raise ValueError(
                f"{source.name} of {source.code.path} breaks the contract: {outcome.rule}: {failure.rstrip('.')}; `dmm check` "
                "with the path of its file tries all rules"
            )
    write_atomic(path, json.dumps({"model": source.name, "overrides": dict(overrides)}).encode())
