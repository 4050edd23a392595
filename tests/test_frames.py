"""Models on frames: the contract, the papers' parameter counts, stacks that are never made, and the switches of tokens."""

from dataclasses import replace

import pytest
import torch
from helpers.models import ON_FRAMES, make

from dmm.architectures import build_model, find_model, make_config
from dmm.batch import Batch, Spaces
from dmm.contract import RULES, check_rule
from dmm.contract.learning import (
    every_entry_of_a_parameter_learns,
    every_field_of_the_Config_has_an_effect,
    it_memorises_a_batch,
)
from dmm.contract.subject import FRAMES, A, K, Subject, random_batch
from dmm.layers import PixelEncoder
from dmm.models import count_parameters

ATARI = {"dt": "DT", "dc": "DC", "decision_mamba": "DMamba", "metamamba": "DMM-C"}  # architecture -> one of its presets
# nothing of these is new here, and they are slow
ON_VECTORS = {every_entry_of_a_parameter_learns, every_field_of_the_Config_has_an_effect, it_memorises_a_batch}
KINDS = ("dt DT, Atari", "dc DC hybrid, Atari", "decision_mamba DMamba, Atari", "metamamba DMM-DC, Atari")


def frames_model(name: str, preset: str = "", **changes):
    overrides = find_model(name).presets[f"{preset or ATARI[name]}, Atari"]
    torch.manual_seed(0)
    model = build_model(name, {**overrides, "width": 16, "layers": 2, **changes}, FRAMES, K).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model


def data(**changes) -> Batch:
    return replace(random_batch(spaces=FRAMES, padding="none"), **changes)


@pytest.mark.parametrize("name, overrides", [case for case in ON_FRAMES if case.id in KINDS])
def test_every_kind_of_model_keeps_the_contract_on_frames(name, overrides):
    subject = Subject(name, overrides, FRAMES)
    failures = {rule.__name__: check_rule(rule, subject).failure for rule in RULES if rule not in ON_VECTORS}
    assert not any(failures.values()), failures


COUNTS = {  # V, K of attention and Mamba -> DT, DC, DC with projection, DC hybrid, DMamba, DMM-C, DMM-L, DMM-DC, DMM-DL, v2
    (4, 30): (1682848, 1294240, 1393312, 1357600, 1985440, 1191456, 2944800, 1223712, 10022688, 1416992),  # Breakout
    (6, 30): (1683616, 1295008, 1394080, 1358368, 1986208, 1191968, 2945312, 1224224, 10023200, 1417504),  # Qbert
    (6, 50): (1691296, 1295008, 1394080, 1358368, 1993888, 1191968, 2945312, 1224224, 10023200, 1417504),  # Pong
    (18, 30): (1688224, 1299616, 1398688, 1362976, 1990816, 1195040, 2948384, 1227296, 10026272, 1420576),  # Seaquest
}
COLUMNS = [("dt", "DT"), ("dc", "DC"), ("dc", "DC with projection"), ("dc", "DC hybrid"), ("decision_mamba", "DMamba"),
           *(("metamamba", f"DMM{kind}") for kind in ("-C", "-L", "-DC", "-DL", " v2"))]  # fmt: skip


def count(name: str, preset: str, actions: int, context_length: int, **changes) -> int:
    overrides = {**find_model(name).presets[f"{preset}, Atari"], "global_steps": 0, **changes}
    with torch.device("meta"):
        spaces = Spaces(states=(4, 84, 84), actions=actions, discrete=True)
        return count_parameters(build_model(name, overrides, spaces, 8 if name == "dc" else context_length))


@pytest.mark.parametrize("sizes", COUNTS, ids=str)
def test_parameters_are_those_of_the_scripts_without_their_second_table(sizes):
    assert tuple(count(name, preset, *sizes) for name, preset in COLUMNS) == COUNTS[sizes]


def test_the_other_counts_of_hybrids_and_of_the_second_table():
    assert count("dc", "DC hybrid", 4, 8, projection=True) == 1_440_160
    assert count("dc", "DC hybrid", 4, 8, idle_mixers=True) == 1_692_064
    assert count("dt", "DT", 4, 30, global_steps=100) == 1_682_848 + 100 * 128


@pytest.mark.parametrize("pixel_mean", [0.0, 0.34])
def test_the_encoder_is_the_convolutions_of_stacks(pixel_mean):
    encoder, frames = (
        PixelEncoder((4, 84, 75), 16, pixel_mean),
        torch.randint(0, 256, (2, 8, 84, 75), dtype=torch.uint8),
    )
    stacks = frames.unfold(1, 4, 1).permute(0, 1, 4, 2, 3).flatten(0, 1).float() / 255 - pixel_mean
    x = stacks
    for conv in (encoder.first, encoder.second, encoder.third):
        x = conv(x).relu()
    expected = encoder.linear(x.flatten(1)).view(2, 5, 16)
    found = encoder(frames)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    weights = (encoder.first.weight, encoder.first.bias)
    gradients = [torch.autograd.grad(y.square().sum(), weights, retain_graph=True) for y in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_a_mean_of_pixels_needs_frames_and_is_from_0_to_1():
    with pytest.raises(ValueError, match="pixel_mean=0.3 needs frames; the states are vectors of 11"):
        build_model("dt", {"pixel_mean": 0.3}, Spaces(states=(11,), actions=3), 8)
    with pytest.raises(ValueError, match="pixel_mean is 87.0; pixels are from 0 to 1"):
        build_model("dt", {"pixel_mean": 87.0}, Spaces(states=(4, 84, 84), actions=4, discrete=True), 8)


def test_frames_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="frames of 36 x 32 are too small"):
        PixelEncoder((4, 36, 32), 8)


@pytest.mark.parametrize("name", ATARI)
def test_embeddings_of_single_states_replace_frames(name):
    model, batch = frames_model(name), data()
    embedded = torch.stack([model.embed_frames(batch.states[:, k : k + 4]) for k in range(K)], 1)
    cached = replace(batch, states=batch.states[:, :0], state_embeddings=embedded)
    torch.testing.assert_close(model(cached), model(batch), rtol=0, atol=1e-5)
    assert model(batch).std() > 0.1


@pytest.mark.parametrize("name", ATARI)
def test_the_loss_is_the_mean_cross_entropy_of_real_steps(name):
    model, batch = frames_model(name), random_batch(spaces=FRAMES)
    logits = model(batch)
    chances = logits.softmax(-1).gather(2, batch.actions[..., None])[..., 0]
    torch.testing.assert_close(model.loss(logits, batch), -chances[batch.mask].log().mean())


@pytest.mark.parametrize("name", ["dt", "dc", "decision_mamba"])
def test_a_window_has_the_entry_of_its_first_step_in_training_and_of_the_current_step_in_rollouts(name):
    model, late = frames_model(name, global_steps=20), data(steps=torch.arange(K).expand(4, K) + 5)
    assert torch.equal(model(late), model(replace(late, steps=torch.full((4, K), 5))))
    assert torch.equal(model.act(late), model(replace(late, steps=torch.full((4, K), 4 + K)))[:, -1])
    assert torch.equal(model(replace(late, steps=late.steps + 14)), model(replace(late, steps=late.steps + 99)))
    own = frames_model(name, global_steps=20, global_step="own")
    assert torch.equal(own.act(late), own(late)[:, -1])
    last = late.steps + (torch.arange(K) == K - 1)
    assert torch.equal(own(replace(late, steps=last))[:, :-1], own(late)[:, :-1])
    assert not torch.equal(own(replace(late, steps=last))[:, -1], own(late)[:, -1])


def test_the_parts_of_a_model_start_as_the_scripts_let_them():
    for name, preset, normal in (("dt", "DT", {"actions"}), ("metamamba", "DMM-C", {"actions", "linear", "returns"})):
        torch.manual_seed(0)
        model = build_model(
            name, find_model(name).presets[f"{preset}, Atari"], Spaces(states=(4, 84, 84), actions=18, discrete=True), K
        )
        embed = model.embed
        parts = {"actions": embed.actions, "linear": embed.states.linear, "returns": embed.returns_to_go}
        for part, module in parts.items():
            is_normal = bool(module.weight.abs().max() > 0.04) and abs(module.weight.std() - 0.02) < 0.005
            assert is_normal == (part in normal), (name, part)
        assert abs(model.head.linear.weight.std() - 0.02) < 0.001 and model.head.linear.bias is None
        assert 0.9 / 16 < embed.states.first.weight.abs().max() <= 1 / 16  # PyTorch's default of convolutions
        assert not any(table.weight.any() for table in (embed.places, embed.global_steps) if table is not None)


@pytest.mark.parametrize(
    "name, overrides, words",
    [
        ("dt", {"global_steps": 4}, ["positions='window'", "'step'"]),
        ("dt", {"positions": "window", "global_step": "own"}, ["global_step='own' needs global_steps"]),
        ("dt", {"positions": "windows"}, ["windows", "Did you mean 'window'"]),
        ("dt", {"global_steps": -1}, ["global_steps is -1"]),
        ("dc", {"heads": 2}, ["heads", "last='attention'"]),
        ("dc", {"last": "attention", "heads": 3}, ["128", "3 heads"]),
    ],
)
def test_switches_without_effect_are_refused(name, overrides, words):
    with pytest.raises(ValueError) as error:
        make_config(name, overrides)
    for word in words:
        assert word in str(error.value)


def test_a_model_that_takes_vectors_says_so():
    for name in ("bc", "edt", "hdm", "ds4"):
        with pytest.raises(ValueError, match="this takes (vectors|a box) only"):
            build_model(name, {}, FRAMES, K)


def test_places_in_a_window_have_no_recurrent_rollout():
    for name, preset in ATARI.items():
        config = make_config(name, find_model(name).presets[f"{preset}, Atari"])
        assert find_model(name).can_recur(config) == (name == "metamamba") and find_model(name).can_recur(
            make_config(name, {})
        )


def test_a_vector_may_have_discrete_actions():
    model = build_model("dt", {"width": 16}, Spaces(states=(5,), actions=A, discrete=True), K)
    batch = replace(random_batch(), actions=torch.randint(A, (4, K)))
    assert model(batch).shape == (4, K, A) and model.loss(model(batch), batch).isfinite()
    assert make("dt", {"width": 16})(random_batch()).abs().max() <= 1
