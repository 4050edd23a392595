"""Contests: the same work done by peers and by us, in interleaved rounds, so that a busy machine slows all alike.

The clock counts CPU-seconds of this process on a CPU, where they vary far less than wall time; on a GPU, wall time
between two synchronisations. A round gives each worker's seconds a unit and so a ratio for each pair; a row shows medians
over rounds, and the lowest and the highest ratio. Nothing here asserts a time.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

import torch

Work = Callable[[], int]  # does some work and says how many units it was
Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class BenchmarkCase:
    """One kind of work, by those who do it."""

    work: str
    unit: str  # what is counted: update, batch, ...
    peers: Mapping[str, Work]
    ours: Mapping[str, Work]
    absent: Mapping[str, str] = field(default_factory=dict)  # who cannot take part, and why


@dataclass(frozen=True, kw_only=True)
class Row:
    """A peer beside one of ours: milliseconds a unit, and how many times as long the peer takes."""

    table: str
    work: str
    unit: str
    baseline: str
    ours: str
    baseline_ms: float
    ours_ms: float
    ratio: float
    lowest: float
    highest: float
    rounds: int


@dataclass(frozen=True)
class TimingBudget:
    """How long a case goes on."""

    rounds: int = 5
    least: float = 0.5  # seconds that a worker's turn takes at least
    quick: bool = False  # a smoke test: small sizes, too


def clock_of(device: str) -> Clock:
    """Seconds as a device counts them."""
    if device == "cpu":
        return time.process_time

    def wall() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return wall


def interleaved(workers: Mapping[str, Work], effort: TimingBudget, clock: Clock) -> dict[str, list[float]]:
    """Seconds a unit of each worker, round by round; first turns only say how often a later one repeats."""

    def turn(work: Work, repeats: int) -> tuple[float, int]:
        began = clock()
        units = sum(work() for _ in range(repeats))
        return clock() - began, units

    repeats, times = {}, {name: [] for name in workers}
    for name, work in workers.items():
        once = turn(work, 1)[0]
        if once < effort.least:  # else a first time's extra does not matter
            once = min(once, turn(work, 1)[0])
        repeats[name] = max(1, math.ceil(effort.least / max(once, 1e-6)))
    for _ in range(effort.rounds):
        for name, work in workers.items():
            seconds, units = turn(work, repeats[name])
            times[name].append(seconds / units)
    return times


def compare(table: str, case: BenchmarkCase, times: Mapping[str, list[float]]) -> list[Row]:
    """A row for every peer beside every one of ours."""
    rows = []
    for peer in case.peers:
        for ours in case.ours:
            ratios = [theirs / mine for theirs, mine in zip(times[peer], times[ours], strict=True)]
            rows.append(
                Row(
                    table=table,
                    work=case.work,
                    unit=case.unit,
                    baseline=peer,
                    ours=ours,
                    baseline_ms=1e3 * median(times[peer]),
                    ours_ms=1e3 * median(times[ours]),
                    ratio=median(ratios),
                    lowest=min(ratios),
                    highest=max(ratios),
                    rounds=len(ratios),
                )
            )
    return rows


def sgemm(device: str, clock: Clock, size: int = 2048) -> float:
    """GFLOP/s of a float32 matrix product on one thread: the measure by which to compare machines and moments."""
    a = torch.randn(size, size, device=device)
    torch.mm(a, a)
    times = []
    for _ in range(5):
        began = clock()
        torch.mm(a, a)
        times.append(clock() - began)
    return 2 * size**3 / median(times) / 1e9
