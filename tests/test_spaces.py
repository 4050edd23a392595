"""Spaces: bounds are checked, models see actions scaled to [-1, 1], and environments get them in their own units."""

import json
from dataclasses import dataclass, replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from helpers.reacher import REACHER, TINY, parts
from helpers.spaces import box

from dmm.batch import Spaces
from dmm.config import Trial
from dmm.data import windows
from dmm.data.trajectories import assemble, check_task
from dmm.data.windows import NEEDS, read_windows
from dmm.models import DecisionModel
from dmm.rollouts.history import StateStatistics
from dmm.rollouts.rollout import rollout
from dmm.schema import from_json, to_json

SPACES = box(1, 2, low=(-2.0, 0.0), high=(3.0, 0.5))  # middle (0.5, 0.25), half a width (2.5, 0.25)
RAW = np.array([[3, 0], [-2, 0.5], [0.5, 0.25], [1.75, 0.125]], np.float32)
SCALED = [[1, -1], [-1, 1], [0, 0], [0.5, -0.5]]
TASK = replace(REACHER, name="toy", environment="dmm/Toy-v0", spaces=SPACES, horizon=4, return_scale=1.0)


class Toy(gym.Env):
    """Its state is its time. Its reward is 10 times the first action plus the second."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gym.spaces.Box(np.float32(SPACES.low), np.float32(SPACES.high))

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return np.zeros(1), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.time += 1
        return np.full(1, float(self.time)), float(10 * action[0] + action[1]), False, False, {}


gym.register("dmm/Toy-v0", Toy)


def data(actions=RAW):
    """Two episodes, of 1 and 3 steps."""
    states = np.arange(4, dtype=np.float32)[:, None]
    return assemble("toy", states, actions, np.ones(4), np.array([0, 1, 4]), np.array([True, False]))


def equal(found, expected) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=0, atol=2e-6)


def test_bounds_are_one_unless_said():
    assert box(3, 2) == box(3, 2, low=(-1, -1), high=(1, 1)) and box(3, 2).low == (-1.0, -1.0)
    assert {box(3, 2), box(3, 2, low=(-1, -1))} == {box(3, 2)} != {SPACES}
    assert Spaces(states=(4, 84, 84), actions=6, discrete=True).high == ()
    assert (SPACES.state_dim, SPACES.action_dim) == (1, 2)


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"states": ()}, ["states ()", "(C, H, W)"]),
        ({"states": (3, 4)}, ["states (3, 4)"]),
        ({"states": (0,)}, ["states (0,)", "at least 1"]),
        ({"actions": 0}, ["0 actions"]),
        ({"low": (0,)}, ["2 actions", "low has 1, high has 2"]),
        ({"low": (0, 1)}, ["dimension 1", "low 1.0 and high 1.0"]),
        ({"high": (1, np.inf)}, ["Spaces.high is inf", "finite"]),
        ({"high": (1, np.nan)}, ["nan"]),
        ({"discrete": True, "low": (0, 0)}, ["discrete", "(0.0, 0.0)"]),
    ],
)
def test_wrong_spaces_are_refused(fields, words):
    with pytest.raises(ValueError) as error:
        Spaces(**{"states": (3,), "actions": 2, **fields})
    for word in words:
        assert word in str(error.value)


def test_frames_and_discrete_actions_have_no_dimensions():
    atari = Spaces(states=(4, 84, 84), actions=6, discrete=True)
    assert atari.has_frames and not SPACES.has_frames
    for name, said in {"state_dim": "takes vectors only", "action_dim": "takes a box only"}.items():
        with pytest.raises(ValueError, match=said):
            getattr(atari, name)


@pytest.mark.parametrize("spaces", [SPACES, box(11, 3), Spaces(states=(4, 84, 84), actions=6, discrete=True)])
def test_a_trip_through_json_changes_nothing(spaces):
    assert from_json(Spaces, json.loads(json.dumps(to_json(spaces)))) == spaces
    task = replace(TASK, spaces=spaces)
    assert from_json(type(task), json.loads(json.dumps(to_json(task)))) == task


def test_the_environment_has_the_bounds_of_the_task():
    TASK.make().close()
    for spaces, said in {
        box(1, 2): r"from \(-1.0, -1.0\) to \(1.0, 1.0\); dmm/Toy-v0 takes \(-2.0, 0.0\) to \(3.0, 0.5\)",
        replace(SPACES, low=(-2.0, 0.1)): r"task toy expects actions from \(-2.0, 0.1\)",
        box(2, 2): r"expects states \(2,\) and a box of 2 actions; dmm/Toy-v0 has \(1,\) and Box",
        Spaces(states=(1,), actions=2, discrete=True): "discrete",
    }.items():
        with pytest.raises(ValueError, match=said):
            replace(TASK, spaces=spaces).make()
    with pytest.raises(ValueError, match=r"a box of 1 actions; dmm/Toy-v0 has \(1,\) and Box"):
        replace(TASK, spaces=box(1, 1)).make()
    with pytest.raises(ValueError, match=r"CartPole-v1 has \(4,\) and Discrete\(2\)"):
        replace(TASK, environment="CartPole-v1", spaces=box(4, 2)).make()


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("pad_action", [-10.0, 0.0])
def test_actions_of_windows_are_scaled_and_pads_are_not(compiled, pad_action, monkeypatch):
    if not compiled:
        monkeypatch.setattr(windows, "gather_windows", lambda *_: None)
    training = TINY.with_overrides(context_length=2, pad_action=pad_action).training
    starts = torch.tensor([0, 1, 2, 3])
    pad, zero = [pad_action] * 2, [0, 0]
    batch = read_windows(data(), starts, training, 1.0, SPACES)
    equal(batch.actions, [[pad, SCALED[0]], SCALED[1:3], SCALED[2:4], [pad, SCALED[3]]])
    batch = read_windows(data(), starts, training, 1.0, SPACES, frozenset(NEEDS))
    equal(batch.actions, [[pad, SCALED[0]], SCALED[1:3], SCALED[2:4], [pad, SCALED[3]]])
    equal(batch.previous_actions, [[zero, zero], [zero, SCALED[1]], SCALED[1:3], [zero, SCALED[2]]])
    other = read_windows(data(), starts, training, 1.0, box(1, 2))  # another box, another table
    equal(other.actions[:, 1], RAW[[0, 2, 3, 3]])


class Constant(DecisionModel):
    """Asks for the same scaled action at each step, and keeps the actions that it is shown."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        pass

    recurrent, needs = True, frozenset({"previous_actions"})

    def __init__(self, spaces):
        super().__init__(self.Config(), spaces, 2)
        self.parameter, self.seen = torch.nn.Parameter(torch.tensor([0.5, -1.0])), []

    def forward(self, batch, state=None):
        self.seen.append(batch.previous_actions[:, -1])
        return self.parameter.expand_as(batch.actions)


@pytest.mark.parametrize("kind", ["windowed", "recurrent"])
def test_environments_get_actions_in_their_own_units(kind):
    """0.5 and -1 scaled are 1.75 and 0: a reward of 17.5 at each of four steps."""
    model, still = Constant(SPACES), StateStatistics(np.zeros(1), np.ones(1))
    trial = Trial(arch="dt", task=TASK, dataset=("toy",), seed=0, **parts(context_length=2, rollout=kind))
    assert rollout(model, trial, still, [1.0, 2.0], [0, 1]) == ([70.0, 70.0], [4, 4])
    equal(torch.stack(model.seen), [[[0, 0]] * 2] + [[[0.5, -1]] * 2] * 3)


@pytest.mark.parametrize(("environment", "states", "limit"), [("InvertedPendulum-v5", 4, 3.0), ("Pendulum-v1", 3, 2.0)])
def test_a_box_of_two_or_three_is_reached_and_never_taken_for_one(environment, states, limit):
    task = replace(TASK, environment=environment, spaces=box(states, 1))
    with pytest.raises(ValueError, match=rf"{environment} takes \(-{limit},\) to \({limit},\)"):
        task.make()
    spaces = box(states, 1, low=(-limit,), high=(limit,))
    replace(task, spaces=spaces).make().close()
    assert spaces.to_box(np.float32([[1.0], [-1.0]])).tolist() == [[limit], [-limit]]
    states_seen = np.arange(2 * states, dtype=np.float32).reshape(2, states)
    actions = np.float32([[limit], [-limit]])
    within = assemble("toy", states_seen, actions, np.ones(2), np.array([0, 2]), np.array([True]))
    check_task(within, replace(task, spaces=spaces))
    with pytest.raises(ValueError, match=f"'actions' at row 0, dimension 0 is {limit:g}"):
        check_task(within, task)


def test_a_box_of_one_leaves_the_bits_of_actions():
    actions = np.float32([[0.1, -0.0], [1 / 3, 1.0]])
    assert box(1, 2).to_box(actions) is actions
    table = windows.device_table(data(), torch.device("cpu"), TINY.training, 1.0, box(1, 2))
    columns = [part[1:3].numpy().tobytes() for part in (table.shift, table.divisor, table.pad)]
    assert columns == [np.float32([value] * 2).tobytes() for value in (0.0, 1.0, TINY.training.pad_action)]


def test_actions_outside_the_box_are_refused_with_their_row_or_clipped():
    check_task(data(RAW + np.float32(0.9e-3)), TASK)  # rounding is no reason to refuse data
    actions = RAW.copy()
    actions[2, 1], actions[3] = 0.75, (-2.5, -0.002)
    found = data(actions)
    with pytest.raises(ValueError) as error:
        check_task(found, TASK)
    for word in ("toy: 'actions' at row 2, dimension 1 is 0.75", "0 to 0.5", "2 of 4 rows", 'actions_outside = "clip"'):
        assert word in str(error.value)
    check_task(found, TASK, "clip")
    clipped = found.clip_actions(SPACES)
    check_task(clipped, TASK)
    assert clipped.actions.tolist() == [*RAW[:2].tolist(), [0.5, 0.5], [-2, 0]]
    assert (clipped.id, clipped.sha256) == (found.id, found.sha256) and np.array_equal(found.actions, actions)
    for name in ("states", "rewards", "returns_to_go", "offsets", "terminated", "state_mean", "state_std"):
        assert np.array_equal(getattr(clipped, name), getattr(found, name)), name
    assert not clipped.table[-1].any()  # the row of pads, though 0 may be outside a box
