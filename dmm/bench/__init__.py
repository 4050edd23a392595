"""dmm bench: our speed beside the peers', in one run on one machine, as ratios.

`timing` measures, `baselines` are the peers, `cases` says who does what, `concurrent` and `growth` have their own
tables. Results go to bench.md and bench.csv.
"""

import csv
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, fields
from pathlib import Path

import torch

from dmm import kernels
from dmm.base import provenance
from dmm.base.errors import unknown_name
from dmm.bench import cases
from dmm.bench.concurrent import sharing, together
from dmm.bench.growth import growth
from dmm.bench.timing import Row, TimingBudget, clock_of, compare, interleaved, sgemm

TABLES: dict[str, tuple[str, Callable, TimingBudget]] = {
    "sample": ("Sampling windows", cases.sampling, TimingBudget(rounds=7)),
    "scan": ("Selective scan, forward and backward", cases.scanning, TimingBudget(rounds=5)),
    "train": ("One update", cases.training, TimingBudget(rounds=5, least=1)),
    "rollout": ("Rollouts", cases.rolling, TimingBudget(rounds=3, least=1)),
}
QUICK = TimingBudget(rounds=2, least=0, quick=True)
COLUMNS = ("work", "unit", "baseline", "ours", "baseline ms", "ours ms", "ratio", "spread")


def bench(what: str, out: Path, device: str, quick: bool, say: Callable[[str], None]) -> list[Path]:
    """Runs one table, or all of them but `growth`; prints them and gives the files that it wrote."""
    known = [*TABLES, "trials", "growth", "all"]
    if what not in known:
        raise unknown_name("bench", what, known)
    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: torch sees no GPU here; there is cpu")
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    if what == "growth":
        return growth(out, device, quick, heading(device), say)
    clock, rows, text = clock_of(device), [], [heading(device)]
    say(text[0])
    for name in TABLES if what == "all" else [what] if what in TABLES else []:
        title, table, effort = TABLES[name]
        say(f"\n## {title}\n")
        found, notes = [], []
        for case in table(QUICK if quick else effort, device):
            workers = {**case.peers, **case.ours}
            found += compare(name, case, interleaved(workers, QUICK if quick else effort, clock))
            notes += [f"{case.work}: without {who}: {why}." for who, why in case.absent.items()]
        text.append(f"## {title}\n\n{markdown(found)}" + "".join(f"\n{note}" for note in notes))
        say(text[-1].split("\n\n", 1)[1])
        rows += found
    if what in ("all", "trials"):
        text.append(together(quick) if device == "cpu" else sharing(device, quick))
        say("\n" + text[-1])
    text.append(f"Load at the end: {load()}.\n")
    say(text[-1])
    return write(out, rows, "\n\n".join(text))


def heading(device: str) -> str:
    """What was measured, where and how."""
    versions = ", ".join(
        f"{k} {v}" for k, v in provenance.versions("torch", "mambapy", "transformers", "mujoco").items()
    )
    name = torch.cuda.get_device_name() if device != "cpu" else provenance.machine()
    clock = "CPU time of one process with one thread" if device == "cpu" else "wall time between synchronisations"
    return (
        f"# dmm bench\n\nCommit {provenance.commit()}, {name}, {versions}. Scan: {kernels.active(device)}. "
        f"Times are {clock}, medians of interleaved rounds; a ratio is the median of the rounds' ratios, its spread the "
        f"lowest and the highest. Float32 matrix product: {sgemm(device, clock_of(device)):.0f} GFLOP/s. "
        f"Load at the start: {load()}."
    )


def load() -> str:
    """Processes that wanted a core in the last minute, and how many cores there are."""
    return f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def cells(row: Row) -> tuple[str, ...]:
    """A row as COLUMNS has it."""
    milliseconds = (f"{value:.3g}" for value in (row.baseline_ms, row.ours_ms))
    spread = f"{row.lowest:.3g} to {row.highest:.3g}"
    return (row.work, row.unit, row.baseline, row.ours, *milliseconds, f"x{row.ratio:.3g}", spread)


def markdown(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table."""
    lines: Iterable[Sequence[str]] = (COLUMNS, ["---"] * len(COLUMNS), *map(cells, rows))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(out: Path, rows: Sequence[Row], text: str) -> list[Path]:
    """bench.md, for people, and bench.csv with all digits."""
    (out / "bench.md").write_text(text)
    with (out / "bench.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Row))
        writer.writerows(astuple(row) for row in rows)
    return [out / "bench.md", out / "bench.csv"]
