"""A video of one episode: GIF, or MP4 with the extra `video`."""

import os
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmm.base.paths import check_writable
from dmm.rollouts.rollout import SUB_ENVS
from dmm.tasks import Task

if TYPE_CHECKING:
    import gymnasium as gym

FRAMES_PER_SECOND = 25  # at most. If an environment has more steps per second, only some are drawn
SUFFIXES = (".gif", ".mp4")
HELP = (
    "on a machine without a screen, set the variable MUJOCO_GL=egl (Debian and Ubuntu: apt install libegl1 libgl1-mesa-dri) or "
    "MUJOCO_GL=osmesa (apt install libosmesa6) before anything is drawn"
)


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
        self.task = replace(task, options=(*task.options, ("render_mode", "rgb_array")))
        self.frames: list[np.ndarray] = []  # [height, width, 3] uint8
        self.steps = 0

    def watch(self, env: "gym.Env") -> None:
        """Draws the environment, if it is time for a picture. Raises ValueError if it cannot be drawn."""
        if self.steps == 0:
            prepare(env)
        rate = env.metadata.get("render_fps", FRAMES_PER_SECOND)
        every = max(round(rate / FRAMES_PER_SECOND), 1)
        self.frames_per_second = rate / every
        if self.steps % every == 0:
            try:
                self.frames.append(np.asarray(env.render()))
            except Exception as error:  # each backend of OpenGL raises its own types
                raise ValueError(f"{self.task.environment} cannot be drawn ({error}); {HELP}") from error
        self.steps += 1

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        for sub_env in SUB_ENVS.pop(self.task, []):
            sub_env.env.close()
        if kind is None:
            self.write()

    def write(self) -> None:
        """Writes the file, whole or not at all."""
        import imageio.v3 as iio

        settings: dict[str, Any] = {"fps": self.frames_per_second}
        if self.suffix == ".gif":
            settings = {"duration": 1000 / self.frames_per_second, "loop": 0}  # milliseconds of a frame; forever
        building = self.path.with_name(f".{self.path.stem}.{os.getpid()}{self.suffix}")
        try:
            iio.imwrite(building, np.stack(self.frames), **settings)
            os.replace(building, self.path)
        finally:
            building.unlink(missing_ok=True)


def prepare(env: "gym.Env") -> None:
    """Chooses how a MuJoCo environment is drawn. It must be called before the first picture."""
    bare: Any = env.unwrapped
    if not hasattr(bare, "mujoco_renderer"):
        return
    from mujoco import mj_name2id, mjtObj

    if sys.platform == "linux" and not {"MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        # without a screen. MuJoCo would try GLFW, fail, and end the process when something is drawn after that
        os.environ["MUJOCO_GL"] = "egl"
    # the body's own camera, or -1 if the model has none. Gymnasium's camera stays where the episode began
    bare.mujoco_renderer.camera_id = mj_name2id(bare.model, mjtObj.mjOBJ_CAMERA, "track")
