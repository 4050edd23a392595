"""table.tex: the tables of a report for a paper. It needs the packages booktabs and longtable. No time, date, run id or URI.

`\\input{table.tex}` shows all tables. Each is one environment, so that it can be taken alone.
"""

import re
from collections.abc import Iterator, Sequence

from dmm.base.text_tables import printable
from dmm.report.content import ReportContent
from dmm.report.document import Bullets, Entry, Part, Section, Switch, TextTable
from dmm.report.notes import describe, face, how_to_read

SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "±": r"$\pm$", "≈": r"$\approx$",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}  # fmt: skip
LETTERS = 80  # of a line of a table in \footnotesize, on the page of an article
PATTERN = re.compile("[" + re.escape("".join(SPECIAL)) + "]")


def latex(content: ReportContent, sections: list[Section]) -> str:
    """table.tex. Texts and lists of a section are a note below its tables."""
    table = content.table
    blocks = [
        f"% {printable(table.title)}\n% \\usepackage{{booktabs}}\n% \\usepackage{{longtable}}",
        note([describe(table), *face(table), *how_to_read(table)]),
    ]
    for section in sections:
        tables = [block for part in section.parts for block in part_blocks(section.title, part)]
        notes = [line for part in section.parts for line in note_lines(part)]
        if notes and not tables:
            notes = [f"{section.title}:", *notes]
        blocks += [*tables, *([note(notes)] if notes else [])]
    return "\n\n".join(blocks) + "\n"


def note_lines(part: Part) -> list[str]:
    """The sentences of a part that is no table."""
    if isinstance(part, Bullets):
        return [f"{line}." for line in part.lines]
    return [part] if isinstance(part, str) else []


def note(lines: Sequence[str]) -> str:
    """A paragraph below a table."""
    return rf"\noindent{{\footnotesize {latex_text(' '.join(lines))}\par}}"


def part_blocks(title: str, part: Part) -> Iterator[str]:
    """A part of a section as environments, none of which is wider than a page."""
    if isinstance(part, TextTable):
        caption = ", ".join(filter(None, [title, part.caption]))
        for i, columns in enumerate(column_groups(part)):
            rows = [[row[column] for column in columns] for row in part.entries]
            narrow = TextTable([part.header[column] for column in columns], rows, part.text_columns)
            yield environment(narrow, f"{caption}, continued" if i else caption)
    elif isinstance(part, Switch):
        for table in part.tables.values():
            yield from part_blocks(title, table)


def column_groups(table: TextTable) -> list[list[int]]:
    """The columns of each narrow table that shows a part of a wide one. Each begins with the columns of text."""
    lines = [[Entry(text) for text in table.header], *table.entries]
    widths = [max(len(line[column].text) for line in lines) + 2 for column in range(len(table.header))]
    first = list(range(table.text_columns))
    groups: list[list[int]] = [[]]
    for column in range(table.text_columns, len(widths)):
        if groups[-1] and sum(widths[i] for i in (*first, *groups[-1], column)) > LETTERS:
            groups.append([])
        groups[-1].append(column)
    return [[*first, *group] for group in groups]


def environment(table: TextTable, caption: str) -> str:
    """A longtable with the rules of booktabs, which breaks over pages."""
    columns = "l" * table.text_columns + "r" * (len(table.header) - table.text_columns)
    lines = [
        r"{\footnotesize",
        rf"\begin{{longtable}}{{@{{}}{columns}@{{}}}}",
        rf"\caption{{{latex_text(caption)}}}\\",
        r"\toprule",
        latex_row([Entry(text) for text in table.header]),
        r"\midrule",
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
        *map(latex_row, table.entries),
        r"\end{longtable}}",
    ]
    return "\n".join(lines)


def latex_row(cells: Sequence[Entry]) -> str:
    """A line of a table. Braces keep a bracket or a star at its start from being read with the line before."""
    texts = [latex_text(cell.text) for cell in cells]
    shown = [rf"\textbf{{{text}}}" if cell.bold else text for cell, text in zip(cells, texts, strict=True)]
    return " & ".join(f"{{{text}}}" if text.startswith(("[", "*")) else text for text in shown) + r" \\"


def latex_text(text: str) -> str:
    """A text of which nothing is a command."""
    return PATTERN.sub(lambda found: SPECIAL[found[0]], printable(text))
