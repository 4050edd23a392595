"""CSV from dataclasses."""

import csv
import io
from collections.abc import Sequence
from dataclasses import fields
from typing import Any


def csv_text(rows: Sequence[Any]) -> str:
    """A header of field names and one line for each row. All rows are of one dataclass, and there is at least one."""
    names = [f.name for f in fields(rows[0])]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(row, name) for name in names] for row in rows)
    return file.getvalue()
