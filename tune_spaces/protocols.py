"""Protocols of the papers, as the scripts run them; each value with its source."""

from dmm.config import Protocol

# kzl/decision-transformer, gym; K = 20, targets x1 and x0.5; windows start anywhere in an episode, pads
# of -10 for actions in training and 0 in rollouts
DT_GYM = Protocol(name="DT, gym", context_length=20, targets=(1.0, 0.5))

# Decision ConvFormer's scripts: K = 8, four targets, each evaluated with 100 episodes ten times
DC_GYM = DT_GYM.changed(name="DC, gym", context_length=8, targets=(1.0, 2.0, 10.0, 20.0))

# Decision MetaMamba's scripts: those of DC
DMM_GYM = DC_GYM.changed(name="DMM, gym")
