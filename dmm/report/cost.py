"""What trials cost: cost.csv, one line a trial, and the means of each cell."""

from dataclasses import dataclass
from statistics import fmean

from dmm.report.document import Section, TextTable
from dmm.results.score import Cell, ms_per_action, status_of, updates_per_second


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """A line of cost.csv: a trial. Times are wall seconds. Trials with the same weights share their training time."""

    id: str  # the second id
    weights_id: str
    row: str
    column: str
    seed: int
    status: str
    updates: int
    train_s: str
    rollout_s: str
    updates_per_s: str
    ms_per_action: str  # rollouts, environment included
    peak_memory: str  # MiB, in training
    parameters: int | None
    machine: str | None


def cost_rows(cells: list[Cell]) -> list[CostRow]:
    """The lines of cost.csv."""
    rows = []
    for cell in cells:
        for trial, summary in zip(cell.trials, cell.summaries):
            rate = updates_per_second(summary) if summary else None
            latency = ms_per_action(summary) if summary else None
            rows.append(
                CostRow(
                    id=trial.returns_id,
                    weights_id=trial.weights_id,
                    row=cell.row.label,
                    column=cell.column.label,
                    seed=trial.seed,
                    status=status_of(summary),
                    updates=summary.update if summary else 0,
                    train_s=f"{summary.seconds.train if summary else 0:.2f}",
                    rollout_s=f"{summary.seconds.rollout if summary else 0:.2f}",
                    updates_per_s="" if rate is None else f"{rate:.1f}",
                    ms_per_action="" if latency is None else f"{latency:.3f}",
                    peak_memory=f"{summary.peak_memory:.0f}" if summary and summary.peak_memory else "",
                    parameters=summary.parameters if summary else None,
                    machine=summary.provenance.machine if summary else None,
                )
            )
    return rows


def cost_section(cells: list[Cell]) -> Section:
    """The cost of each cell: means over its finished trials, and their highest peak memory."""
    rows = []
    for cell in filter(lambda cell: cell.finished, cells):
        done = cell.finished
        rows.append(
            [
                cell.row.label,
                cell.column.label,
                mean_text([updates_per_second(summary) for summary in done], 1),
                mean_text([ms_per_action(summary) for summary in done], 3),
                f"{max(summary.peak_memory for summary in done):,.0f}" if all(s.peak_memory for s in done) else "-",
                mean_text([summary.seconds.train for summary in done], 1),
                mean_text([summary.seconds.rollout for summary in done], 1),
                str(len(done)),
            ]
        )
    header = [
        "architecture", "data", "updates / s", "ms an action", "peak memory, MiB", "training, s", "rollouts, s", "trials"
    ]  # fmt: skip
    text = (
        "Means over finished trials. Peak memory is the highest of them, in training. Times are wall times on the machines "
        "under Provenance, and other work there slows them. An action includes the environment's step. Trials with the same "
        "weights share their training time."
    )
    return Section("Cost", [text, TextTable(header, rows, text_columns=2)] if rows else [])


def mean_text(values: list[float | None], digits: int) -> str:
    """The mean of what was measured. - if nothing was."""
    known = [value for value in values if value is not None]
    return f"{fmean(known):,.{digits}f}" if known else "-"
