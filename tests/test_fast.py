"""Fast paths against the same computations written out: outputs and gradients."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from helpers.reacher import REACHER
from helpers.spaces import box
from torch import nn
from torch.testing import assert_close

from dmm.architectures import build_model, list_models
from dmm.batch import Batch
from dmm.config import Training
from dmm.data import windows as data_windows
from dmm.data.windows import sample_batch
from dmm.kernels import conv
from dmm.kernels.build import library
from dmm.kernels.conv import convolved, dense, depthwise, narrow_linear, unfolded
from dmm.layers import (
    ActionHead,
    Attention,
    ConvMixer,
    Dropout,
    SelectiveSSM,
    TokenEmbedding,
    TransformerBlock,
    Trunk,
    attention_bias,
)
from dmm.layers.dropout import keyed_dropout
from dmm.models import DecisionModel
from dmm.models.metamamba import LinearMixer
from dmm.training.fit import fit, init_model, make_update
from dmm.training.optimizer import init_optimizer
from dmm.trials.train import dataset


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def token_by_token(x, weight):
    """`dense` one token at a time: the last tokens, oldest first. Zeros come before the first token."""
    (rows, length, width), kernel_size = x.shape, weight.shape[1] // x.shape[2]
    y = []
    for t in range(length):
        seen = [x[:, s] if s >= 0 else x.new_zeros(rows, width) for s in range(t - kernel_size + 1, t + 1)]
        y.append(torch.cat(seen, 1) @ weight.T)
    return torch.stack(y, 1)


@pytest.mark.parametrize("run", [convolved, unfolded, dense])
@pytest.mark.parametrize("length, kernel_size", [(7, 3), (2, 6), (5, 1), (1, 4)])
def test_a_dense_window_is_the_map_token_by_token(length, kernel_size, run):
    x, weight = randn(2, length, 4), randn(5, kernel_size * 4, seed=1)
    assert_close(run(x, weight), token_by_token(x, weight))
    assert torch.autograd.gradcheck(run, (x, weight))


@pytest.mark.parametrize("rows, length, width", [(64, 23, 64), (1, 3, 64), (3, 10, 7), (5, 29, 33)])
def test_a_dense_window_in_float32(rows, length, width):
    """float32 runs other code than float64: oneDNN's, whose vectors a width may not fill, and for one row torch's."""
    x, weight, along = randn(rows, length, width), randn(width, 6 * width, seed=1), randn(rows, length, width, seed=2)
    singles = [value.detach().float().requires_grad_() for value in (x, weight)]
    for run, values in ((token_by_token, (x, weight)), (dense, singles)):
        y = run(*values)
        y.backward(along.to(y.dtype))
    assert_close(dense(*singles).double(), token_by_token(x, weight), rtol=1e-4, atol=1e-4)
    for mine, exact in zip(singles, (x, weight), strict=True):
        assert mine.grad is not None and exact.grad is not None
        assert_close(mine.grad.double(), exact.grad, rtol=1e-4, atol=1e-4 * float(exact.grad.abs().max()))


def test_a_dense_window_takes_the_convolution_on_a_cpu_only(monkeypatch):
    x, weight = torch.zeros(2, 5, 4), torch.zeros(3, 8)
    taken = torch.ones(2, 5, 3)
    monkeypatch.setattr(conv, "convolved", lambda x, weight: taken)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert dense(x, weight) is taken
    assert dense(x.to("meta"), weight.to("meta")).shape == (2, 5, 3)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)  # nor where there is no oneDNN
    assert torch.equal(dense(x, weight), torch.zeros(2, 5, 3))


def test_a_dense_window_under_autocast():
    x, weight = (value.detach().float().requires_grad_() for value in (randn(2, 5, 4), randn(3, 8, seed=1)))
    for run in (convolved, unfolded):
        with torch.autocast("cpu", torch.bfloat16):
            y = run(x, weight)
        assert y.dtype == torch.bfloat16
        assert [g.dtype for g in torch.autograd.grad(y.sum(), (x, weight))] == [torch.float32] * 2
        assert_close(y.float(), token_by_token(x, weight), rtol=0.05, atol=0.05)


def test_narrow_linear_is_linear():
    values = randn(2, 7, 3), randn(5, 3, seed=1), randn(5, seed=2)
    assert_close(narrow_linear(*values), F.linear(*values))
    assert torch.autograd.gradcheck(narrow_linear, values)


@pytest.mark.parametrize("length, kernel_size, filters", [(6, 4, 1), (6, 5, 3), (8, 6, 3), (2, 6, 3)])
def test_a_depthwise_window_is_a_convolution_with_each_token_s_filter(length, kernel_size, filters):
    x, weight, bias = randn(2, length, 4), randn(filters, 4, kernel_size, seed=1), randn(filters, 4, seed=2)
    padded = F.pad(x.transpose(1, 2), (kernel_size - 1, 0))
    each = [F.conv1d(padded, w.unsqueeze(1), b, groups=4).transpose(1, 2) for w, b in zip(weight, bias, strict=True)]
    expected = torch.stack([each[t % filters][:, t] for t in range(length)], 1)
    assert_close(depthwise(x, weight, bias), expected)
    assert torch.autograd.gradcheck(depthwise, (x, weight, bias))


def test_the_mixers_take_them():
    x, mixer, filters = randn(2, 6, 4), LinearMixer(4, 6, 1).double(), ConvMixer(4, 6, 3).double()
    assert_close(mixer(x), token_by_token(x, mixer.filters[0].weight))
    assert_close(filters(x), depthwise(x, filters.weight, filters.bias))


@pytest.mark.parametrize("width", [3, 5, 8])
def test_linear_mixer_over_channels_is_the_released_code(width):
    """Each map over the whole padded sequence, and the slices on the axis of channels."""
    torch.manual_seed(0)
    mixer, x = LinearMixer(width, 6, 3, over="channels"), torch.randn(2, 12, width)
    windows = F.pad(x, (0, 0, 5, 0)).unfold(1, 6, 1).transpose(2, 3).flatten(2)
    expected = torch.zeros_like(x)
    for start, mix in enumerate(mixer.filters):
        expected[:, :, start::3] = mix(windows)[:, :, start::3]
    torch.testing.assert_close(mixer(x), expected)


TRIMMED = {
    "dt": {},
    "dt heads": {"heads": 2},
    "decision_mamba": {},
    "decision_mamba rc": {"mlp": False},
    "metamamba": {},
    "metamamba double": {"double": True, "mixer": "conv"},
    "metamamba channels": {"double": True, "mixer": "linear", "linear_over": "channels"},
    "metamamba no residual": {"residual": False},
    "metamamba mamba2": {"ssm": "mamba2"},
}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("case", TRIMMED)
def test_the_last_layer_gives_what_all_tokens_would_give(dropout, case):
    """Outputs and gradients, dropout included: the tokens that are read have their masks of the whole sequence."""
    torch.manual_seed(0)
    model = (
        build_model(case.split()[0], {"width": 16, "dropout": dropout, **TRIMMED[case]}, box(5, 2), 4).double().train()
    )
    whole = copy.deepcopy(model)
    whole.embed.state_tokens = lambda state=None: slice(None)
    batch, results = replace(random_batch(), dropout_key=torch.tensor(1)), []
    for run in (model, whole):
        with keyed_dropout(batch):
            y = run(batch) if run is model else run(batch)[:, 1::3]
        used = [p for name, p in run.named_parameters() if not name.startswith(run.unused_parameters() or "-")]
        results.append([y, *torch.autograd.grad(y.square().sum(), used)])
    for mine, all_of_it in zip(*results, strict=True):
        assert_close(mine, all_of_it, rtol=1e-10, atol=1e-12)


class PlainBlock(nn.Module):
    """A block whose author knows nothing of trimming. Its SSM reads all tokens of its attention."""

    def __init__(self):
        super().__init__()
        self.attention, self.ssm, self.dropout = Attention(16, 2, 0.3), SelectiveSSM(16, 2), Dropout(0.3)

    def forward(self, x, bias):
        x = x + self.dropout(self.attention(x, bias))
        return x + self.ssm(x)


@pytest.mark.parametrize("last", [PlainBlock, lambda: TransformerBlock(16, 2, 0.3, "gelu")])
def test_a_trunk_gives_the_tokens_that_are_read_of_any_block(last):
    torch.manual_seed(0)
    trunk, x = Trunk([PlainBlock(), last()]), torch.randn(2, 11, 16)
    bias, batch = (
        attention_bias(torch.ones(2, 11, dtype=torch.bool), x),
        replace(random_batch(), dropout_key=torch.tensor(1)),
    )

    def loop():
        y = x
        for block in trunk:
            y = block(y, bias)
        return y

    for read in (slice(1, None, 3), slice(-1, None), slice(None)):
        found = []
        for run in (lambda read=read: trunk(x, bias, read=read), lambda read=read: loop()[:, read]):
            with keyed_dropout(batch):
                found.append(run())
        assert_close(*found)


def test_a_block_that_wrongly_says_that_it_trims_is_refused(monkeypatch):
    monkeypatch.setattr(PlainBlock, "trims", True, raising=False)
    trunk, x = Trunk([PlainBlock()]), torch.randn(2, 11, 16)
    bias = attention_bias(torch.ones(2, 11, dtype=torch.bool), x)
    with pytest.raises((AssertionError, RuntimeError)):
        trunk(x, bias, read=slice(1, None, 3))
    assert trunk(x, bias).shape == x.shape  # the context of the call that failed is over


class WithoutTrunk(DecisionModel):
    """A model with its own loop over blocks, which computes all tokens."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        pass

    def __init__(self, spaces, context_length):
        super().__init__(self.Config(), spaces, context_length)
        self.embed, self.head = TokenEmbedding(spaces, 16, 0.1), ActionHead(16, spaces)
        self.blocks = nn.ModuleList([PlainBlock(), TransformerBlock(16, 2, 0.1, "relu")])

    def forward(self, batch, state=None):
        x = self.embed(batch)
        bias = attention_bias(batch.mask.repeat_interleave(3, 1), x)
        for block in self.blocks:
            x = block(x, bias)
        return self.head(x[:, self.embed.state_tokens()])


def test_a_model_without_a_trunk_learns_and_acts():
    model, batch = WithoutTrunk(box(5, 2), 4).double(), random_batch()
    model.loss(model(batch), batch).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model(batch).shape == (2, 4, 2) and model.eval().act(batch).shape == (2, 2)


def random_batch():
    mask = torch.tensor([[True] * 4, [False, False, True, True]])
    values = [value.detach() for value in (randn(2, 4, 5), randn(2, 4, 2, seed=1), randn(2, 4, seed=2))]
    return Batch(*values, torch.arange(4).expand(2, 4), mask)


@pytest.mark.filterwarnings("ignore:Mismatch dtype")  # torch's RMSNorm takes its slower path
@pytest.mark.parametrize("arch", list_models())
def test_bfloat16_is_close_to_float32_and_leaves_weights_in_it(arch, tiny_trial):
    trials = [replace(tiny_trial, arch=arch, overrides=(("width", 32),))]
    trials.append(replace(trials[0], training=replace(trials[0].training, dtype="bfloat16")))
    assert trials[0].weights_id != trials[1].weights_id
    losses, data = [], dataset(tiny_trial.dataset)
    for trial in trials:
        model = init_model(trial)
        learn = make_update(trial, data, model, init_optimizer(model, trial.training), torch.Generator().manual_seed(0))
        torch.manual_seed(0)
        losses.append([float(learn(update)) for update in range(2)])
        assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("window", ["start", "end"])
def test_windows_of_the_kernel_are_those_of_torch(padding, window, tiny_trial, monkeypatch):
    data = dataset(tiny_trial.dataset)
    training = replace(tiny_trial.training, padding=padding, window_anchor=window, context_length=7)
    drawn = torch.tensor([0, 1, 49, 50, 51, 55, 599, 597, 300])  # episodes have 50 steps
    if library()[0] is None:
        pytest.skip("no C++ kernels")
    ours = data_windows.read_windows(data, drawn, training, 10.0, REACHER.spaces, frozenset({"rewards"}))
    monkeypatch.setattr(data_windows, "gather_windows", lambda *_: None)
    theirs = data_windows.read_windows(data, drawn, training, 10.0, REACHER.spaces, frozenset({"rewards"}))
    for field in ("states", "actions", "returns_to_go", "steps", "mask", "rewards"):
        assert torch.equal(getattr(ours, field), getattr(theirs, field)), field


def test_float32_is_what_training_has_unless_said():
    assert Training().dtype == "float32"


def test_pads_are_exact_in_every_form(tiny_trial):
    data = dataset(tiny_trial.dataset)
    for pad_state, pad_action in (("raw zero", -10.0), ("normalised zero", 0.5), ("raw zero", 0.0)):
        training = replace(tiny_trial.training, pad_state=pad_state, pad_action=pad_action)
        batch = sample_batch(data, training, 10.0, REACHER.spaces, torch.Generator().manual_seed(0), 256)
        pads, deviation = ~batch.mask, (data.state_std + training.std_offset).astype("float32")
        assert pads.any()
        raw = torch.from_numpy(-data.state_mean.astype("float32") / deviation)
        expected = raw if pad_state == "raw zero" else torch.zeros_like(raw)
        assert torch.equal(batch.states[pads], expected.expand_as(batch.states[pads]))
        assert (batch.actions[pads] == pad_action).all() and (batch.returns_to_go[pads] == 0).all()


def test_a_bfloat16_trial_trains_to_its_end(tiny_trial):
    trial = replace(tiny_trial, training=replace(tiny_trial.training, dtype="bfloat16"))
    _, state = fit(trial, dataset(trial.dataset))
    assert state.progress.update == trial.training.updates
