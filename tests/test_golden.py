"""Pinned learning curves. If one moves, every result moves: raise config.RESULTS_VERSION and note it in LOG.md."""

from statistics import fmean

import pytest
from helpers.reacher import REACHER, parts
from helpers.synthetic_episodes import episodes

from dmm.config import Trial
from dmm.models import list_models
from dmm.training.fit import fit

GOLDEN = {
    "attention_ssm": [
        0.6886554,
        0.8167143,
        0.6481102,
        0.7951045,
        0.7724776,
        0.8360803,
        0.7227144,
        0.6588948,
        0.6537938,
        0.7190542,
    ],
    "bc": [
        0.5302912,
        0.4957642,
        0.4805308,
        0.4549381,
        0.5126875,
        0.5169207,
        0.4865752,
        0.4813546,
        0.4696401,
        0.5162525,
    ],
    "dc": [0.7897397, 0.6391443, 0.6482593, 0.53712, 0.7020385, 0.6445487, 0.5337607, 0.5942657, 0.6314533, 0.6962805],
    "decision_mamba": [
        0.78945,
        0.6924456,
        0.7452253,
        0.5744237,
        0.7209305,
        0.6332292,
        0.7413656,
        0.6380617,
        0.599761,
        0.6776233,
    ],
    "decision_mamba_correia": [
        0.7456329,
        0.6493145,
        0.7151232,
        0.6018292,
        0.6669457,
        0.820001,
        0.6684778,
        0.6754677,
        0.6496448,
        0.5757412,
    ],
    "ds4": [
        0.4564116,
        0.394951,
        0.3566872,
        0.254483,
        0.1907057,
        0.2042009,
        0.1548552,
        0.1179356,
        0.0918122,
        0.0774044,
    ],
    "dt": [0.6291206, 0.5242462, 0.6106466, 0.6470672, 0.6860936, 0.7981325, 0.632937, 0.6973847, 0.6891664, 0.4866869],
    "edt": [
        1.9902818,
        1.8360429,
        1.9520309,
        1.9589653,
        1.786615,
        1.9081404,
        1.796551,
        1.6913996,
        1.7004269,
        1.644928,
    ],
    "hdm": [
        1.9758987,
        1.8446031,
        1.7399683,
        1.8334887,
        1.7582304,
        1.8076427,
        1.7557361,
        1.6465976,
        1.7035511,
        1.4098039,
    ],
    "hdt": [
        2.3561428,
        2.0276654,
        2.1058249,
        1.7803619,
        1.8015842,
        1.7252901,
        1.7229214,
        1.5193138,
        1.6748558,
        1.5618564,
    ],
    "metamamba": [
        0.4966338,
        0.4480156,
        0.4593704,
        0.4063342,
        0.4113139,
        0.4610257,
        0.3042087,
        0.3311243,
        0.4278777,
        0.2780355,
    ],
}
MAMBA_2 = [0.9986899, 0.7059124, 0.5525414, 0.5623586, 0.4379277, 0.4357348, 0.3709136, 0.2624054, 0.312058, 0.223784]


def curve(arch: str, **overrides) -> list[float]:
    """Ten mean losses, each over two updates."""
    overrides = {"width": 16, **overrides}
    changed = parts(updates=20, num_evaluations=1)
    trial = Trial(arch=arch, task=REACHER, dataset=("golden",), seed=0, overrides=tuple(overrides.items()), **changed)
    _, state = fit(trial, episodes())
    losses = [point.loss for point in state.progress.loss]
    assert len(losses) == 20
    return [fmean(pair) for pair in zip(losses[::2], losses[1::2], strict=True)]


@pytest.mark.parametrize("arch", list_models())
def test_the_curve_is_the_pinned_one(arch):
    assert curve(arch) == pytest.approx(GOLDEN[arch], rel=1e-4)


def test_the_curve_of_mamba_2_is_the_pinned_one():
    assert curve("metamamba", ssm="mamba2") == pytest.approx(MAMBA_2, rel=1e-4)
