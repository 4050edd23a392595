"""The page of a report without a format: sections of text, tables, lists and pictures. All formats show the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dmm.results.score import Cell


@dataclass(frozen=True)
class Entry:
    """A number of a table with what is marked about it."""

    text: str
    bold: bool = False
    cell: Cell | None = None  # whose number it is


@dataclass(frozen=True)
class TextTable:
    """A table. The first columns are text, the others are numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str | Entry]]
    text_columns: int = 1
    caption: str = ""

    @property
    def entries(self) -> list[list[Entry]]:
        """The rows without bare texts."""
        return [[cell if isinstance(cell, Entry) else Entry(cell) for cell in row] for row in self.rows]


@dataclass(frozen=True)
class Switch:
    """The same table under several readings, by the reading's name. A format that cannot switch shows the first one."""

    tables: Mapping[str, TextTable]


@dataclass(frozen=True)
class Bullets:
    """A list."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Picture:
    """A figure of the report, by its name: the file's name without the ending."""

    name: str
    alt: str  # what it shows


Part = str | TextTable | Switch | Bullets | Picture


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    parts: Sequence[Part]
