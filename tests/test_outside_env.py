"""What environments from outside may do in a rollout without moving a number, and what is refused with their name."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from helpers.uneven_env import UNEVEN, Uneven

from dmm.architectures import build_model
from dmm.config import Target, Trial
from dmm.rollouts.history import StateStatistics
from dmm.rollouts.rollout import RolloutResult, rollout
from dmm.tasks import Task
from dmm.trials import run


class Outside(Uneven):
    """Uneven, as somebody else might have written it."""

    end = staticmethod(lambda ended: ended)  # how the end of an episode is said
    state = staticmethod(lambda state: state)
    halves = False  # its action, in place

    def reset(self, **words):
        state, info = super().reset(**words)
        return self.state(state), info

    def step(self, action):
        state, reward, ended, truncated, info = super().step(action)
        if self.halves:
            action *= 0.5
        return self.state(state), reward, self.end(ended), truncated, info


gymnasium.register("Outside-v0", entry_point=Outside)
OUTSIDE = replace(UNEVEN, name="outside", environment="Outside-v0")


def rolled(task: Task, base: Trial, arch: str = "metamamba", how: str = "recurrent") -> RolloutResult:
    """Six episodes of a model of width 8."""
    training = replace(base.training, context_length=4, padding="right")
    evaluation = replace(base.evaluation, rollout=how)
    trial = replace(base, arch=arch, overrides=(("width", 8),), task=task, training=training, evaluation=evaluation)
    torch.manual_seed(0)
    model = build_model(arch, {"width": 8}, task.spaces, 4)
    statistics = StateStatistics(np.zeros(2, np.float32), np.full(2, 0.1, np.float32))
    return rollout(model, trial, statistics, [3.0] * 6, [0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8, float, np.bool_, np.array], ids=lambda kind: kind.__name__)
def test_the_end_of_an_episode_may_be_said_with_any_0_and_1(kind, monkeypatch, tiny_trial):
    expected = rolled(UNEVEN, tiny_trial)
    assert len(set(expected.lengths)) > 1  # so some lanes go on when others end
    monkeypatch.setattr(Outside, "end", staticmethod(kind))
    assert rolled(OUTSIDE, tiny_trial) == expected


@pytest.mark.parametrize(
    "end", [lambda ended: 2 * ended, lambda ended: [ended], lambda ended: str(ended), lambda ended: None]
)
def test_other_ends_of_an_episode_are_refused(end, monkeypatch, tiny_trial):
    monkeypatch.setattr(Outside, "end", staticmethod(end))
    with pytest.raises(ValueError, match="Outside.* for terminated or truncated; each is True or False"):
        rolled(OUTSIDE, tiny_trial)


@pytest.mark.parametrize(("arch", "how"), [("metamamba", "recurrent"), ("ds4", "recurrent"), ("dt", "windowed")])
def test_an_environment_may_change_its_action_in_place(arch, how, monkeypatch, tiny_trial):
    spaces = replace(UNEVEN.spaces, low=(-1.0,), high=(1.0,))  # the model's own range, so nothing need be scaled
    box = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    monkeypatch.setattr(Uneven, "action_space", box)
    expected = rolled(replace(OUTSIDE, name="expected", spaces=spaces), tiny_trial, arch, how)
    monkeypatch.setattr(Outside, "halves", True)
    assert rolled(replace(OUTSIDE, name="in place", spaces=spaces), tiny_trial, arch, how) == expected


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (lambda state: (state * np.inf).astype(np.float16), "the state of step 0 is .*inf"),
        (lambda state: np.full(2, 3e38), "the normalised state of step 0 is .(2.9.*e.39|inf)"),
        (lambda state: state.astype(object), "states are object of shape"),
        (lambda state: state[:, None], r"shape \(2, 1\).*states must be numbers of shape \(2,\)"),
    ],
)
def test_a_state_that_is_no_vector_of_finite_numbers_is_named(state, said, monkeypatch, tiny_trial):
    monkeypatch.setattr(Outside, "state", staticmethod(state))
    for arch, how in (("metamamba", "recurrent"), ("edt", "windowed")):  # edt chooses a number also from nan
        with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=rf"task outside \(Outside-v0\): .*{said}"):
            rolled(OUTSIDE, tiny_trial, arch, how)


def test_an_environment_that_cannot_begin_is_named_before_training(monkeypatch):
    monkeypatch.setattr(Outside, "state", staticmethod(lambda state: state[:1]))
    with pytest.raises(ValueError, match=r"shape \(1,\)"):
        run.check_environment(replace(OUTSIDE, name="one state"))


def test_a_target_that_overflows_is_named_before_training(tiny_trial):
    for target in (Target(3e38), Target(-3e38, "data")):
        evaluation = replace(tiny_trial.evaluation, targets=(target,))
        trial = replace(tiny_trial, evaluation=evaluation, task=replace(tiny_trial.task, return_scale=0.01))
        with pytest.raises(
            ValueError, match="asks for a return of .*e.3.; divided by the return_scale .* overflows float32"
        ):
            run.run(trial)
