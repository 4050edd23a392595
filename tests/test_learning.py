"""Every architecture learns: its loss falls within 50 updates. At its paper's size it takes an update.

The contract's rule `it_memorises_a_batch` trains every variant.
"""

from statistics import fmean

import numpy as np
import pytest
import torch
from helpers.reacher import REACHER, parts
from helpers.synthetic_episodes import episodes

from dmm.architectures import find_model, list_models
from dmm.config import Trial
from dmm.data.trajectories import assemble
from dmm.data.windows import sample_batch
from dmm.tasks import find_task
from dmm.training.fit import fit, init_model

HOPPER = find_task("hopper")


@pytest.mark.parametrize("name", list_models())
def test_the_loss_falls(name):
    trial = Trial(
        arch=name,
        task=REACHER,
        dataset=("golden",),
        seed=0,
        overrides=(("width", 32),),
        **parts(updates=50, num_evaluations=1, learning_rate=3e-3, batch_size=16),
    )
    _, state = fit(trial, episodes())
    losses = [point.loss for point in state.progress.loss]
    assert fmean(losses[-5:]) < 0.8 * fmean(losses[:5]), losses


PAPERS = [(name, preset) for name in list_models() for preset in (find_model(name).presets or {"": {}})
          if not preset.endswith("Atari")]  # fmt: skip


@pytest.mark.parametrize("name, preset", PAPERS)
def test_an_update_at_the_papers_size(name, preset):
    """On Hopper's dimensions and K = 20 with a small batch; test_counts holds the sizes themselves."""
    trial = Trial(
        arch=name,
        task=HOPPER,
        dataset=("made up",),
        seed=0,
        overrides=tuple(find_model(name).presets.get(preset, {}).items()),
        **parts(context_length=20),
    )
    model, data = init_model(trial), hopper_like()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    generator = torch.Generator().manual_seed(0)
    drawn = sample_batch(data, trial.training, HOPPER.return_scale, HOPPER.spaces, generator, 4, model.needs)
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    model.loss(model(drawn), drawn).backward()
    optimizer.step()
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert after.isfinite().all() and (after != before).float().mean() > 0.5


def hopper_like():
    """The made-up episodes with Hopper's dimensions."""
    made = episodes()
    states = np.pad(made.states, ((0, 0), (0, HOPPER.spaces.state_dim - made.state_dim)), mode="wrap")
    actions = np.pad(made.actions, ((0, 0), (0, HOPPER.spaces.action_dim - made.action_dim)), mode="wrap")
    return assemble("made up", states, actions, made.rewards, made.offsets, made.terminated)
