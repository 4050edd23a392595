"""Pinned learning curves. If one moves, every result moves: raise config.RESULTS_VERSION and note it in LOG.md."""

from statistics import fmean

import pytest
from helpers.reacher import REACHER, parts
from helpers.synthetic_episodes import episodes

from dmm.architectures import list_models
from dmm.config import Trial
from dmm.training.fit import fit

GOLDEN = {
    "attention_ssm": [
        0.638039,
        0.6353951,
        0.5249613,
        0.7406682,
        0.6755796,
        0.4881404,
        0.7528795,
        0.5968708,
        0.7329679,
        0.7043231,
    ],
    "bc": [0.4914068, 0.5402456, 0.4894879, 0.5054028, 0.4846193, 0.430439, 0.4715432, 0.5257509, 0.5231723, 0.5416687],
    "dc": [
        0.7958922,
        0.6493242,
        0.7302555,
        0.7508218,
        0.6289327,
        0.4758614,
        0.6867981,
        0.6582444,
        0.7139161,
        0.6202176,
    ],
    "decision_mamba": [
        0.7795751,
        0.6519134,
        0.620795,
        0.5838138,
        0.5889187,
        0.5670464,
        0.6820984,
        0.6774189,
        0.6319996,
        0.7349097,
    ],
    "decision_mamba_correia": [
        0.6694005,
        0.8654412,
        0.7401901,
        0.7862999,
        0.7519691,
        0.5705799,
        0.6736701,
        0.7080402,
        0.7111458,
        0.5977066,
    ],
    "ds4": [
        0.4820091,
        0.5529422,
        0.3482835,
        0.2573083,
        0.1659169,
        0.1161014,
        0.1586031,
        0.0860935,
        0.131242,
        0.0590369,
    ],
    "dt": [
        0.6734194,
        0.8515266,
        0.7957462,
        0.7453852,
        0.7449727,
        0.6444641,
        0.7349409,
        0.6573455,
        0.6943104,
        0.7008044,
    ],
    "edt": [
        1.9908429,
        1.9590878,
        1.8678408,
        1.7938195,
        1.8212081,
        1.6458642,
        1.6951405,
        1.6358451,
        1.6822365,
        1.7209609,
    ],
    "hdm": [
        1.9402504,
        2.0254776,
        1.7077771,
        1.6543257,
        1.7924511,
        1.5359808,
        1.7061256,
        1.5983155,
        1.7242162,
        1.6074834,
    ],
    "hdt": [2.0045666, 1.8779685, 1.8180454, 1.739859, 1.7621948, 1.4881248, 1.543329, 1.2652293, 1.4743166, 1.4393739],
    "metamamba": [
        0.7962344,
        0.5810562,
        0.5749019,
        0.5259688,
        0.4918788,
        0.447862,
        0.3697993,
        0.361706,
        0.3728326,
        0.3722488,
    ],
}
MAMBA_2 = [0.6746163, 0.5841115, 0.4221569, 0.4070869, 0.358457, 0.2586655, 0.4047938, 0.2407241, 0.2476217, 0.2721223]


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
