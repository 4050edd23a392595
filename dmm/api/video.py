"""A video of one episode: GIF, or MP4 with the extra `video`."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from dmm.base.paths import check_writable
from dmm.environments.lanes import Lanes, make_lanes
from dmm.tasks import Task

FRAMES_PER_SECOND = 25  # at most. If an environment has more steps per second, only some are drawn
SUFFIXES = (".gif", ".mp4")


class Video:
    """Draws an episode while it is watched. As a context manager it writes its file at the end, but not after an error.

    Raises ValueError for another suffix, for a folder that cannot be written, and where pictures cannot be drawn.
    """

    def __init__(self, path: Path, task: Task) -> None:
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise ValueError(f"the video {path} ends in {path.suffix!r}; it takes {' or '.join(SUFFIXES)}")
        if suffix == ".mp4" and not find_spec("imageio_ffmpeg"):
            raise ValueError(
                f"the video {path} needs the extra `video`: pip install 'dmm-bench[video]'; a .gif needs nothing"
            )
        check_writable(path.parent, "a video")
        self.path, self.suffix = path, suffix
        self.lanes = make_lanes(task, 1, pictures=True)
        self.every = max(round(self.lanes.steps_per_second / FRAMES_PER_SECOND), 1)  # steps from picture to picture
        self.frames: list[np.ndarray] = []  # [height, width, 3] uint8
        self.steps = 0

    def watch(self, lanes: Lanes) -> None:
        """Draws the first lane, if it is time for a picture. Raises ValueError if it cannot be drawn."""
        if self.steps % self.every == 0:
            self.frames.append(lanes.draw())
        self.steps += 1

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self.lanes.close()
        if kind is None:
            self.write()

    def write(self) -> None:
        """Writes the file, whole or not at all."""
        import imageio.v3 as iio

        rate = self.lanes.steps_per_second / self.every
        settings: dict[str, Any] = {"fps": rate}
        if self.suffix == ".gif":
            settings = {"duration": 1000 / rate, "loop": 0}  # milliseconds of a frame; forever
        building = self.path.with_name(f".{self.path.stem}.{os.getpid()}{self.suffix}")
        try:
            iio.imwrite(building, np.stack(self.frames), **settings)
            os.replace(building, self.path)
        finally:
            building.unlink(missing_ok=True)
