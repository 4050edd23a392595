"""Parameter counts: those that the papers print, and their closed forms over random sizes."""

import math
import random

import pytest
from helpers.spaces import box

from dmm.architectures import build_model, find_model
from dmm.models import count_parameters

HOPPER, WALKER, ANT, ANTMAZE, KITCHEN = (11, 3), (17, 6), (27, 8), (29, 8), (60, 9)


def count(name, dims, preset="", **overrides):
    return count_parameters(build_model(name, {**find_model(name).presets.get(preset, {}), **overrides}, box(*dims), 8))


# DMM v1, Table 5: parameters on hopper-medium, walker2d-medium and antmaze-umaze; widths 128 / 64, on walker2d 32
TABLE_5 = {
    ("DT", HOPPER): ("dt", "", {}, 727_695),
    ("DT", WALKER): ("dt", "", {}, 730_008),
    # the paper prints walker2d's 730,008 again: no model of (29, 8) has that many
    ("DT", ANTMAZE): ("dt", "", {}, 733_606),
    ("DC", HOPPER): ("dc", "", {"width": 256}, 1_858_307),
    ("DC", WALKER): ("dc", "", {}, 537_478),
    ("DC", ANTMAZE): ("dc", "", {}, 539_528),
    ("DMM-C", HOPPER): ("metamamba", "DMM-C", {}, 358_403),
    ("DMM-C", WALKER): ("metamamba", "DMM-C", {"width": 32}, 32_390),
    ("DMM-C", ANTMAZE): ("metamamba", "DMM-C", {}, 361_992),
    ("DMM-DC", HOPPER): ("metamamba", "DMM-DC", {}, 110_467),
    ("DMM-DC", WALKER): ("metamamba", "DMM-DC", {"width": 32}, 36_422),
    ("DMM-DC", ANTMAZE): ("metamamba", "DMM-DC", {}, 112_264),
    ("DMM-L", HOPPER): ("metamamba", "DMM-L, as published", {}, 1_235_075),
    ("DMM-L", WALKER): ("metamamba", "DMM-L, as published", {"width": 32}, 85_670),
    ("DMM-L", ANTMAZE): ("metamamba", "DMM-L, as meant", {}, 1_238_664),
    ("DMM-DL", HOPPER): ("metamamba", "DMM-DL, as published", {}, 1_204_291),
    ("DMM-DL", WALKER): ("metamamba", "DMM-DL, as published", {"width": 32}, 306_854),
    ("DMM-DL", ANTMAZE): ("metamamba", "DMM-DL, as meant", {}, 1_206_088),
}


@pytest.mark.parametrize("label, dims", TABLE_5, ids=str)
def test_table_5(label, dims):
    name, preset, overrides, printed = TABLE_5[label, dims]
    assert count(name, dims, preset, **overrides) == printed


@pytest.mark.parametrize(
    "dims, overrides, expected",
    [
        (HOPPER, {"activation": "gelu", "unused_heads": False}, 726_147),  # the copy in the DC and Ota repositories
        (WALKER, {"unused_heads": False}, 727_686),
        (ANTMAZE, {"unused_heads": False}, 729_736),
        (HOPPER, {"unused_heads": False, "width": 256}, 2_631_939),
    ],
)
def test_dt_without_unused_heads(dims, overrides, expected):
    assert count("dt", dims, **overrides) == expected


@pytest.mark.parametrize(
    "preset, width, hopper, walker",
    [
        ("DMamba", 128, 877_315, 878_854),
        ("DMamba", 256, 3_155_459, 3_158_534),
        ("DMamba RC", 128, 481_411, 482_950),
        ("DMamba RC", 256, 1_577_219, 1_580_294),
        ("DMamba RC x2", 128, 831_619, 833_158),
        ("DMamba RC x2", 256, 2_892_035, 2_895_110),
    ],
)
def test_decision_mamba(preset, width, hopper, walker):
    assert count("decision_mamba", HOPPER, preset, width=width) == hopper
    assert count("decision_mamba", WALKER, preset, width=width) == walker


@pytest.mark.parametrize(
    "dims, overrides, expected",
    [
        (HOPPER, {}, 123_587),
        (WALKER, {}, 124_358),
        (HOPPER, {"width": 128}, 471_427),
        (ANTMAZE, {"width": 128}, 475_016),
        (KITCHEN, {"width": 128}, 479_241),
        (ANTMAZE, {"width": 128, "mixer_sharing": "shared"}, 278_408),
        (KITCHEN, {"width": 128, "mixer_sharing": "shared"}, 282_633),
    ],
)
def test_dmm_v2(dims, overrides, expected):
    assert count("metamamba", dims, "DMM v2", **overrides) == expected


@pytest.mark.parametrize(
    "dims, width, without, with_conv",
    [
        (HOPPER, 64, 162_599, 167_399),
        (WALKER, 64, 163_370, 168_170),
        (HOPPER, 128, 547_915, 553_675),
        (ANTMAZE, 128, 551_504, 557_264),
        (KITCHEN, 128, 555_729, 561_489),
    ],
)
def test_dmm_v2_with_mamba_2(dims, width, without, with_conv):
    assert count("metamamba", dims, "DMM v2 Mamba-2", width=width) == without
    assert count("metamamba", dims, "DMM v2 Mamba-2", width=width, ssm_conv=True) == with_conv


@pytest.mark.parametrize(
    "overrides, expected", [({}, 676_483), ({"conv": True}, 680_323), ({"time_table": False}, 548_483)]
)
def test_attention_with_an_ssm(overrides, expected):
    assert count("attention_ssm", HOPPER, **overrides) == expected


BULLET = (15, 3)  # PyBullet's hopper


@pytest.mark.parametrize(
    "dims, preset, overrides, expected",
    [
        (BULLET, "DM", {}, 702_979),
        (BULLET, "DM", {"mlp": True}, 998_659),
        (BULLET, "DM+R", {}, 705_299),
        (BULLET, "DM+R", {"mlp": True}, 1_000_979),
        (KITCHEN, "DM", {}, 710_281),
        (ANTMAZE, "DM", {}, 706_056),
    ],
)
def test_dm(dims, preset, overrides, expected):
    assert count("decision_mamba_correia", dims, preset, **overrides) == expected


@pytest.mark.parametrize("dims, expected", [(HOPPER, 96_576), (WALKER, 98_016), (ANTMAZE, 100_000)])
def test_ds4(dims, expected):
    """Counted by hand from the tensors. No number is published for these sizes."""
    assert count("ds4", dims) == expected


@pytest.mark.parametrize(
    "dims, expected", [(HOPPER, 14_756_973), (WALKER, 14_766_267), (ANT, 14_778_681), (ANTMAZE, 14_780_747)]
)
def test_edt(dims, expected):
    """As counted in the official class."""
    assert count("edt", dims) == expected


@pytest.mark.parametrize(
    "name, dims, overrides, high, low",
    [
        ("hdm", BULLET, {}, 706_063, 705_027),
        ("hdm", BULLET, {"mlp": True}, 1_001_743, 1_000_707),
        ("hdm", (28, 8), {}, 711_068, 709_640),
        ("hdm", ANTMAZE, {}, 711_453, 709_896),
        ("hdm", KITCHEN, {}, 723_388, 718_089),
        ("hdm", KITCHEN, {"mlp": True}, 1_019_068, 1_013_769),
        ("hdm", (4, 2), {}, 701_828, 701_954),
        ("hdt", BULLET, {}, 1_126_031, 1_124_739),
        ("hdt", ANTMAZE, {}, 1_131_421, 1_129_608),
        ("hdt", KITCHEN, {}, 1_143_356, 1_137_801),
    ],
)
def test_hierarchical_models(name, dims, overrides, high, low):
    model = build_model(name, overrides, box(*dims), 20)
    assert [count_parameters(part) for part in model.gradient_clip_groups()] == [high, low]
    assert count_parameters(model) == high + low


@pytest.mark.parametrize("dims, expected", [(HOPPER, 69_635), (WALKER, 71_942), (ANTMAZE, 75_528)])
def test_bc_is_as_large_as_the_actor_of_td3_bc(dims, expected):
    assert count("bc", dims) == expected


@pytest.mark.parametrize("dims, all_of_them, printed", [(ANTMAZE, 278_408, 180_104), (KITCHEN, 282_633, 184_329)])
def test_a_frozen_mixer_is_counted_but_not_trained(dims, all_of_them, printed):
    """The official code prints only trained parameters. Here count_parameters counts the frozen mixer too."""
    model = build_model("metamamba", {"width": 128, "mixer_sharing": "frozen-shared"}, box(*dims), 8)
    assert count_parameters(model) == all_of_them
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == printed


def mamba(H, expand, conv=False):
    D, R = expand * H, math.ceil(H / 16)
    return 3 * H * D + D * (2 * R + 50) + (5 * D if conv else 0)


def closed_forms(S, A, H, L):
    """Architecture, overrides and number of parameters, derived by hand."""
    frame, table = H * (S + 2 * A + 8) + A, 1000 * H
    transformer = L * (12 * H * H + 13 * H)
    v1 = {"expand": 2, "shared_norms": False}
    yield "dt", {}, frame + table + H + transformer + H * S + S + H + 1
    yield "dt", {"unused_heads": False}, frame + table + H + transformer
    yield "dt", {"unused_heads": False, "unused_table": False}, frame + table + transformer
    yield "dc", {}, frame + table + L * (8 * H * H + 30 * H)
    yield "dc", {"action_tokens": False}, frame + table + L * (8 * H * H + 23 * H)
    yield "decision_mamba", {}, frame + table + L * (mamba(H, 2, conv=True) + 8 * H * H + 9 * H)
    yield "decision_mamba", {"mlp": False}, frame + table + L * (mamba(H, 2, conv=True) + 2 * H)
    yield "metamamba", {"mixer": "conv", **v1}, frame + L * (25 * H + mamba(H, 2))
    yield "metamamba", {"mixer": "conv", "double": True, **v1}, frame + L * (67 * H + mamba(H, 2))
    yield "metamamba", {"mixer": "linear", **v1}, frame + L * (18 * H * H + 4 * H + mamba(H, 2))
    yield "metamamba", {"mixer": "linear", "double": True, **v1}, frame + L * (90 * H * H + 4 * H + mamba(H, 2))
    yield "metamamba", {}, frame + 4 * H + L * (6 * H * H + mamba(H, 1))
    yield "metamamba", {"mixer_sharing": "shared"}, frame + 4 * H + 6 * H * H + L * mamba(H, 1)
    yield "metamamba", {"ssm_conv": True}, frame + 4 * H + L * (6 * H * H + mamba(H, 1, conv=True))
    attention = 4 * H * H + 4 * H
    yield "attention_ssm", {}, frame + table + L * (attention + mamba(H, 2) + 4 * H)
    yield "attention_ssm", {"conv": True}, frame + table + L * (attention + mamba(H, 2, conv=True) + 4 * H)
    yield "bc", {}, H * (S + 1) + (L - 1) * (H * H + H) + A * (H + 1)
    dm, gated = (S + 1) * H + (A + 1) * H + 2 * H + L * (mamba(H, 2, conv=True) + H) + H + H * A + A, 128 * -(-H // 128)
    yield "decision_mamba_correia", {}, dm
    yield "decision_mamba_correia", {"return_tokens": True, "unused_heads": True}, dm + 2 * H + H * S + S + H + 1
    embeddings = (S + 1) * H + (A + 1) * H + 4 * H + 4096 * H + 2 * H
    heads = 60 * H + 60 + H + 1 + H * A + A + (H + A) * S + S + H + 1
    yield "edt", {"heads": 1}, embeddings + transformer + heads
    yield "decision_mamba_correia", {"mlp": True}, dm + L * (3 * H * gated + H)
    for E, N in ((128, 96), (A, 2 * L)):  # C: H N; poles, P, B: 3 N; step size, D, bias: 3 H
        ds4 = E * (S + A + 4) + 3 * E * H + H + L * (H * N + 3 * N + H * H + 3 * H) + H * A
        yield "ds4", {"embedding": E, "state_size": N}, ds4
    low, goals = 2 * (S + 1) * H + (A + 1) * H + 2 * H + H * A + A, 2 * (S + 1) * H + 2 * H + H * S + S
    yield "hdm", {}, low + goals + 2 * (L * (mamba(H, 2, conv=True) + H) + H)
    yield "hdm", {"mlp": True}, low + goals + 2 * (L * (mamba(H, 2, conv=True) + 2 * H + 3 * H * gated) + H)
    yield "hdt", {}, low + goals + 2 * (transformer + 3 * H + 4096 * H) + 2 * H


@pytest.mark.parametrize("seed", range(4))
def test_closed_forms(seed):
    draw = random.Random(seed)
    S, A, H, L = draw.randint(1, 40), draw.randint(1, 12), draw.randint(2, 70), draw.randint(2, 5)
    for name, overrides, expected in closed_forms(S, A, H, L):
        assert count(name, (S, A), **overrides, width=H, layers=L) == expected, (name, overrides, S, A, H, L)
