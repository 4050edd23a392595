"""runs.jsonl.gz: the same bytes, damage named by line, and a report made again from it."""

import gzip
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import handmade_results as handmade
from helpers.kept_results import FILE, FILES, TABLE, TRIALS, by_id, every_status, keep_report, write_results, write_runs

from dmm.base.checksums import dump_json
from dmm.base.paths import home
from dmm.config import RESULTS_VERSION
from dmm.report.rebuilding import check_report
from dmm.results import kept
from dmm.results.kept import RUNS, KeptResults
from dmm.results.score import summarise
from dmm.results.sources import find_results
from dmm.tables import find_table

ROOT = Path(__file__).parent.parent


@pytest.fixture
def report(dmm, tmp_path, monkeypatch) -> Path:
    return keep_report(dmm, tmp_path, monkeypatch)


def test_the_same_results_give_the_same_bytes_and_come_back_whole(tmp_path):
    results = every_status()
    path = write_runs(tmp_path / RUNS, list(reversed(results)))
    assert path.read_bytes() == write_runs(tmp_path / "again", results).read_bytes()
    found = KeptResults(path)
    assert found.results(TABLE) == by_id(results) and list(found.results(TABLE)) == [
        trial.returns_id for trial in TRIALS
    ]
    assert (found.head.table, found.head.results_version, found.head.trials) == ("handmade", 5, 4)
    assert [trial.cells for trial in found.trials] == [[["DT", "hopper-medium"]], [["DMM", "hopper-medium"]]] * 2
    assert found.summaries(TABLE) == {result.id: summarise(result) for result in results}
    assert found.episodes(found.summaries(TABLE).values()) == {result.id: result.evaluations for result in results[:2]}


def test_a_kept_report_is_replaced_as_a_whole_or_not_at_all(dmm, report, tmp_path):
    before = {path.name: path.read_bytes() for path in report.iterdir()}
    words = ("report", FILE, "--from", str(home()), "--out", str(tmp_path))
    code, _, error = dmm(*words, "--format", "md")
    assert code == 2 and f"{report} is a kept report, and its runs.jsonl.gz would not be that of the new files" in error
    assert {path.name: path.read_bytes() for path in report.iterdir()} == before
    assert dmm(*words, "--keep")[0] == 0


def edited(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2].replace(b"1/4", b"1/3").replace(b"100", b"101", 1), *lines[3:]]


def with_a_new_field(lines: list[bytes]) -> list[bytes]:
    return [*lines[:3], dump_json(json.loads(lines[3])["content"] | {"mood": "good"}), *lines[4:]]


def of_format_2(lines: list[bytes]) -> list[bytes]:
    return [dump_json(json.loads(lines[0])["content"] | {"format": 2}), *lines[1:]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (edited, "line 3 is damaged: its content does not have its checksum"),
        (with_a_new_field, "line 4 cannot be read: unknown field 'mood'; KeptTrial has cells, result"),
        (of_format_2, "line 1 has format 2; this dmm reads format 1"),
        (lambda lines: lines[:3], "was edited: it has 2 trials, and line 1 says 4"),
        (lambda lines: [*lines[:4], lines[3]], "was edited: it has 3 trials, and line 1 says 4"),
        (lambda lines: [*lines[:2], lines[2][:50]], "line 3 is damaged: "),
        (lambda lines: [b"nonsense"], "line 1 is damaged: "),
    ],
)
def test_an_edited_file_is_named_with_its_line(change, said, tmp_path):
    path = write_runs(tmp_path / RUNS)
    lines = change(gzip.decompress(path.read_bytes()).splitlines())
    path.write_bytes(gzip.compress(b"\n".join(lines) + b"\n"))
    with pytest.raises(ValueError) as error:
        KeptResults(path)
    assert str(error.value).startswith(str(path)) and said in str(error.value)


def test_a_cut_file_and_one_of_another_kind_are_said(tmp_path):
    path = write_runs(tmp_path / RUNS)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"runs.jsonl.gz is damaged after line \d: it cannot be unpacked"):
        KeptResults(path)
    path.write_text("plain text")
    with pytest.raises(ValueError, match="is damaged and may be no runs.jsonl.gz"):
        KeptResults(path)


def test_a_kept_report_is_made_again_in_a_fresh_clone(report, dmm, tmp_path, monkeypatch):
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "absent"))
    monkeypatch.setitem(sys.modules, "mlflow", None)  # it cannot be imported
    before = {path.name: path.stat().st_mtime_ns for path in report.iterdir()}
    code, out, error = dmm("report", FILE, "--check", "--out", str(tmp_path))
    assert (code, out, error) == (0, f"{report}: {', '.join(FILES)} are those of runs.jsonl.gz\n", "")
    assert {path.name: path.stat().st_mtime_ns for path in report.iterdir()} == before
    assert not (tmp_path / "absent").exists()


def test_a_report_that_is_not_that_of_its_results_fails_the_check_with_a_diff(report, dmm, tmp_path):
    table = report / "table.md"
    table.write_text(table.read_text().replace(" 15.0 [", " 95.0 ["))
    code, out, _ = dmm("report", FILE, "--check", "--out", str(tmp_path))
    changed = [line for line in out.splitlines() if line[0] in "+-"]
    assert code == 1 and changed[:2] == [f"--- {table}", "+++ table.md from runs.jsonl.gz"] and len(changed) == 4
    assert " 95.0 [-48.5, 78.5] (2)" in changed[2] and " 15.0 [-48.5, 78.5] (2)" in changed[3]
    table.unlink()
    assert dmm("report", FILE, "--check", "--out", str(tmp_path))[2] == f"error: No such file or directory: {table}\n"
    (report / "manifest.json").write_text("{}")
    assert "does not say formats and baseline" in dmm("report", FILE, "--check", "--out", str(tmp_path))[2]
    (report / RUNS).unlink()
    code, _, error = dmm("report", FILE, "--check", "--out", str(tmp_path))
    assert (
        code == 2 and "has no runs.jsonl.gz, so it is no kept report; `dmm report handmade --keep` writes one" in error
    )
    assert "as it is: without --from, --keep, --format and --baseline" in dmm("report", FILE, "--check", "--keep")[2]


def test_a_kept_report_is_checked_with_the_formats_and_the_baseline_that_it_was_made_with(report, dmm, tmp_path):
    words = ["report", FILE, "--from", str(report), "--out", str(tmp_path), "--keep"]
    code, out, _ = dmm(*words, "--format", "csv,md", "--baseline", "DT")
    assert code == 0 and "## Minus DT, last" in out and "table.tex" not in out
    check = ["report", FILE, "--check", "--out", str(tmp_path)]
    assert dmm(*check)[1].startswith(f"{report}: table.md, table.csv, scores.csv are")
    assert "# Made by hand" not in dmm(*words, "--format", "csv")[1]
    assert "unknown format 'pdf'; there are csv, html, md, png, svg, tex." in dmm(*words, "--format", "pdf")[2]
    assert "unknown baseline 'DTT'" in dmm(*words, "--baseline", "DTT")[2]
    dmm(*words, "--format", "svg")
    assert "so there is nothing to compare" in dmm(*check)[2]


def test_a_report_from_a_folder_and_from_a_file_is_the_same_and_is_not_sent(report, dmm, tmp_path, monkeypatch):
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "absent"))
    monkeypatch.setitem(sys.modules, "mlflow", None)
    for i, place in enumerate((report, report / RUNS)):
        code, out, _ = dmm("report", FILE, "--from", str(place), "--out", str(tmp_path / str(i)))
        assert code == 0 and out.endswith("not stored in MLflow, because the results are not from there\n")
        for name in FILES:
            assert (tmp_path / str(i) / "handmade" / name).read_bytes() == (report / name).read_bytes()
        assert not (tmp_path / str(i) / "handmade" / RUNS).exists()
        manifest = json.loads((tmp_path / str(i) / "handmade/manifest.json").read_text())
        assert manifest["source"]["uri"] == str(report / RUNS)


def test_a_report_of_failed_and_stopped_trials_is_kept_as_it_is(dmm, tmp_path, monkeypatch):
    for kind in ("png", "svg"):  # the figures are drawn, and not saved, which takes seconds
        monkeypatch.setattr(f"dmm.report.files.{kind}", lambda figure: b"<svg/>")
    write_results(every_status())
    for words in (["--from", str(home()), "--keep"], ["--check"]):
        assert dmm("report", FILE, "--out", str(tmp_path), *words)[0] == 0
    text = (tmp_path / "handmade/table.md").read_text()
    assert "- DT on hopper-medium, seed 1: the loss is nan" in text and "- DMM on hopper-medium, seed 1\n" in text


def test_results_that_only_mlflow_has_are_not_kept_and_it_is_said(dmm, tmp_path, monkeypatch):
    first, *others = handmade.results()
    mlflow = SimpleNamespace(
        summaries=lambda table: {result.id: replace(summarise(result), run_id="a run") for result in [first, *others]},
        episodes=lambda *words: None,
        source=lambda table: kept.source_of(Path("mlflow")),
    )
    monkeypatch.setattr("dmm.tracking.places.open_results", lambda place: mlflow)
    monkeypatch.setattr("dmm.tracking.places.store_report", lambda *words: "stored")
    monkeypatch.setattr("dmm.report.files.draw", lambda *words: {})
    words = ["report", FILE, "--out", str(tmp_path), "--keep"]
    code, out, _ = dmm(*words)
    assert (
        code == 1
        and "runs.jsonl.gz is not written: only MLflow has 4 trials, among them DT on hopper-medium, seed 0" in out
    )
    write_results([handmade.result(TRIALS[0], {1.0: [5.0, 6.0, 7.0], 0.5: [4.0, 4.5, 5.0]}), *others])
    code, out, _ = dmm(*words)
    assert (
        code == 1 and "MLflow has another state of 1 trial than DMM_HOME, among them DT on hopper-medium, seed 0" in out
    )
    assert (tmp_path / "handmade/table.md").exists() and not (tmp_path / "handmade" / RUNS).exists()
    write_results([first])
    code, out, _ = dmm(*words)
    assert code == 0 and out.endswith(f"\n{tmp_path / 'handmade' / RUNS}\nstored\n")


def test_git_takes_kept_reports_and_ignores_the_others(report, tmp_path):
    repository = tmp_path / "clone"
    shutil.copytree(report, repository / "reports/kept")
    shutil.copytree(report, repository / "reports/other", ignore=shutil.ignore_patterns(RUNS, ".gitignore"))
    shutil.copy(ROOT / ".gitignore", repository)
    git = ["git", "-C", str(repository)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "reports"], check=True)
    found = subprocess.run([*git, "ls-files"], check=True, capture_output=True, text=True).stdout.split()
    assert found == sorted(f"reports/kept/{path.name}" for path in report.iterdir()) and len(found) == 9


def test_a_place_without_results_is_one_line_that_says_what_there_is(report, dmm, tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    expected = {
        "nowhere": "there is no nowhere; results are read from a DMM_HOME, the folder of a kept report",
        str(empty): f"{empty} holds no results: it has no folder trials",
        str(tmp_path): "no runs.jsonl.gz; its folders handmade have one",
        FILE: "is damaged and may be no runs.jsonl.gz",
    }
    for place, said in expected.items():
        code, _, error = dmm("report", FILE, "--from", place)
        assert code == 2 and error.startswith("error: ") and said in error and error.count("\n") == 1
    _, _, error = dmm("report", "quickstart", "--from", str(report))
    assert error == f"error: {report / RUNS} is of table handmade, not of table quickstart\n"
    _, _, error = dmm("report", "quickstart", "--from", str(home()))
    assert error == f"error: {home()} has no result of table quickstart; `dmm sweep` runs it there\n"
    with pytest.raises(ValueError, match="http://mlflow:5 is a tracking store, which has no losses"):
        find_results("http://mlflow:5")


def test_results_of_another_version_are_said_and_how_to_rerun(report, dmm, monkeypatch):
    shutil.rmtree(home() / "trials")
    one = handmade.results()[0]
    weights = replace(one.training.weights, results_version=4)
    handmade.write(
        replace(one, training=replace(one.training, weights_id="0" * 16, weights=weights)), home() / "trials"
    )
    error = dmm("report", FILE, "--from", str(home()))[2]
    assert "It has results of version 4, and this dmm makes version 5" in error
    assert error.endswith("; `dmm sweep` runs it again there\n")
    monkeypatch.setattr(kept, "RESULTS_VERSION", 6)
    error = dmm("report", FILE, "--from", str(report))[2]
    assert "has results of version 5, and this dmm makes version 6" in error and "runs the table again" in error


def test_kept_reports_of_this_repository_are_those_of_their_results():
    for path in sorted((ROOT / "reports").glob(f"*/{RUNS}")):
        if KeptResults(path).head.results_version == RESULTS_VERSION:  # others are records of their time
            assert check_report(find_table(path.parent.name), path.parent)[1] == []
