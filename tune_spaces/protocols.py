"""Protocols of the papers, as their scripts run them. Each value has its source."""

from dmm.config import Protocol
from dmm.tasks import TASKS

# kzl/decision-transformer, gym: K = 20, targets x1 and x0.5. A window starts anywhere in an episode. Padded actions are -10
# in training and 0 in rollouts
DT_GYM = Protocol(name="DT, gym", context_length=20, targets=(1.0, 0.5))

# Decision ConvFormer's scripts: K = 8, four targets, ten evaluations of 100 episodes per target
DC_GYM = DT_GYM.with_overrides(name="DC, gym", context_length=8, targets=(1.0, 2.0, 10.0, 20.0))

# Decision MetaMamba's scripts have the protocol of DC
DMM_GYM = DC_GYM.with_overrides(name="DMM, gym")

# Elastic-DT (28a1336), scripts/train_edt.py with configs/hopper.yaml and walker2d.yaml: 500 x 100 updates, and checkpoints
# after 250 x 100 and at the end. scripts/eval_edt.py rolls each checkpoint for 20 episodes at x1. An episode is drawn
# uniformly, then a window of K steps inside it. Pads are on the right, and a padded state is zero after normalisation. The
# official loader goes through the episodes in shuffled rounds. Here each draw is independent
EDT_GYM = Protocol(
    name="EDT, gym",
    context_length=20,
    batch_size=256,
    updates=50_000,
    sampling="episodes",
    window_anchor="whole",
    padding="right",
    pad_state="normalised zero",
    pad_action=0.0,
    num_evaluations=2,
    episodes_per_evaluation=20,
)

# configs/halfcheetah.yaml. The scripts' target for HalfCheetah is 6000, half of the task's x1
EDT_HALFCHEETAH = EDT_GYM.with_overrides(name="EDT, halfcheetah", batch_size=128, targets=(0.5,))

# overrides of EDT's Config per task, for a row: its bins span D4RL's reference scores, divided by the return scale
EDT_RANGES = {
    task.name: {
        "return_low": task.ref_min_score / task.return_scale,
        "return_high": task.ref_max_score / task.return_scale,
    }
    for task in TASKS.values()
}

# EDT_RANGES with sampled bins, as scripts/eval_edt.py always does. The inverse temperature is 10 plus the configs'
# expert_weight, which is 15 (HalfCheetah: 1)
EDT_SAMPLED = {
    name: {**overrides, "inverse_temperature": 11.0 if name == "halfcheetah" else 25.0}
    for name, overrides in EDT_RANGES.items()
}

# Correia and Alexandre's Decision Mamba and HDM: defaults of the scripts of meowatthemoon/HierarchicalDecisionMamba (42b1f0f)
# and DecisionMamba (ed0316f), with K = 20 as in their READMEs. Learning rate, warm-up, weight decay and gradient clipping
# are those of DT. The paper is said to have 100 episodes, 4 seeds and a million updates. DM and HDM have no target return.
# DM+R has three: 10,000, the data's highest return, and half of that. A target here is a multiple of the task's target and
# the same for all data of a row, so these three numbers must be set by hand for each dataset. Their episodes end after as
# many steps as the longest of the data has
CORREIA = Protocol(
    name="Correia",
    context_length=20,
    batch_size=16,
    window_anchor="end",  # the drawn step is a window's last, so windows at the start of an episode are short
    sampling="episodes",
    padding="right",
    pad_action=0.0,
    num_evaluations=100,  # every 1,000 updates
    episodes_per_evaluation=10,
)

# README of meowatthemoon/HDT (3c9d052): the same scripts, with all updates in the warm-up
CORREIA_HDT = CORREIA.with_overrides(name="Correia, HDT", batch_size=64, updates=10_000, num_evaluations=10)
