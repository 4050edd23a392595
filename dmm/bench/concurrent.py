"""Trials at once on one machine: two on two cores against one with two threads, many on one GPU against one alone.

Wall time, by its nature. Each trial is a process, as it is under Ray.
"""

import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from statistics import median

import numpy as np
import torch

from dmm.bench.cases import SIZES, synthetic_data, synthetic_trial, updates
from dmm.bench.timing import clock_of
from dmm.rollouts.rollout import Statistics, evaluate
from dmm.training.fit import fit

ROUNDS = 2  # of a batch of processes
PATIENCE = 600  # seconds for a process that may have died
WARM = 5  # updates that do not count: kernels are built, a GPU's graph is recorded
WORKS = [work for work in SIZES if not work.startswith("Decision")]


def trial_seconds(work: str, threads: int, quick: bool, start: Callable[[], object]) -> float:
    """Seconds from the start of a small whole trial to its end: updates, then an evaluation."""
    torch.set_num_threads(threads)
    arch, k, overrides = SIZES[work]
    count = 2 if quick else 40 if arch == "dt" else 200
    trial = synthetic_trial(
        arch, k, overrides, updates=count, num_evaluations=1, episodes_per_evaluation=2 if quick else 10
    )
    data = synthetic_data(20)
    statistics = Statistics(np.full(data.state_dim, 0.1), np.full(data.state_dim, 1.1))
    start()
    began = time.perf_counter()
    fit(trial, data, lambda model, evaluation, update: evaluate(model, trial, statistics, evaluation, update))
    return time.perf_counter() - began


def update_seconds(work: str, device: str, count: int, start: Callable[[], object]) -> float:
    """Seconds of so many updates, after the first."""
    torch.set_num_threads(1)
    arch, k, overrides = SIZES[work]
    update, clock = updates(synthetic_trial(arch, k, overrides), synthetic_data(20), device), clock_of(device)
    for _ in range(WARM):
        update()
    start()
    began = clock()
    for _ in range(count):
        update()
    return clock() - began


def worker(seconds: Callable[..., float], barrier, results) -> None:
    """A process that does the same work ROUNDS times, each time from a common start and until all have done."""
    for _ in range(ROUNDS):
        results.put(seconds(start=barrier.wait))
        barrier.wait()


def batch_of(processes: int, seconds: Callable[..., float]) -> float:
    """Seconds until the last of so many processes, all at once, has done the work; the median of ROUNDS."""
    context = get_context("spawn")
    barrier, results = context.Barrier(processes, timeout=PATIENCE), context.Queue()
    started = [context.Process(target=worker, args=(seconds, barrier, results), daemon=True) for _ in range(processes)]
    for process in started:
        process.start()
    rounds = [[results.get(timeout=PATIENCE) for _ in started] for _ in range(ROUNDS)]
    for process in started:
        process.join()
    return median(max(found) for found in rounds)


def together(quick: bool) -> str:
    """The table of two cores, in Markdown."""
    lines = [
        "## Whole trials on two cores (wall time)\n",
        "| work | 2 processes x 1 thread: trials/h | 1 process x 2 threads: trials/h | ratio | spread |",
        "|---|---|---|---|---|",
    ]
    for work in WORKS:
        apart, threaded = (partial(trial_seconds, work, threads, quick) for threads in (1, 2))
        rates = [(7200 / batch_of(2, apart), 3600 / batch_of(1, threaded)) for _ in range(1 if quick else 3)]
        lines.append(line(work, rates))
    return "\n".join(lines)


def sharing(device: str, quick: bool, processes: int = 16) -> str:
    """The table of one GPU, in Markdown. Processes take turns on it unless NVIDIA's MPS lets them run side by side."""
    lines = [
        f"## Updates of {processes} trials on one device (wall time)\n",
        f"| work | {processes} processes: updates/s | 1 process: updates/s | ratio | spread |",
        "|---|---|---|---|---|",
    ]
    count = 5 if quick else 2000
    for work in WORKS:
        run = partial(update_seconds, work, device, count)
        rates = [
            (processes * count / batch_of(processes, run), count / batch_of(1, run)) for _ in range(1 if quick else 3)
        ]
        lines.append(line(work, rates))
    return "\n".join(lines)


def line(work: str, rates: list[tuple[float, float]]) -> str:
    """A row from the two sides' rates in each round."""
    ratios = [ours / baseline for ours, baseline in rates]
    ours, baseline = (median(side) for side in zip(*rates, strict=True))
    return f"| {work} | {ours:.0f} | {baseline:.0f} | x{median(ratios):.3g} | {min(ratios):.3g} to {max(ratios):.3g} |"
