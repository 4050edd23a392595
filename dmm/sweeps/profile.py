"""Profiles: the resources of one trial, and how many trials fit on a cluster at once."""

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dmm.base.errors import unknown_name
from dmm.base.fields import check_fields, check_least

if TYPE_CHECKING:  # the names of profiles must be found fast, for the shell
    from dmm.config import Trial


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The resources of one trial. They change the speed. Workers and GPUs also change the last bits, so they are recorded.

    `keep` says which weights stay on disk: all evaluated ones, the last and the best of each evaluation, or the last.
    """

    name: str
    workers: int = 1  # per trial. They share each batch
    cpus: int = 1  # per worker
    gpus: float = 0  # per worker: a part of one, or whole ones
    rollout_actors: int = 0  # per trial, one core each. 0: the trial rolls out its own episodes
    concurrency: int = 0  # trials at once. 0: as many as fit
    keep: Literal["all", "last and best", "last"] = "all"  # the weights that stay on disk. They move no number

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self, 1, "workers", "cpus")
        check_least(self, 0, "gpus", "rollout_actors", "concurrency")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"Profile.gpus is {self.gpus}; it takes a part of one GPU, or whole ones")
        if self.workers > 1 and 0 < self.gpus < 1:
            raise ValueError(f"profile {self.name}: the workers of one trial cannot share a GPU; gpus is {self.gpus}")

    @property
    def device(self) -> str:
        """The device of a worker's model."""
        return "cuda" if self.gpus else "cpu"

    @property
    def group(self) -> bool:
        """Whether a trial trains in a Ray Train group. One CPU worker trains in the Tune trial, which costs less."""
        return self.workers > 1 or self.gpus > 0

    @property
    def trial_cpus(self) -> int:
        """CPUs of one trial."""
        return self.workers * self.cpus + self.rollout_actors

    def __str__(self) -> str:
        each = f"{self.cpus} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")
        actors = f" and {self.rollout_actors} rollout actors of 1 CPU" if self.rollout_actors else ""
        return f"{self.workers} worker{'s' * (self.workers > 1)} of {each}{actors}"


def profiles() -> dict[str, Path]:
    """The profiles that ship with dmm, by name. They are in cluster/ of a checkout, and in dmm/profiles of a wheel."""
    package = Path(str(files("dmm")))
    return {
        path.stem: path
        for place in (package / "profiles", package.parent / "cluster")
        for path in sorted(place.glob("*.toml"))
    }


def find_profile(name: str) -> Profile:
    """Reads a profile: a path to a TOML file, or the name of one that ships with dmm. Raises ValueError if it is wrong."""
    path = Path(name) if name.endswith(".toml") else profiles().get(name)
    if path is None:
        raise unknown_name("profile", name, profiles(), "cluster")
    if not path.is_file():
        raise ValueError(f"no profile at {path}")
    try:
        values = tomllib.loads(path.read_text())
    except ValueError as error:  # of TOML, or of the encoding
        raise ValueError(f"profile {path}: {error}") from None
    known = {f.name for f in fields(Profile)} - {"name"}
    for key in values:
        if key not in known:
            raise unknown_name("setting", key, known, f"profile {name}")
    try:
        return Profile(name=path.stem, **values)
    except ValueError as error:
        raise ValueError(f"profile {path}: {error}") from None


def trials_at_once(profile: Profile, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many trials fit on a cluster at once, from the resources of its nodes. Raises ValueError if none does.

    The CPUs and GPUs of a worker are on one node. The workers of a trial, and its actors, may be on several nodes.
    """
    cpus, gpus = (sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
    room = sum(workers_on(profile, node) for node in nodes)
    fit = min(room // profile.workers, int(cpus // profile.trial_cpus))
    if fit < max(profile.concurrency, 1):
        wanted = max(profile.concurrency, 1)
        taken = f"{profile.trial_cpus * wanted} CPU" + (
            f" and {profile.gpus * profile.workers * wanted:g} GPU" if profile.gpus else ""
        )
        raise ValueError(
            f"profile {profile.name} takes {taken} for {wanted} trial{'s at once' * (wanted > 1)} ({profile} a trial); the "
            f"cluster has {cpus:g} CPU and {gpus:g} GPU on {len(nodes)} node{'s' * (len(nodes) > 1)}, room for {room} such "
            f"worker{'s' * (room != 1)} and {fit} such trial{'s' * (fit != 1)}"
        )
    return profile.concurrency or fit


def workers_on(profile: Profile, node: Mapping[str, float]) -> int:
    """How many workers fit on a node. A part of a GPU is always on one GPU."""
    by_cpu, gpus = node.get("CPU", 0) // profile.cpus, node.get("GPU", 0)
    if not profile.gpus:
        return int(by_cpu)
    by_gpu = gpus // profile.gpus if profile.gpus >= 1 else gpus * math.floor(1 / profile.gpus + 1e-9)
    return int(min(by_cpu, by_gpu))


def check_batches(profile: Profile, trials: Iterable["Trial"]) -> None:
    """Raises ValueError if there are more workers than rows in a batch."""
    smallest = min(trial.training.batch_size for trial in trials)
    if smallest < profile.workers:
        raise ValueError(f"profile {profile.name} has {profile.workers} workers; a batch has {smallest} rows to share")
