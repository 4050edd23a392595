"""The peers: research code that does the same work, structure for structure. Nothing else in dmm uses this file.

Scan: mamba-ssm's reference (selective_scan_ref) stores the decays of all steps and reads them by index, with channels
    before time. mamba.py (package mambapy) has a parallel scan.
Models: our modules with the same weights, computed as the originals do. The dense mixer unfolds its windows, a convolution
    is nn.Conv1d with channels first, and the scan is a peer's. A test compares outputs and gradients with ours.
Decision Transformer: transformers' DecisionTransformerModel with eager attention and dropout 0.1.
Sampler: get_batch of the gym scripts. It is a Python loop over a batch's windows. For each window it sums all rewards that
    are left in the episode.
Update: the scripts' AdamW, gradient clipping, schedule, and loss on real steps only. The loss is read at every update.
Rollouts: evaluate_episode_rtg. It rolls one episode at a time, keeps the whole history in growing tensors, and normalises
    all of it at each step.
"""

import copy
import importlib
from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from dmm.batch import Batch, Spaces
from dmm.data.trajectories import Trajectories
from dmm.kernels import scan
from dmm.layers import ActionHead, ConvMixer, SelectiveSSM, TokenEmbedding
from dmm.models.metamamba import LinearMixer

STATISTICS = 0.1, 1.1  # mean and standard deviation by which states are normalised
Scan = Callable[..., Tensor]  # x, z, dt (B D T), A (D N), B, C (B N T), D -> y (B D T)


def optional_package(name: str) -> tuple[ModuleType | None, str]:
    """A package of the extra `bench`, or None and the way to install it."""
    try:
        return importlib.import_module(name), ""
    except ImportError as error:
        return None, f"{error}; the extra `bench` installs it"


def indexed_scan(x, z, dt, A, B, C, D) -> Float[Tensor, "B D T"]:
    """Computes the decays and inputs of all steps at once, then the state step by step."""
    dt = F.softplus(dt)
    decays = torch.exp(einsum(dt, A, "b d t, d n -> b d t n"))
    inputs = einsum(dt, B, x, "b d t, b n t, b d t -> b d t n")
    h = A.new_zeros(len(x), *A.shape)
    y = []
    for t in range(x.shape[2]):
        h = decays[:, :, t] * h + inputs[:, :, t]
        y.append(einsum(h, C[:, :, t], "b d n, b n -> b d"))
    return (torch.stack(y, 2) + x * rearrange(D, "d -> d 1")) * F.silu(z)


def lean_scan(x, z, dt, A, B, C, D) -> Float[Tensor, "B D T"]:
    """The loop of kernels/scan.py. It computes the decays of a step in that step."""
    x, z, dt, B, C = (rearrange(value, "b d t -> b t d") for value in (x, z, dt, B, C))
    return rearrange(scan.reference(x, z, dt, A, B, C, D), "b t d -> b d t")


def mambapy_scan(x, z, dt, A, B, C, D) -> Float[Tensor, "B D T"]:
    """mamba.py's parallel scan and its block around it, with time before channels."""
    pscan = importlib.import_module("mambapy.pscan").pscan
    x, z, dt, B, C = (rearrange(value, "b d t -> b t d") for value in (x, z, dt, B, C))
    dt = F.softplus(dt)
    decays = torch.exp(dt.unsqueeze(3) * A)
    inputs = dt.unsqueeze(3) * B.unsqueeze(2) * x.unsqueeze(3)
    y = (pscan(decays, inputs) @ C.unsqueeze(3)).squeeze(3) + D * x
    return rearrange(y * F.silu(z), "b t d -> b d t")


class PeerSSM(nn.Module):
    """A Mamba block as mamba-ssm runs it without its kernels, with channels before time."""

    def __init__(self, ours: SelectiveSSM, scan: Scan) -> None:
        super().__init__()
        self.ours, self.scan, self.conv = ours, scan, None
        if isinstance(ours.mixer, ConvMixer):
            (width, kernel_size), mixer = ours.mixer.weight.shape[1:], ours.mixer
            self.conv = nn.Conv1d(width, width, kernel_size, groups=width, padding=kernel_size - 1)
            self.conv.weight.data.copy_(rearrange(mixer.weight.data, "1 d w -> d 1 w"))
            assert self.conv.bias is not None
            self.conv.bias.data.copy_(mixer.bias.data[0])

    def forward(self, x: Float[Tensor, "B T H"], state: None = None) -> Float[Tensor, "B T H"]:
        ours, (rows, length, _) = self.ours, x.shape
        x, z = rearrange(ours.in_proj(x), "b t d -> b d t").chunk(2, dim=1)
        if self.conv is not None:
            x = self.conv(x)[..., :length]
        x = ours.activation(x)
        dt, B, C = ours.x_proj(rearrange(x, "b d t -> (b t) d")).split(ours.sizes, dim=-1)
        dt = rearrange(ours.dt_proj(dt), "(b t) d -> b d t", b=rows)
        B, C = (rearrange(value, "(b t) n -> b n t", b=rows).contiguous() for value in (B, C))
        y = self.scan(x, z, dt, -torch.exp(ours.A_log), B, C, ours.D)
        return ours.out_proj(rearrange(y, "b d t -> b t d"))


class PeerMixer(nn.Module):
    """The dense mixer as published. Windows come from unfold, flattened from the oldest token on."""

    def __init__(self, ours: LinearMixer) -> None:
        super().__init__()
        assert len(ours.filters) == 1
        self.kernel_size, self.linear = ours.kernel_size, ours.filters[0]

    def forward(self, x: Float[Tensor, "B T H"], state: None = None) -> Float[Tensor, "B T H"]:
        windows = F.pad(x, (0, 0, self.kernel_size - 1, 0)).unfold(1, self.kernel_size, 1)  # B T H window
        return self.linear(windows.transpose(2, 3).flatten(2))


class PeerEmbedding(nn.Module):
    """The tokens as published: the last action is one of them, and the layers compute and return all tokens."""

    def __init__(self, ours: TokenEmbedding) -> None:
        super().__init__()
        self.ours = ours
        ours.last_action = True

    def forward(self, batch: Batch, state: None = None) -> Float[Tensor, "B T H"]:
        return self.ours(batch)

    def state_tokens(self, state: None = None) -> slice:
        return slice(None)


class PeerHead(nn.Module):
    """The head as published: it picks the state tokens out of all tokens."""

    def __init__(self, ours: ActionHead) -> None:
        super().__init__()
        self.ours = ours

    def forward(self, x: Float[Tensor, "B T H"]) -> Float[Tensor, "B K A"]:
        return self.ours(x[:, 1::3])


def peer_model(ours: nn.Module, scan: Scan) -> nn.Module:
    """A copy of our model that computes as its original does, with a peer's scan."""
    model = copy.deepcopy(ours)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, TokenEmbedding):
                setattr(module, name, PeerEmbedding(child))
            elif isinstance(child, ActionHead):
                setattr(module, name, PeerHead(child))
            elif isinstance(child, SelectiveSSM):
                setattr(module, name, PeerSSM(child, scan))
            elif isinstance(child, LinearMixer):
                setattr(module, name, PeerMixer(child))
    return model


class PeerTransformer(nn.Module):
    """transformers' Decision Transformer on a Batch. It computes all its heads, as the original does."""

    def __init__(self, spaces: Spaces, context_length: int, width: int, layers: int) -> None:
        super().__init__()
        transformers = importlib.import_module("transformers")
        self.model = transformers.DecisionTransformerModel(
            transformers.DecisionTransformerConfig(
                state_dim=spaces.state_dim, act_dim=spaces.action_dim, hidden_size=width, n_layer=layers, n_head=1,
                max_ep_len=1000, n_positions=3 * context_length, activation_function="relu",
                attn_implementation="eager", bos_token_id=None, eos_token_id=None,
            )
        )  # fmt: skip

    def forward(self, batch: Batch) -> Float[Tensor, "B K A"]:
        return self.model(
            states=batch.states, actions=batch.actions, rewards=None, returns_to_go=batch.returns_to_go.unsqueeze(2),
            timesteps=batch.steps, attention_mask=batch.mask.long(), return_dict=True,
        ).action_preds  # fmt: skip


class PeerSampler:
    """Draws windows one by one. For each it computes the returns-to-go of the rest of its episode."""

    def __init__(self, trajectories: Trajectories, context_length: int, scale: float) -> None:
        cuts = trajectories.offsets[1:-1]
        arrays = (trajectories.states, trajectories.actions, trajectories.rewards)
        self.episodes = list(zip(*(np.split(array, cuts) for array in arrays), strict=True))
        self.chances = trajectories.lengths / trajectories.steps
        self.mean, self.std = trajectories.state_mean, trajectories.state_std + 1e-6
        self.k, self.scale, self.random = context_length, scale, np.random.default_rng(0)

    def __call__(self, batch_size: int) -> Batch:
        k, columns = self.k, ([], [], [], [], [])
        for episode in self.random.choice(len(self.episodes), size=batch_size, p=self.chances):
            states, actions, rewards = self.episodes[episode]
            start = int(self.random.integers(len(rewards)))
            states, actions = states[start : start + k], actions[start : start + k]
            real = len(states)
            steps = np.arange(start, start + real)
            returns = returns_to_go(rewards[start:])[:k]
            states = np.concatenate([np.zeros((k - real, states.shape[1])), states])
            states = (states - self.mean) / self.std
            actions = np.concatenate([np.full((k - real, actions.shape[1]), -10.0), actions])
            returns = np.concatenate([np.zeros(k - real), returns]) / self.scale
            steps = np.concatenate([np.zeros(k - real), steps])
            mask = np.concatenate([np.zeros(k - real), np.ones(real)])
            for column, value in zip(columns, (states, actions, returns, steps, mask), strict=True):
                column.append(value[None])
        states, actions, returns, steps, mask = (torch.from_numpy(np.concatenate(column)) for column in columns)
        return Batch(states.float(), actions.float(), returns.float(), steps.long(), mask.bool())


def returns_to_go(rewards: np.ndarray, discount: float = 1.0) -> np.ndarray:
    """The discounted sum of rewards from each step on, by a loop from the last step to the first."""
    total = np.zeros_like(rewards)
    total[-1] = rewards[-1]
    for t in reversed(range(len(rewards) - 1)):
        total[t] = rewards[t] + discount * total[t + 1]
    return total


def make_peer_update(model: nn.Module, sampler: Callable[[int], Batch], device: str) -> Callable[[], float]:
    """A function that makes one update as the scripts do, and returns its loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda steps: min((steps + 1) / 10_000, 1))

    def update() -> float:
        batch = sampler(64).to(device)
        predicted, real = model(batch), batch.mask.reshape(-1)
        dim = predicted.shape[2]
        loss = torch.mean((predicted.reshape(-1, dim)[real] - batch.actions.reshape(-1, dim)[real]) ** 2)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        schedule.step()
        return loss.item()

    return update


@torch.no_grad()
def peer_episode(
    model: nn.Module, env, k: int, horizon: int, target: float, scale: float, seed: int, device: str
) -> tuple[float, int]:
    """Rolls one episode with a history that grows by concatenation. Returns its return and its length in steps."""
    model.eval()
    state, _ = env.reset(seed=seed)
    dim, action_dim = len(state), env.action_space.shape[0]
    mean, std = (torch.full((dim,), value, dtype=torch.float64, device=device) for value in STATISTICS)
    states = torch.from_numpy(state).reshape(1, dim).to(device=device, dtype=torch.float32)
    actions = torch.zeros(0, action_dim, device=device)
    returns, steps = (
        torch.full((1, 1), target / scale, device=device),
        torch.zeros(1, 1, dtype=torch.long, device=device),
    )
    total = 0.0
    for t in range(horizon):
        actions = torch.cat([actions, torch.zeros(1, action_dim, device=device)])
        actions[-1] = action = last_action(model, (states - mean) / std, actions, returns, steps, k)
        state, reward, terminated, truncated, _ = env.step(action.cpu().numpy())
        states = torch.cat([states, torch.from_numpy(state).reshape(1, dim).to(states)])
        returns = torch.cat([returns, (returns[0, -1] - reward / scale).reshape(1, 1)], 1)
        steps = torch.cat([steps, torch.full((1, 1), t + 1, device=device)], 1)
        total += reward
        if terminated or truncated:
            break
    return total, t + 1


def last_action(model: nn.Module, states, actions, returns, steps, k: int) -> Float[Tensor, " A"]:
    """The action for the last state of a history. The model sees the last k steps, padded on the left with zeros."""

    def window(values: Tensor) -> Tensor:
        values = values[:, -k:]
        pad = torch.zeros(1, k - values.shape[1], *values.shape[2:], dtype=values.dtype, device=values.device)
        return torch.cat([pad, values], 1)

    states, actions, steps = window(states[None]).float(), window(actions[None]), window(steps)
    mask = window(torch.ones_like(returns, dtype=torch.bool))
    return model(Batch(states, actions, window(returns).float(), steps, mask))[0, -1]
