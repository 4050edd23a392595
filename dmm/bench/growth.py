"""The growth of cost with context length, and the memory of trials. These tables show when an SSM is cheaper.

CPU time of one thread. Training: forward and backward of a batch of about BATCH_STEPS steps, divided by its samples.
Acting: one environment in the middle of an episode. A windowed rollout computes the last K steps anew at each step. A
recurrent rollout keeps its state.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from dmm.base.text_tables import csv_text, markdown_table
from dmm.batch import Batch, RecurrentState
from dmm.bench.cases import HOPPER, synthetic_data, synthetic_trial, update_workload
from dmm.bench.timing import Clock, TimingBudget, Workload, clock_of, interleaved
from dmm.data import cache
from dmm.models import DecisionModel
from dmm.training.fit import init_model

LENGTHS = (8, 20, 60, 120, 300, 1000)
BATCH_STEPS = 1280  # of all windows of a batch together: 64 windows of 20 steps
SYSTEMS = {"DT, width 128": ("dt", 128), "DMM v2, width 64": ("metamamba", 64), "DMM v2, width 128": ("metamamba", 128)}
ROLLOUTS = ("windowed", "recurrent")
COLUMNS = ("model", "rollout", "K", "train ms/sample", "act ms")
MEMORY_COLUMNS = ("trials at once", "resident in one, MB", "data in all together, MB")


@dataclass(frozen=True)
class GrowthRow:
    """The costs of a model at one context length."""

    model: str
    rollout: str  # windowed or recurrent
    context_length: int  # K, in environment steps
    train_ms: float  # of a sample
    act_ms: float  # of an action


@dataclass(frozen=True)
class MemoryRow:
    """The memory of trials that run at once, in MB (2**20 bytes)."""

    trials: int
    resident: float  # of the largest process
    data: float  # of the data's pages in all processes together


def synthetic_batch(rows: int, k: int, device: str) -> Batch:
    """Windows of k steps in the middle of an episode. All values are noise."""
    steps = (torch.arange(k) + 100).expand(rows, k)
    spaces = HOPPER.spaces
    shapes = [(rows, k, spaces.state_dim), (rows, k, spaces.action_dim), (rows, k)]
    states, actions, returns_to_go = (torch.randn(shape).clamp(-1, 1) for shape in shapes)
    mask = torch.ones(rows, k, dtype=torch.bool)
    return Batch(states, actions, returns_to_go, steps, mask, previous_actions=actions).to(device)


def train_workload(model: DecisionModel, k: int, device: str) -> Workload:
    """A batch forward and backward. Its unit is a sample."""
    batch = synthetic_batch(min(64, max(1, BATCH_STEPS // k)), k, device)

    def workload() -> int:
        model.train().zero_grad()
        model.loss(model(batch), batch).backward()
        return len(batch.mask)

    return workload


def act_workload(model: DecisionModel, k: int, recurrent: bool, device: str) -> Workload:
    """One action. A recurrent rollout has a state of k steps, and every call starts from that state."""
    window, now, past = synthetic_batch(1, k, device), synthetic_batch(1, 1, device), RecurrentState()
    with torch.inference_mode():
        model.eval()
        for _ in range(k if recurrent else 0):
            model.step(now, past)

    def workload() -> int:
        model.eval()
        with torch.inference_mode():
            if recurrent:
                model.step(now, RecurrentState(past))
            else:
                model.act(window)
        return 1

    return workload


def measure(lengths: Sequence[int], budget: TimingBudget, device: str, clock: Clock) -> list[GrowthRow]:
    """A row for every context length, model and kind of rollout."""
    rows = []
    for k in lengths:
        workloads = {}
        for name, (arch, width) in SYSTEMS.items():
            model = init_model(synthetic_trial(arch, k, {"width": width})).to(device)
            workloads[f"{name} train"] = train_workload(model, k, device)
            for rollout in ROLLOUTS:
                workloads[f"{name} {rollout}"] = act_workload(model, k, rollout == "recurrent", device)
        ms = {name: 1e3 * median(times) for name, times in interleaved(workloads, budget, clock).items()}
        rows += [
            GrowthRow(name, rollout, k, ms[f"{name} train"], ms[f"{name} {rollout}"])
            for name in SYSTEMS
            for rollout in ROLLOUTS
        ]
    return rows


def figure(rows: Sequence[GrowthRow], path: Path) -> None:
    """Draws both costs against context length, on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for color, name in enumerate(SYSTEMS):
        for rollout, style in zip(ROLLOUTS, ("-", "--"), strict=True):
            chosen = [row for row in rows if (row.model, row.rollout) == (name, rollout)]
            lengths = [row.context_length for row in chosen]
            label = "K/V cache" if rollout == "recurrent" and name.startswith("DT") else rollout
            right.plot(lengths, [row.act_ms for row in chosen], f"C{color}{style}", label=f"{name}, {label}")
            if rollout == "windowed":
                left.plot(lengths, [row.train_ms for row in chosen], f"C{color}", label=name)
    for axes, title in ((left, "training, CPU ms a sample"), (right, "acting, CPU ms an action")):
        axes.set(xscale="log", yscale="log", xlabel="context length K, steps", title=title)
        axes.legend(fontsize=7)
    drawing.savefig(path, dpi=120)
    pyplot.close(drawing)


def memory_worker(folder: Path, barrier, results) -> None:
    """A trial's process. It opens the cached data, reads all of them, makes some updates, and measures its memory."""
    data = cache.read(folder, [])
    assert data is not None
    float(data.table.sum())
    torch.set_num_threads(1)
    update = update_workload(synthetic_trial("metamamba", 8, {}), data, "cpu")
    for _ in range(5):
        update()
    barrier.wait()
    results.put((resident_memory(), mapped_share(folder)))
    barrier.wait()


def resident_memory() -> float:
    """The resident memory of this process, in MB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Rss:")) / 1024


def mapped_share(folder: Path) -> float:
    """This process's share of the pages of a folder's files, in MB. A page that n processes map counts 1/n (PSS)."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0] and not line.split()[0].endswith(":"):
            inside = str(folder.resolve()) in line
        elif inside and line.startswith("Pss:"):
            total += int(line.split()[1])
    return total / 1024


def memory(counts: Sequence[int], episodes: int) -> list[MemoryRow]:
    """The memory of so many trials at once, for each of the counts."""
    context, rows = get_context("spawn"), []
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "data"
        cache.write(folder, ["synthetic"], synthetic_data(episodes), [])
        for count in counts:
            barrier, results = context.Barrier(count), context.Queue()
            started = [context.Process(target=memory_worker, args=(folder, barrier, results)) for _ in range(count)]
            for process in started:
                process.start()
            measured = [results.get(timeout=300) for _ in started]
            for process in started:
                process.join()
            resident, shares = zip(*measured, strict=True)
            rows.append(MemoryRow(count, max(resident), sum(shares)))
    return rows


def growth(out: Path, device: str, quick: bool, head: str, say: Callable[[str], None]) -> list[Path]:
    """Measures time and memory, prints both, and writes growth.md, growth.csv and growth.png."""
    budget = TimingBudget(rounds=1, min_seconds=0, quick=True) if quick else TimingBudget(rounds=3, min_seconds=0.3)
    rows = measure(LENGTHS[:2] if quick else LENGTHS, budget, device, clock_of(device))
    costs = [(r.model, r.rollout, str(r.context_length), f"{r.train_ms:.3g}", f"{r.act_ms:.3g}") for r in rows]
    text = [head, "## Growth with context length", markdown_table(COLUMNS, costs, text_columns=2)]
    if device == "cpu" and os.path.exists("/proc/self/smaps"):
        episodes = 20 if quick else 1000
        size = synthetic_data(episodes).table.nbytes / 2**20
        used = [
            (str(row.trials), f"{row.resident:.0f}", f"{row.data:.1f}")
            for row in memory((1, 2) if quick else (1, 2, 4), episodes)
        ]
        text += ["## Memory", markdown_table(MEMORY_COLUMNS, used, text_columns=0)]
        text += [f"The table of the data has {size:.1f} MB. A trial is DMM v2 in training."]
    report = "\n\n".join(text) + "\n"
    say(report)
    (out / "growth.md").write_text(report)
    (out / "growth.csv").write_text(csv_text(rows))
    figure(rows, out / "growth.png")
    return [out / "growth.md", out / "growth.csv", out / "growth.png"]
