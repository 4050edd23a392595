"""Frames: windows of them and an update on them, beside research code. Data are synthetic. Sizes are those of the papers."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dmm.architectures import find_model
from dmm.batch import Batch
from dmm.bench import baselines
from dmm.bench.cases import one_unit, update_workload
from dmm.bench.timing import BenchmarkCase, TimingBudget
from dmm.config import Evaluation, Training, Trial
from dmm.data.frames import STACK, frame_starts
from dmm.data.trajectories import Trajectories, assemble
from dmm.data.windows import pass_rows, read_windows
from dmm.tasks import find_task
from dmm.tasks.atari import FRAMES

PONG = find_task("pong")


@cache
def synthetic_frames(steps: int) -> Trajectories:
    """Ten episodes of frames that are noise."""
    generator, offsets = np.random.default_rng(0), np.arange(11) * (steps // 10)
    count = int(offsets[-1])
    actions = generator.integers(0, PONG.spaces.actions, (count, 1))
    rewards, over = generator.integers(-1, 2, count), np.ones(10, bool)
    found = assemble(
        "synthetic", np.zeros((count, 0)), actions, rewards, offsets, over, num_actions=PONG.spaces.actions
    )
    pixels = generator.integers(0, 256, (count + (STACK - 1) * 10, *FRAMES[1:]), np.uint8)
    return replace(found, frames=pixels, frame_starts=frame_starts(offsets))


def atari_trial(quick: bool) -> Trial:
    """DT as in the papers."""
    sizes: dict[str, Any] = (
        {"context_length": 4, "batch_size": 2} if quick else {"context_length": 30, "batch_size": 128}
    )
    training = Training(
        **sizes, updates=100_000, warmup=0, learning_rate=6e-4, weight_decay=0.1, betas=(0.9, 0.95), decay="matrices",
        grad_clip_norm=1.0, sampling="passes", window_anchor="shifted", padding="right", schedule="cosine",
    )  # fmt: skip
    overrides = {**find_model("dt").presets["DT, Atari"], **({"layers": 1} if quick else {})}
    return Trial(
        arch="dt", task=PONG, dataset=("synthetic",), training=training, evaluation=Evaluation(), seed=0,
        overrides=tuple(overrides.items()),
    )  # fmt: skip


def training(budget: TimingBudget, device: str) -> Iterator[BenchmarkCase]:
    """A batch of windows, then a whole update of DT."""
    data, trial = synthetic_frames(500 if budget.quick else 5_000), atari_trial(budget.quick)
    k, size = trial.training.context_length, trial.training.batch_size
    rows = pass_rows(data.steps, size, 0, 0)
    yield BenchmarkCase(
        work=f"windows, K {k}, batch {size}",
        unit="batch",
        peers={"Python loop": one_unit(lambda: peer_windows(data, rows, k))},
        ours={"dmm": one_unit(lambda: windows(data, rows, trial.training))},
    )
    module, reason = baselines.optional_package("transformers")
    peer = {"stacks, Conv2d, transformers": one_unit(peer_update(data, trial, device))} if module else {}
    yield BenchmarkCase(
        work=f"update of DT, K {k}, batch {size}",
        unit="update",
        peers=peer,
        ours={"dmm": update_workload(trial, data, device)},
        missing={} if module else {"transformers": reason},
    )


def windows(data: Trajectories, rows: Int64[Tensor, " B"], training: Training) -> Batch:
    """A batch of our windows."""
    return read_windows(data, rows, training, PONG.return_scale, PONG.spaces)


def peer_windows(data: Trajectories, rows: Int64[Tensor, " B"], k: int) -> tuple[Tensor, ...]:
    """Windows as kzl/decision-transformer's loader makes them: one by one, with stacks as floats between 0 and 1."""
    assert data.frames is not None and data.frame_starts is not None
    columns = [], [], []
    for row in rows.tolist():
        episode = int(np.searchsorted(data.offsets, row, side="right")) - 1
        begin, end = data.offsets[episode : episode + 2]
        start = max(min(row + k, end) - k, begin)
        first = data.frame_starts[episode] + start - begin
        stacks = np.array([data.frames[first + step : first + step + STACK] for step in range(k)])
        columns[0].append(torch.tensor(stacks, dtype=torch.float32).reshape(k, -1) / 255)
        columns[1].append(torch.tensor(data.actions[start : start + k, 0], dtype=torch.long))
        columns[2].append(torch.tensor(data.returns_to_go[start : start + k], dtype=torch.float32))
    return tuple(torch.stack(column) for column in columns)


class PeerModel(nn.Module):
    """DT of the Atari scripts on stacks of floats, with the trunk of transformers' GPT-2. It computes all tokens."""

    def __init__(self, width: int, layers: int, heads: int, context_length: int) -> None:
        super().__init__()
        transformers = importlib.import_module("transformers")
        self.trunk = transformers.GPT2Model(
            transformers.GPT2Config(
                n_embd=width, n_layer=layers, n_head=heads, n_positions=3 * context_length, vocab_size=PONG.spaces.actions,
                attn_implementation="eager", bos_token_id=None, eos_token_id=None,
            )
        )  # fmt: skip
        self.encoder = nn.Sequential(
            nn.Conv2d(STACK, 32, 8, stride=4), nn.ReLU(), nn.Conv2d(32, 64, 4, stride=2), nn.ReLU(),
            nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3136, width), nn.Tanh(),
        )  # fmt: skip
        self.returns_to_go, self.actions = nn.Linear(1, width), nn.Embedding(PONG.spaces.actions, width)
        self.head = nn.Linear(width, PONG.spaces.actions, bias=False)

    def forward(self, batch: Batch) -> Float[Tensor, "B K V"]:
        """The logits of every step."""
        stacks = rearrange(batch.states.unfold(1, STACK, 1), "b k h w c -> (b k) c h w").float() / 255
        states = rearrange(self.encoder(stacks), "(b k) h -> b k h", b=len(batch.mask))
        returns = torch.tanh(self.returns_to_go(rearrange(batch.returns_to_go, "b k -> b k 1")))
        tokens = torch.stack([returns, states, torch.tanh(self.actions(batch.actions))], 2)
        x = self.trunk(inputs_embeds=rearrange(tokens, "b k m h -> b (k m) h")).last_hidden_state
        return self.head(x[:, 1::3])


def peer_update(data: Trajectories, trial: Trial, device: str) -> Callable[[], float]:
    """A function that makes one update as the scripts do. It has our windows, so that only the model is compared."""
    config, training = trial.config, trial.training
    model = PeerModel(config.width, config.layers, config.heads, training.context_length).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.learning_rate, betas=training.betas, weight_decay=0.1)
    rows = pass_rows(data.steps, training.batch_size, 0, 0)

    def update() -> float:
        batch = windows(data, rows, training).to(device)
        logits = model(batch)
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[2]), batch.actions.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.grad_clip_norm)
        optimizer.step()
        return loss.item()

    return update
