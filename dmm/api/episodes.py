"""rollout: episodes of a policy, as in an evaluation of dmm."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from jaxtyping import Float, Int64

from dmm.api.policy import Policy
from dmm.api.video import Video
from dmm.base.fields import check_value
from dmm.base.seeds import derive_seed
from dmm.base.threads import one_thread
from dmm.config import Target
from dmm.rollouts.rollout import rollout as roll


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Episodes:
    """Episodes of a policy."""

    returns: Float[np.ndarray, " episodes"]  # undiscounted, in the environment's units
    lengths: Int64[np.ndarray, " episodes"]  # steps
    score: float  # D4RL's normalised score of the mean return
    asked: float  # the return asked for
    video: Path | None = None  # of the first episode

    def __repr__(self) -> str:
        video = f", video {self.video}" if self.video else ""
        return (
            f"Episodes({len(self.returns)} of mean return {fmean(self.returns):.1f} ({self.asked:g} asked for), score "
            f"{self.score:.1f}, mean length {fmean(self.lengths):.0f}{video})"
        )


def rollout(
    policy: Policy,
    episodes: int = 20,
    seed: int = 0,
    target: Target | float | None = None,
    video: str | Path | None = None,
) -> Episodes:
    """Rolls episodes of a policy in its task's environment, in batches of the evaluation's size.

    The episodes begin like those of the last evaluation of a trial with this seed. So the policy of that trial gives the
    evaluation's returns again. `target` replaces the policy's target. `video` is the path of a .gif or .mp4 of the first
    episode. MP4 needs the extra `video`. Drawing an episode moves no number.
    Raises ValueError, before any episode, for a wrong value or suffix, and where pictures cannot be drawn.
    """
    if not isinstance(policy, Policy):
        raise ValueError(
            f"dmm.rollout takes a policy, as dmm.load(ID).policy() gives one; it was given a {type(policy).__name__}"
        )
    check_value("episodes", episodes, int)
    check_value("seed", seed, int)
    check_value("video", video, str | Path | None)
    if episodes < 1 or seed < 0:
        raise ValueError(
            f"dmm.rollout takes 1 episode or more and a seed of 0 or more; it was given {episodes} and {seed}"
        )
    if target is not None:
        policy = policy.with_target(target)
    trial = policy.trial
    film = Video(Path(video), trial.task) if video is not None else None
    seeds = [derive_seed(seed, "episode", 0, index) for index in range(episodes)]
    returns, lengths, size = [], [], trial.evaluation.rollout_batch_size
    with one_thread(), film or nullcontext():
        for first in range(0, episodes, size):
            part = seeds[first : first + size]
            asked = [policy.asked] * len(part)
            drawn = {"lanes": film.lanes, "watch": film.watch} if film and first == 0 else {}
            rolled = roll(policy.model, trial, policy.statistics, asked, part, **drawn)
            returns += rolled.returns
            lengths += rolled.lengths
    return Episodes(
        returns=np.array(returns),
        lengths=np.array(lengths),
        score=trial.task.normalised_score(fmean(returns)),
        asked=policy.asked,
        video=film.path if film else None,
    )
