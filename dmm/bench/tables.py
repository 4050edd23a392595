"""Tables of the bench: Markdown for readers, CSV with all digits."""

import csv
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from tabulate import tabulate


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """A Markdown table. The first columns hold text, the others numbers, which are aligned on the right."""
    align = ["left"] * text_columns + ["right"] * (len(headers) - text_columns)
    return tabulate(rows, headers, tablefmt="pipe", colalign=align if rows else None, disable_numparse=True)


def write_csv(path: Path, kind: type, rows: Sequence[Any]) -> None:
    """Writes dataclasses of one kind, a line each. Their fields are the columns."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(kind))
        writer.writerows(astuple(row) for row in rows)
