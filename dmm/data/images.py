"""Images of Atari games, as the emulator draws them, become frames of a dataset: grey, 84 x 84.

Grey is the luma, which is ALE's own grey in every pixel (six games).
JPEG loses more. Its luma is decoded without its colours, because that is nearest. Then 5 to 19 % of a frame's pixels differ
from those of the raw image, by 0.3 on average and 10 at most.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import UInt8

from dmm.base.errors import raise_interrupt
from dmm.data.hdf5 import faults
from dmm.environments.screens import FRAME, shrink

CHUNK = 500  # images that are read at once
WIDTH, HEIGHTS = 160, range(210, 251)  # of ALE's screens
FIRST_BYTES = b"\xff\xd8"  # of a JPEG


def are_images(values: Any) -> bool:
    """Whether an array has one image a row: a screen of ALE as RGB [T, height, width, 3] of uint8, a JPEG, or a frame."""
    if values.dtype == np.uint8 and values.ndim > 2:
        height, width, *colours = values.shape[1:]
        return (height, width, *colours) == FRAME or height in HEIGHTS and (width, *colours) == (WIDTH, 3)
    return are_jpegs(values)


def are_jpegs(values: Any) -> bool:
    """Whether an array has the bytes of a JPEG in each row. JPEGs of one length are an array of two axes."""
    if (values.dtype, values.ndim) not in ((object, 1), (np.uint8, 2)) or not len(values):
        return False
    first = values[0]  # an object may be a text
    return isinstance(first, bytes | np.ndarray) and bytes(first[:2]) == FIRST_BYTES


def check_readable(values: Any, where: str) -> None:
    """Reads an array in slices. Raises ValueError, with `where`, for rows that cannot be read and for a damaged JPEG."""
    jpegs = are_jpegs(values)
    for first in range(0, len(values), CHUNK):
        with faults(where):
            rows = values[first : first + CHUNK]
        for i, image in enumerate(rows if jpegs else ()):
            luma(image, f"{where}: row {first + i}")


def frames_of(images: Any, count: int, where: str) -> Iterator[UInt8[np.ndarray, "n height width"]]:
    """The frames of an episode's first `count` images, in chunks. `images` may be on disk: it is read in slices.

    Raises ValueError, with `where` and the row, for an image that cannot be read and for another size than that of a screen.
    """
    for first in range(0, count, CHUNK):
        with faults(where):
            rows = images[first : min(first + CHUNK, count)]
        if rows.shape[1:] == FRAME:
            yield rows
            continue
        greys = [screen(image, f"{where}: row {first + i}") for i, image in enumerate(rows)]
        for i, grey in enumerate(greys):
            if grey.shape != greys[0].shape:
                raise ValueError(f"{where}: row {first + i} is {grey.shape}, and the rows before it {greys[0].shape}")
        yield shrink(np.stack(greys))


def screen(image: Any, where: str) -> UInt8[np.ndarray, "height width"]:
    """The grey of a screen of ALE. Raises ValueError for an image of another size, and as `luma`."""
    found = luma(image, where)
    if found.shape[0] not in HEIGHTS or found.shape[1] != WIDTH:
        raise ValueError(
            f"{where} is {found.shape[0]} x {found.shape[1]}; screens of ALE are {HEIGHTS[0]} to {HEIGHTS[-1]} x {WIDTH}"
        )
    return found


def luma(image: Any, where: str) -> UInt8[np.ndarray, "height width"]:
    """The grey of an image: RGB [height, width, 3] of uint8, or a JPEG's bytes. Raises ValueError if it cannot be read."""
    from PIL import Image

    try:
        if isinstance(image, np.ndarray) and image.ndim == 3:
            return np.asarray(Image.fromarray(image).convert("L"))
        with Image.open(BytesIO(bytes(image)), formats=["JPEG"]) as opened:
            opened.draft("L", opened.size)  # the luma alone
            return np.asarray(opened.convert("L"))
    except Exception as error:  # of Pillow, which has many
        raise_interrupt(error)
        raise ValueError(f"{where} is no image that can be read: {error}") from None
