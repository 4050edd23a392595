"""Tables as text: CSV, Markdown, and plain text for a terminal. Also counts with their nouns, such as 2 trials."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any


def csv_text(rows: Sequence[Any]) -> str:
    """CSV with a header of names and one line for each row. There is at least one.

    All rows are of one dataclass, or mappings with the same keys.
    """
    rows = [row if isinstance(row, Mapping) else vars(row) for row in rows]
    names = list(rows[0])
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([row[name] for name in names] for row in rows)
    return file.getvalue()


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """A Markdown table, aligned as text too. The first columns are aligned to the left, the others to the right."""
    from tabulate import tabulate

    align = ["left"] * text_columns + ["right"] * (len(header) - text_columns)
    return tabulate(rows, header, tablefmt="pipe", colalign=align if rows else None, disable_numparse=True)


def plain_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Aligned columns without rules. The keys of a row are the header."""
    from tabulate import tabulate

    return tabulate(rows, headers="keys", disable_numparse=True)


def counted(number: int, word: str) -> str:
    """1 seed, 2 seeds."""
    return f"{number:,} {word}{'s' * (number != 1)}"
