"""Several trials at once on one machine. Two on two cores are compared with one of two threads, many on a GPU with one.

These tables count wall time. Each trial is a process, as it is under Ray.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context
from statistics import median

import torch

from dmm.base.text_tables import markdown_table
from dmm.bench.cases import SIZES, statistics_of, synthetic_data, synthetic_trial, update_workload
from dmm.bench.timing import clock_of
from dmm.rollouts.rollout import evaluate
from dmm.training.fit import fit

ROUNDS = 2  # of one group of processes
TIMEOUT = 600  # seconds to wait for a process that may have died
WARMUP_UPDATES = 5  # before the clock starts: they build kernels and capture a GPU's graph
SYSTEMS = [name for name in SIZES if not name.startswith("Decision")]
Rates = tuple[float, float]  # of one round: many processes, one process


def trial_seconds(system: str, threads: int, quick: bool, start: Callable[[], object]) -> float:
    """Seconds of a small whole trial: updates, then an evaluation. The clock starts after `start()` returns."""
    torch.set_num_threads(threads)
    arch, k, overrides = SIZES[system]
    updates = 2 if quick else 40 if arch == "dt" else 200
    trial = synthetic_trial(
        arch, k, overrides, updates=updates, num_evaluations=1, episodes_per_evaluation=2 if quick else 10
    )
    data, statistics = synthetic_data(20), statistics_of(trial.task)
    start()
    began = time.perf_counter()
    fit(trial, data, lambda model, state: evaluate(model, trial, statistics, updates))
    return time.perf_counter() - began


def update_seconds(system: str, device: str, count: int, start: Callable[[], object]) -> float:
    """Seconds of `count` updates, after the warm-up. The clock starts after `start()` returns."""
    torch.set_num_threads(1)
    arch, k, overrides = SIZES[system]
    update = update_workload(synthetic_trial(arch, k, overrides), synthetic_data(20), device)
    clock = clock_of(device)
    for _ in range(WARMUP_UPDATES):
        update()
    start()
    began = clock()
    for _ in range(count):
        update()
    return clock() - began


def worker(seconds: Callable[..., float], barrier, results) -> None:
    """A process that does the same work ROUNDS times. In each round all processes start together and wait for the last."""
    for _ in range(ROUNDS):
        results.put(seconds(start=barrier.wait))
        barrier.wait()


def group_seconds(processes: int, seconds: Callable[..., float]) -> float:
    """Seconds until the last of so many processes, started together, has done the work. The median of ROUNDS."""
    context = get_context("spawn")
    barrier, results = context.Barrier(processes, timeout=TIMEOUT), context.Queue()
    started = [context.Process(target=worker, args=(seconds, barrier, results), daemon=True) for _ in range(processes)]
    for process in started:
        process.start()
    rounds = [[results.get(timeout=TIMEOUT) for _ in started] for _ in range(ROUNDS)]
    for process in started:
        process.join()
    return median(max(times) for times in rounds)


def trials_on_two_cores(quick: bool) -> str:
    """The table of two cores, in Markdown."""
    rows = []
    for system in SYSTEMS:
        apart, threaded = (partial(trial_seconds, system, threads, quick) for threads in (1, 2))
        rates = [(7200 / group_seconds(2, apart), 3600 / group_seconds(1, threaded)) for _ in range(1 if quick else 3)]
        rows.append(cells(system, rates))
    headers = ("work", "2 processes x 1 thread: trials/h", "1 process x 2 threads: trials/h", "ratio", "spread")
    return f"## Whole trials on two cores (wall time)\n\n{markdown_table(headers, rows)}"


def trials_on_one_device(device: str, quick: bool, processes: int = 16) -> str:
    """The table of one GPU, in Markdown. Processes take turns on a GPU, unless NVIDIA's MPS runs them side by side."""
    rows, count = [], 5 if quick else 2000
    for system in SYSTEMS:
        run = partial(update_seconds, system, device, count)
        rates = [
            (processes * count / group_seconds(processes, run), count / group_seconds(1, run))
            for _ in range(1 if quick else 3)
        ]
        rows.append(cells(system, rates))
    headers = ("work", f"{processes} processes: updates/s", "1 process: updates/s", "ratio", "spread")
    return f"## Updates of {processes} trials on one device (wall time)\n\n{markdown_table(headers, rows)}"


def cells(system: str, rates: Sequence[Rates]) -> tuple[str, ...]:
    """A row's text: median rate of either side, median ratio, lowest and highest ratio of the rounds."""
    ratios = [many / one for many, one in rates]
    many, one = (median(side) for side in zip(*rates, strict=True))
    return (
        system,
        f"{many:.0f}",
        f"{one:.0f}",
        f"x{median(ratios):.3g}",
        f"{min(ratios):.3g} to {max(ratios):.3g}",
    )
