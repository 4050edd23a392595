"""Protocols of the papers, as the scripts run them; each value with its source."""

from dmm.config import Protocol
from dmm.tasks import TASKS

# kzl/decision-transformer, gym; K = 20, targets x1 and x0.5; windows start anywhere in an episode, pads
# of -10 for actions in training and 0 in rollouts
DT_GYM = Protocol(name="DT, gym", context_length=20, targets=(1.0, 0.5))

# Decision ConvFormer's scripts: K = 8, four targets, each evaluated with 100 episodes ten times
DC_GYM = DT_GYM.changed(name="DC, gym", context_length=8, targets=(1.0, 2.0, 10.0, 20.0))

# Decision MetaMamba's scripts: those of DC
DMM_GYM = DC_GYM.changed(name="DMM, gym")

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
    window="whole",
    padding="right",
    pad_state="normalised zero",
    pad_action=0.0,
    evaluations=2,
    episodes=20,
)

# configs/halfcheetah.yaml; the scripts ask HalfCheetah for 6000, half of the task's x1
EDT_HALFCHEETAH = EDT_GYM.changed(name="EDT, halfcheetah", batch_size=128, targets=(0.5,))

# a row's changes of EDT's Config per task: its bins span D4RL's reference scores over the return scale
EDT_RANGES = {
    task.name: {"return_low": task.low / task.scale, "return_high": task.high / task.scale} for task in TASKS.values()
}

# the same, and the tilt of scripts/eval_edt.py, which always samples: 10 and the configs' expert_weight
EDT_SAMPLED = {
    name: {**changes, "tilt": 11.0 if name == "halfcheetah" else 25.0} for name, changes in EDT_RANGES.items()
}
