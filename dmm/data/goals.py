"""Goals of hierarchical models: for each step of an episode a later state that the low level is to reach.

Correia and Alexandre (Hierarchical Decision Transformer, arXiv 2209.10447) search all later steps. The goal is the step up
to which the mean reward is highest. It stays the goal until it is reached. Then the search starts again from there.
"""

import numpy as np
from jaxtyping import Float32, Int64


def goal_rows(rewards: Float32[np.ndarray, " N"], offsets: Int64[np.ndarray, " bounds"]) -> Int64[np.ndarray, " N"]:
    """The row of each row's goal. Both are in the same episode."""
    rows = [start + goal_steps(rewards[start:end]) for start, end in zip(offsets[:-1], offsets[1:], strict=True)]
    return np.concatenate(rows)


def goal_steps(rewards: Float32[np.ndarray, " T"]) -> Int64[np.ndarray, " T"]:
    """The goal's step for each step of one episode: the j > i with the highest mean of rewards i .. j - 1, the first if tied.

    A goal stays until it is reached. No step follows the last one: its goal is step 0, as in the official code.
    """
    last, goal = len(rewards) - 1, 0
    goals = np.zeros(len(rewards), np.int64)
    for step in range(last):
        if goal == step:
            ahead = rewards[step:last].cumsum(dtype=np.float64)
            goal = step + 1 + int(np.argmax(ahead / np.arange(1, len(ahead) + 1)))
        goals[step] = goal
    return goals
