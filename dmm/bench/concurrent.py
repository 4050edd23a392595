"""Two trials at once, a core each, against the same two one after the other with two threads: wall time, by its nature."""

import time
from multiprocessing import get_context
from statistics import median

import numpy as np
import torch

from dmm.bench.contests import SIZES, made_up, made_up_trial
from dmm.rollout import Statistics, evaluate
from dmm.train import fit


def trial_seconds(work: str, threads: int, quick: bool, barrier=None) -> float:
    """Seconds from the start of a small whole trial to its end: updates, then an evaluation."""
    torch.set_num_threads(threads)
    arch, k, changes = SIZES[work]
    count = 2 if quick else 40 if arch == "dt" else 200
    trial = made_up_trial(arch, k, changes, updates=count, evaluations=1, episodes=2 if quick else 10)
    data = made_up(20)
    statistics = Statistics(np.full(data.state_dim, 0.1), np.full(data.state_dim, 1.1))
    if barrier is not None:
        barrier.wait()
    began = time.perf_counter()
    fit(trial, data, lambda model, evaluation: evaluate(model, trial, statistics, evaluation))
    return time.perf_counter() - began


def worker(work: str, threads: int, quick: bool, rounds: int, barrier, results) -> None:
    """A process that runs trials, each from a common start."""
    for _ in range(rounds):
        results.put(trial_seconds(work, threads, quick, barrier))


def batch_of(work: str, processes: int, threads: int, quick: bool) -> float:
    """Seconds that a batch of `processes` trials takes, all at once."""
    context = get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    rounds = 2
    started = [
        context.Process(target=worker, args=(work, threads, quick, rounds, barrier, results)) for _ in range(processes)
    ]
    for process in started:
        process.start()
    seconds = [results.get(timeout=600) for _ in range(rounds * processes)]
    for process in started:
        process.join()
    return median(seconds)


def together(quick: bool) -> str:
    """The table, in Markdown."""
    lines = [
        "## Whole trials on two cores (wall time)\n",
        "| work | 2 processes x 1 thread: trials/h | 1 process x 2 threads: trials/h | ratio | spread |",
        "|---|---|---|---|---|",
    ]
    for work in SIZES:
        if work.startswith("Decision"):
            continue
        rates = [(2 / batch_of(work, 2, 1, quick), 1 / batch_of(work, 1, 2, quick)) for _ in range(1 if quick else 3)]
        ratios = [apart / threaded for apart, threaded in rates]
        apart, threaded = (3600 * median(side) for side in zip(*rates, strict=True))
        lines.append(
            f"| {work} | {apart:.0f} | {threaded:.0f} | x{median(ratios):.3g} | {min(ratios):.3g} to {max(ratios):.3g} |"
        )
    return "\n".join(lines)
