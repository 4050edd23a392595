"""Shape annotations are checked in tests: in every package of dmm that has some, a wrong shape is an error."""

from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

from dmm.api.episodes import Episodes
from dmm.batch import Batch
from dmm.bench.baselines import PeerMixer
from dmm.data.goals import goal_steps
from dmm.environments.atari import AtariLanes
from dmm.kernels import scan
from dmm.layers import attention_bias
from dmm.models.metamamba import LinearMixer
from dmm.results.statistics import aggregate, mean_of_runs
from dmm.rollouts.history import take_rows
from dmm.tasks.antmaze import D4RL_MAZES

ROOT = Path(__file__).parent.parent / "dmm"
ANNOTATED = {
    path.relative_to(ROOT).parts[0].removesuffix(".py")
    for path in ROOT.rglob("*.py")
    if "from jaxtyping import" in path.read_text()
}


def batch_of_two_lengths():
    k, longer = 3, 4
    zeros = torch.zeros(2, k)
    return Batch(torch.zeros(2, longer, 5), torch.zeros(2, k, 1), zeros, steps=zeros.int(), mask=zeros.bool())


def scan_with_two_widths():
    x, state, width, other = torch.zeros(2, 3, 4), torch.zeros(2, 3, 6), 4, 5
    return scan.reference(x, x, x, torch.zeros(width, 6), state, state, torch.zeros(other))


WRONG = {  # package or module -> a call with a wrong shape
    "api": lambda: Episodes(returns=np.zeros((2, 3)), lengths=np.zeros(2, np.int64), score=0.0, asked=0.0),
    "batch": batch_of_two_lengths,
    "bench": lambda: PeerMixer(LinearMixer(4, 3, 1))(torch.zeros(2, 4)),
    "data": lambda: goal_steps(np.zeros((2, 3), np.float32)),
    "environments": lambda: AtariLanes.keep(AtariLanes.__new__(AtariLanes), np.ones((2, 2), bool)),
    "kernels": scan_with_two_widths,
    "layers": lambda: attention_bias(torch.ones(2, 3, dtype=torch.bool), torch.zeros(1, 3, 4)),
    "models": lambda: LinearMixer(4, 3, 1)(torch.zeros(2, 4)),
    "rollouts": lambda: take_rows(np.zeros((2, 4), np.float32), np.zeros((2, 3), np.int64)),
    "tasks": lambda: D4RL_MAZES["umaze"].inside(np.zeros((3, 3))),
    "results": lambda: aggregate(np.zeros(3), mean_of_runs),
}


@pytest.mark.parametrize("package", sorted(ANNOTATED | set(WRONG)))
def test_a_wrong_shape_is_an_error(package):
    assert package in WRONG, f"dmm.{package} has shape annotations: give it a call with a wrong shape"
    with pytest.raises(jaxtyping.TypeCheckError, match=rf"of dmm\.{package}\b"):  # not one of a package below
        WRONG[package]()
