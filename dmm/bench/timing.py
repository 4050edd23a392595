"""Benchmark cases: peers and our code do the same work in interleaved rounds, so that a busy machine slows all of them.

On a CPU the clock counts CPU-seconds of this process, because these vary far less than wall time. On a GPU it counts wall
time between two synchronisations. A round gives the seconds per unit of each workload, and so a ratio for each pair. A row
shows medians over rounds, and the lowest and the highest ratio. Nothing here asserts a time.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

import torch

Workload = Callable[[], int]  # does some work and returns the number of units that it did
Clock = Callable[[], float]  # seconds


@dataclass(frozen=True, kw_only=True)
class BenchmarkCase:
    """One kind of work, as peers and as we do it."""

    work: str  # its name
    unit: str  # what a workload counts: update, batch, ...
    peers: Mapping[str, Workload]
    ours: Mapping[str, Workload]
    missing: Mapping[str, str] = field(default_factory=dict)  # a peer that cannot run here -> the reason


@dataclass(frozen=True, kw_only=True)
class Row:
    """A peer beside one of ours: milliseconds a unit, and the ratio of the peer's time to ours."""

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
    """How long a case is timed."""

    rounds: int = 5
    min_seconds: float = 0.5  # of a workload's turn in a round
    quick: bool = False  # a smoke test, with small sizes


def clock_of(device: str) -> Clock:
    """The clock of a device, in seconds."""
    if device == "cpu":
        return time.process_time

    def wall() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return wall


def interleaved(workloads: Mapping[str, Workload], budget: TimingBudget, clock: Clock) -> dict[str, list[float]]:
    """Seconds a unit of each workload, round by round. Turns before the first round only set the number of repeats."""

    def turn(workload: Workload, repeats: int) -> tuple[float, int]:
        began = clock()
        units = sum(workload() for _ in range(repeats))
        return clock() - began, units

    repeats, times = {}, {name: [] for name in workloads}
    for name, workload in workloads.items():
        seconds = turn(workload, 1)[0]
        if seconds < budget.min_seconds:  # in a long turn the extra work of a first call does not matter
            seconds = min(seconds, turn(workload, 1)[0])
        repeats[name] = max(1, math.ceil(budget.min_seconds / max(seconds, 1e-6)))
    for _ in range(budget.rounds):
        for name, workload in workloads.items():
            seconds, units = turn(workload, repeats[name])
            times[name].append(seconds / units)
    return times


def compare(table: str, case: BenchmarkCase, times: Mapping[str, list[float]]) -> list[Row]:
    """A row for every peer beside every one of ours. `times` holds seconds a unit, round by round."""
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
    """GFLOP/s of a float32 matrix product on one thread. It makes times of two machines, or two moments, comparable."""
    a = torch.randn(size, size, device=device)
    torch.mm(a, a)
    times = []
    for _ in range(5):
        began = clock()
        torch.mm(a, a)
        times.append(clock() - began)
    return 2 * size**3 / median(times) / 1e9
