"""The Elastic Decision Transformer against its procedures, written out in loops: masks, bins, loss and search."""

import dataclasses
import math
from statistics import fmean

import numpy as np
import pytest
import torch
from helpers.reacher import REACHER, parts
from helpers.synthetic_episodes import episodes

from dmm.architectures import build_model, make_config
from dmm.batch import Batch
from dmm.config import Row, Trial
from dmm.layers import Attention
from dmm.rollouts.history import StateStatistics, WindowedHistory
from dmm.tasks import find_task
from dmm.training.fit import fit
from tune_spaces.protocols import EDT_GYM, EDT_PER_COLUMN

SPACES = REACHER.spaces
S, A, K = SPACES.state_dim, SPACES.action_dim, 6
CHANGES = {"width": 16, "layers": 2, "heads": 2, "return_low": -1.5, "return_high": 2.0, "bins": 12}


def make(**overrides):
    """A model far from its initialisation, so that every parameter has an effect."""
    torch.manual_seed(0)
    model = build_model("edt", {**CHANGES, **overrides}, SPACES, K).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.2)
    return model


def windows(rows=4, padding="right") -> Batch:
    """Windows with 0, 1, ... padded steps. The values there must have no effect."""
    torch.manual_seed(1)
    mask = torch.arange(K) < K - torch.arange(rows)[:, None]
    mask = mask if padding == "right" else mask.flip(1)
    steps = (mask.cumsum(1) - 1).clamp(min=0) + 7
    values = torch.randn(rows, K, S), torch.rand(rows, K, A) * 2 - 1, torch.randn(rows, K) * 2
    return Batch(*values, steps, mask, next_states=torch.randn(rows, K, S))


def plain_bin(value: float, config) -> int:
    """floor((R - low) / ((high - low) / (bins - 1))) of a return that is first clipped to its range."""
    inside = min(max(value, config.return_low), config.return_high)
    return math.floor((inside - config.return_low) / (config.return_high - config.return_low) * (config.bins - 1))


def plain(model, states, actions, returns, steps):
    """One window without padding, token by token. Returns the output of each head, in lists by step. Arguments are [n ...]."""
    tokens, config = [], model.config
    for state, action, value, step in zip(states, actions, returns, steps, strict=True):
        fed = torch.tensor([(plain_bin(float(value), config) - config.bins / 2) / (config.bins / 2)])
        parts = model.embed_states(state), model.embed_returns(fed), model.embed_actions(action)
        tokens += [part + model.embed_steps.weight[step] for part in parts]
    x = model.embed_norm(torch.stack(tokens))
    for block in model.blocks:
        query, key, value = block.attention.qkv(x).chunk(3, -1)
        mixed, size = torch.zeros_like(x), config.width // config.heads
        for head in range(config.heads):
            part = slice(head * size, (head + 1) * size)
            for token in range(len(x)):
                seen = [other for other in range(token + 1) if other % 3 != 1 or other == 1]
                weight = torch.softmax(key[seen, part] @ query[token, part] / math.sqrt(size), 0)
                mixed[token, part] = weight @ value[seen, part]
        x = block.attention_norm(x + block.attention.out(mixed))
        x = block.mlp_norm(x + block.mlp.down(torch.nn.functional.gelu(block.mlp.up(x))))
    state_tokens, return_tokens = x[0::3], x[1::3]
    chosen = torch.tanh(model.action_head(return_tokens))
    following = model.state_head(torch.cat([return_tokens, chosen], -1))
    return chosen, following, model.bin_head(state_tokens), model.return_head(state_tokens).squeeze(-1)


@pytest.mark.parametrize("padding", ["left", "right"])
def test_forward_is_the_plain_one_at_every_real_step(padding):
    model, data = make(), windows(padding=padding)
    got = model(data)
    for row in range(4):
        real = data.mask[row]
        expected = plain(
            model, *(getattr(data, name)[row][real] for name in ("states", "actions", "returns_to_go", "steps"))
        )
        for mine, other in zip(got, expected, strict=True):
            torch.testing.assert_close(mine[row][real], other, rtol=1e-5, atol=1e-5)
            assert other.std() > 0.05 or len(other) < 4


def test_bins_by_hand():
    model = build_model("edt", {"width": 16, "bins": 5, "return_low": -1.0, "return_high": 1.0}, SPACES, K)
    returns = torch.tensor([[-7.0, -1.0, -0.6, -0.4, 0.0, 0.4, 0.9, 1.0, 30.0]])
    assert model.bins(returns).tolist() == [
        [0, 0, 0, 1, 2, 2, 3, 4, 4]
    ]  # half a unit each; the last one is the end itself


def test_loss_by_hand():
    """One real step and one padded step. The action is off by 1, the next state by 2, the return by -0.5 and then by 0.5."""
    overrides = {"width": 16, "bins": 4, "return_low": 0.0, "return_high": 3.0}
    model = build_model("edt", overrides, SPACES, K)
    zeros = torch.zeros(1, 2, S), torch.zeros(1, 2, A)
    data = Batch(*zeros, torch.tensor([[2.5, 9.0]]), torch.zeros(1, 2, dtype=torch.long), torch.tensor([[True, False]]),
                 next_states=torch.zeros(1, 2, S))  # fmt: skip
    logits = torch.zeros(1, 2, 4)
    logits[..., 2] = math.log(3)  # the probability of bin 2 is 3 / 6
    for returns, weight in ((2.0, 0.99), (3.0, 0.01)):
        pred = zeros[1] + 1, zeros[0] + 2, logits, torch.tensor([[returns, -50.0]])
        expected = 1 + 1.0 * 4 + 0.5 * weight * 0.25 + 0.001 * math.log(2)
        assert float(model.loss(pred, data)) == pytest.approx(expected, rel=1e-6)


def test_returns_reach_the_later_steps_from_the_first_alone():
    model, data = make(), windows(rows=1)
    before = model(data)
    for step in range(K):
        value = data.returns_to_go.clone()
        value[:, step] = torch.where(value[:, step] > 0, -9.0, 9.0)
        after = model(dataclasses.replace(data, returns_to_go=value))
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            moved = [bool((one[:, k] - other[:, k]).abs().max() > 1e-6) for k in range(K)]
            own = place < 2  # the action and the next state come from the return token; the returns from the state's
            assert moved == [k == step and own or step == 0 and k > 0 for k in range(K)], (place, step)


def test_dropout_is_of_the_values_of_attention():
    torch.manual_seed(0)
    layer, x = Attention(8, 2, 0.5, dropped="values"), torch.randn(3, 5, 8)
    layer.out = torch.nn.Identity()
    layer.dropout.p = 0.0
    nothing = torch.zeros(3, 1, 5, 5)
    whole, dropped = layer.eval()(x, nothing), layer.train()(x, nothing)
    assert 0.3 < (dropped == 0).float().mean() < 0.7
    torch.testing.assert_close(dropped, torch.where(dropped == 0, 0.0, 2 * whole))
    assert {(block.attention.weight_dropout, block.attention.value_dropout.p) for block in make().blocks} == {
        (0.0, 0.1)
    }


def test_it_starts_as_pytorch_does():
    torch.manual_seed(0)
    model = build_model("edt", {"width": 64}, SPACES, K)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            bound = module.in_features**-0.5
            for value in (module.weight, module.bias):
                assert value.abs().max() <= bound and (value.numel() < 50 or value.abs().max() > 0.85 * bound), name
        elif isinstance(module, torch.nn.LayerNorm):
            assert (module.weight == 1).all() and not module.bias.any()
    assert abs(model.embed_steps.weight.std() - 1) < 0.01


def plain_draw(logits: list[float], uniform: float, config) -> float:
    """The return that a uniform number draws from the tilted bins without the lowest 15 % of logits."""
    tilted = [value + config.inverse_temperature * i / (config.bins - 1) for i, value in enumerate(logits)]
    floor = np.quantile(tilted, 0.15)
    weights = [math.exp(value - max(tilted)) if value >= floor else 0.0 for value in tilted]
    chosen = next(i for i in range(config.bins) if sum(weights[: i + 1]) > uniform * sum(weights))
    return config.return_low + chosen * (config.return_high - config.return_low) / config.bins


def searched(model, states, actions, returns, t: int, uniform_samples: np.ndarray) -> tuple[torch.Tensor, int]:
    """The official search for one lane at step t. The slots are those of a whole episode, with zeros after t."""
    best, action, length = -999.0, None, None
    starts = range(0, t + 1, model.config.stride) if t < K else range(t - K + 1, t + 1, model.config.stride)
    for start in starts:
        slots = slice(start, start + K)
        steps = list(range(start, start + K))
        _, _, logits, fed = plain(model, states[slots], actions[slots], returns[slots], steps)
        if model.config.inverse_temperature:
            now = min(t, K - 1) - (t - start)  # of the window's first slot, among the last K
            uniforms = [*uniform_samples[now:], *[0.5] * K]
            fed = torch.tensor([plain_draw(row, u, model.config) for row, u in zip(logits.tolist(), uniforms)])
        chosen, _, _, promised = plain(model, states[slots], actions[slots], fed, steps)
        if promised[t - start] > best:
            best, action, length = float(promised[t - start]), chosen[t - start], t - start + 1
    assert action is not None and length is not None
    return action, length


@pytest.mark.parametrize(
    "padding, stride, inverse_temperature",
    [("right", 2, 0.0), ("left", 3, 0.0), ("left", 2, 2.0)],
)
def test_act_is_the_official_search(padding, stride, inverse_temperature):
    model, lanes, horizon = make(stride=stride, inverse_temperature=inverse_temperature), 3, 3 * K
    settings = parts(context_length=K, padding=padding, rollout_pad_action=5.0)
    trial = Trial(arch="edt", task=REACHER, dataset=("none",), seed=0, **settings)
    still = StateStatistics(np.zeros(S), np.ones(S))
    generator = np.random.default_rng(3)
    history = WindowedHistory(trial, still, [-5.0, 0.0, 10.0], model.needs, [5, 6, 7])
    slots = (horizon + K,)
    states, actions = torch.zeros(lanes, *slots, S), torch.zeros(lanes, *slots, A)
    returns, lengths = torch.zeros(lanes, *slots), set()
    left, alive = np.array([-0.5, 0.0, 1.0]), np.arange(lanes)
    with torch.inference_mode():
        for t in range(horizon):
            seen, rewards = generator.normal(size=(len(alive), S)), generator.normal(size=len(alive))
            history.observe(seen)
            states[alive, t] = torch.tensor(seen, dtype=torch.float32)
            returns[alive, t] = torch.tensor(left[alive], dtype=torch.float32)
            acted = history.choose(history.predict(model))
            for row, lane in enumerate(alive):
                pads = max(K - 1 - t, 0) if padding == "left" else 0
                uniforms = np.random.default_rng((5 + int(lane), 1)).random((REACHER.horizon, K), np.float32)[t, pads:]
                expected, length = searched(model, states[lane], actions[lane], returns[lane], t, uniforms)
                torch.testing.assert_close(torch.tensor(acted[row]), expected, rtol=1e-4, atol=1e-5)
                lengths.add(length)
            actions[alive, t] = torch.tensor(acted)
            history.record_rewards(rewards)
            left[alive] -= rewards / REACHER.return_scale
            if t == K:
                history.drop_finished(np.array([True, False, True]))
                alive = alive[[0, 2]]
    assert len(lengths) > 2  # histories of different lengths have won
    assert returns.min() > -1.5 and returns.max() < 2


@pytest.mark.parametrize("padding", ["left", "right"])
def test_a_lane_acts_alike_alone_and_beside_longer_and_shorter_ones(padding):
    model, data = make(), windows(rows=K, padding=padding)
    together = model.act(data)
    for row in range(K):
        fields = ("states", "actions", "returns_to_go", "steps", "mask")
        alone = Batch(*(getattr(data, name)[row : row + 1] for name in fields))
        torch.testing.assert_close(model.act(alone)[0], together[row], rtol=1e-5, atol=1e-6)


def test_draws_by_hand():
    """Of 4 bins the quantile at 0.15 leaves out the least likely one. A tilt of 3 raises the bins by 0, 1, 2, 3."""
    overrides = {"width": 16, "bins": 4, "return_low": 0.0, "return_high": 4.0, "inverse_temperature": 3.0}
    model = build_model("edt", overrides, SPACES, K)
    logits = torch.tensor([2.0, 1 + math.log(2), -5.0, math.log(5) - 1]).expand(1, 4, 4)  # tilted: weights 1, 2, -, 5
    drawn = model.sample_returns(logits, torch.tensor([[0.0, 0.124, 0.126, 0.374]]))
    assert drawn.tolist() == [[0, 0, 1, 1]]
    assert model.sample_returns(logits[:, :2], torch.tensor([[0.376, 0.9999999]])).tolist() == [[3, 3]]
    assert model.bins(drawn).tolist() == [[0, 0, 0, 0]]  # read as the bin below


def test_of_equal_promises_the_longest_history_wins():
    model, data = make(), windows(rows=1)
    model.return_head.weight.data.zero_()
    fed = dataclasses.replace(data, returns_to_go=model.return_head.bias.expand(1, K))
    torch.testing.assert_close(model.act(data)[0], model(fed)[0][0, -1])


def test_the_protocols_are_those_of_the_scripts():
    assert make_config("edt", EDT_PER_COLUMN["hopper-medium"]) == make_config(
        "edt", {}
    )  # the default range is Hopper's
    assert EDT_PER_COLUMN["walker2d-medium"] == {"return_low": 0.001629008, "return_high": 4.5923}
    row = Row(label="EDT", arch="edt", per_column=EDT_PER_COLUMN)
    for name, asked, batch_size in [("hopper", 3600, 256), ("walker2d", 5000, 256), ("halfcheetah", 6000, 128)]:
        for data in ("medium", "medium-replay", "medium-expert"):
            protocol = row.protocol(EDT_GYM, f"{name}-{data}")
            (target,) = protocol.evaluation.targets
            assert target.resolve(find_task(name), math.nan) == asked
            assert protocol.training.batch_size == batch_size
            assert protocol.evaluation.updates(protocol.training) == (250 * 100, 500 * 100)


def test_it_learns_from_episodes_in_fifty_updates():
    changed = parts(
        EDT_GYM, context_length=4, batch_size=32, updates=50, warmup=5, learning_rate=1e-3, num_evaluations=1
    )
    overrides = tuple({"width": 32, **EDT_PER_COLUMN["hopper-medium"]}.items())
    trial = Trial(arch="edt", task=REACHER, dataset=("golden",), seed=0, overrides=overrides, **changed)
    losses = [loss for _, loss in fit(trial, episodes())[1].progress.loss]
    assert fmean(losses[-5:]) < 0.6 * fmean(losses[:5]), losses
