"""Rules of what a call of `forward`, `loss` or `act` may depend on and may change."""

from dataclasses import replace

import torch
from torch import Tensor

from dmm.batch import Batch
from dmm.contract.subject import (
    SEEN,
    STILL,
    A,
    RuleBroken,
    Subject,
    as_tuple,
    described,
    differs,
    moved,
    moved_actions,
    words,
)
from dmm.layers.dropout import keyed_dropout
from dmm.models import DecisionModel

CALLS = ("data", "data", "other", "data", "data", "data")  # what a model is given, one call after the other
SIZES = {"K": (1, 2, 20), "B": (1, 2, 9)}


def in_rollouts(data: Batch) -> Batch:
    """The batch as `act` has it: rewards and next states are not known."""
    return replace(data, rewards=None, next_states=None)


def answers(model: DecisionModel, data: Batch) -> dict[str, tuple[Tensor, ...]]:
    """What `forward`, `loss` and, out of training, `act` give for a batch."""
    with keyed_dropout(data), torch.no_grad():
        predicted = model(data)
        found = {"forward": as_tuple(predicted), "loss": (model.loss(predicted, data),)}
        return found if model.training else found | {"act": as_tuple(model.act(in_rollouts(data)))}


def a_batch_is_left_unchanged(subject: Subject) -> str:
    """`forward`, `loss` and `act` do not write into the tensors of a batch."""
    for training in (False, True):
        model, data = subject.build().train(training), subject.batch()
        before = {name: value.clone() for name, value in data.tensors().items()}

        def require_unchanged(what: str, data: Batch = data, before: dict[str, Tensor] = before) -> None:
            after = data.tensors()
            if changed := [name for name, value in before.items() if not torch.equal(value, after[name])]:
                raise RuleBroken(
                    f"`{what}` writes into batch.{words(changed)}. Others read the batch later. Compute a new tensor: an "
                    "assignment to an index, and a method that ends with _, change the batch itself."
                )

        with keyed_dropout(data):
            predicted = model(data)
        require_unchanged("forward")
        model.loss(predicted, data)
        require_unchanged("loss")
        if not training:
            model.act(in_rollouts(data))
            require_unchanged("act")
    return ""


def the_same_call_gives_the_same_answer(subject: Subject) -> str:
    """`forward`, `loss` and `act` depend on the weights and the batch alone, and not on earlier calls or random numbers."""
    for training in (False, True):
        model, first = subject.build().train(training), {}
        if training and subject.torch_dropout():
            return "layers of torch that drop out are left to the rule of dropout"
        batches = {"data": subject.batch(), "other": subject.batch(rows=3, seed=2)}
        for call, name in enumerate(CALLS):
            torch.manual_seed(call)  # so that a copy of the generator gives other numbers too
            found = answers(model, batches[name])
            for what, values in (first.setdefault(name, found)).items():
                if not all(map(is_close, values, found[what])):
                    raise RuleBroken(
                        f"{'In' if training else 'Out of'} training `{what}` gives another answer when it is called again with "
                        "the same batch. Look for random numbers, a counter, or a value that a call keeps on `self`. Dropout "
                        "is dmm.layers.Dropout. To act at random, name uniform_samples in `needs` and read them in `act`."
                    )
    return ""


def is_close(one: Tensor, other: Tensor) -> bool:
    """Whether two answers are the same up to rounding."""
    return torch.allclose(one, other, rtol=1e-5, atol=STILL, equal_nan=True)


def windows_and_batches_may_have_any_size(subject: Subject) -> str:
    """`forward`, `loss` and `act` work for a context length K of 1, 2 and 20, and for 1, 2 and 9 rows B.

    A row alone has the predictions and the action that it has among nine.
    """
    for length in SIZES["K"]:
        model = subject.build_perturbed(context_length=length)
        for rows in SIZES["B"]:
            data, place = subject.batch(rows, length=length), f"With K = {length} and B = {rows}"
            try:
                found = answers(model, data)
            except Exception as error:
                raise RuleBroken(f"{place} the model raised {described(error, subject)}.") from error
            for what, shape in (("forward", (rows, length, A)), ("act", (rows, A)), ("loss", ())):
                if tuple(found[what][0].shape) != shape or not found[what][0].isfinite().all():
                    raise RuleBroken(
                        f"{place} `{what}` gives a tensor of shape {tuple(found[what][0].shape)}. It must be finite, of "
                        f"shape {shape}. Look for a standard deviation over one row, and for squeeze() without an axis."
                    )
        for row in (0, rows - 1):
            alone = answers(model, data.take_rows(slice(row, row + 1)))
            for what in ("forward", "act"):
                if any(differs(one[0], many[row], SEEN) for one, many in zip(alone[what], found[what], strict=True)):
                    raise RuleBroken(
                        f"{place} `{what}` gives row {row} something else than it gives to this row alone. No layer may read "
                        "the whole batch. An axis must be given by its number, and not be found by its size."
                    )
    return ""


def act_reads_no_step_after_the_last_real_one(subject: Subject) -> str:
    """With padding on the right, the contents of padded steps do not change what `act` gives."""
    model, data = subject.build_perturbed(), in_rollouts(subject.batch(padding="right"))
    changed = {
        name: (moved_actions if name == "actions" else moved)(value, ~data.mask)
        for name, value in data.tensors().items()
        if value.ndim >= 2 and name != "mask"
    }
    if any(map(differs, as_tuple(model.act(replace(data, **changed))), as_tuple(model.act(data)), [STILL] * 2)):
        raise RuleBroken(
            "With padding on the right, `act` changes when a padded step after the last real one changes. The last real step "
            "is not always the last of the window: take batch.at_last_step(...) instead of [:, -1]."
        )
    return ""


FIRST = (a_batch_is_left_unchanged, the_same_call_gives_the_same_answer)
RULES = (windows_and_batches_may_have_any_size, act_reads_no_step_after_the_last_real_one)
