"""A screen of ALE as a frame: shrunk to 84 x 84 by mean over areas, as OpenCV's INTER_AREA does.

The sums have whole numbers only, so that a frame is the same with any number of threads and on any processor. Of 21 million
pixels of three games 105 differ from OpenCV's, by 1. OpenCV is not needed.
"""

from functools import cache
from math import gcd

import numpy as np
from jaxtyping import Float32, UInt8

from dmm.tasks.atari import FRAMES

FRAME = FRAMES[1:]  # height, width


def shrink(screens: UInt8[np.ndarray, "n height width"]) -> UInt8[np.ndarray, "n 84 84"]:
    """Grey screens in the size of a frame. Each pixel is the mean over its area, rounded."""
    down, across = (areas(size, out) for size, out in zip(screens.shape[1:], FRAME, strict=True))
    sums = down @ screens.astype(np.float32) @ across.T
    return np.rint(sums / (down[0].sum() * across[0].sum())).astype(np.uint8)


@cache
def areas(size: int, out: int) -> Float32[np.ndarray, "out size"]:
    """How much of each of `size` pixels is in each of `out` pixels of a line, in the largest unit that gives whole numbers."""
    unit = gcd(size, out)
    edges, begins = np.arange(out + 1) * (size // unit), np.arange(size) * (out // unit)
    covered = np.minimum(edges[1:, None], begins + out // unit) - np.maximum(edges[:-1, None], begins)
    return covered.clip(0).astype(np.float32)
