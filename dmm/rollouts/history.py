"""The history of running episodes. It is the input of the model that chooses the next actions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dmm.batch import Batch, RecurrentState
from dmm.config import Trial
from dmm.data.windows import Steps, assemble_windows, fill_slots
from dmm.models import DecisionModel
from dmm.tasks import Task


@dataclass(frozen=True)
class StateStatistics:
    """Mean and standard deviation of a dataset's states. Training.std_offset is part of the standard deviation."""

    mean: np.ndarray  # [S]
    std: np.ndarray  # [S]


class WindowedHistory:
    """The history of a windowed rollout: states, scaled actions and returns-to-go since the episodes began.

    All B episodes are at the same step. The class is a source of steps for windows. Row t of an array is step t, and the
    last row is a pad.
    """

    def __init__(
        self,
        trial: Trial,
        statistics: StateStatistics,
        targets: Sequence[float],
        needs: frozenset[str] = frozenset(),
        seeds: Sequence[int] = (),
    ) -> None:
        task, evaluation = trial.task, trial.evaluation
        self.statistics, self.return_scale, self.spaces = statistics, task.return_scale, task.spaces
        self.needs = needs - {"rewards", "next_states"}  # only losses need these
        self.length = 0  # states seen
        episodes, horizon, k = len(targets), task.horizon, trial.training.context_length
        self.states = np.zeros((episodes, horizon + 1, task.spaces.state_dim), np.float32)
        if evaluation.rollout_pad_state == "raw zero":
            self.states[:, -1] = -statistics.mean / statistics.std
        self.goals = self.states.copy() if needs & {"goals", "previous_goals"} else self.states[:, :0]
        self.actions = np.zeros((episodes, horizon + 1, task.spaces.action_dim), np.float32)
        self.actions[:, -1] = evaluation.rollout_pad_action
        self.returns_to_go = np.zeros((episodes, horizon + 1), np.float32)
        self.next_return_to_go = np.array(targets, float) / task.return_scale  # before the next step
        self.steps = np.append(np.arange(horizon), 0)
        self.uniform_samples = self.returns_to_go[:, :0]
        if "uniform_samples" in needs:
            generators = (np.random.default_rng((seed, 1)) for seed in seeds)
            self.uniform_samples = np.stack([generator.random((horizon, k), np.float32) for generator in generators])
        end = torch.arange(1, horizon + 1)
        start, first = (end - k).clamp(min=0), torch.zeros_like(end)
        slots = fill_slots(start, end, torch.arange(k), trial.training.padding, horizon, first)
        self.slots = slots.numpy()  # of the window at each step

    def observe(self, states: Float[np.ndarray, "B S"]) -> None:
        """Adds the current states of the episodes. They are not normalised."""
        self.states[:, self.length] = (states - self.statistics.mean) / self.statistics.std
        self.returns_to_go[:, self.length] = self.next_return_to_go
        self.length += 1

    def act(self, model: DecisionModel) -> Float[np.ndarray, "B A"]:
        """The model's actions in the last states, in the environment's units."""
        chosen = model.act(self.window().to(next(model.parameters()).device))
        if isinstance(chosen, tuple):
            chosen, goals = chosen
            self.goals[:, self.length - 1] = goals.float().cpu().numpy()
        self.actions[:, self.length - 1] = chosen.float().cpu().numpy()
        return self.spaces.to_box(self.actions[:, self.length - 1])

    def record_rewards(self, rewards: Float[np.ndarray, " B"]) -> None:
        """Subtracts the rewards of the last actions from the returns-to-go."""
        self.next_return_to_go = self.next_return_to_go - rewards / self.return_scale

    def drop_finished(self, running: Bool[np.ndarray, " B"]) -> None:
        """Drops the episodes that are not running."""
        for name in ("states", "actions", "goals", "returns_to_go", "next_return_to_go", "uniform_samples"):
            setattr(self, name, getattr(self, name)[running])

    def window(self) -> Batch:
        """The last K steps of each episode. The action and the goal of the last step are 0, because they are not chosen yet."""
        now, uniform_samples = self.length - 1, None
        if "uniform_samples" in self.needs:
            uniform_samples = torch.from_numpy(self.uniform_samples[:, now])
        return assemble_windows(self, self.slots.window(now), self.needs, uniform_samples)

    def read(self, rows: Int64[np.ndarray, "1 K"], mask: Bool[np.ndarray, "1 K"]) -> Steps:
        """The values of rows."""
        steps, mask = (array.repeat(len(self.states), 0) for array in (self.steps[rows], mask))
        return Steps(
            take_rows(self.states, rows),
            take_rows(self.actions, rows),
            take_rows(self.returns_to_go, rows),
            torch.from_numpy(steps),
            torch.from_numpy(mask),
            None,
        )

    def read_actions(self, rows: Int64[np.ndarray, "1 K"], mask: Bool[np.ndarray, "1 K"]) -> Float[Tensor, "B K A"]:
        """The actions of rows. 0 where the mask is False."""
        found = self.actions.take(rows[0], axis=1)
        if not mask.all():
            found[:, ~mask[0]] = 0.0
        return torch.from_numpy(found)

    def read_goals(self, rows: Int64[np.ndarray, "1 K"], mask: Bool[np.ndarray, "1 K"]) -> Float[Tensor, "B K S"]:
        """The goals of rows."""
        return take_rows(self.goals, rows)


def take_rows(values: Float[np.ndarray, "B rows ..."], rows: Int64[np.ndarray, "1 K"]) -> Float[Tensor, "B K ..."]:
    """The same rows of every episode."""
    return torch.from_numpy(values.take(rows[0], axis=1))


class RecurrentHistory:
    """The history of a recurrent rollout. The model keeps a state and is given each step once."""

    def __init__(self, task: Task, statistics: StateStatistics, targets: Sequence[float]) -> None:
        self.statistics, self.return_scale, self.spaces = statistics, task.return_scale, task.spaces
        self.length = 0
        self.state = RecurrentState()
        self.actions = torch.zeros(len(targets), 1, task.spaces.action_dim)
        self.return_to_go = np.array(targets, float) / task.return_scale

    def observe(self, states: Float[np.ndarray, "B S"]) -> None:
        """Takes the current states of the episodes. They are not normalised."""
        self.states = ((states - self.statistics.mean) / self.statistics.std).astype(np.float32)
        self.length += 1

    def act(self, model: DecisionModel) -> Float[np.ndarray, "B A"]:
        """The model's actions in the last states, in the environment's units."""
        episodes = len(self.states)
        now = Batch(
            torch.from_numpy(self.states).unsqueeze(1),
            torch.zeros_like(self.actions),
            torch.from_numpy(self.return_to_go.astype(np.float32)).unsqueeze(1),
            torch.full((episodes, 1), self.length - 1),
            torch.ones(episodes, 1, dtype=torch.bool),
            previous_actions=self.actions,
        )
        self.actions = model.step(now.to(next(model.parameters()).device), self.state).float().cpu().unsqueeze(1)
        return self.spaces.to_box(self.actions[:, 0].numpy())

    def record_rewards(self, rewards: Float[np.ndarray, " B"]) -> None:
        """Subtracts the rewards of the last actions from the returns-to-go."""
        self.return_to_go = self.return_to_go - rewards / self.return_scale

    def drop_finished(self, running: Bool[np.ndarray, " B"]) -> None:
        """Drops the episodes that are not running."""
        self.actions, self.return_to_go = self.actions[running], self.return_to_go[running]
        self.state.drop_finished(torch.from_numpy(running))
