"""The contract of an architecture: the rules that every model must keep, and a message for each broken rule.

A rule is a function. The name of the function is the rule, and its docstring explains the rule. It returns a note, or
raises RuleBroken. The message says what was seen and what to change.

subject.py   a model that is checked: how it is built, and the batches that it is given
seeing.py    rules of what a model reads and predicts
learning.py  rules of its weights, its Config and its loss
running.py   rules of training, of several workers and of rollouts
writing.py   writes the file of a new model
template.py  the model that is written
"""

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from dmm.contract import learning, running, seeing
from dmm.contract.subject import RuleBroken, Subject

Rule = Callable[[Subject], str]
RULES: tuple[Rule, ...] = (*seeing.RULES, *learning.RULES, *running.RULES)


@dataclass(frozen=True)
class Outcome:
    """A rule that was checked."""

    rule: str  # its name, in words
    asks: str  # what it asks, one sentence or a few
    failure: str = ""  # what was seen and what to change. Empty: the model keeps the rule
    note: str = ""  # a remark about a rule that is kept


def check(arch: Any, overrides: Mapping[str, Any] | None = None) -> Iterator[Outcome]:
    """Checks every rule on a model, one after the other. `arch` is what `find_model` takes.

    If the model does not run at all, the first outcome says so and is the only one. Raises ValueError for an unknown
    architecture, a wrong Config, or a model that cannot be built.
    """
    subject = Subject(arch, overrides or {})
    subject.require_build()
    for rule in RULES:
        outcome = check_rule(rule, subject)
        yield outcome
        if outcome.failure and rule is RULES[0]:
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
    return Outcome(name, asks, failure, note)


def described(error: Exception, subject: Subject) -> str:
    """An error in one line: its kind, its message, and the last line of the model's own file that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    file = getattr(sys.modules.get(subject.model.__module__), "__file__", None)
    where = [frame for frame in frames if frame.filename == file] or frames
    place = f"line {where[-1].lineno} of {where[-1].filename.rpartition('/')[2]}" if where else "an unknown line"
    message = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__} at {place}: {message}"
