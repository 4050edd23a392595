"""One Atari game whose emulator can be looked into, for behaviours that read its memory. Gymnasium imports this file.

An observation is the newest frame of the task's states. Frames, rewards and ends are those of the task's lanes. But the frames
without an action are drawn in another way, and a pixel in 90,000 differs by 1. A reset loads the game anew, as lanes do.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from ale_py import ALEInterface, LoggerMode, roms
from jaxtyping import UInt8

from dmm.environments.screens import FRAME, shrink


class AtariGame(gym.Env):
    """A game of ALE. The arguments are those of ALE's vector environment."""

    def __init__(
        self,
        game: str,
        frameskip: int,
        maxpool: bool,
        max_num_frames_per_episode: int,
        noop_max: int,
        repeat_action_probability: float,
    ) -> None:
        ALEInterface.setLoggerMode(LoggerMode.Error)  # otherwise every game prints a banner
        self.game, self.frameskip, self.pooled, self.noops = game, frameskip, 2 if maxpool else 1, noop_max
        self.ale = ALEInterface()
        self.ale.setFloat("repeat_action_probability", repeat_action_probability)
        self.ale.setInt("max_num_frames_per_episode", max_num_frames_per_episode)
        self.load()
        self.actions = self.ale.getMinimalActionSet()
        self.observation_space = gym.spaces.Box(0, 255, FRAME, np.uint8)
        self.action_space = gym.spaces.Discrete(len(self.actions))

    def load(self) -> None:
        """Loads the game anew. Otherwise its course depends on the episodes before."""
        path = roms.get_rom_path(self.game)
        assert path is not None, f"ALE has no game {self.game}"
        self.ale.loadROM(path)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[UInt8[np.ndarray, "height width"], dict[str, Any]]:
        """Begins an episode. The seed gives the number of frames without an action."""
        super().reset(seed=seed)
        self.load()
        for _ in range(self.np_random.integers(max(self.noops, 1))):
            self.ale.act(self.actions[0])
        return shrink(self.ale.getScreenGrayscale()[None])[0], {}

    def step(self, action: Any) -> tuple[UInt8[np.ndarray, "height width"], float, bool, bool, dict[str, Any]]:
        """Takes an action for as many frames as a step has."""
        reward, screens = 0.0, []
        for left in reversed(range(self.frameskip)):
            reward += self.ale.act(self.actions[action])
            if left < self.pooled:
                screens.append(self.ale.getScreenGrayscale())
        ended, cut = self.ale.game_over(with_truncation=False), self.ale.game_truncated()
        return shrink(np.max(screens, axis=0)[None])[0], reward, ended, cut and not ended, {}


gym.register("AtariGame-v0", f"{__name__}:AtariGame")
