"""`dmm report`: the files of a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dmm.cli import completion
from dmm.cli.options import BUDGET, COLUMNS, FROM, ROWS, SEEDS, SOURCE, TABLE, choose_table, command_line

if TYPE_CHECKING:
    from dmm.config import Table

app = typer.Typer()


@app.command()
def report(
    context: typer.Context,
    table: TABLE,
    budget: BUDGET = "",
    source: SOURCE = "",
    rows: ROWS = None,
    columns: COLUMNS = None,
    seeds: SEEDS = "",
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The folder in which the table's own folder is made.")
    ] = Path("reports"),
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAMES",
            help="Make these formats only: md, csv, tex, html, png, svg. Commas separate them. Other files of an earlier "
            "report are deleted.",
            autocompletion=completion.format_list,
        ),
    ] = "",
    baseline: Annotated[
        str,
        typer.Option(metavar="LABEL", help="Compare each row with this one.", autocompletion=completion.rows),
    ] = "",
    place: FROM = "",
    keep: Annotated[
        bool,
        typer.Option(
            "--keep",
            help="Also write runs.jsonl.gz: the whole results, from which anyone can make the report again. Commit it with the "
            "report.",
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Write nothing. Make the report again from its runs.jsonl.gz, and fail if table.md, table.csv, table.tex or "
            "scores.csv differs.",
        ),
    ] = False,
) -> None:
    """Makes the files of a table from its results.

    They are a page for a browser (report.html), Markdown, CSV, LaTeX, figures, costs and a manifest. For results in MLflow,
    the page shows the episodes of those trials that also lie in DMM_HOME on this machine.

    Example: `dmm report quickstart`
    """
    found = choose_table(table, budget, source, rows, columns, seeds)
    folder = out / (f"{found.name}.part" if found.part else found.name)
    if check and (place or keep or formats or baseline):
        raise ValueError(
            "--check takes the kept report in --out as it is: without --from, --keep, --format and --baseline"
        )
    if check:
        return check_kept(found, folder)

    from dmm.report.files import FORMATS, write_report
    from dmm.results.kept import RUNS, NotKept, check_whole, keep_runs
    from dmm.results.score import NoFinishedTrial
    from dmm.results.sources import episodes_at_hand, is_uri, other_versions, whole_results
    from dmm.tracking.places import open_results, store_report

    chosen = [name.strip() for name in formats.split(",")] if formats else FORMATS
    results = open_results(place)
    summaries = results.summaries(found)
    if (folder / RUNS).is_file():
        if not keep:
            raise ValueError(
                f"{folder} is a kept report, and its {RUNS} would not be that of the new files; --keep replaces all of them, "
                "and --out names another folder"
            )
        check_whole(found, whole_results(results, found), summaries)
    try:
        episodes = episodes_at_hand(results, found, summaries) if {"html", "png", "svg"}.intersection(chosen) else None
        paths = write_report(found, summaries, folder, results.source(found), chosen, baseline, episodes)
    except NoFinishedTrial as error:
        store = ("--mlflow", place) if is_uri(place) else ()
        versions = ", ".join(map(str, other_versions()))
        older = (
            f". DMM_HOME has results of version {versions}, whose numbers moved (`dmm list --old`)" if versions else ""
        )
        raise ValueError(
            f"{error}; `{command_line(context, 'sweep', *store)}` runs what is missing, and records what another table has run"
            f"{older}"
        ) from None
    unkept = ""
    if keep:
        try:
            paths.append(keep_runs(found, whole_results(results, found), summaries, folder))
        except NotKept as error:
            unkept = f"runs.jsonl.gz is not written: {error}"
    if "md" in chosen:
        print((folder / "table.md").read_text())
    print("\n".join(str(path) for path in paths))
    print(store_report(results, found, folder, summaries))
    if unkept:
        print(unkept)
        raise typer.Exit(1)


def check_kept(table: "Table", folder: Path) -> None:
    """Prints whether a kept report can be made again from its results. The exit code is 1 if it differs."""
    from dmm.report.rebuilding import check_report
    from dmm.results.kept import RUNS

    names, difference = check_report(table, folder)
    if difference:
        print("\n".join(difference))
        raise typer.Exit(1)
    print(f"{folder}: {', '.join(names)} are those of {RUNS}")
