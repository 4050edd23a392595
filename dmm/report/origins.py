"""Provenance: the code, machines, libraries and data behind a report."""

from collections import Counter
from collections.abc import Mapping

from dmm.base.text_tables import counted
from dmm.report.content import ReportContent
from dmm.report.document import Bullets, Section, TextTable
from dmm.results.score import column_data
from dmm.schema import Provenance, ReportSource

FIELDS = {
    "commit": "commit",
    "code": "code of dmm, hash",
    "machine": "machine",
    "device": "device",
    "workers": "workers",
    "scan": "selective scan",
}


def provenance_section(content: ReportContent, source: ReportSource) -> Section:
    """What made the finished trials, what made this page, and the data."""
    done = list({summary.id: summary for cell in content.cells for summary in cell.finished}.values())
    training = [summary.provenance for summary in done]
    rollouts = [summary.rollouts for summary in done]
    lines = [
        [title, value, *(str(counts[value] or "-") for counts in made)]
        for field, title in FIELDS.items()
        for made in [
            [Counter(getattr(entry, field) or "not recorded" for entry in part) for part in (training, rollouts)]
        ]
        for value in sorted(made[0] | made[1])
    ]
    made = [Counter(text for entry in part for text in version_texts(entry)) for part in (training, rollouts)]
    lines += [["library", text, *(str(counts[text] or "-") for counts in made)] for text in sorted(made[0] | made[1])]
    data = [(column.label, each) for column in content.table.columns for each in column_data(content.column(column))]
    page = [
        f"table {content.table.name}",
        f"read from {source.uri}, experiment {source.experiment}, query {source.query}",
        f"page made by commit {source.commit} with {versions_text(source.versions) or 'no recorded libraries'}",
    ]
    tables = []
    if lines:
        tables = [
            f"What made the {counted(len(done), 'finished trial')}:",
            TextTable(["", "value", "training", "rollouts"], lines, text_columns=2),
            TextTable(
                ["column", "data", "sha256 of the arrays"],
                [[label, ", ".join(each.ids), each.sha256] for label, each in data],
                text_columns=3,
            ),
        ]
    return Section("Provenance", [*tables, Bullets(page)])


def version_texts(made: Provenance) -> list[str]:
    """Libraries with their versions."""
    return [f"{name} {version}" for name, version in made.versions.items()]


def versions_text(versions: Mapping[str, str]) -> str:
    """Libraries with their versions, in one line."""
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
