"""Locomotion: three MuJoCo runners of Gymnasium."""

from dmm.batch import Spaces
from dmm.tasks.task import Task

D4RL = "reference scores: D4RL's infos.py; target x1: Decision ConvFormer's scripts; environment: Gymnasium v5, not D4RL's v2"
TASKS = (
    Task(name="hopper", environment="Hopper-v5", spaces=Spaces(states=(11,), actions=3), horizon=1000,
         return_scale=1000.0, target_return=3600.0, ref_min_score=-20.272305, ref_max_score=3234.3, source=D4RL),
    Task(name="walker2d", environment="Walker2d-v5", spaces=Spaces(states=(17,), actions=6), horizon=1000,
         return_scale=1000.0, target_return=5000.0, ref_min_score=1.629008, ref_max_score=4592.3, source=D4RL),
    Task(name="halfcheetah", environment="HalfCheetah-v5", spaces=Spaces(states=(17,), actions=6), horizon=1000,
         return_scale=1000.0, target_return=12000.0, ref_min_score=-280.178953, ref_max_score=12135.0, source=D4RL),
)  # fmt: skip
