"""`dmm report --check`: a kept report made again from its runs.jsonl.gz, and compared byte for byte. Nothing is written."""

import json
from difflib import unified_diff
from itertools import islice
from pathlib import Path

from dmm.config import Table
from dmm.results.content import ReportContent
from dmm.results.kept import RUNS, KeptResults
from dmm.results.report import report_files

TIMELESS = ("table.md", "table.csv", "table.tex", "scores.csv")  # files without time, commit and machine
NEEDED = ("md", "csv", "tex", "png")  # formats that make these files. table.md names the PNG figures beside it
SHOWN = 40  # lines of a difference


def check_report(table: Table, folder: Path) -> tuple[list[str], list[str]]:
    """The names of the files that were compared, and the first lines of the first difference. No line: all are equal.

    Raises ValueError if the folder has no runs.jsonl.gz, no manifest.json or no file to compare, and like `KeptResults`.
    """
    for name in (RUNS, "manifest.json"):
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder} has no {name}, so it is no kept report; `dmm report {table.name} --keep` writes one"
            )
    formats, baseline = settings_of(folder / "manifest.json")
    kept = KeptResults(folder / RUNS)
    content = ReportContent(table, kept.summaries(table), baseline)
    made = report_files(content, kept.source(table), [name for name in NEEDED if name in formats])
    names = [name for name in TIMELESS if name in made]
    if not names:
        raise ValueError(f"{folder} has none of {', '.join(TIMELESS)}, so there is nothing to compare")
    for name in names:
        there = (folder / name).read_bytes()
        if there != made[name]:
            before, after = (data.decode(errors="backslashreplace").splitlines() for data in (there, made[name]))
            lines = unified_diff(before, after, str(folder / name), f"{name} from {RUNS}", n=1, lineterm="")
            return names, list(islice(lines, SHOWN)) or [f"{folder / name}: line ends differ"]
    return names, []


def settings_of(manifest: Path) -> tuple[list[str], str]:
    """The formats and the baseline with which a report was made. Raises ValueError if the manifest does not say them."""
    try:
        found = json.loads(manifest.read_bytes())
        return list(found["formats"]), str(found["baseline"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{manifest} is damaged, or of an older dmm: it does not say formats and baseline") from error
