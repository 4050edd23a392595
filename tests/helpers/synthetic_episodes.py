"""Five short episodes that are the same on every machine."""

import numpy as np

from dmm.data.trajectories import assemble


def episodes():
    """Made-up episodes, the same on every machine: sums of sines, no generator."""
    lengths = np.array([30, 7, 50, 1, 12])
    place = np.arange(lengths.sum())[:, None]
    states = np.sin(place * 0.1 * np.arange(1, 11)).astype(np.float32)
    actions = np.cos(place * 0.3 * np.arange(1, 3)).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return assemble("golden", states, actions, states[:, 0] - 1, offsets, np.zeros(5, bool))
