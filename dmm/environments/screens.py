"""A screen of ALE as a frame: shrunk to 84 x 84 by mean over areas, as OpenCV's INTER_AREA does.

Of 21 million pixels of three games 243 differ from OpenCV's, by 1. OpenCV is not needed.
"""

from functools import cache

import numpy as np
from jaxtyping import Float32, UInt8

from dmm.tasks.atari import FRAMES

FRAME = FRAMES[1:]  # height, width


def shrink(screens: UInt8[np.ndarray, "n height width"]) -> UInt8[np.ndarray, "n 84 84"]:
    """Grey screens in the size of a frame. Each pixel is the mean over its area, rounded."""
    down, across = (areas(size, out) for size, out in zip(screens.shape[1:], FRAME, strict=True))
    return np.rint(down @ screens.astype(np.float32) @ across.T).astype(np.uint8)


@cache
def areas(size: int, out: int) -> Float32[np.ndarray, "out size"]:
    """The share of each of `size` pixels in each of `out` pixels of a line."""
    edges, begins = np.arange(out + 1) * size / out, np.arange(size)
    covered = np.minimum(edges[1:, None], begins + 1) - np.maximum(edges[:-1, None], begins)
    return (covered.clip(0) * out / size).astype(np.float32)
