"""The figures of a report by name, as PNG and SVG. Equal results give equal bytes. Matplotlib is loaded when one is drawn."""

import io
import re
from typing import TYPE_CHECKING, Any

from dmm.report.content import ReportContent
from dmm.results.episodes import Episodes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 200  # of PNG
FIGURES = ("scores", "curves", "grid", "budget", "asked", "efficiency")  # that a report can have


def draw(content: ReportContent, episodes: Episodes | None = None) -> dict[str, "Figure"]:
    """The figures of a report by name. One that would show nothing is left out.

    `episodes` are those of the table's trials by second id. With them, the online budget has the bandit's curve.
    Raises ValueError if the episodes are not those of the results.
    """
    from dmm.report.figures.asked import asked
    from dmm.report.figures.budget import budget
    from dmm.report.figures.curves import curves
    from dmm.report.figures.efficiency import efficiency
    from dmm.report.figures.grid import grid
    from dmm.report.figures.scores import scores
    from dmm.report.figures.style import style

    with style():
        made = (
            scores(content),
            curves(content),
            grid(content),
            budget(content, episodes),
            asked(content),
            efficiency(content),
        )
    return {name: figure for name, figure in zip(FIGURES, made, strict=True) if figure}


def png(figure: "Figure") -> bytes:
    """A figure as PNG, on white."""
    return saved(figure, "png", dpi=DPI, facecolor="white")


def svg(figure: "Figure") -> bytes:
    """A figure as SVG without a background. It stands in a page, too: text and axes have the colour of the page's text."""
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    text = saved(figure, "svg", metadata=nothing).decode()
    return re.sub(r"<[^>]+>(\s+(?=<))?", tidy, text[text.index("<svg") :]).encode()


def tidy(tag: re.Match) -> str:
    """A tag of SVG, smaller, with INK as the page's colour, and without a group's id, which another figure has, too."""
    from dmm.report.figures.style import INK

    text = tag[0].rstrip().replace(INK, "currentColor")
    text = re.sub(r'(?<=^<g) id="[^"]*"| transform="rotate\(-0 [^"]*"', "", text)
    text = re.sub(r"[ML][^A-Za-z]+(L[^A-Za-z]+)+", polyline, text)
    return re.sub(r"\s+", " ", rounded(text, 2))


def polyline(path: re.Match) -> str:
    """A line of a path, to a tenth of a point. SVG needs the letter L once."""
    return path[0][0] + rounded(path[0][1:].replace("L", ""), 1)


def rounded(text: str, digits: int) -> str:
    """A text of SVG whose numbers have at most so many decimals."""
    return re.sub(rf"\d+\.\d{{{digits + 1},}}", lambda number: f"{float(number[0]):.{digits}f}", text)


def saved(figure: "Figure", format: str, **settings: Any) -> bytes:
    """The bytes of a figure's file."""
    from dmm.report.figures.style import style

    file = io.BytesIO()
    with style():
        figure.savefig(file, format=format, **settings)
    return file.getvalue()
