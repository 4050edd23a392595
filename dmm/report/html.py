"""report.html: a report as one page that opens from disk. It runs no script and loads nothing.

The same results give the same bytes. What differs between two runs of the same trials stands last: commits and devices in the
trials of each cell, then times under Cost, then Provenance.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from dmm.base.text_tables import printable
from dmm.report import notes
from dmm.report.content import ReportContent
from dmm.report.cost import cost_section
from dmm.report.document import Picture, Section
from dmm.report.inline_svg import inline_svg
from dmm.report.origins import provenance_section
from dmm.report.trial_views import trial_views
from dmm.results.episodes import Episodes
from dmm.results.score import Cell
from dmm.schema import ReportSource

TEMPLATE = Path(__file__).with_name("report.html.j2")


def html(
    content: ReportContent,
    sections: list[Section],
    figures: Mapping[str, str],
    source: ReportSource,
    episodes: Episodes | None = None,
) -> str:
    """report.html. `figures` are SVG texts by the name of the picture. A picture that is not there is left out.

    `episodes` has the evaluations of trials by second id, as far as they are at hand. A trial without them shows its means.
    Raises ValueError if the episodes of a finished trial are not those of its summary.
    """
    table, cells = content.table, [cell for cell in content.cells if cell.trials]
    places = {
        id(cell): f"c{number}" for number, cell in enumerate(cells)
    }  # anchors are numbers, because labels are any text

    def numbers(cell: Cell) -> list[tuple[str, str]]:
        return [(reading.name, content.number(cell, reading).text()) for reading in table.readings]

    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, finalize=shown
    )
    return environment.from_string(TEMPLATE.read_text()).render(
        table=table,
        lines=[notes.describe(table), *notes.how_to_read(table)],
        face=notes.face(table),
        sections=with_figures(sections, figures),
        last=with_figures([cost_section(content.cells), provenance_section(content, source)], figures),
        cells=[(cell, trial_views(content, cell, episodes or {})) for cell in cells],
        numbers=numbers,
        place=lambda cell: places[id(cell)],
        figure=lambda name, label: Markup(inline_svg(figures[name], name, label)),
        kind=lambda part: type(part).__name__,
        split=split,
    )


def with_figures(sections: list[Section], figures: Mapping[str, str]) -> list[Section]:
    """The sections that have something to show."""
    found = [
        replace(section, parts=[p for p in section.parts if not isinstance(p, Picture) or p.name in figures])
        for section in sections
    ]
    return [section for section in found if section.parts]


def shown(value: object) -> object:
    """A value of the template as it is shown. Control characters are written out."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def split(text: str) -> tuple[str, str]:
    """A number, and what stands in brackets behind it."""
    number, _, rest = text.partition(" ")
    return (number, rest) if rest[:1] in ("[", "(") else (text, "")
