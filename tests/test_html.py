"""report.html: one page that loads nothing, in which words of users are text, and whose bytes follow the results."""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers import handmade_cells
from helpers import handmade_results as handmade

from dmm.config import BEST, LAST, Reading, Row, Table
from dmm.results.content import ReportContent
from dmm.results.document import Bullets, Entry, Picture, Section, Switch, TextTable
from dmm.results.episodes import Episodes, episodes_here
from dmm.results.html import html
from dmm.results.inline_svg import sparkline
from dmm.results.report import report_files
from dmm.results.score import summarise
from dmm.results.sections import overview, sections
from dmm.schema import EvaluationResult, ReportSource, TrialSummary
from dmm.trials.storage import returns_path

SOURCE = ReportSource(
    uri="http://mlflow.example", experiment="dmm", query="a = 'b'", commit="5eed", versions={"ray": "2.60"}
)
NASTY = [
    "a|b", "<script>alert(1)</script>", "R&D &lt;", 'a "quoted" \'label\'', "</td></table><b>", "=1+1", "{{ 7 * 7 }}",
    "{% raw %}", "--><!--", "]]>", "x onclick=y", "javascript:alert(1)", "ünï", "a" * 200,
]  # fmt: skip
SCORES = {
    "medium": {"DT": [40, 45, 50], "DMM": [60, 70, 52], "BC": [30, None, 20]},
    "expert": {"DT": [80, 85, 90], "DMM": [85, 84, 93], "BC": [30, 22, 20]},
}
FIGURE = """<?xml version="1.0"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="72pt" height="36pt" viewBox="0 0 72 36" xmlns="http://www.w3.org/2000/svg">
 <metadata><a xmlns="http://purl.org/dc"/></metadata>
 <defs><path id="m1" d="M 0.123456 1"/><clipPath id="p1"><rect style="fill: red"/></clipPath></defs>
 <g id="axes_1" clip-path="url(#p1)"><use xlink:href="#m1" x="1.234567"/><text>a &lt; b</text></g>
</svg>"""
VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """The elements and texts of a page. An element that is not closed, or closed twice, is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data):
        self.texts.append(data.strip())

    def values(self, name: str) -> list[str]:
        """The values of an attribute."""
        return [attributes[name] for _, attributes in self.elements if name in attributes]


def demo(found: dict[str, TrialSummary] | None = None) -> ReportContent:
    """Four rows on two columns. A trial failed, and one row is cited."""
    table = handmade_cells.table(["DT", "DMM", "BC", "cited"], ("medium", "expert"), 3)
    return ReportContent(table, found or handmade_cells.summaries_of(table, SCORES), "DT")


def page(content: ReportContent, figures: dict[str, str] | None = None, episodes: Episodes | None = None) -> str:
    """A page with the first section only, because all sections take a second."""
    return html(content, [overview(content)], figures or {}, SOURCE, episodes)


@pytest.fixture(scope="module")
def whole() -> str:
    """A page with all sections and two figures."""
    content = demo()
    return html(content, sections(content), {"scores": FIGURE, "curves": FIGURE}, SOURCE)


def test_every_element_is_closed_and_every_reference_leads_somewhere(whole):
    shown = Page(whole)
    ids = shown.values("id")
    assert len(ids) == len(set(ids))
    for name in ("popovertarget", "for", "aria-labelledby"):
        assert shown.values(name) and set(shown.values(name)) <= set(ids)
    links = shown.values("href")
    assert {link[0] for link in links} == {"#"} and {link[1:] for link in links} <= set(ids)
    assert not re.search(r"\b(nan|None|Undefined)\b", " ".join(shown.texts))


def test_the_page_loads_nothing_and_runs_nothing(whole):
    shown = Page(whole)
    tags = {tag for tag, _ in shown.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    names = {name for _, attributes in shown.elements for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("src", "srcset", "action")}
    loads = [value for _, attributes in shown.elements for value in attributes.values() if value and "//" in value]
    assert loads == [] and "@import" not in whole and set(re.findall(r"url\((.)", whole)) == {"#"}
    policy = next(attributes["content"] for _, attributes in shown.elements if "http-equiv" in attributes)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert any("http://mlflow.example" in text for text in shown.texts)  # as text


def test_words_of_users_are_text(whole):
    rows = tuple(
        Row(label=label, arch="dt", overrides={"width": 8 * (i + 1)}, note=label) for i, label in enumerate(NASTY)
    )
    column = replace(handmade_cells.column("medium"), label="<i>c'\"")
    table = replace(
        handmade.TABLE, title="<img src=x onerror=y>", rows=rows, columns=(column,), departures=("</ul><u>",),
        source="<s>", readings=(Reading(name="<input name=r>"), BEST),
    )  # fmt: skip
    results = [handmade.result(trial, {1.0: [1.0, 2.0, 3.0], 0.5: [1.0, 2.0, 3.0]}) for trial in table.trials()]
    error = "ValueError: \x1b[31m<b>\nand more"
    results[0] = replace(results[0], status="failed", returns=replace(results[0].returns, status="failed", error=error))
    content = ReportContent(table, {result.id: summarise(result) for result in results})
    text = html(content, sections(content), {}, replace(SOURCE, experiment="\x1b[31m<b>"))
    shown, plain = Page(text), Page(whole)
    assert {tag for tag, _ in shown.elements} <= {tag for tag, _ in plain.elements}
    assert {name for _, attributes in shown.elements for name in attributes} <= {
        name for _, attributes in plain.elements for name in attributes
    }
    for label in (*NASTY, "<img src=x onerror=y>", "</ul><u>", "<i>c'\"", "<input name=r>"):
        assert label in shown.texts, label
    assert r"failed: ValueError: \x1b[31m<b> and more" in shown.texts and "\x1b" not in text
    assert any(r"experiment \x1b[31m<b>, query" in said for said in shown.texts)


def test_a_figure_keeps_only_what_html_needs():
    text = page(demo(), {"scores": FIGURE})
    (figure,) = re.findall("<figure>.*?</figure>", text, re.DOTALL)
    assert '<use href="#scores-0" x="1.234567"' in figure and '<path d="M 0.123456 1" id="scores-0"' in figure
    assert '<clipPath id="scores-1">' in figure and 'clip-path="url(#scores-1)"' in figure and "a &lt; b" in figure
    assert '<rect class="scores-0"' in figure and "<style>.scores-0{fill: red}</style>" in figure
    assert not re.search("axes_1|metadata|DOCTYPE|xml|xlink|http| width=", figure)
    assert 'aria-labelledby="s0-0"' in figure and '<figcaption id="s0-0">Score of each row, one dot a seed<' in figure


def test_a_picture_without_a_figure_is_left_out():
    given = [Section("Curves", [Picture("curves", "x")]), Section("Said", ["text", Picture("grid", "y")])]
    text = html(demo(), given, {}, SOURCE)
    assert "Curves" not in text and "<h2>Said</h2>" in text and "<figure" not in text.split("</style>")[1]


def test_the_parts_of_a_section():
    content = demo()
    table = TextTable(
        ["row", "n"], [["a", Entry("1.0 [0.5, 1.5] (3)", True, content.cells[0])], ["b", Entry("68 (a)")]]
    )
    text = html(content, [Section("S", [Switch({"last": table, "best": table}), Bullets(["one", "two"])])], {}, SOURCE)
    assert text.count('<button popovertarget="c0"><span>1.0</span> <small>[0.5, 1.5] (3)</small></button>') == 2
    assert '<td class="n best">' in text and '<td class="n"><span>68</span> <small>(a)</small></td>' in text
    assert text.count('type="radio"') == 2 and text.count(" checked>") == 1
    assert text.index('id="s0-0-0"') < text.index(">last<") < text.index('id="s0-0-1"') < text.index(">best<")
    assert (
        "<li>one</li>" in text
        and '<th scope="col" class="t">row</th>' in text
        and '<th scope="row" class="t">a</th>' in text
    )


def cell_text(text: str, number: int) -> str:
    """The trials of a cell."""
    return re.split(r"(?=<div popover|<section)", text[text.index(f'<div popover id="c{number}"') :])[1]


def evaluations(trial, last: float) -> list[EvaluationResult]:
    return handmade.result(trial, {1.0: [last - 20, last + 10, last], 0.5: [0.0, 0.0, last / 2]}).evaluations


def test_a_cell_opens_its_trials():
    content = demo()
    dt, dmm, bc = content.cells[:3]
    episodes = {dt.trials[0].returns_id: evaluations(dt.trials[0], 40.0)}
    text = page(content, episodes=episodes)
    for cell in content.cells:
        assert all(trial.returns_id in text and trial.weights_id in text for trial in cell.trials)
    shown = " ".join(filter(None, Page(cell_text(text, 0)).texts))
    assert shown.startswith(
        "DT on medium Close last: 45.0 [32.6, 57.4]; best: 55.0 [42.6, 67.4]; max over everything: 60.0."
    )
    assert (
        f"Seed 0: mean {handmade.raw(40):.1f} of 2 episodes: {handmade.raw(40) - 5:.1f}, {handmade.raw(40) + 5:.1f} "
        in shown
    )
    assert f"Seed 1: mean {handmade.raw(45):.1f} Seed 2:" in shown and "only its mean" in shown
    assert "c0ffee not recorded cpu" in shown and f'dmm.load("{dt.trials[0].returns_id}")' in shown
    assert (
        cell_text(text, 0).count("<polyline") == 3
        and "only its mean"
        not in page(
            content, episodes={t.returns_id: evaluations(t, s) for t, s in zip(dt.trials, (40.0, 45.0, 50.0))}
        ).split('<div popover id="c1"')[0]
    )
    failed = cell_text(text, 2)
    assert failed.count("failed: no reason given") == 1 and failed.count("Seed") == 2


def test_trials_that_have_not_begun_are_there_with_their_ids():
    table = handmade_cells.table(["DT", "DMM"], ("medium",), 2)
    found = handmade_cells.summaries_of(table, {"medium": {"DT": [40, 50], "DMM": [60]}})
    running = table.cell(table.rows[0], table.columns[0])[1].returns_id
    found[running] = replace(found[running], status="running", curve={})
    text = page(ReportContent(table, found))
    assert all(trial.returns_id in text for trial in table.trials())
    assert ">pending<" in cell_text(text, 1) and ">running<" in cell_text(text, 0)


def test_episodes_of_another_run_are_refused():
    content = demo()
    trial = content.cells[0].trials[0]
    with pytest.raises(ValueError, match=f"the episodes of trial {trial.returns_id} do not have the means"):
        page(content, episodes={trial.returns_id: evaluations(trial, 41.0)})


def test_episodes_of_this_machine_are_those_of_the_summary():
    first, second, third, absent = handmade.results()
    for result in (first, second, third):
        handmade.write(result, returns_path(handmade.TABLE.trials()[0]).parents[2])
    summaries = {result.id: summarise(result) for result in (first, second, third, absent)}
    moved = {
        target: [point._replace(mean_return=1.0) for point in points]
        for target, points in summaries[second.id].curve.items()
    }
    summaries[second.id] = replace(summaries[second.id], curve=moved)
    path = next(returns_path(trial) for trial in handmade.TABLE.trials() if trial.returns_id == third.id)
    path.write_text(path.read_text()[:-20])
    assert episodes_here(summaries, handmade.TABLE.trials()) == {first.id: first.evaluations}


def test_equal_results_give_equal_bytes_and_timings_stand_last():
    content = demo()
    text = page(content)
    assert text == page(demo())
    slower = {
        id_: replace(found, seconds=replace(found.seconds, train=99.0, rollout=7.0), peak_memory=5.0, steps=77)
        for id_, found in content.summaries.items()
    }
    other = page(demo(slower))
    cost = text.index('<section id="e0">\n<h2>Cost</h2>')
    assert other[:cost] == text[:cost] and other != text
    elsewhere = {
        id_: replace(found, provenance=replace(found.provenance, commit="0ther", machine="x"), run_id="r")
        for id_, found in content.summaries.items()
    }
    moved = page(demo(elsewhere))
    first = text.index("<div popover")
    assert moved[:first] == text[:first] and "0ther" in moved and "run_id" not in moved


def test_costs_and_provenance():
    shown = " ".join(filter(None, Page(page(demo())).texts))
    costs, origin = shown.split(" Cost ")[-1].split(" Provenance ")[-2:]
    assert "DT medium 2.5 2.500 - 12.0 4.5 3 " in costs
    for said in ("commit c0ffee 17 17", "library torch 2.13.0 17 17", handmade.SHA, "table handmade",
                 "read from http://mlflow.example, experiment dmm, query a = 'b'", "commit 5eed with ray 2.60"):  # fmt: skip
        assert said in origin, said


def test_the_face_says_what_is_shown():
    content = demo()
    table = replace(content.table, part="rows DT", readings=(LAST,))
    assert '<p class="face">This is a part of the table: rows DT.</p>' in page(ReportContent(table, content.summaries))


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    line = sparkline([(at, at / 10) for at in range(1, 1001)], 1000, 0.1, 100.0)
    points = re.findall(r'points="([^"]*)"', line)[0].split()
    assert 35 <= len(points) <= 41 and points[-1] == "94,2" and "1000 evaluations, from 0.1 to 100.0" in line


def many_trials(rows: int, columns: int, seeds: int) -> tuple[ReportContent, Episodes]:
    """Trials of 10 evaluations of 20 episodes at two targets."""
    names = [f"column {number}" for number in range(columns)]
    table: Table = handmade_cells.table([f"row {number}" for number in range(rows)], names, seeds)
    result = handmade.result(table.trials()[0], {1.0: [1.0, 2.0, 3.0]})
    evaluations = [
        replace(result.evaluations[0], update=at, returns=[1234.5 + at + i for i in range(20)], lengths=[1000] * 20)
        for at in range(3, 31, 3)
    ]
    evaluations += [replace(evaluation, target="x0.5") for evaluation in evaluations]
    summary = summarise(replace(result, returns=replace(result.returns, evaluations=evaluations)))
    found = {trial.returns_id: replace(summary, id=trial.returns_id) for trial in table.trials()}
    return ReportContent(table, found), dict.fromkeys(found, evaluations)


def size(rows: int, columns: int = 1, seeds: int = 8) -> int:
    """Bytes of a page that shows each cell 48 times."""
    content, episodes = many_trials(rows, columns, seeds)
    entries = [[cell.row.label, *[Entry("72.1 [60.3, 83.9] (5) ≈", False, cell)] * 8] for cell in content.cells]
    table = TextTable(["architecture", *(f"reading {number}" for number in range(8))], entries)
    given = [Section(f"Section {number}", [table]) for number in range(6)]
    return len(html(content, given, {}, SOURCE, episodes).encode())


LIMIT = 2_300_000  # of three megabytes. The rest is for figures


def test_a_page_of_a_thousand_trials_would_have_less_than_three_megabytes():
    few, more = size(1), size(4)
    assert few + (more - few) / 24 * 1000 < LIMIT


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "columns"), [(125, 1), (25, 5)])
def test_a_page_of_a_thousand_trials_has_less_than_three_megabytes(rows, columns):
    assert size(rows, columns) < LIMIT


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROBE = """<script>
const seen = [], style = e => getComputedStyle(e).display, [panel, other] = document.querySelectorAll(".panel");
const button = document.querySelector("td button"), cell = document.getElementById(button.getAttribute("popovertarget"));
seen.push(style(panel), style(other), style(cell));
document.querySelectorAll(".switch > input")[1].click();
button.click();
seen.push(style(panel), style(other), cell.matches(":popover-open"));
cell.querySelector(".close").click();
seen.push(style(cell), performance.getEntriesByType("resource").length);
seen.push(document.documentElement.scrollWidth <= innerWidth);
document.title = seen.join(" ");
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no browser")
def test_in_a_browser_the_switch_switches_and_a_cell_opens(tmp_path: Path):
    """A copy of the page has a script that uses it. The page itself allows none."""
    content = demo()
    text = report_files(content, SOURCE, ("html",))["report.html"].decode()
    probed = text.replace("style-src", "script-src 'unsafe-inline'; style-src", 1).replace("</body>", PROBE)
    (tmp_path / "report.html").write_text(probed)
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--window-size=500,900",
            "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
            (tmp_path / "report.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=60, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    (title,) = re.findall("<title>(.*?)</title>", done.stdout)
    assert title == "block none none none block true none 0 true"
