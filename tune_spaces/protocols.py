"""Protocols of the papers, as the scripts run them; each value with its source."""

from dmm.config import Protocol
from dmm.tasks import TASKS

# kzl/decision-transformer, gym; K = 20, targets x1 and x0.5; windows start anywhere in an episode, pads
# of -10 for actions in training and 0 in rollouts
DT_GYM = Protocol(name="DT, gym", context_length=20, targets=(1.0, 0.5))

# Decision ConvFormer's scripts: K = 8, four targets, each evaluated with 100 episodes ten times
DC_GYM = DT_GYM.with_overrides(name="DC, gym", context_length=8, targets=(1.0, 2.0, 10.0, 20.0))

# Decision MetaMamba's scripts: those of DC
DMM_GYM = DC_GYM.with_overrides(name="DMM, gym")

# Elastic-DT (28a1336), scripts/train_edt.py with configs/hopper.yaml and walker2d.yaml: 500 x 100 updates, checkpoints
# after 250 x 100 and at the end, each rolled by scripts/eval_edt.py: 20 episodes, x1. An episode is drawn uniformly, then a
# window of K steps within it; pads, on the right, are zeros of normalised states. The official loader deals the episodes out
# in shuffled rounds; here each draw is independent
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

# configs/halfcheetah.yaml; the scripts ask HalfCheetah for 6000, half of the task's x1
EDT_HALFCHEETAH = EDT_GYM.with_overrides(name="EDT, halfcheetah", batch_size=128, targets=(0.5,))

# a row's changes of EDT's Config per task: its bins span D4RL's reference scores over the return scale
EDT_RANGES = {
    task.name: {
        "return_low": task.ref_min_score / task.return_scale,
        "return_high": task.ref_max_score / task.return_scale,
    }
    for task in TASKS.values()
}

# the same, and the tilt of scripts/eval_edt.py, which always samples: 10 and the configs' expert_weight
EDT_SAMPLED = {
    name: {**overrides, "inverse_temperature": 11.0 if name == "halfcheetah" else 25.0}
    for name, overrides in EDT_RANGES.items()
}

# Correia and Alexandre's Decision Mamba and HDM: the defaults of meowatthemoon/HierarchicalDecisionMamba's (42b1f0f) and
# DecisionMamba's (ed0316f) scripts, K = 20 as their READMEs run them; learning rate, warm-up, weight decay and clip are
# those of DT. The paper is said to have 100 episodes, 4 seeds and a million updates. DM and HDM ask for no return. DM+R
# asks for 10,000, the data's highest return and half of that: a target here is a multiple of the task's, the same for all
# data of a row, so these are three numbers for each dataset to set by hand. Their episodes end with the longest of the data
CORREIA = Protocol(
    name="Correia",
    context_length=20,
    batch_size=16,
    window_anchor="end",  # a window's last step is drawn; early windows are short
    sampling="episodes",
    padding="right",
    pad_action=0.0,
    num_evaluations=100,  # every 1,000 updates
    episodes_per_evaluation=10,
)

# meowatthemoon/HDT's (3c9d052) README: the same frame, and all updates are in the warm-up
CORREIA_HDT = CORREIA.with_overrides(name="Correia, HDT", batch_size=64, updates=10_000, num_evaluations=10)
