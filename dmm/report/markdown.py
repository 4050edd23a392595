"""table.md: a report as Markdown. No time, date, run id or URI."""

from collections.abc import Collection, Iterator

from dmm.base.text_tables import Bold, markdown_list, markdown_table, markdown_text
from dmm.report.content import ReportContent
from dmm.report.document import Bullets, Part, Picture, Section, Switch, TextTable
from dmm.report.notes import describe, face, how_to_read


def markdown(content: ReportContent, sections: list[Section], pictures: Collection[str] = ()) -> str:
    """table.md. `pictures` are the names of the figures that lie beside it as PNG."""
    table = content.table
    blocks = [f"# {markdown_text(table.title)}"]
    blocks += map(markdown_text, [describe(table), *face(table), *how_to_read(table)])
    for section in sections:
        shown = [block for part in section.parts for block in part_blocks(part, pictures)]
        if shown:
            blocks += [f"## {markdown_text(section.title)}", *shown]
    return "\n\n".join(blocks) + "\n"


def part_blocks(part: Part, pictures: Collection[str]) -> Iterator[str]:
    """A part of a section as blocks of Markdown. A picture that is not there has none."""
    match part:
        case str():
            yield markdown_text(part)
        case TextTable():
            if part.caption:
                yield f"{markdown_text(part.caption)}:"
            rows = [[Bold(cell.text) if cell.bold else cell.text for cell in row] for row in part.entries]
            yield markdown_table(part.header, rows, part.text_columns)
        case Switch():
            yield from part_blocks(next(iter(part.tables.values())), pictures)
        case Bullets():
            yield markdown_list(part.lines)
        case Picture():
            if part.name in pictures:
                yield f"![{part.alt}]({part.name}.png)"
