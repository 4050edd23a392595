"""Protocols of the papers, as the scripts run them; each value with its source."""

from dmm.config import Protocol

# kzl/decision-transformer, gym; K = 20, targets x1 and x0.5 (systems.md 3.2 to 3.4, 5.1)
DT_GYM = Protocol(name="DT, gym", context_length=20, targets=(1.0, 0.5))

# Decision ConvFormer's scripts: K = 8, four targets, each evaluated with 100 episodes ten times (systems.md 4.2, 5.1)
DC_GYM = DT_GYM.changed(name="DC, gym", context_length=8, targets=(1.0, 2.0, 10.0, 20.0))

# Decision MetaMamba's scripts: those of DC (systems.md 4.9, 4.10)
DMM_GYM = DC_GYM.changed(name="DMM, gym")
