"""Behaviours that are code: a script acts in a task's environment, in the place of a trained policy.

pointmaze.py  way-points in mazes
atari.py      paddles that follow the ball

A family of tasks has a file here with BEHAVIOURS, by names TASK-POLICY. `dmm/TASK/POLICY-v0` is collected with them.
"""

from dmm.data.scripts import atari, pointmaze

FAMILIES = (pointmaze, atari)
BEHAVIOURS = {name: behaviour for family in FAMILIES for name, behaviour in family.BEHAVIOURS.items()}
