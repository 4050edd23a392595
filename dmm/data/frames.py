"""Frames of a dataset: single images of uint8, with STACK - 1 black ones before each episode.

A state is the stack of the STACK newest frames. So the first state of an episode is three black frames and one of the game.
Frames are many gigabytes. They are written to disk while a source is read, and are mapped to memory afterwards. All
processes of a machine share their pages.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from weakref import finalize

import numpy as np
from jaxtyping import Int64, UInt8

from dmm.base.errors import explain
from dmm.base.paths import aside, delete, home

STACK = 4  # frames of a state


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames of a dataset that is not cached yet. Their file is deleted with the array, if the cache has not taken it."""

    array: UInt8[np.ndarray, "F height width"]  # mapped
    path: Path  # an .npy file in the cache's folder
    sha256: str  # of the array's bytes


class FrameWriter:
    """Writes the frames of a dataset, episode by episode. After an error nothing is left on disk.

    Raises ValueError if the folder of the cache cannot be written.
    """

    def __init__(self, height: int, width: int) -> None:
        self.size, self.count, self.digest = (height, width), 0, hashlib.sha256()

    def __enter__(self) -> "FrameWriter":
        self.path = aside(home() / "cache" / "frames.npy")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = open(self.path, "wb")
            self.write_header()
        except OSError as error:
            raise self.refusal(error) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()
        if error is not None:
            delete(self.path)

    def begin_episode(self) -> None:
        """Writes the black frames before an episode's first frame."""
        self.add(np.zeros((STACK - 1, *self.size), np.uint8))

    def add(self, frames: UInt8[np.ndarray, "n height width"]) -> None:
        """Writes the next frames of an episode."""
        frames = np.ascontiguousarray(frames)
        try:
            self.file.write(frames.data)
        except OSError as error:
            raise self.refusal(error) from None
        self.digest.update(frames.data)
        self.count += len(frames)

    def finish(self) -> Frames:
        """The frames that were written. The caller has written at least one."""
        try:
            self.file.seek(0)
            self.write_header()
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            raise self.refusal(error) from None
        array = np.load(self.path, mmap_mode="c")
        finalize(array, delete, self.path)
        return Frames(array, self.path, self.digest.hexdigest())

    def write_header(self) -> None:
        """Writes the header of the .npy file. Its length does not depend on the number of frames."""
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.count, *self.size)}
        np.lib.format.write_array_header_1_0(self.file, header)

    def refusal(self, error: OSError) -> ValueError:
        """The error for a file that cannot be written."""
        return ValueError(f"cannot write frames to {self.path.parent}: {explain(error)}")


def frame_starts(offsets: Int64[np.ndarray, " bounds"]) -> Int64[np.ndarray, " E"]:
    """The row of each episode's first black frame, where all episodes of a dataset follow one another."""
    return offsets[:-1] + (STACK - 1) * np.arange(len(offsets) - 1)
