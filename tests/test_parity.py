"""Our models against independent code: transformers with copies of our weights, and the papers' equations written out."""

import pytest
import torch
import torch.nn.functional as F
from helpers.spaces import box
from torch import nn

from dmm.architectures import build_model, find_model
from dmm.batch import Batch
from dmm.kernels import ssd
from dmm.kernels.scan import reference
from dmm.layers import ConvMixer, SelectiveSSM
from dmm.models.metamamba import HeadedSSM, LinearMixer

transformers = pytest.importorskip("transformers")
S, A, K, HIDDEN = 11, 3, 20, 64


def padded_batch(padding=(0, 5, 19)) -> Batch:
    """Three left-padded histories, as training windows are."""
    torch.manual_seed(1)
    mask = torch.stack([torch.arange(K) >= first for first in padding])
    steps = torch.where(mask, torch.arange(K) + 30, 0)
    rows = len(padding)
    values = torch.randn(rows, K, S), torch.rand(rows, K, A) * 2 - 1, torch.rand(rows, K), steps, mask
    return Batch(*values, previous_actions=torch.rand(rows, K, A) * 2 - 1)


def copy(ours: nn.Module, theirs: nn.Module, transpose: bool = False) -> None:
    """Copies weight and bias. The GPT-2 of transformers has transposed linear weights."""
    theirs.weight.data.copy_(ours.weight.T if transpose else ours.weight)
    if ours.bias is not None:
        theirs.bias.data.copy_(ours.bias)


def copy_transformer(blocks, layers) -> None:
    """Copies our blocks into the layers of a GPT-2."""
    for ours, theirs in zip(blocks, layers, strict=True):
        copy(ours.attention_norm, theirs.ln_1)
        copy(ours.attention.qkv, theirs.attn.c_attn, transpose=True)
        copy(ours.attention.out, theirs.attn.c_proj, transpose=True)
        copy(ours.mlp_norm, theirs.ln_2)
        copy(ours.mlp.up, theirs.mlp.c_fc, transpose=True)
        copy(ours.mlp.down, theirs.mlp.c_proj, transpose=True)


def mamba_twin(blocks, last, width):
    """The trunk of transformers' Mamba language model with the weights of our blocks and our last norm."""
    config = transformers.MambaConfig(
        hidden_size=width, state_size=16, num_hidden_layers=len(blocks), expand=2, conv_kernel=4,
        layer_norm_epsilon=1e-5, vocab_size=1,
    )  # fmt: skip
    twin = transformers.MambaModel(config).eval()
    for ours, theirs in zip(blocks, twin.layers, strict=True):
        theirs.norm.weight.data.copy_(ours.ssm_norm.weight)
        for name in ("in_proj", "x_proj", "dt_proj", "out_proj"):
            copy(getattr(ours.ssm, name), getattr(theirs.mixer, name))
        theirs.mixer.A_log.data.copy_(ours.ssm.A_log)
        theirs.mixer.D.data.copy_(ours.ssm.D)
        theirs.mixer.conv1d.weight.data.copy_(ours.ssm.mixer.weight.squeeze(0).unsqueeze(1))
        theirs.mixer.conv1d.bias.data.copy_(ours.ssm.mixer.bias.squeeze(0))
    twin.norm_f.weight.data.copy_(last.weight)
    return twin


def hugging_face_twin(model, config):
    """transformers' DT with the weights of ours and no position table."""
    twin = transformers.DecisionTransformerModel(
        transformers.DecisionTransformerConfig(
            state_dim=S, act_dim=A, hidden_size=HIDDEN, max_ep_len=1000, n_layer=config.layers, n_head=config.heads,
            activation_function=config.activation,
        )
    )  # fmt: skip
    twin.encoder.wpe.weight.data.zero_()
    copy(model.embed.returns_to_go, twin.embed_return)
    copy(model.embed.states, twin.embed_state)
    copy(model.embed.actions, twin.embed_action)
    copy(model.embed.norm, twin.embed_ln)
    twin.embed_timestep.weight.data.copy_(model.embed.time.weight)
    copy_transformer(model.blocks, twin.encoder.h)
    copy(model.head.norm, twin.encoder.ln_f)
    copy(model.head.linear, twin.predict_action[0])
    return twin.eval()


def test_dt_is_transformers_dt():
    for overrides in ({}, {"heads": 4}, {"layers": 1, "heads": 2, "activation": "gelu"}):
        torch.manual_seed(0)
        model = build_model("dt", {"width": HIDDEN, **overrides}, box(S, A), K).eval()
        for parameter in model.parameters():  # initial weights are small and biases zero: give every one a part
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
        batch, twin = padded_batch(), hugging_face_twin(model, model.config)
        expected = twin(
            states=batch.states, actions=batch.actions, returns_to_go=batch.returns_to_go[..., None], timesteps=batch.steps,
            attention_mask=batch.mask.long(), rewards=None, return_dict=True,
        ).action_preds  # fmt: skip
        got = model(batch)
        assert got.isfinite().all()
        torch.testing.assert_close(got[batch.mask], expected[batch.mask], rtol=1e-5, atol=1e-5)
        assert got[batch.mask].std() > 0.1


def test_transformers_counts_a_position_table_more():
    model = transformers.DecisionTransformerModel(transformers.DecisionTransformerConfig(state_dim=S, act_dim=A))
    assert sum(p.numel() for p in model.parameters()) - model.encoder.wpe.weight.numel() == 727_695 + 3096 * 128


def mamba_pair(width):
    from transformers.models.mamba.modeling_mamba import MambaConfig, MambaMixer

    torch.manual_seed(0)
    theirs = MambaMixer(MambaConfig(hidden_size=width, state_size=16, expand=2, conv_kernel=4), layer_idx=0)
    ours = SelectiveSSM(width, 2, ConvMixer(2 * width, kernel_size=4, filters=1))
    for name in ("in_proj", "x_proj", "dt_proj", "out_proj"):
        copy(getattr(ours, name), getattr(theirs, name))
    theirs.A_log.data.copy_(ours.A_log + 0.1)
    ours.A_log.data.add_(0.1)
    ours.D.data.normal_()
    theirs.D.data.copy_(ours.D)
    theirs.conv1d.weight.data.copy_(ours.mixer.weight.squeeze(0).unsqueeze(1))
    theirs.conv1d.bias.data.copy_(ours.mixer.bias.squeeze(0))
    return ours, theirs


def test_ssm_is_transformers_mamba():
    ours, theirs = mamba_pair(128)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters()) == 116_480
    x, weight = torch.randn(2, 24, 128, requires_grad=True), torch.randn(2, 24, 128)
    got, expected = ours(x), theirs(x)
    assert expected.std() > 0.01
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    pairs = [(ours.A_log, theirs.A_log), (ours.D, theirs.D), (x, x)]
    pairs += [
        (getattr(ours, n).weight, getattr(theirs, n).weight) for n in ("in_proj", "x_proj", "dt_proj", "out_proj")
    ]
    pairs += [(ours.dt_proj.bias, theirs.dt_proj.bias)]
    mine = torch.autograd.grad((got * weight).sum(), [a for a, _ in pairs])
    other = torch.autograd.grad((expected * weight).sum(), [b for _, b in pairs])
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * b.abs().max().item())


def mamba2_pair(width, expand=1):
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Config, Mamba2Mixer

    torch.manual_seed(0)
    inner = expand * width
    config = Mamba2Config(
        hidden_size=width, expand=expand, num_heads=inner // 16, head_dim=16, state_size=128, n_groups=1,
        conv_kernel=4, chunk_size=8, use_bias=False, use_conv_bias=True, layer_norm_epsilon=1e-5, num_hidden_layers=1,
    )  # fmt: skip
    theirs, ours = Mamba2Mixer(config, layer_idx=0), HeadedSSM(width, inner, conv=True, activation="silu")
    for name in ("in_proj", "out_proj"):
        copy(getattr(ours, name), getattr(theirs, name))
    for name in ("dt_bias", "A_log", "D"):
        value = getattr(ours, name).data.add_(torch.randn(inner // 16) * 0.5)
        getattr(theirs, name).data.copy_(value)
    theirs.norm.weight.data.copy_(ours.norm.weight.data.normal_())
    theirs.conv1d.weight.data.copy_(ours.mixer.weight.squeeze(0).unsqueeze(1))
    theirs.conv1d.bias.data.copy_(ours.mixer.bias.squeeze(0))
    return ours, theirs


@pytest.mark.parametrize("width, expand", [(64, 1), (32, 2)])
def test_mamba_2_is_transformers_mamba_2(width, expand):
    ours, theirs = mamba2_pair(width, expand)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    x, weight = torch.randn(2, 30, width, requires_grad=True), torch.randn(2, 30, width)
    got, expected = ours(x), theirs(x)
    assert expected.std() > 0.01
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    pairs = [(getattr(ours, name), getattr(theirs, name)) for name in ("dt_bias", "A_log", "D")]
    pairs += [(getattr(ours, n).weight, getattr(theirs, n).weight) for n in ("in_proj", "norm", "out_proj")] + [(x, x)]
    mine = torch.autograd.grad((got * weight).sum(), [a for a, _ in pairs])
    other = torch.autograd.grad((expected * weight).sum(), [b for _, b in pairs])
    for a, b in zip(mine, other, strict=True):
        assert (a - b).norm() < 1e-5 * b.norm()


@pytest.mark.parametrize("preset", ["DM", "DM+R"])
def test_dm_is_transformers_mamba(preset):
    """The tokens in a loop, then the trunk of a Mamba language model."""
    torch.manual_seed(0)
    model = build_model(
        "decision_mamba_correia",
        {**find_model("decision_mamba_correia").presets[preset], "width": HIDDEN, "layers": 2},
        box(S, A),
        K,
    ).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    twin = mamba_twin(model.blocks, model.norm, HIDDEN)
    batch, sequence = padded_batch(padding=(0,)), []
    for k in range(K):
        if preset == "DM+R":
            sequence.append(linear(model.embed_returns, batch.returns_to_go[:, k : k + 1]))
        sequence.append(linear(model.embed_states, batch.states[:, k]))
        before = batch.previous_actions[:, k]
        sequence.append(linear(model.embed_actions, before))
    hidden = twin(inputs_embeds=norm(model.embed_norm, torch.stack(sequence, 1))).last_hidden_state
    states = hidden[:, 1::3] if preset == "DM+R" else hidden[:, ::2]
    expected = torch.tanh(linear(model.head, states))
    torch.testing.assert_close(model(batch), expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.1


# the mixers against the published procedure: every filter over the whole padded sequence, then a choice by position


@pytest.mark.parametrize("filters, kernel_size", [(3, 6), (2, 6), (1, 4), (3, 1), (3, 9)])
def test_conv_mixer_is_the_published_procedure(filters, kernel_size):
    torch.manual_seed(0)
    mixer, x = ConvMixer(5, kernel_size, filters), torch.randn(2, 6 * filters, 5)
    padded = F.pad(x.mT, (kernel_size - 1, 0))
    whole = [F.conv1d(padded, w.unsqueeze(1), b, groups=5).mT for w, b in zip(mixer.weight, mixer.bias, strict=True)]
    expected = torch.stack([whole[t % filters][:, t] for t in range(x.shape[1])], 1)
    torch.testing.assert_close(mixer(x), expected)


@pytest.mark.parametrize("filters, kernel_size", [(3, 6), (1, 6), (3, 2)])
def test_linear_mixer_is_the_published_procedure(filters, kernel_size):
    torch.manual_seed(0)
    mixer, x = LinearMixer(5, kernel_size, filters), torch.randn(2, 12, 5)
    padded = torch.cat([torch.zeros(2, kernel_size - 1, 5), x], 1)
    rows = [mixer.filters[t % filters].weight @ padded[:, t : t + kernel_size].flatten(1).mT for t in range(12)]
    torch.testing.assert_close(mixer(x), torch.stack(rows, 0).permute(2, 0, 1))


def test_block_diagonal_linear_filters_are_convolutions():
    torch.manual_seed(0)
    conv, linear, x = ConvMixer(4, 6, 3), LinearMixer(4, 6, 3), torch.randn(2, 9, 4)
    conv.bias.data.zero_()
    for mix, weight in zip(
        linear.filters, conv.weight, strict=True
    ):  # column j * width + channel of row channel is tap j
        mix.weight.data = torch.cat([torch.diag(tap) for tap in weight.unbind(1)], 1)
    torch.testing.assert_close(linear(x), conv(x))


def test_equal_linear_filters_are_the_dense_mixer():
    torch.manual_seed(0)
    dense, linear, x = LinearMixer(4, 6, 1), LinearMixer(4, 6, 3), torch.randn(2, 9, 4)
    for mix in linear.filters:
        mix.weight.data = dense.filters[0].weight.data
    torch.testing.assert_close(linear(x), dense(x))


# whole models against their equations, written out plainly; mixers and the scan have their own tests above and in test_scan


def norm(layer, x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.weight + layer.bias


def linear(layer, x):
    return x @ layer.weight.T + (0 if layer.bias is None else layer.bias)


def mlp(layer, x):
    hidden = linear(layer.up, x)
    return linear(layer.down, hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5)))  # the exact GELU


def ssm(layer, x, mixer, activation=F.silu):
    x, z = linear(layer.in_proj, x).tensor_split(2, -1)
    x = activation(mixer(x))
    rank = layer.dt_proj.in_features
    dt, B, C = linear(layer.x_proj, x).tensor_split((rank, rank + 16), -1)
    return linear(layer.out_proj, reference(x, z, linear(layer.dt_proj, dt), -layer.A_log.exp(), B, C, layer.D))


def tokens(embed, batch, modalities="Rsa"):
    sequence = []
    for k in range(batch.mask.shape[1]):
        step = {
            "R": linear(embed.returns_to_go, batch.returns_to_go[:, k : k + 1]),
            "s": linear(embed.states, batch.states[:, k]),
            "a": linear(embed.actions, batch.actions[:, k]),
        }
        time = 0 if embed.time is None else embed.time.weight[batch.steps[:, k]]
        sequence += [step[modality] + time for modality in modalities]
    return norm(embed.norm, torch.stack(sequence, 1))


def identity(x):
    return x


def dc_trunk(model, x):
    for block in model.blocks:
        x = x + block.mixer(norm(block.mixer_norm, x))
        x = x + mlp(block.mlp, norm(block.mlp_norm, x))
    return x


def ota_trunk(model, x):
    for block in model.blocks:
        x = x + ssm(block.ssm, norm(block.ssm_norm, x), block.ssm.mixer)
        x = x + mlp(block.mlp, norm(block.mlp_norm, x))
    return x


def ota_rc_trunk(model, x):
    for block in model.blocks:
        x = x + ssm(block.ssm, norm(block.ssm_norm, x), block.ssm.mixer)
    return x


def dmm_single_trunk(model, x):
    for one, mix, two, layer in zip(model.mixer_norms, model.mixers, model.ssm_norms, model.ssms, strict=True):
        m = x + mix(norm(one, x))
        x = ssm(layer, norm(two, m), identity)
    return x


def dmm_double_trunk(model, x):
    for one, mix, two, layer in zip(model.mixer_norms, model.mixers, model.ssm_norms, model.ssms, strict=True):
        m = x + mix(norm(one, x))
        x = m + ssm(layer, norm(two, m), layer.mixer)
    return x


def dmm_v2_trunk(model, x):
    (one,), (two,) = model.mixer_norms, model.ssm_norms
    for mix, layer in zip(model.mixers, model.ssms, strict=True):
        x = x + mix(norm(one, x))
        x = x + ssm(layer, norm(two, x), identity)
    return x


def mamba2(layer, x):
    width, heads = len(layer.D) * 16, len(layer.D)
    projected = linear(layer.in_proj, x)
    z, x, B, C, dt = projected.tensor_split([width, 2 * width, 2 * width + 128, 2 * width + 256], -1)
    x, B, C = (F.silu(value) for value in (x, B, C))
    x = x.unflatten(-1, (heads, 16))
    y = ssd.reference(x, dt + layer.dt_bias, -layer.A_log.exp(), B, C, layer.D).flatten(2) * F.silu(z)
    return linear(layer.out_proj, y / (y.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.norm.weight)


def dmm_mamba2_trunk(model, x):
    (one,), (two,) = model.mixer_norms, model.ssm_norms
    for mix, layer in zip(model.mixers, model.ssms, strict=True):
        x = x + mix(norm(one, x))
        x = x + mamba2(layer, norm(two, x))
    return x


def attention_ssm_trunk(model, x):
    real = padded_batch().mask.repeat_interleave(3, 1)
    allowed = torch.ones(3 * K, 3 * K).tril().bool() & real.unsqueeze(1)  # B T T: from its own past, padding not
    allowed |= torch.eye(3 * K).bool() & ~real.unsqueeze(1).mT  # a padded row reads something, no matter what
    for block in model.blocks:
        q, k, v = linear(block.attention.qkv, norm(block.attention_norm, x)).tensor_split(3, -1)
        scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~allowed, -torch.inf)
        x = x + linear(block.attention.out, scores.softmax(-1) @ v)
        x = x + ssm(block.ssm, norm(block.ssm_norm, x), block.ssm.mixer)
    return x


def dmm_frozen_gelu_trunk(model, x):
    (one,), (mix,), (two,) = model.mixer_norms, model.mixers, model.ssm_norms
    for layer in model.ssms:
        x = x + mix(norm(one, x))
        x = x + ssm(layer, norm(two, x), identity, F.gelu)
    return x


@pytest.mark.parametrize(
    "name, preset, overrides, trunk",
    [
        ("dc", "", {}, dc_trunk),
        ("dc", "", {"action_tokens": False}, dc_trunk),
        ("decision_mamba", "DMamba", {}, ota_trunk),
        ("decision_mamba", "DMamba RC", {}, ota_rc_trunk),
        ("metamamba", "DMM-C", {}, dmm_single_trunk),
        ("metamamba", "DMM-L, as published", {}, dmm_single_trunk),
        ("metamamba", "DMM-L, as meant", {}, dmm_single_trunk),
        ("metamamba", "DMM-DC", {}, dmm_double_trunk),
        ("metamamba", "DMM-DL, as published", {}, dmm_double_trunk),
        ("metamamba", "DMM-DL, as meant", {}, dmm_double_trunk),
        ("metamamba", "DMM v2", {}, dmm_v2_trunk),
        ("metamamba", "DMM v2 Mamba-2", {}, dmm_mamba2_trunk),
        ("metamamba", "DMM v2", {"mixer_sharing": "frozen-shared", "activation": "gelu"}, dmm_frozen_gelu_trunk),
    ],
)
def test_models_are_their_equations(name, preset, overrides, trunk):
    torch.manual_seed(0)
    model = build_model(
        name, {**find_model(name).presets.get(preset, {}), **overrides, "width": 32}, box(S, A), K
    ).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    batch, modalities = padded_batch(), "Rsa" if model.embed.action_tokens else "Rs"
    states = trunk(model, tokens(model.embed, batch, modalities))[:, 1 :: len(modalities)]
    expected = torch.tanh(linear(model.head.linear, norm(model.head.norm, states)))
    torch.testing.assert_close(model(batch), expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.1
