"""The history of running episodes. It is the input of the model that chooses the next actions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped, UInt8
from torch import Tensor

from dmm.batch import Batch, RecurrentState
from dmm.config import Trial
from dmm.data.windows import Slots, Steps, assemble_windows, fill_slots
from dmm.models import DecisionModel
from dmm.rollouts.actions import ActionChoice


@dataclass(frozen=True)
class StateStatistics:
    """Mean and standard deviation of a dataset's states. Training.std_offset is part of the standard deviation."""

    mean: np.ndarray  # [S]
    std: np.ndarray  # [S]


class WindowedHistory:
    """The history of a windowed rollout: states, scaled actions and returns-to-go of the last K + 1 steps.

    All B episodes are at the same step. The class is a source of steps for windows. Its arrays are rings: row t % (K + 1) is
    step t, and the last row is a pad. Of frames only the embeddings are kept, so that each state is embedded once.
    """

    def __init__(
        self,
        trial: Trial,
        statistics: StateStatistics,
        targets: Sequence[float],
        needs: frozenset[str] = frozenset(),
        seeds: Sequence[int] = (),
    ) -> None:
        evaluation, spaces, k = trial.evaluation, trial.task.spaces, trial.training.context_length
        self.statistics, self.return_scale, self.spaces = statistics, trial.task.return_scale, spaces
        self.needs = needs - {"rewards", "next_states"}  # only losses need these
        self.choice = ActionChoice(spaces, evaluation.actions, seeds)
        self.length = 0  # states seen
        self.context_length, self.ring = k, k + 1  # a window, and the step before it
        rows = len(targets), self.ring + 1
        self.states = np.zeros((*rows, 0 if spaces.has_frames else spaces.state_dim), np.float32)
        if evaluation.rollout_pad_state == "raw zero":
            self.states[:, -1] = -statistics.mean / statistics.std
        self.embeddings: Float[Tensor, "B rows H"] | None = None  # of frames
        self.goals = self.states.copy() if needs & {"goals", "previous_goals"} else self.states[:, :0]
        self.actions = np.zeros(rows, np.int64) if spaces.discrete else np.zeros((*rows, spaces.actions), np.float32)
        self.actions[:, -1] = evaluation.rollout_pad_action
        self.returns_to_go = np.zeros(rows, np.float32)
        self.next_return_to_go = np.array(targets, float) / self.return_scale  # before the next step
        self.steps = np.zeros(self.ring + 1, np.int64)
        self.generators = [np.random.default_rng((seed, 1)) for seed in seeds] if "uniform_samples" in needs else []
        self.slots = self.ring_slots(trial.training.padding)

    def ring_slots(self, padding: str) -> Slots[np.ndarray]:
        """The slots of the first K windows, which are not full, and of as many more as the ring has steps. Others are equal."""
        end = torch.arange(1, self.context_length + self.ring + 1)
        start, first = (end - self.context_length).clamp(min=0), torch.zeros_like(end)
        slots = fill_slots(start, end, torch.arange(self.context_length), padding, -1, first).numpy()
        assert slots.earlier is not None
        rows, earlier = (np.where(steps < 0, self.ring, steps % self.ring) for steps in (slots.rows, slots.earlier))
        return replace(slots, rows=rows, earlier=earlier)

    @property
    def row(self) -> int:
        """The row of the newest step."""
        return (self.length - 1) % self.ring

    def slots_now(self) -> Slots[np.ndarray]:
        """The slots of the last K steps."""
        now, k = self.length - 1, self.context_length
        return self.slots.window(now if now < k else k + (now - k) % self.ring)

    def observe(
        self, states: Float[np.ndarray, "B S"] | UInt8[np.ndarray, "B C height width"]
    ) -> Float[np.ndarray, "B S"] | UInt8[np.ndarray, "B C height width"]:
        """Adds the current states of the episodes. Vectors are normalised here. Returns what the model is given."""
        self.length += 1
        row = self.row
        if self.spaces.has_frames:
            self.frames = given = states
        else:
            self.states[:, row] = given = (states - self.statistics.mean) / self.statistics.std
        self.actions[:, row] = 0  # not chosen yet
        self.goals[:, row : row + 1] = 0
        self.returns_to_go[:, row] = self.next_return_to_go
        self.steps[row] = self.length - 1
        if self.generators:
            k = self.context_length
            self.uniform_samples = np.stack([generator.random(k, np.float32) for generator in self.generators])
        return given

    def predict(self, model: DecisionModel) -> Float[np.ndarray, "B outputs"]:
        """The model's prediction in the last states: actions in [-1, 1], or logits of discrete actions."""
        batch = self.window().to(next(model.parameters()).device)
        if self.spaces.has_frames:
            batch = replace(batch, state_embeddings=self.embed(model))
        predicted = model.act(batch)
        if isinstance(predicted, tuple):
            predicted, goals = predicted
            self.goals[:, self.row] = goals.float().cpu().numpy()
        return predicted.float().cpu().numpy()

    def choose(self, predicted: Float[np.ndarray, "B outputs"]) -> Float[np.ndarray, "B A"] | Int64[np.ndarray, " B"]:
        """Takes the actions of a prediction, and returns them in the environment's units."""
        chosen = self.choice(predicted)
        self.actions[:, self.row] = chosen
        return self.choice.in_units(chosen)

    def embed(self, model: DecisionModel) -> Float[Tensor, "B K H"]:
        """Embeds the newest frames, and returns the embeddings of the last K steps. The pad is that of black frames."""
        frames = torch.from_numpy(self.frames).to(next(model.parameters()).device)
        if self.embeddings is None:
            black = model.embed_frames(torch.zeros_like(frames[:1]))
            self.embeddings = black.repeat(len(frames), self.ring + 1, 1)
        self.embeddings[:, self.row] = model.embed_frames(frames)
        return self.embeddings[:, self.slots_now().rows[0]]

    def record_rewards(self, rewards: Float[np.ndarray, " B"]) -> None:
        """Subtracts the rewards of the last actions from the returns-to-go.

        They are not clipped, even where those of the data are. All Atari scripts of kzl's family do this.
        """
        self.next_return_to_go = self.next_return_to_go - rewards / self.return_scale

    def drop_finished(self, running: Bool[np.ndarray, " B"]) -> None:
        """Drops the episodes that are not running."""
        for name in ("states", "actions", "goals", "returns_to_go", "next_return_to_go"):
            setattr(self, name, getattr(self, name)[running])
        if self.embeddings is not None:
            self.embeddings = self.embeddings[torch.from_numpy(running)]
        self.generators = [generator for generator, runs in zip(self.generators, running) if runs]
        self.choice.drop_finished(running)

    def window(self) -> Batch:
        """The last K steps of each episode. The action and the goal of the last step are 0, because they are not chosen yet."""
        uniform_samples = torch.from_numpy(self.uniform_samples) if self.generators else None
        return assemble_windows(self, self.slots_now(), self.needs, uniform_samples)

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

    def read_actions(self, rows: Int64[np.ndarray, "1 K"], mask: Bool[np.ndarray, "1 K"]) -> Tensor:
        """The actions of rows [B K A], or [B K] if they are discrete. 0 where the mask is False."""
        found = self.actions.take(rows[0], axis=1)
        if not mask.all():
            found[:, ~mask[0]] = 0
        return torch.from_numpy(found)

    def read_goals(self, rows: Int64[np.ndarray, "1 K"], mask: Bool[np.ndarray, "1 K"]) -> Float[Tensor, "B K S"]:
        """The goals of rows."""
        return take_rows(self.goals, rows)


def take_rows(values: Shaped[np.ndarray, "B rows ..."], rows: Int64[np.ndarray, "1 K"]) -> Shaped[Tensor, "B K ..."]:
    """The same rows of every episode."""
    return torch.from_numpy(values.take(rows[0], axis=1))


class RecurrentHistory:
    """The history of a recurrent rollout. The model keeps a state and is given each step once."""

    def __init__(
        self, trial: Trial, statistics: StateStatistics, targets: Sequence[float], seeds: Sequence[int] = ()
    ) -> None:
        self.statistics, self.return_scale = statistics, trial.task.return_scale
        self.spaces = spaces = trial.task.spaces
        self.choice = ActionChoice(spaces, trial.evaluation.actions, seeds)
        self.length = 0
        self.state = RecurrentState()
        first = (len(targets), 1)
        self.actions = torch.zeros(first, dtype=torch.int64) if spaces.discrete else torch.zeros(*first, spaces.actions)
        self.return_to_go = np.array(targets, float) / self.return_scale

    def observe(
        self, states: Float[np.ndarray, "B S"] | UInt8[np.ndarray, "B C height width"]
    ) -> Float[np.ndarray, "B S"] | UInt8[np.ndarray, "B C height width"]:
        """Takes the current states of the episodes. Vectors are normalised here. Returns what the model is given."""
        self.length += 1
        if self.spaces.has_frames:
            self.states = torch.from_numpy(states)  # C frames are one step
            return states
        normalised = ((states - self.statistics.mean) / self.statistics.std).astype(np.float32)
        self.states = torch.from_numpy(normalised).unsqueeze(1)
        return normalised

    def predict(self, model: DecisionModel) -> Float[np.ndarray, "B outputs"]:
        """The model's prediction in the last states: actions in [-1, 1], or logits of discrete actions."""
        episodes = len(self.states)
        now = Batch(
            self.states,
            torch.zeros_like(self.actions),
            torch.from_numpy(self.return_to_go.astype(np.float32)).unsqueeze(1),
            torch.full((episodes, 1), self.length - 1),
            torch.ones(episodes, 1, dtype=torch.bool),
            previous_actions=self.actions,
        )
        return model.step(now.to(next(model.parameters()).device), self.state).float().cpu().numpy()

    def choose(self, predicted: Float[np.ndarray, "B outputs"]) -> Float[np.ndarray, "B A"] | Int64[np.ndarray, " B"]:
        """Takes the actions of a prediction, and returns them in the environment's units."""
        chosen = self.choice(predicted)
        self.actions = torch.from_numpy(chosen).unsqueeze(1)
        return self.choice.in_units(chosen)

    def record_rewards(self, rewards: Float[np.ndarray, " B"]) -> None:
        """Subtracts the rewards of the last actions from the returns-to-go."""
        self.return_to_go = self.return_to_go - rewards / self.return_scale

    def drop_finished(self, running: Bool[np.ndarray, " B"]) -> None:
        """Drops the episodes that are not running."""
        self.actions, self.return_to_go = self.actions[running], self.return_to_go[running]
        self.state.drop_finished(torch.from_numpy(running))
        self.choice.drop_finished(running)
