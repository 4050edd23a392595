"""Pinned learning curves: a change that moves one of them moves every result; raise config.RESULTS and say so in LOG.md."""

import numpy as np
import pytest
from conftest import REACHER, TINY

from dmm.config import Trial
from dmm.data.trajectories import assemble
from dmm.models import models
from dmm.train import fit

GOLDEN = {
    "attention_ssm": [
        0.6954975,
        0.8239758,
        0.6582286,
        0.8207356,
        0.7351028,
        0.8597375,
        0.7269217,
        0.689144,
        0.6084774,
        0.6743218,
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
    "dc": [0.7998812, 0.6091672, 0.6763318, 0.5955687, 0.655831, 0.6044557, 0.5518496, 0.5602916, 0.6450329, 0.6754745],
    "decision_mamba": [
        0.7772319,
        0.6956949,
        0.7453973,
        0.5550409,
        0.6832924,
        0.6605015,
        0.7554747,
        0.5997757,
        0.6121421,
        0.6588104,
    ],
    "dm": [0.7456329, 0.6493145, 0.7151232, 0.6018292, 0.6669457, 0.820001, 0.6684778, 0.6754677, 0.6496448, 0.5757412],
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
    "dt": [
        0.6053853,
        0.5667588,
        0.6652498,
        0.6315457,
        0.6802623,
        0.7957098,
        0.6503989,
        0.6878908,
        0.6587566,
        0.5219116,
    ],
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
        0.493479,
        0.4839165,
        0.5086892,
        0.3830349,
        0.4145964,
        0.4378687,
        0.2932731,
        0.3181005,
        0.4050627,
        0.3064608,
    ],
}
MAMBA_2 = [
    0.9891773,
    0.6215675,
    0.5785159,
    0.5737045,
    0.4621231,
    0.4537485,
    0.393846,
    0.2892801,
    0.2836854,
    0.2423696,
]


def episodes():
    """Made-up episodes, the same on every machine: sums of sines, no generator."""
    lengths = np.array([30, 7, 50, 1, 12])
    place = np.arange(lengths.sum())[:, None]
    states = np.sin(place * 0.1 * np.arange(1, 11)).astype(np.float32)
    actions = np.cos(place * 0.3 * np.arange(1, 3)).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return assemble("golden", states, actions, states[:, 0] - 1, offsets, np.zeros(5, bool))


def curve(arch: str, **changes) -> list[float]:
    """Mean losses over ten times two updates."""
    protocol = TINY.changed(updates=20, evaluations=1)
    changes = {"width": 16, **changes}
    trial = Trial(
        arch=arch, task=REACHER, dataset=("golden",), protocol=protocol, seed=0, changes=tuple(changes.items())
    )
    _, state = fit(trial, episodes(), lambda model, evaluation: [])
    return [loss for _, loss in state["progress"]["loss"]]


@pytest.mark.parametrize("arch", models())
def test_the_curve_is_the_pinned_one(arch):
    assert curve(arch) == pytest.approx(GOLDEN[arch], rel=1e-4)


def test_the_curve_of_mamba_2_is_the_pinned_one():
    assert curve("metamamba", ssm="mamba2") == pytest.approx(MAMBA_2, rel=1e-4)
