"""Tables as text: CSV, Markdown, and plain text for a terminal. Also counts with their nouns, such as 2 trials.

Cells can have text from a user or from a file. Each format has one function that escapes it.
"""

import csv
import io
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

WIDTH = 80  # columns of paragraphs in a terminal
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
# of Markdown's markup: emphasis where it begins, links where their text ends, the end of a heading, and single letters
MARKUP = re.compile(r"[\\`<&|~]|\*(?=\S)|(?<![^\W_])_(?=\S)|\](?=[(\[:])|#(?=#*$)")
BLOCK = re.compile(r"^(?:(\d+)(?=[.)](?:\s|$))|(?=[-+*#>=\[]))")  # begins a list, heading, quotation, rule or task
ENTITIES = {"<": "&lt;", "&": "&amp;"}  # because not every reader of Markdown knows them with a backslash


class Bold(str):
    """A cell of a table that is shown in bold."""


def printable(text: str) -> str:
    r"""The same text in one line that a terminal only shows: a control character is written as \x1b."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def one_line(text: str) -> str:
    """Lines as one, for an error message."""
    return printable(" ".join(text.split()))


def csv_cell(value: object) -> object:
    """A cell of CSV. A text that a spreadsheet would run as a formula gets an apostrophe first. Numbers stay numbers."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    is_formula = text.lstrip().startswith(("=", "+", "-", "@")) and not NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text


def markdown_text(text: str) -> str:
    """A text in a heading, a paragraph or a cell of Markdown, none of which is markup."""
    return MARKUP.sub(lambda found: ENTITIES.get(found[0], f"\\{found[0]}"), printable(text))


def markdown_list(lines: Iterable[str]) -> str:
    """Texts as a list in Markdown."""
    return "\n".join("- " + BLOCK.sub(r"\1\\", markdown_text(line)) for line in lines)


def csv_text(rows: Sequence[Any]) -> str:
    """CSV with a header of names and one line for each row. There is at least one.

    All rows are of one dataclass, or mappings with the same keys.
    """
    rows = [row if isinstance(row, Mapping) else vars(row) for row in rows]
    names = list(rows[0])
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([csv_cell(row[name]) for name in names] for row in rows)
    return file.getvalue()


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """A Markdown table, aligned as text too. The first columns are aligned to the left, the others to the right."""
    from tabulate import tabulate

    align = ["left"] * text_columns + ["right"] * (len(header) - text_columns)
    cells = [
        [f"**{markdown_text(cell)}**" if isinstance(cell, Bold) else markdown_text(cell) for cell in row]
        for row in rows
    ]
    return tabulate(
        cells,
        list(map(markdown_text, header)),
        tablefmt="pipe",
        colalign=align if rows else None,
        disable_numparse=True,
    )


def plain_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Aligned columns without rules. The keys of a row are the header."""
    from tabulate import tabulate

    cells = [{key: printable(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows]
    return tabulate(cells, headers="keys", disable_numparse=True)


def wrapped(first: str, paragraphs: Iterable[str], indent: int = 8) -> str:
    """Paragraphs beside a word, in lines of WIDTH columns."""
    body = [textwrap.fill(printable(text), WIDTH - indent, break_on_hyphens=False) for text in paragraphs]
    return first.ljust(indent) + textwrap.indent("\n".join(body), " " * indent).lstrip()


def counted(number: int, word: str) -> str:
    """1 seed, 2 seeds."""
    return f"{number:,} {word}{'s' * (number != 1)}"
