"""`dmm report --check`: a kept report made again from its runs.jsonl.gz, and compared byte for byte. Nothing is written."""

from difflib import unified_diff
from itertools import islice
from pathlib import Path

from dmm.config import Table
from dmm.results.kept import RUNS, KeptResults
from dmm.results.report import report_files

TIMELESS = ("table.md", "table.csv", "table.tex", "scores.csv")  # files without time, commit and machine
SHOWN = 40  # lines of a difference


def check_report(table: Table, folder: Path) -> tuple[list[str], list[str]]:
    """The names of the files that were compared, and the first lines of the first difference. None: all are equal.

    Raises ValueError if the folder has no runs.jsonl.gz or no file to compare, and like `KeptResults`.
    """
    if not (folder / RUNS).is_file():
        raise ValueError(
            f"{folder} has no {RUNS}, so it is no kept report; `dmm report {table.name} --keep` writes one"
        )
    names = [name for name in TIMELESS if (folder / name).is_file()]
    if not names:
        raise ValueError(f"{folder} has none of {', '.join(TIMELESS)}, so there is nothing to compare")
    kept = KeptResults(folder / RUNS)
    made = report_files(table, kept.summaries(table), kept.source(table))
    if unknown := sorted(set(names) - set(made)):
        raise ValueError(f"{folder} has {', '.join(unknown)}, which this dmm does not make")
    for name in names:
        there = (folder / name).read_bytes()
        if there != made[name]:
            before, after = (data.decode(errors="backslashreplace").splitlines() for data in (there, made[name]))
            lines = unified_diff(before, after, str(folder / name), f"{name} from {RUNS}", n=1, lineterm="")
            return names, list(islice(lines, SHOWN)) or [f"{folder / name}: line ends differ"]
    return names, []
