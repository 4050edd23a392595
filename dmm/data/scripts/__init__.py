"""Behaviours that are code: a script acts in a task's environment, in the place of a trained policy.

A family of tasks has a file here with BEHAVIOURS, by names TASK-POLICY. `dmm/TASK/POLICY-v0` is collected with them.
"""

from dmm.data.collect import Behaviour

BEHAVIOURS: dict[str, Behaviour] = {}
