"""Rules of what a model reads and predicts."""

import math
from dataclasses import replace
from typing import Any

import torch
from einops import reduce
from torch import Tensor

from dmm.base.errors import unknown_name
from dmm.batch import Batch
from dmm.contract.calling import answers, in_rollouts
from dmm.contract.subject import (
    OPTIONAL,
    SEEN,
    STILL,
    A,
    K,
    RuleBroken,
    S,
    Subject,
    as_tuple,
    differs,
    keep_optional,
    moved,
    moved_actions,
    random_batch,
)
from dmm.layers.dropout import keyed_dropout
from dmm.models import DecisionModel

ENTRY = {  # field of Batch -> its entry of one step, in words
    "states": "state",
    "returns_to_go": "return-to-go",
    "actions": "action",
    "rewards": "reward",
    "next_states": "next state",
    "previous_actions": "previous action",
    "goals": "goal",
    "previous_goals": "previous goal",
}
MARKS = {"steps": "number", "mask": "mask"}  # the same of the fields that place a step
LATEST = {"actions": 1, "rewards": 1, "next_states": 1}  # steps back to the latest entry that is known. Else 0


def run(model: DecisionModel, data: Batch) -> None:
    """Predicts, computes the loss and acts. Raises RuleBroken if `forward` returns a tuple and the class has no `act`."""
    predicted = model(data)
    if not as_tuple(predicted) or not all(isinstance(value, Tensor) for value in as_tuple(predicted)):
        raise RuleBroken(
            f"`forward` returns {kind_of(predicted)}. It must return a tensor of actions [B K A], or a "
            "tuple of tensors, actions first."
        )
    if isinstance(predicted, tuple) and DecisionModel.act is type(model).act:
        raise RuleBroken(
            "`forward` returns a tuple. So the class defines `loss` and `act` too: the default takes a tensor."
        )
    require_shape("forward", as_tuple(predicted)[0], (4, K, A), "[B K A], one action for each step")
    model.loss(predicted, data)
    try:
        model.act(in_rollouts(data))
    except Exception:
        model.act(data)
        raise RuleBroken(
            "`act` reads batch.rewards or batch.next_states. A rollout does not know them, so they are None there. Read them "
            "in `loss` only."
        ) from None


def the_model_runs_on_what_it_needs(subject: Subject) -> str:
    """`forward`, `loss` and `act` run on a batch that has only the optional fields which `needs` names.

    `act` has neither rewards nor next states, because a rollout does not know them yet.
    """
    needs = subject.model.needs
    for name in needs:
        if name not in OPTIONAL:
            raise RuleBroken(str(unknown_name("field in `needs`", name, OPTIONAL, "as optional fields, Batch")))
    if runs(subject, needs) is None:
        return ""
    missing = sorted(name for name in OPTIONAL - needs if runs(subject, OPTIONAL - {name}))
    if missing and not runs(subject, OPTIONAL):
        raise RuleBroken(
            f"The model reads batch.{missing[0]}, which is None because `needs` does not name it. Write needs = frozenset("
            f"{{{', '.join(map(repr, sorted({*needs, *missing})))}}}) in the class."
        )
    raise runs(subject, needs) or AssertionError


def runs(subject: Subject, optional: frozenset[str]) -> Exception | None:
    """The error of a model that is given these optional fields. None if it runs."""
    try:
        run(subject.build(), keep_optional(random_batch(spaces=subject.spaces), optional))
    except Exception as error:
        return error
    return None


def every_preset_can_be_built(subject: Subject) -> str:
    """Each entry of `presets` is a valid set of overrides of the Config."""
    for label, overrides in subject.model.presets.items():
        try:
            Subject(subject.arch, overrides).build()
        except Exception as error:
            raise RuleBroken(
                f"The preset {label!r} cannot be built: {type(error).__name__}: {str(error).rstrip('.')}."
            ) from error
    return "" if subject.model.presets else "there are no presets"


def shapes_are_right(subject: Subject) -> str:
    """Actions are [B K A], finite and in [-1, 1], for windows padded on the left and on the right.

    Logits of discrete actions may be any finite numbers. The loss is one finite number. `act` gives [B A], and goals [B S]
    beside them if it gives two tensors.
    """
    for padding in ("left", "right"):
        model, data = subject.build(), subject.batch(padding=padding)
        whole = model(data)
        bound = math.inf if subject.spaces.discrete else 1.0
        require_actions("forward", as_tuple(whole)[0], (4, K, A), "[B K A], one action for each step", bound)
        loss = model.loss(whole, data)
        if not isinstance(loss, Tensor) or tuple(loss.shape) or not loss.isfinite():
            raise RuleBroken(
                f"The loss is {kind_of(loss)}, with padding on the {padding}. It must be one "
                "finite number: take the mean over real steps, as dmm.layers.masked_mse does."
            )
        acted = as_tuple(model.act(data))
        require_actions("act", acted[0], (4, A), "[B A], the action of the last real step", bound)
        if len(acted) > 1 and tuple(acted[1].shape) != (4, S):
            raise RuleBroken(
                f"The goals of `act` have shape {tuple(acted[1].shape)}. They must be [B S], here {(4, S)}."
            )
    return ""


def require_actions(what: str, actions: Any, shape: tuple[int, ...], meaning: str, bound: float) -> None:
    """Raises RuleBroken if actions have another shape, are not finite or are outside +- `bound`."""
    require_shape(what, actions, shape, meaning)
    if not actions.isfinite().all():
        raise RuleBroken(f"`{what}` gives actions that are not finite. Look for a division by zero, or a row of -inf.")
    if actions.abs().max() > bound:
        raise RuleBroken(
            f"`{what}` gives an action of {actions.abs().max().item():.3g}. Models see actions scaled to [-1, 1]: end with "
            "torch.tanh, or clip out of training."
        )


def require_shape(what: str, actions: Any, shape: tuple[int, ...], meaning: str) -> None:
    """Raises RuleBroken if actions are no tensor of a shape."""
    if not isinstance(actions, Tensor):
        raise RuleBroken(
            f"`{what}` gives {kind_of(actions)}. It must give a tensor of actions {meaning}: here {shape}."
        )
    if tuple(actions.shape) != shape:
        raise RuleBroken(
            f"`{what}` gives actions of shape {tuple(actions.shape)}. They must be {meaning}: here {shape}."
        )


def kind_of(value: Any) -> str:
    """What a value is, in a few words."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}" if value.ndim else f"{value.item():.3g}"
    return "None" if value is None else f"an object of type {type(value).__name__}"


def rows_do_not_mix(subject: Subject) -> str:
    """The prediction for one row of a batch does not depend on the other rows."""
    data = subject.batch()
    data = replace(data, steps=data.steps + 10 * torch.arange(4).unsqueeze(1))
    for training in subject.modes():
        model = subject.build_perturbed().train(training)
        together = answers(model, data)["forward"][0]
        for row in range(len(together)):
            alone = answers(model, data.take_rows(slice(row, row + 1)))["forward"][0]
            if differs(alone[0], together[row], SEEN):
                raise RuleBroken(
                    f"The prediction for row {row} changes when the other rows of the batch are left out. Look for a layer "
                    "that takes the batch for time: nn.GRU, nn.LSTM and nn.MultiheadAttention need batch_first=True. Look also "
                    "for a mean or a maximum over rows."
                )
    return ""


def influence(subject: Subject, training: bool = False) -> dict[str, Tensor]:
    """The change of the action of step k when the entry of step j changes: [j k] for each field. Absent fields have 0.

    The mask of the last step stays True, because a padded step there makes another window.
    """
    model, data = subject.build_perturbed().train(training), subject.batch(rows=3 * K, padding="none")
    changing = torch.eye(K, dtype=torch.bool).repeat_interleave(3, dim=0)  # three rows for the entry of each step

    def predicted(data: Batch) -> Tensor:
        with keyed_dropout(data), torch.no_grad():
            return as_tuple(model(data))[0]

    before, found = predicted(data), {}
    for field in (*ENTRY, *MARKS):
        found[field] = torch.zeros(K, K)
        if (value := getattr(data, field)) is None:
            continue
        change, where = moved_actions if field == "actions" else moved, changing.clone()
        where[:, -1] &= field != "mask"
        after = predicted(replace(data, **{field: change(value, where)}))
        found[field] = reduce((after - before).abs(), "(j rows) k size -> j k", "max", j=K)
    return found


def no_step_sees_the_future(subject: Subject) -> str:
    """The prediction for step k may read states and returns-to-go up to step k, and actions up to step k - 1."""
    for field, seen in (pair for training in subject.modes() for pair in influence(subject, training).items()):
        for step in range(K):
            for later in range(step + 1 - LATEST.get(field, 0), K):
                if seen[later, step] > STILL:
                    entry = f"the {(ENTRY | MARKS)[field]} of step {later}"
                    if later == step:
                        raise RuleBroken(
                            f"The prediction for step {step} changes when {entry} changes. It is not known yet when the model "
                            "acts. For the action before a step, read batch.previous_actions and name it in `needs`."
                        )
                    raise RuleBroken(
                        f"The prediction for step {step} changes when {entry} changes. A model may not read the future: look "
                        "for a mixer that is not causal, or a missing shift."
                    )
    return ""


def every_step_sees_what_the_class_says(subject: Subject) -> str:
    """An action reads the entries that `sees` names, up to the latest one, and no field that it does not name."""
    said, found = subject.build().sees(), influence(subject)
    for field in said:
        if field not in ENTRY:
            raise RuleBroken(str(unknown_name("field in `sees`", field, ENTRY, "Batch")))
        if getattr(subject.batch(), field) is None:
            raise RuleBroken(f"`sees` names {field}, and `needs` does not. Name it in both, or in neither.")
        if said[field] < LATEST.get(field, 0):
            raise RuleBroken(
                f"`sees` says {field!r}: {said[field]}. That {ENTRY[field]} is not known when the model acts."
            )
    for field, entry in ENTRY.items():
        seen = found[field]
        for step in range(K):
            for back in range(LATEST.get(field, 0), step + 1):  # the rule before this one has the future
                sees, place = float(seen[step - back, step]), step - back
                if field not in said and sees > STILL:
                    raise RuleBroken(
                        f"The prediction for step {step} changes when the {entry} of step {place} changes, and `sees` does not "
                        f"name {field}. Let `sees` return {{..., {field!r}: {back}}}, or do not read it."
                    )
                if field in said and back < said[field] and sees > STILL:
                    raise RuleBroken(
                        f"`sees` says {field!r}: {said[field]}, so the latest {entry} is {said[field]} steps back. The "
                        f"prediction for step {step} changes when the {entry} of step {place} changes: write {back}."
                    )
                if field in said and back == said[field] and sees < SEEN:
                    raise RuleBroken(
                        f"`sees` says {field!r}: {said[field]}. But the prediction for step {step} does not change when the "
                        f"{entry} of step {place} changes. Look for a shift that is one step too long, or correct `sees`."
                    )
    return ""


def padding_is_not_in_the_loss(subject: Subject) -> str:
    """A padded step does not count in the loss. Neither its prediction nor its entries in the batch have an effect."""
    for padding in ("left", "right"):
        model, data = subject.build(), subject.batch(padding=padding)
        predicted = model(data)
        before = model.loss(predicted, data)
        float_fields = {name: value for name, value in data.tensors().items() if value.is_floating_point()}
        changed = {name: moved(value, ~data.mask) for name, value in float_fields.items()}
        changed["actions"] = moved_actions(data.actions, ~data.mask)
        other = tuple(moved(value, ~data.mask) for value in as_tuple(predicted))
        cases = {
            "the batch": model.loss(predicted, replace(data, **changed)),
            "the prediction": model.loss(other if isinstance(predicted, tuple) else other[0], data),
        }
        for what, loss in cases.items():
            if differs(loss, before, STILL):
                raise RuleBroken(
                    f"The loss changes when {what} changes at padded steps, with padding on the {padding}. Take the mean over "
                    "the steps where batch.mask is True: dmm.layers.masked_mse does so."
                )
    return ""


FIRST = (the_model_runs_on_what_it_needs, shapes_are_right)
RULES = (
    every_preset_can_be_built,
    rows_do_not_mix,
    no_step_sees_the_future,
    every_step_sees_what_the_class_says,
    padding_is_not_in_the_loss,
)
