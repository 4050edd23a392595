"""Protocols of the papers, as their scripts run them. Each value has its source.

If a paper sets width, learning rate or targets per dataset, there is a mapping for `Row.per_column` here. Its keys are the
labels of columns: hopper-medium, hopper-medium-replay, ...
"""

from dmm.config import Protocol, Target
from dmm.tasks import TASKS

ENVIRONMENTS = ("hopper", "walker2d", "halfcheetah")
LOCOMOTION = tuple(f"{name}-{data}" for data in ("medium", "medium-replay", "medium-expert") for name in ENVIRONMENTS)

# kzl/decision-transformer, gym: K = 20, targets x1 and x0.5. A window starts anywhere in an episode. Padded actions are -10
# in training and 0 in rollouts. State statistics here are float64. The scripts of this family compute them in float32, which
# moves a standard deviation by up to 0.2 %
DT_GYM = Protocol(name="DT, gym").with_overrides(context_length=20, targets=(1.0, 0.5))

# Decision ConvFormer's scripts: K = 8, four targets, ten evaluations of 100 episodes per target
DC_GYM = DT_GYM.with_overrides(name="DC, gym", context_length=8, targets=(1.0, 2.0, 10.0, 20.0))

# Decision ConvFormer, per dataset. The width is 256 on hopper-medium and hopper-medium-replay, else 128. The learning rate is
# 1e-4 on these and on walker2d-medium, else 1e-3. README of beanie00/Decision-ConvFormer (3db9b9e) for hopper, and Ota 2024
# for all
DC_PER_COLUMN = {
    label: {
        "width": 256 if label in ("hopper-medium", "hopper-medium-replay") else 128,
        "learning_rate": 1e-4 if label in ("hopper-medium", "hopper-medium-replay", "walker2d-medium") else 1e-3,
    }
    for label in LOCOMOTION
}

# Decision Mamba (Ota 2024), gym/run_experiments.sh of Toshihiro-Ota/decision-mamba (35f9944): K = 20, the widths and rates
# of DC, and half of x1 beside DC's targets. The paper lists one target for each environment: 3600, 5000 and 6000. These are
# x1, x1 and x0.5. It does not say how its table chooses among the five. Its seeds are 12, 23, 34, 45 and 51. Other code draws
# other numbers from them, so the tables here have the seeds that they share
OTA_GYM = DC_GYM.with_overrides(name="DMamba, gym", context_length=20, targets=(1.0, 2.0, 10.0, 20.0, 0.5))
OTA_PER_COLUMN = DC_PER_COLUMN

# Decision MetaMamba's scripts have the protocol of DC. They set no seed and run five times
DMM_GYM = DC_GYM.with_overrides(name="DMM, gym")

# Decision MetaMamba v1, per dataset: the width is 32 on Walker2d. Elsewhere it is that of the presets: 128 with single mixers
# and 64 with double ones. These are the only widths that give all counts of Table 5. Table 6 says 64, and 32 on Walker2d. The
# released run.sh has 128 and 64 everywhere, on AntMaze too. HalfCheetah is not in Table 5
DMM_V1_PER_COLUMN = {label: {"width": 32} for label in LOCOMOTION if label.startswith("walker2d")}

# Elastic-DT (28a1336), scripts/train_edt.py with configs/hopper.yaml and walker2d.yaml: 500 x 100 updates, and checkpoints
# after 250 x 100 and at the end. scripts/eval_edt.py rolls each checkpoint for 20 episodes at x1. An episode is drawn
# uniformly, then a window of K steps inside it. Padding is on the right, and a padded state is zero after normalisation.
# The official loader goes through the episodes in shuffled rounds. Here each draw is independent
EDT_GYM = Protocol(name="EDT, gym").with_overrides(
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

# EDT per dataset. Its bins span D4RL's reference scores, divided by the return scale. configs/halfcheetah.yaml has batches of
# 128, and the scripts' target for HalfCheetah is 6000, half of the task's x1
EDT_PER_COLUMN = {
    label: {
        "return_low": task.ref_min_score / task.return_scale,
        "return_high": task.ref_max_score / task.return_scale,
        **({"batch_size": 128, "targets": (0.5,)} if task.name == "halfcheetah" else {}),
    }
    for label in LOCOMOTION
    for task in [TASKS[label.split("-")[0]]]
}

# EDT_PER_COLUMN with sampled bins, as scripts/eval_edt.py always does. The inverse temperature is 10 plus the configs'
# expert_weight, which is 15 (HalfCheetah: 1). The preset "EDT, sampled" has 25
EDT_SAMPLED_PER_COLUMN = {
    label: {**overrides, "inverse_temperature": 11.0 if label.startswith("halfcheetah") else 25.0}
    for label, overrides in EDT_PER_COLUMN.items()
}

# AntMaze: gym/utils.py of DC and of DMM ask for these five returns. A success has a return of 1
ANTMAZE = ("antmaze-umaze", "antmaze-umaze-diverse")
ANTMAZE_TARGETS = (1.0, 10.0, 100.0, 1000.0, 100_000.0)

# DC on AntMaze: Table 5 of DMM v1 has the count of width 128. No paper states the learning rate. 1e-3 is its script's default
DC_ANTMAZE = {label: {"width": 128, "learning_rate": 1e-3} for label in ANTMAZE}

# Elastic-DT has no AntMaze. These are Reinformer's settings of it: one target, 100 episodes and a warm-up of 5,000 updates.
# Reinformer has the optimiser LAMB. Here it is AdamW. Bins span the reference scores, 0 and 1
EDT_ANTMAZE = {
    label: {
        "return_low": 0.0,
        "return_high": 1.0,
        "context_length": 5,
        "width": 256,
        "heads": 8,
        "batch_size": 128,
        "warmup": 5_000,
        "episodes_per_evaluation": 100,
        "targets": (1.0,),
    }
    for label in ANTMAZE
}

# Correia and Alexandre's Decision Mamba and HDM: defaults of the scripts of meowatthemoon/HierarchicalDecisionMamba (42b1f0f)
# and DecisionMamba (ed0316f), with K = 20 as in their READMEs. Learning rate, warm-up, weight decay and gradient clipping
# are those of DT. The paper is said to have 100 episodes, 4 seeds and a million updates. DM and HDM have no target return, so
# they ignore it. Their episodes end after as many steps as the longest of the data has
CORREIA = Protocol(name="Correia").with_overrides(
    context_length=20,
    batch_size=16,
    window_anchor="end",  # the drawn step is the last one of its window, so windows at the start of an episode are short
    sampling="episodes",
    padding="right",
    pad_action=0.0,
    num_evaluations=100,  # every 1,000 updates
    episodes_per_evaluation=10,
)

# DM+R has three targets: 10,000, the data's highest return, and half of that
CORREIA_RETURNS = CORREIA.with_overrides(
    name="Correia, DM+R", targets=(Target(10_000.0, "return"), Target(1.0, "data"), Target(0.5, "data"))
)

# README of meowatthemoon/HDT (3c9d052): the same scripts, with all updates in the warm-up
CORREIA_HDT = CORREIA.with_overrides(name="Correia, HDT", batch_size=64, updates=10_000, num_evaluations=10)
