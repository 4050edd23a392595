"""Rules of training, of several workers and of rollouts."""

import inspect
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dmm.batch import Batch, RecurrentState, Spaces
from dmm.config import Evaluation, Training, Trial
from dmm.contract.subject import SPACES, A, K, RuleBroken, S, Subject, as_tuple, random_batch, words
from dmm.data.frames import STACK, frame_starts
from dmm.data.trajectories import Trajectories, assemble
from dmm.layers.dropout import keyed_dropout
from dmm.models import DecisionModel
from dmm.rollouts.history import RecurrentHistory, StateStatistics, WindowedHistory
from dmm.tasks import Task
from dmm.training.fit import fit

LENGTH = 4 * K  # steps of a recurrent history
TASK = Task(
    name="contract", environment="none", spaces=SPACES, horizon=2 * K, return_scale=10.0, target_return=5.0,
    ref_min_score=0.0, ref_max_score=10.0, source="made up",
)  # fmt: skip
TRAINING = Training(context_length=K, batch_size=8, updates=20, warmup=5, learning_rate=1e-3)


def predict(model: DecisionModel, data: Batch) -> Tensor:
    """The actions that a model predicts in an update, where dropout takes its masks from the batch's key."""
    with keyed_dropout(data):
        return as_tuple(model(data))[0]


def dropout_takes_its_mask_from_the_batch(subject: Subject) -> str:
    """In training two calls on one batch give the same prediction, because masks depend on the batch's key alone.

    So a run that was interrupted, and a run on several workers, give the same weights.
    """
    model, data = subject.build().train(), subject.batch()
    if found := subject.torch_dropout():
        raise RuleBroken(
            f"{words(found)} draws its masks from torch's generator. Use dmm.layers.Dropout before or after the layer, and "
            "leave torch's dropout at 0."
        )
    if not torch.equal(predict(model, data), predict(model, data)):
        raise RuleBroken(
            "In training two calls on one batch give different predictions. Use dmm.layers.Dropout in the place of "
            "torch.nn.functional.dropout or of random numbers in `forward`."
        )
    return ""


def nothing_draws_random_numbers(subject: Subject) -> str:
    """`forward`, `loss` and `act` draw from no global generator, neither torch's nor numpy's."""
    for training in (False, True):
        model, data = subject.build().train(training), subject.batch()
        if training and subject.torch_dropout():
            return "layers of torch that drop out are left to the rule of dropout"
        before = generators()
        with keyed_dropout(data):
            predicted = model(data)
        model.loss(predicted, data)
        if not training:
            model.act(data)
        after = generators()
        for name, state in before.items():
            if state != after[name]:
                raise RuleBroken(
                    f"The model draws from the generator of {name} {'in' if training else 'out of'} training. Draw initial "
                    "weights in __init__ only. To act at random, name uniform_samples in `needs` and read them in `act`."
                )
    return ""


def generators() -> dict[str, object]:
    """The states of the global generators."""
    _, words, *rest = np.random.get_state()
    return {"torch": torch.get_rng_state().numpy().tobytes(), "numpy": words.tobytes() + repr(rest).encode()}


def workers_share_a_batch(subject: Subject) -> str:
    """Two workers that train on parts of a batch have the loss of one worker that trains on all of it.

    The loss of each part counts by its share of the real steps.
    """
    for training in (False, True):
        model, data = subject.build().train(training), subject.batch()

        def loss(part: Batch, model: DecisionModel = model) -> Tensor:
            with keyed_dropout(part):
                predicted = model(part)
            return model.loss(predicted, part) * part.mask.sum()

        real, whole = data.mask.sum(), loss(data)
        parts = loss(data.take_rows(slice(0, 1))) + loss(data.take_rows(slice(1, 4)))
        if (parts - whole).abs() > 1e-5 * whole.abs() + 1e-5:
            raise RuleBroken(
                f"{'In' if training else 'Out of'} training the loss of a batch is {(whole / real).item():.6g}, and that of "
                f"its parts is {(parts / real).item():.6g}. A loss is a mean over real steps, not over rows or a sum. No layer "
                "may read the whole batch, as nn.BatchNorm does."
            )
    return ""


def it_runs_in_bfloat16(subject: Subject) -> str:
    """Under autocast to bfloat16 the loss and all gradients are finite."""
    model, data = subject.build().train(), subject.batch()
    with torch.autocast("cpu", torch.bfloat16), keyed_dropout(data), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch tells that RMSNorm has no fused kernel for two types
        predicted = model(data)
    loss = model.loss(predicted, data)
    loss.backward()
    wrong = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    if wrong or not loss.isfinite():
        raise RuleBroken(
            f"Under bfloat16 the loss is {loss.item():.3g}, and gradients of {words(wrong) or 'no parameter'} are not finite. "
            "Compute logarithms, exponentials and sums of many terms in float32."
        )
    return ""


def steps_equal_the_full_history(subject: Subject) -> str:
    """A recurrent model gives step by step the actions that it gives for the whole history at once.

    The tensors of its RecurrentState have the episodes first, so that finished episodes can be dropped.
    """
    if not subject.model.can_recur(subject.config):
        return "the model is not recurrent, so its rollouts are windowed"
    model = subject.build_perturbed(context_length=LENGTH)
    if type(model).step is DecisionModel.step and len(inspect.signature(model.forward).parameters) < 2:
        raise RuleBroken(
            "`recurrent` is True, and `forward` takes no state. Write forward(self, batch, state=None), or remove `recurrent`."
        )
    data = random_batch(rows=3, padding="none", length=LENGTH, spaces=subject.spaces)
    previous = torch.cat([torch.zeros_like(data.actions[:, :1]), data.actions[:, :-1]], 1)
    data, frames = replace(data, previous_actions=previous), data.states.shape[1] - LENGTH
    rows, state = slice(0, 3), RecurrentState()
    with torch.inference_mode():
        expected = model(data)
        for step in range(LENGTH):
            if wrong := [tuple(value.shape) for value in state.values() if len(value) != rows.stop - rows.start]:
                raise RuleBroken(
                    f"For 3 episodes the RecurrentState has a tensor of shape {wrong[0]}. Its first axis must be the episodes: "
                    "nn.GRU and nn.LSTM give [layers B H], so store hidden.transpose(0, 1)."
                )
            if step == LENGTH // 2:
                state.drop_finished(torch.tensor([1, 2]))
                rows = slice(1, 3)
            values: dict[str, Any] = {name: value[rows, step : step + 1] for name, value in data.tensors().items()}
            values["states"] = data.states[rows, step : step + 1 + frames]
            values["actions"] = torch.zeros_like(values["actions"])
            found = model.step(Batch(**values), state)
            if not torch.allclose(found, expected[rows, step], rtol=0, atol=1e-5):
                dropped = (
                    " One episode was dropped before: the episodes are the first axis of each tensor of the state."
                )
                raise RuleBroken(
                    f"Step by step the action of step {step} differs from the one that the whole history gives, by "
                    f"{(found - expected[rows, step]).abs().max().item():.3g}. Let `forward` keep in the RecurrentState all "
                    f"that later steps read.{dropped if step >= LENGTH // 2 else ''}"
                )
    return ""


def episodes(spaces: Spaces) -> Trajectories:
    """Four made-up episodes of sines and cosines, or of frames."""
    offsets = np.cumsum([0, 30, 7, 1, 12])
    place = np.arange(offsets[-1])[:, None]
    if spaces.has_frames:
        rewards, over = np.sin(place[:, 0]), np.zeros(4, bool)
        found = assemble("contract", place[:, :0], place % A, rewards, offsets, over, num_actions=A)
        shape = len(place) + (STACK - 1) * 4, *spaces.states[1:]
        frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        return replace(found, frames=frames, frame_starts=frame_starts(offsets))
    states, actions = np.sin(place * 0.1 * np.arange(1, S + 1)), np.cos(place * 0.3 * np.arange(1, A + 1))
    return assemble("contract", states, actions, states[:, 0] - 1, offsets, np.zeros(4, bool))


def make_trial(subject: Subject) -> Trial:
    """A trial of 20 updates."""
    evaluation = Evaluation(num_evaluations=1, episodes_per_evaluation=3)
    return Trial(
        arch=subject.model, task=replace(TASK, spaces=subject.spaces), dataset=("contract",), training=TRAINING,
        evaluation=evaluation, seed=0, overrides=tuple(subject.overrides.items()),
    )  # fmt: skip


def it_trains(subject: Subject) -> str:
    """Twenty updates of the training loop have finite losses."""
    try:
        fit(make_trial(subject), episodes(subject.spaces))
    except FloatingPointError as error:
        raise RuleBroken(f"In training {error}. Look for a division by zero, or for a missing norm.") from error
    return ""


def it_acts_in_rollouts(subject: Subject) -> str:
    """The model acts at each step of three episodes, one of which ends early. Actions are finite and in the box.

    Of discrete actions, the logits are finite.
    """
    trial, model, targets, seeds = make_trial(subject), subject.build(), [1.0, 2.0, 3.0], [1, 2, 3]
    norm = StateStatistics(np.zeros(S), np.ones(S))
    histories: list[WindowedHistory | RecurrentHistory] = [WindowedHistory(trial, norm, targets, model.needs, seeds)]
    if model.can_recur(subject.config):
        histories.append(RecurrentHistory(trial, norm, targets))
    for history in histories:
        for step in range(TASK.horizon):
            if step == K:
                history.drop_finished(np.array([True, False, True]))
            count = 3 if step < K else 2
            history.observe(made_up_states(subject.spaces, step, count))
            with torch.inference_mode():
                predicted = history.predict(model)
            if not np.isfinite(predicted).all() or not subject.spaces.discrete and np.abs(predicted).max() > 1:
                kind = "windowed" if isinstance(history, WindowedHistory) else "recurrent"
                allowed = "finite" if subject.spaces.discrete else "finite and in [-1, 1]"
                raise RuleBroken(
                    f"In step {step} of a {kind} rollout an action is {predicted[0].tolist()}. It must be {allowed}. "
                    "In the first steps of an episode a window is mostly padding."
                )
            history.choose(predicted)
            history.record_rewards(np.ones(count))
    return ""


def made_up_states(spaces: Spaces, step: int, count: int) -> np.ndarray:
    """The states of running episodes at a step: sines, or frames of noise."""
    if spaces.has_frames:
        return np.random.default_rng(step).integers(0, 256, (count, *spaces.states), np.uint8)
    return np.sin(step + np.arange(count * S).reshape(count, S))


RULES = (
    dropout_takes_its_mask_from_the_batch,
    nothing_draws_random_numbers,
    workers_share_a_batch,
    it_runs_in_bfloat16,
    steps_equal_the_full_history,
    it_trains,
    it_acts_in_rollouts,
)
