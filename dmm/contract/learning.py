"""Rules of a model's weights, its Config and its loss."""

import dataclasses
import typing
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from dmm.contract.subject import RuleBroken, Subject, as_tuple, words
from dmm.layers.dropout import keyed_dropout
from dmm.models import DecisionModel, acting_config

MEMORISED = 0.9  # a batch is memorised when its loss has fallen by this share of the first loss
UPDATES = 200  # of memorising, at most


def gradients(subject: Subject, seed: int = 0) -> tuple[DecisionModel, dict[str, Tensor]]:
    """A model and the gradient of each of its parameters, which is zeros where there is none."""
    model, data = subject.build_perturbed(seed), subject.batch(rows=64, padding="none")
    loss = model.loss(model(data), data)
    if loss.requires_grad:
        loss.backward()
    named = model.named_parameters()
    return model, {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in named}


def every_parameter_learns(subject: Subject) -> str:
    """Each parameter gets a gradient, except those that `unused_parameters` names."""
    model, found = gradients(subject)
    unused = model.unused_parameters()
    for prefix in unused:
        if not any(name.startswith(prefix) for name in found):
            raise RuleBroken(f"`unused_parameters` names {prefix!r}. No parameter has a name that begins so.")
    if idle := [name for name, value in found.items() if not name.startswith(unused) and not value.any()]:
        raise RuleBroken(
            f"The loss does not depend on {words(idle)}. Use them in `forward`, remove them, or name them in "
            "`unused_parameters`."
        )
    if live := [name for name, value in found.items() if name.startswith(unused) and value.any()]:
        raise RuleBroken(f"`unused_parameters` names {words(live)}, and the loss depends on them. Do not name them.")
    return ""


def every_entry_of_a_parameter_learns(subject: Subject) -> str:
    """Each entry of a parameter gets a gradient, except as many as `dead_entries` says.

    Tables of embeddings are left out, because a batch does not look up all of their rows.
    """
    model, idle = subject.build(), {}
    for seed in range(3):  # a ReLU may be idle at some weights
        found = gradients(subject, seed)[1]
        idle = {name: (value == 0) & idle.get(name, value == 0) for name, value in found.items()}
    said, tables = model.dead_entries(), [name for name, m in model.named_modules() if isinstance(m, nn.Embedding)]
    left_out = (*model.unused_parameters(), *(f"{name}.weight" for name in tables))
    if absent := set(said) - set(idle):
        raise RuleBroken(f"`dead_entries` names {words(absent)}. There is no such parameter.")
    for name, still in idle.items():
        count = int(still.sum())
        if not name.startswith(left_out) and count != said.get(name, 0):
            raise RuleBroken(
                f"{count:,} of the {still.numel():,} entries of {name} get no gradient, and `dead_entries` says "
                f"{said.get(name, 0):,}. Find out why nothing reads them, or let it return {{{name!r}: {count}}}."
            )
    return ""


def the_seed_decides_the_weights(subject: Subject) -> str:
    """Two models of one seed have equal weights, and a model of another seed has others."""
    one, same, other = (subject.build(seed).state_dict() for seed in (3, 3, 4))
    if unequal := [name for name, value in one.items() if not torch.equal(value, same[name])]:
        raise RuleBroken(
            f"{words(unequal)} differ between two models of one seed. Draw initial weights from torch's global generator, as "
            "nn.Linear does, and not from numpy, random or a clock."
        )
    if all(torch.equal(value, other[name]) for name, value in one.items()):
        raise RuleBroken("Two seeds give the same weights. Do not seed a generator inside the model.")
    return ""


def a_checkpoint_is_the_whole_model(subject: Subject) -> str:
    """A model that loads the checkpoint of another one predicts the same."""
    model, other, data = subject.build(), subject.build(seed=1), subject.batch()
    other.load_state_dict(model.state_dict())
    if not all(map(torch.equal, as_tuple(other(data)), as_tuple(model(data)))):
        raise RuleBroken(
            "A model that loads the checkpoint of another one predicts something else. So some weights are not in the "
            "checkpoint: put layers into nn.ModuleList instead of a list, and tensors into nn.Parameter or register_buffer."
        )
    return ""


def a_checkpoint_holds_everything_once(subject: Subject) -> str:
    """No tensor is in the checkpoint under two names, because safetensors refuses it."""
    state = subject.build().state_dict()
    names: dict[int, list[str]] = {}
    for name, value in state.items():
        names.setdefault(value.untyped_storage().data_ptr(), []).append(name)
    for shared in names.values():
        if len(shared) > 1:
            raise RuleBroken(
                f"{words(shared)} are one tensor. Keep a layer that is used twice under one name, and call it twice."
            )
    save(state)
    return ""


def gradients_are_clipped_once(subject: Subject) -> str:
    """`gradient_clip_groups` returns modules of the model. Each parameter that is trained is in one of them."""
    model = subject.build()
    groups = model.gradient_clip_groups()
    if not isinstance(groups, tuple | list) or not all(isinstance(group, nn.Module) for group in groups):
        raise RuleBroken(f"`gradient_clip_groups` returns {type(groups).__name__}. It must return a tuple of modules.")
    found = [id(parameter) for group in groups for parameter in group.parameters()]
    own = {id(parameter): name for name, parameter in model.named_parameters()}
    if set(found) - set(own):
        raise RuleBroken(
            "`gradient_clip_groups` returns a module that is not part of the model. Return modules of `self`."
        )
    trained = [own[id(parameter)] for parameter in model.parameters() if parameter.requires_grad]
    count = Counter(own[parameter] for parameter in found)
    if absent := [name for name in trained if not count[name]]:
        raise RuleBroken(
            f"{words(absent)} are in no module of `gradient_clip_groups`, so their gradients are not clipped."
        )
    if twice := [name for name in trained if count[name] > 1]:
        raise RuleBroken(f"{words(twice)} are in two modules of `gradient_clip_groups`, so they are clipped twice.")
    return ""


def it_memorises_a_batch(subject: Subject) -> str:
    """Adam brings the loss of one batch below a tenth of its first value within 200 updates."""
    losses: list[float] = []
    for training in (False, True):  # without dropout, then with all that a model does only in training
        model, data = subject.build().train(training), subject.batch(rows=3)
        optimizer, losses = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-3), []
        for _ in range(UPDATES):
            loss = model.loss(model(data), data)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if losses[0] - losses[-1] > MEMORISED * abs(losses[0]):
                return ""
    raise RuleBroken(
        f"After {UPDATES} updates on one batch the loss is {losses[-1]:.3g}; it began at {losses[0]:.3g}. A model that cannot "
        "memorise three windows will not learn a dataset: look for a detached tensor or an input that is not read. Or the "
        "model is too small: give it more width, or a hidden layer."
    )


def other_values(subject: Subject, field: dataclasses.Field) -> Iterator[Any]:
    """Values of a field of the Config that differ from its present one, as far as they are known. Some may be invalid."""
    kind, now = typing.get_type_hints(subject.model.Config)[field.name], getattr(subject.config, field.name)
    found = [preset[field.name] for preset in subject.model.presets.values() if field.name in preset]
    if typing.get_origin(kind) is typing.Literal:
        found += typing.get_args(kind)
    elif isinstance(now, bool):
        found.append(not now)
    elif isinstance(now, int):
        found += [2 * now, now + 1, now - 1]
    elif isinstance(now, float):
        found += [now / 2, 2 * now, now + 1]
    seen = [now]
    for value in found:
        if value not in seen:
            seen.append(value)
            yield value


def valid_changes(subject: Subject, field: dataclasses.Field) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of overrides that differ in one field only. Where it has no other valid value, a second field is changed too."""

    def is_valid(changes: dict[str, Any]) -> bool:
        try:
            subject.build(**changes)
        except ValueError:  # of the Config, or of a model that refuses a field for the subject's states
            return False
        return True

    others = [each for each in dataclasses.fields(subject.model.Config) if each.name != field.name]
    bases = [{}, *({each.name: value} for each in others for value in other_values(subject, each))]
    for base in bases:
        changed = [{**base, field.name: value} for value in other_values(subject, field)]
        if is_valid(base) and (pairs := [(base, each) for each in changed if is_valid(each)]):
            return pairs
    return []


def behaviour(subject: Subject, changes: dict[str, Any], acts: bool = True) -> tuple[tuple[str, ...], list[Tensor]]:
    """The names of the unused weights of a model. Then all its weights, and its predictions, losses and actions in training."""
    model = subject.build_perturbed(**changes).train()
    found = [parameter.detach() for parameter in model.parameters()]
    for padding in ("left", "right"):
        data = subject.batch(padding=padding)
        with keyed_dropout(data), torch.no_grad():
            predicted = model(data)
            found += [*as_tuple(predicted), model.loss(predicted, data)]
            found += as_tuple(model.act(data)) if acts else ()
    return model.unused_parameters(), found


def equal(one: tuple[tuple[str, ...], list[Tensor]], other: tuple[tuple[str, ...], list[Tensor]]) -> bool:
    """Whether two behaviours are the same."""
    return one[0] == other[0] and len(one[1]) == len(other[1]) and all(map(torch.equal, one[1], other[1]))


def every_field_of_the_Config_has_an_effect(subject: Subject) -> str:
    """Another value of any field gives other weights, predictions, losses or actions."""
    default, untried = behaviour(subject, {}), []
    for field in dataclasses.fields(subject.model.Config):
        pairs = valid_changes(subject, field)
        if not pairs:
            untried.append(field.name)
            continue
        before = behaviour(subject, pairs[0][0]) if pairs[0][0] else default
        if all(equal(before, behaviour(subject, changed)) for _, changed in pairs):
            tried = " and ".join(repr(changed[field.name]) for _, changed in pairs)
            raise RuleBroken(
                f"The Config's field {field.name} has no effect: {tried} gives the same model as "
                f"{getattr(subject.config, field.name)!r}. Pass it to a layer, or remove it."
            )
    return f"not tried, because no other valid value is known: {words(untried)}" if untried else ""


def acting_fields_leave_the_weights(subject: Subject) -> str:
    """A field that is marked by `acting` changes neither weights, nor predictions, nor the loss."""
    names = acting_config(subject.config)
    for field in dataclasses.fields(subject.model.Config):
        for base, changed in valid_changes(subject, field) if field.name in names else ():
            if not equal(behaviour(subject, base, acts=False), behaviour(subject, changed, acts=False)):
                raise RuleBroken(
                    f"The Config's field {field.name} is marked by `acting`, and it changes what the model learns. Read it "
                    "only in `act`, or do not mark it."
                )
    return "" if names else "no field is marked by `acting`"


RULES = (
    every_parameter_learns,
    every_entry_of_a_parameter_learns,
    the_seed_decides_the_weights,
    a_checkpoint_is_the_whole_model,
    a_checkpoint_holds_everything_once,
    gradients_are_clipped_once,
    it_memorises_a_batch,
    every_field_of_the_Config_has_an_effect,
    acting_fields_leave_the_weights,
)
