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
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "≈": r"$\approx$",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}  # fmt: skip
PATTERN = re.compile("[" + re.escape("".join(SPECIAL)) + "]")


def latex(content: ReportContent, sections: list[Section]) -> str:
    """table.tex. Sections without a table are left out. Lists below a table become its notes."""
    blocks = [
        f"% {printable(content.table.title)}\n% \\usepackage{{booktabs}}\n% \\usepackage{{longtable}}",
        "\n".join(f"% {printable(line)}" for line in [describe(content.table), *face(content.table)]),
    ]
    for section in sections:
        tables = [block for part in section.parts for block in part_blocks(section.title, part)]
        if tables:
            notes = [line for part in section.parts if isinstance(part, Bullets) for line in part.lines]
            blocks += tables + [note([f"{line}." for line in notes])] * bool(notes)
    return "\n\n".join([*blocks, note(how_to_read(content.table))]) + "\n"


def note(lines: Sequence[str]) -> str:
    """A paragraph below a table."""
    return rf"\noindent{{\footnotesize {latex_text(' '.join(lines))}\par}}"


def part_blocks(title: str, part: Part) -> Iterator[str]:
    """A part of a section as environments."""
    if isinstance(part, TextTable):
        caption = ", ".join(filter(None, [title, part.caption]))
        yield environment(part, caption)
    elif isinstance(part, Switch):
        for table in part.tables.values():
            yield from part_blocks(title, table)


def environment(table: TextTable, caption: str) -> str:
    """A longtable with the rules of booktabs, which breaks over pages."""
    columns = "l" * table.text_columns + "r" * (len(table.header) - table.text_columns)
    lines = [
        rf"\begin{{longtable}}{{@{{}}{columns}@{{}}}}",
        rf"\caption{{{latex_text(caption)}}}\\",
        r"\toprule",
        latex_row([Entry(text) for text in table.header]),
        r"\midrule",
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
        *map(latex_row, table.entries),
        r"\end{longtable}",
    ]
    return "\n".join(lines)


def latex_row(cells: Sequence[Entry]) -> str:
    """A line of a table. Braces keep a bracket at its start from being read as an option of the line before."""
    texts = [latex_text(cell.text) for cell in cells]
    shown = [rf"\textbf{{{text}}}" if cell.bold else text for cell, text in zip(cells, texts, strict=True)]
    return " & ".join(f"{{{text}}}" if text.startswith("[") else text for text in shown) + r" \\"


def latex_text(text: str) -> str:
    """A text of which nothing is a command."""
    return PATTERN.sub(lambda found: SPECIAL[found[0]], printable(text))
