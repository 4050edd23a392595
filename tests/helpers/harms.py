"""What a round of the soak draws: a profile, a store, and harms with their moments."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROFILES = {
    "laptop": "",
    "rollout actors": "cpus = 1\nrollout_actors = 1\n",
    "two workers": "workers = 2\n",
    "last weights": 'keep = "last"\n',
}
CHANGES = (
    "tables/*",
    "cache/*/*",
    "mlflow.db*",
    "mlflow.db",
    "trials/*/evaluations/*.wanted",
    "trials/*/training.json",
)
CHANGES += ("trials/*/checkpoint.pt", "trials/*/weights/*/card.json", "trials/*/evaluations/*.json", "tune/*")
DAMAGED = {  # what is damaged -> patterns of its files
    "trials": ("trials/*/*.*", "trials/*/evaluations/*.*", "trials/*/weights/*/*"),
    "cache": ("cache/*/*",),
    "mlflow.db": ("mlflow.db",),
}


@dataclass(frozen=True)
class Moment:
    """When a harm comes, counted from the start of the command."""

    what: str  # "time", "line", "end" or a pattern of files
    count: float  # how many of them. Of the undisturbed time, the share
    delay: float = 0.0  # seconds

    def __str__(self) -> str:
        when = (
            f"{self.count:.3f} of the time"
            if self.what == "time"
            else f"{self.what} {self.count:.0f} + {self.delay:.2f} s"
        )
        return "the end" if self.what == "end" else when


@dataclass(frozen=True)
class Harm:
    """Something that happens to a sweep."""

    kind: str
    moment: Moment
    dice: float  # chooses among several victims, from 0 to 1

    def __str__(self) -> str:
        return f"{self.kind} at {self.moment}"


@dataclass(frozen=True)
class Round:
    """What a round draws."""

    profile: str
    served: bool  # MLflow is a server
    turns: list[list[Harm]]


def draw(seed: int, number: int) -> Round:
    """The round of this number."""
    dice = random.Random(f"{seed} {number}")
    profile, served = dice.choices([*PROFILES], (4, 2, 1, 2))[0], dice.random() < 0.3
    kinds = ["SIGKILL of the driver", "SIGKILL of all", "SIGTERM", "SIGINT", "SIGINT twice", "second sweep"]
    kinds += {
        "rollout actors": ["SIGKILL of an actor", "SIGKILL of a trial"],
        "two workers": ["SIGKILL of a worker"] * 2,
    }.get(profile, ["SIGKILL of a trial"])
    kinds += ["outage"] * 4 * served

    def moment() -> Moment:
        what = dice.choice(["time", "time", "line", *dice.sample(CHANGES, 2)])
        if what == "time":
            return Moment(what, dice.choice([dice.uniform(0, 0.2), dice.uniform(0, 1.1), dice.uniform(0.7, 1.1)]))
        return Moment(what, dice.choice([1, 1, 2, 3, 4, 6]), dice.choice([0, dice.random() * 0.3, dice.random() * 2]))

    def turn() -> list[Harm]:
        harms = [Harm(dice.choice(kinds), moment(), dice.random()) for _ in range(dice.choice([1, 1, 2]))]
        if dice.random() < 0.6:
            what = dice.choice(["trials"] * 4 + ["cache"] * 2 + ["mlflow.db"] * (not served))
            how = dice.choice(["flip", "cut", "empty", "lose"] if what != "mlflow.db" else ["cut", "empty", "lose"])
            at = (
                moment() if what == "trials" and dice.random() < 0.5 else Moment("end", 0)
            )  # a running sweep has mapped the cache
            harms.append(Harm(f"{how} {what}", at, dice.random()))
        if dice.random() < 0.1:
            harms.append(Harm("move DMM_HOME", Moment("end", 0), 0))
        return harms

    return Round(profile, served, [turn() for _ in range(dice.choice([1, 2, 2, 3]))])


def clock(moment: Moment, home: Path, log: Path, undisturbed: float) -> Callable[[], bool]:
    """Whether a moment of the command that begins now has come. `undisturbed` is the time of a sweep, in seconds."""
    began, seen, counted, reached = time.monotonic(), state(home, moment.what), 0, None

    def is_due() -> bool:
        nonlocal seen, counted, reached
        now = time.monotonic()
        if moment.what == "time":
            return now - began >= moment.count * undisturbed
        if moment.what == "line":
            counted = log.read_bytes().count(b"\n")
        else:
            now_there = state(home, moment.what)
            counted, seen = counted + len(now_there.items() - seen.items()), now_there
        if counted >= moment.count and reached is None:
            reached = now
        return reached is not None and now - reached >= moment.delay

    return is_due


def state(home: Path, pattern: str) -> dict[Path, int]:
    """The files of a pattern, with the times of their last changes."""
    found = {}
    for path in home.glob(pattern):
        with suppress(OSError):
            found[path] = path.stat().st_mtime_ns
    return found


def damage(home: Path, how: str, what: str, dice: float) -> bool:
    """Damages a file. False if there is none."""
    files = sorted(path for pattern in DAMAGED[what] for path in home.glob(pattern) if path.is_file())
    if not files:
        return False
    chosen = random.Random(dice)
    path = chosen.choice(files)
    with suppress(FileNotFoundError):  # the sweep was faster
        data = bytearray(path.read_bytes())
        if how == "lose":
            path.unlink()
        elif how == "flip" and data:
            data[chosen.randrange(len(data))] ^= 1 << chosen.randrange(8)
        if how != "lose":
            path.write_bytes(data if how == "flip" else data[: len(data) // 2] if how == "cut" else b"")
    print(f"    {how} {path.relative_to(home)}", flush=True)
    return True
