"""dmm bench: our speed beside other implementations' speed, in one run on one machine, as ratios.

timing.py      interleaved rounds, and the ratios of their times
cases.py       the work of each table: sampling, the scan, updates, rollouts
baselines.py   the peers: how research code does the same work
concurrent.py  several trials at once
frames.py      windows of frames, and an update on them
atari.py       rollouts of Breakout, and the table of all work on frames
growth.py      cost against context length, and memory

Results are written to bench.md and bench.csv.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from dmm import kernels
from dmm.base import provenance
from dmm.base.errors import unknown_name
from dmm.base.text_tables import csv_text, markdown_table
from dmm.bench import atari, cases
from dmm.bench.concurrent import trials_on_one_device, trials_on_two_cores
from dmm.bench.growth import growth
from dmm.bench.timing import Row, TimingBudget, clock_of, compare, interleaved, sgemm

TABLES: dict[str, tuple[str, Callable, TimingBudget]] = {
    "sample": ("Sampling windows", cases.sampling, TimingBudget(rounds=7)),
    "scan": ("Selective scan, forward and backward", cases.scanning, TimingBudget(rounds=5)),
    "train": ("One update", cases.training, TimingBudget(rounds=5, min_seconds=1)),
    "rollout": ("Rollouts", cases.rolling, TimingBudget(rounds=3, min_seconds=1)),
    "atari": ("Atari", atari.cases, TimingBudget(rounds=3)),
}
QUICK = TimingBudget(rounds=2, min_seconds=0, quick=True)
COLUMNS = ("work", "unit", "baseline", "ours", "baseline ms", "ours ms", "ratio", "spread")


def bench(what: str, out: Path, device: str, quick: bool, say: Callable[[str], None]) -> list[Path]:
    """Runs one table, or all of them but `growth`. Prints them, and returns the paths of the files that it wrote.

    Raises ValueError for an unknown table, and for a GPU where there is none.
    """
    known = [*TABLES, "trials", "growth", "all"]
    if what not in known:
        raise unknown_name("bench", what, known)
    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: torch sees no GPU on this machine; it takes cpu")
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    if what == "growth":
        return growth(out, device, quick, heading(device), say)
    clock, rows, text = clock_of(device), [], [heading(device)]
    say(text[0])
    for name in TABLES if what == "all" else [what] if what in TABLES else []:
        title, table, budget = TABLES[name]
        budget = QUICK if quick else budget
        say(f"\n## {title}\n")
        measured, notes = [], []
        for case in table(budget, device):
            workloads = {**case.peers, **case.ours}
            measured += compare(name, case, interleaved(workloads, budget, clock))
            notes += [f"{case.work}: without {peer}: {reason}." for peer, reason in case.missing.items()]
        text.append(f"## {title}\n\n{markdown(measured)}" + "".join(f"\n{note}" for note in notes))
        say(text[-1].split("\n\n", 1)[1])
        rows += measured
    if what in ("all", "trials"):
        text.append(trials_on_two_cores(quick) if device == "cpu" else trials_on_one_device(device, quick))
        say("\n" + text[-1])
    text.append(f"Load at the end: {load()}.\n")
    say(text[-1])
    return write(out, rows, "\n\n".join(text))


def heading(device: str) -> str:
    """The first lines of a report: commit, machine, versions, clock and load."""
    versions = ", ".join(
        f"{k} {v}" for k, v in provenance.versions("torch", "mambapy", "transformers", "mujoco").items()
    )
    name = torch.cuda.get_device_name() if device != "cpu" else provenance.machine()
    clock = "CPU time of one process with one thread" if device == "cpu" else "wall time between synchronisations"
    return (
        f"# dmm bench\n\nCommit {provenance.commit()}, {name}, {versions}. Scan: {kernels.active(device)}. "
        f"Times are {clock}, medians of interleaved rounds. A ratio is the median of the rounds' ratios, its spread the "
        f"lowest and the highest. Float32 matrix product: {sgemm(device, clock_of(device)):.0f} GFLOP/s. "
        f"Load at the start: {load()}."
    )


def load() -> str:
    """The load average of the last minute, and the number of cores."""
    return f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def cells(row: Row) -> tuple[str, ...]:
    """A row's text for each of COLUMNS."""
    milliseconds = (f"{value:.3g}" for value in (row.baseline_ms, row.ours_ms))
    spread = f"{row.lowest:.3g} to {row.highest:.3g}"
    return (row.work, row.unit, row.baseline, row.ours, *milliseconds, f"x{row.ratio:.3g}", spread)


def markdown(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table."""
    return markdown_table(COLUMNS, [cells(row) for row in rows], text_columns=4)


def write(out: Path, rows: Sequence[Row], text: str) -> list[Path]:
    """Writes bench.md for readers, and bench.csv with all digits if there are rows."""
    files = {out / "bench.md": text}
    if rows:  # trials have a table of their own
        files[out / "bench.csv"] = csv_text(rows)
    for path, content in files.items():
        path.write_text(content)
    return list(files)
