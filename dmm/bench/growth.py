"""How cost grows with context length, and what trials cost in memory: the conditions under which an SSM is cheaper.

CPU time of one thread. Training: forward and backward of a batch of about BATCH_STEPS steps, a sample each. Acting: one
lane in the middle of an episode, with a window of K steps made anew each step, or with what a recurrent rollout keeps.
"""

import csv
import os
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from dmm.batch import Batch, RecurrentState
from dmm.bench.cases import HOPPER, synthetic_data, synthetic_trial
from dmm.bench.timing import Clock, TimingBudget, clock_of, interleaved
from dmm.data import cache
from dmm.models import DecisionModel
from dmm.training.fit import init_model

LENGTHS = (8, 20, 60, 120, 300, 1000)
BATCH_STEPS = 1280  # of all windows together, so 64 of 20
WIDTHS = {"DT, width 128": ("dt", 128), "DMM v2, width 64": ("metamamba", 64), "DMM v2, width 128": ("metamamba", 128)}
COLUMNS = ("model", "rollout", "K", "train ms/sample", "act ms")


def steps(rows: int, k: int, device: str) -> Batch:
    """Made-up windows of k steps in the middle of an episode."""
    place = (torch.arange(k) + 100).expand(rows, k)
    shapes = [(rows, k, HOPPER.state_dim), (rows, k, HOPPER.action_dim), (rows, k)]
    states, actions, returns = (torch.randn(shape).clamp(-1, 1) for shape in shapes)
    mask = torch.ones(rows, k, dtype=torch.bool)
    return Batch(states, actions, returns, place, mask, previous_actions=actions).to(device)


def train_once(model: DecisionModel, k: int, device: str) -> Callable[[], int]:
    """Work: a batch forward and backward; its unit is a sample."""
    batch = steps(min(64, max(1, BATCH_STEPS // k)), k, device)

    def work() -> int:
        model.train().zero_grad()
        model.loss(model(batch), batch).backward()
        return len(batch.mask)

    return work


def act_once(model: DecisionModel, k: int, recurrent: bool, device: str) -> Callable[[], int]:
    """Work: one action; a recurrent rollout has k steps behind it, and is set back to there each time."""
    window, now, behind = steps(1, k, device), steps(1, 1, device), RecurrentState()
    with torch.inference_mode():
        model.eval()
        for _ in range(k if recurrent else 0):
            model.step(now, behind)

    def work() -> int:
        model.eval()
        with torch.inference_mode():
            if recurrent:
                model.step(now, RecurrentState(behind))
            else:
                model.act(window)
        return 1

    return work


def measure(lengths: tuple[int, ...], effort: TimingBudget, device: str, clock: Clock) -> list[dict]:
    """A row for every model, kind of rollout and context length."""
    rows = []
    for k in lengths:
        workers = {}
        for name, (arch, width) in WIDTHS.items():
            model = init_model(synthetic_trial(arch, k, {"width": width})).to(device)
            workers[f"{name} train"] = train_once(model, k, device)
            workers[f"{name} windowed"] = act_once(model, k, False, device)
            workers[f"{name} recurrent"] = act_once(model, k, True, device)
        times = {key: 1e3 * median(found) for key, found in interleaved(workers, effort, clock).items()}
        for name in WIDTHS:
            for kind in ("windowed", "recurrent"):
                values = (name, kind, k, times[f"{name} train"], times[f"{name} {kind}"])
                rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def figure(rows: list[dict], path: Path) -> None:
    """Both costs against context length, on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for color, name in enumerate(WIDTHS):
        for kind, style in (("windowed", "-"), ("recurrent", "--")):
            mine = [row for row in rows if (row["model"], row["rollout"]) == (name, kind)]
            lengths = [row["K"] for row in mine]
            again = "K/V cache" if kind == "recurrent" and name.startswith("DT") else kind
            right.plot(lengths, [row["act ms"] for row in mine], f"C{color}{style}", label=f"{name}, {again}")
            if kind == "windowed":
                left.plot(lengths, [row["train ms/sample"] for row in mine], f"C{color}", label=name)
    for axes, title in ((left, "training, CPU ms a sample"), (right, "acting, CPU ms an action")):
        axes.set(xscale="log", yscale="log", xlabel="context length K, steps", title=title)
        axes.legend(fontsize=7)
    drawn.savefig(path, dpi=120)
    pyplot.close(drawn)


def hold(folder: Path, barrier, results) -> None:
    """A trial's process: opens the cached data, touches all of them, makes some updates, and says what it holds."""
    from dmm.bench.cases import updates

    data = cache.read(folder, [])
    assert data is not None
    float(data.table.sum())
    torch.set_num_threads(1)
    work = updates(synthetic_trial("metamamba", 8, {}), data, "cpu")
    for _ in range(5):
        work()
    barrier.wait()
    results.put((resident("/proc/self/smaps_rollup", "Rss"), mapped_share(folder)))
    barrier.wait()


def resident(path: str, field: str) -> float:
    """A field of a smaps file, in MB."""
    lines = Path(path).read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def mapped_share(folder: Path) -> float:
    """This process's share of the pages of the data's files, in MB: pages that n processes map count 1/n each (PSS)."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0] and not line.split()[0].endswith(":"):
            inside = str(folder.resolve()) in line
        elif inside and line.startswith("Pss:"):
            total += int(line.split()[1])
    return total / 1024


def memory(counts: tuple[int, ...], episodes: int) -> list[tuple[int, float, float]]:
    """For so many trials at once: their number, MB resident in one, and MB that the data take in all together."""
    context, rows = get_context("spawn"), []
    with TemporaryDirectory() as place:
        folder = Path(place) / "data"
        cache.write(folder, ["made up"], synthetic_data(episodes), [])
        for count in counts:
            barrier, results = context.Barrier(count), context.Queue()
            started = [context.Process(target=hold, args=(folder, barrier, results)) for _ in range(count)]
            for process in started:
                process.start()
            found = [results.get(timeout=300) for _ in started]
            for process in started:
                process.join()
            rows.append((count, max(rss for rss, _ in found), sum(share for _, share in found)))
    return rows


def growth(out: Path, device: str, quick: bool, head: str, say: Callable[[str], None]) -> list[Path]:
    """Measures both, prints them and writes growth.md, growth.csv and growth.png."""
    effort = TimingBudget(rounds=1, least=0, quick=True) if quick else TimingBudget(rounds=3, least=0.3)
    rows = measure(LENGTHS[:2] if quick else LENGTHS, effort, device, clock_of(device))
    lines = [
        head,
        "",
        "## Growth with context length",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---" * len(COLUMNS) + "|",
    ]
    for row in rows:
        lines.append("| " + " | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()) + " |")
    if device == "cpu" and os.path.exists("/proc/self/smaps"):
        lines += [
            "",
            "## Memory",
            "",
            "| trials at once | resident in one, MB | data in all together, MB |",
            "|---|---|---|",
        ]
        size = synthetic_data(20 if quick else 1000).table.nbytes / 2**20
        for count, rss, share in memory((1, 2) if quick else (1, 2, 4), 20 if quick else 1000):
            lines.append(f"| {count} | {rss:.0f} | {share:.1f} |")
        lines.append(f"\nThe table of the data has {size:.1f} MB; a trial: DMM v2 in training.")
    text = "\n".join(lines) + "\n"
    say(text)
    (out / "growth.md").write_text(text)
    with (out / "growth.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    figure(rows, out / "growth.png")
    return [out / "growth.md", out / "growth.csv", out / "growth.png"]
