"""AntMaze: its spaces, with which models can be built and counted. There is no environment yet, so no trial can run."""

from dmm.batch import Spaces
from dmm.tasks.task import Task

UMAZE = Task(
    name="antmaze-umaze",
    environment="antmaze-umaze-v2",  # D4RL's id. Gymnasium does not have it
    spaces=Spaces(states=(29,), actions=8),
    horizon=700,
    return_scale=1.0,
    target_return=1.0,
    ref_min_score=0.0,
    ref_max_score=1.0,
    source="reference scores: D4RL's infos.py; target x1: Decision ConvFormer's scripts",
)
