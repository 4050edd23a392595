"""A video of one episode: GIF, or MP4 with the extra `video`."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dmm.base.paths import check_writable
from dmm.environments.lanes import Lanes, make_lanes
from dmm.tasks import Task

FRAMES_PER_SECOND = 25  # at most. If an environment has more steps per second, only some are drawn
SUFFIXES = (".gif", ".mp4")


class Video:
    """Draws an episode while it is watched. As a context manager it has its file at the end, but not after an error.

    Pictures of an MP4 are written as they come. Those of a GIF are kept until the end, with one byte for a pixel.
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
        self.steps = 0

    def watch(self, lanes: Lanes) -> None:
        """Draws the first lane, if it is time for a picture. Raises ValueError if it cannot be drawn."""
        if self.steps % self.every == 0:
            self.writer.append_data(lanes.draw())
        self.steps += 1

    def __enter__(self) -> "Video":
        import imageio.v2 as iio  # v3 writes an MP4 from all its pictures at once

        rate = self.lanes.steps_per_second / self.every
        settings: dict[str, Any] = {"fps": rate}
        if self.suffix == ".gif":
            settings = {"duration": 1000 / rate, "loop": 0, "bits": 8}  # milliseconds of a picture; forever; of a pixel
        self.building = self.path.with_name(f".{self.path.stem}.{os.getpid()}{self.suffix}")
        self.writer: Any = iio.get_writer(self.building, **settings)
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self.lanes.close()
        try:
            self.writer.close()
            if kind is None:
                os.replace(self.building, self.path)
        finally:
            self.building.unlink(missing_ok=True)
