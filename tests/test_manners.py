"""Manners of the commands: help that fits, whole commands in hints, one line for a mistake, a bar, what the shell completes."""

import io
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

import pytest
import typer

from dmm import __version__
from dmm.base import progress_bar
from dmm.base.paths import home
from dmm.base.progress_bar import ProgressBar, spell_duration
from dmm.cli import app
from dmm.tables import find_table
from dmm.trials import progress
from dmm.trials.storage import load_result

ROOT = Path(__file__).parent.parent
GRID = """
from dataclasses import replace
from dmm.config import Row, grid
from tune_spaces.quickstart import TABLE as QUICKSTART

TABLE = replace(QUICKSTART, name="mine", rows=grid(Row(label="DT", arch="dt"), context_length=(4, 8), width=(16, 32)))
"""


@pytest.fixture
def grid_table(tmp_path) -> str:
    """The path of a table with a grid. It has a space."""
    path = tmp_path / "my table.py"
    path.write_text(GRID)
    return str(path)


@pytest.fixture
def toy(reacher_file, monkeypatch) -> str:
    """The path of a table of seconds."""
    for name, value in {"DATA": reacher_file, "UPDATES": "6", "EVALUATIONS": "2", "SEEDS": "1"}.items():
        monkeypatch.setenv(f"DMM_TOY_{name}", value)
    return str(ROOT / "tests/helpers/toy_table.py")


def commands() -> dict[tuple[str, ...], object]:
    """All commands and groups by their words."""
    found, open_ = {}, {(): typer.main.get_command(app)}
    while open_:
        words, command = open_.popitem()
        found[words] = command
        open_ |= {(*words, name): child for name, child in getattr(command, "commands", {}).items()}
    return found


@pytest.mark.parametrize("words", sorted(commands()), ids=" ".join)
def test_help_fits_80_columns_and_no_word_is_cut(words, dmm, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, page, _ = dmm(*words, "--help")
    assert code == 0 and page == dmm(*words, "-h")[1]
    assert "…" not in page and max(map(len, page.splitlines())) <= 80
    command = commands()[words]
    shown = set(page.replace("│", " ").split())
    for parameter in command.params:
        assert re.fullmatch(r"[A-Z][^;]*\.", parameter.help), f"no plain sentence: {parameter.help}"
        assert set(parameter.help.replace("`", "").split()) <= shown
    if not hasattr(command, "commands"):
        assert re.search(r"\n\n *Example: `dmm [^`]+`$", command.help), "the example is a paragraph of its own"


def test_the_version_is_that_of_the_package(dmm):
    assert dmm("--version") == (0, f"dmm {__version__}\n", "")


@pytest.mark.parametrize(("colour", "env"), [(True, {}), (False, {"NO_COLOR": "1"}), (False, {"TERM": "dumb"})])
def test_help_is_coloured_on_a_terminal_that_wants_it(colour, env):
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "dmm", "--help"]
    run = {"env": {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **env}, "cwd": ROOT}
    with subprocess.Popen(words, stdout=theirs, stderr=theirs, **run) as process:
        os.close(theirs)
        page = b""
        while True:
            try:
                page += os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
    os.close(ours)
    assert process.returncode == 0 and b"Usage" in page
    assert bool(re.search(rb"\x1b\[[0-9;]*3\dm", page)) == colour
    assert b"\x1b" not in subprocess.run(words, capture_output=True, **run).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("swep quickstart", "unknown command 'swep'; dmm has .* Did you mean 'sweep'?"),
        ("data colect", "unknown command 'colect'; dmm data has collect, .* Did you mean 'collect'?"),
        ("show quickstart --budgt short", "unknown option '--budgt'; dmm show has --budget, .* Did you mean '--budget'?"),
        ("run", "missing argument 'table'; `dmm run --help` shows what it takes"),
        ("run quickstart", "missing argument 'row'; `dmm run --help` shows what it takes"),
        ("sweep quickstart --rows", "option '--rows' requires an argument"),
        ("run quickstart DT --seed one", "invalid value for '--seed': .*; `dmm run --help` shows what it takes"),
        ("data collect foo", "unknown dataset 'foo'; there are dmm/breakout/medium-v0, .*dmm/hopper/medium-v0, .*"),
        ("data train-behaviour CartPole-v1", r"SAC needs continuous actions; those of CartPole-v1 are Discrete\(2\)"),
        ("data train-behaviour Hopper-v5 --width 0", "Recipe.width is 0; it must be at least 1"),
        ("data train-behaviour Hopper-v5 --steps 50000", "--steps 50000 is no multiple of --interval 20000"),
        ("data train-behaviour Hopper-v5 --medium 3 1", "--medium takes the lowest return first; got 3 1"),
        ("show quickstart --rows DTT", "unknown row 'DTT'; table quickstart has DMM v2, DT. Did you mean 'DT'?"),
        ("show quickstart --columns x", "unknown column 'x'; table quickstart has hopper-medium."),
        ("show quickstart --budget smal", "unknown budget 'smal'; table quickstart has medium, paper, short, smoke."),
        ("show quickstart --source minary", "unknown source of data 'minary'; table quickstart has dmm."),
        ("show zoo --rows DMM-DCC", "unknown row 'DMM-DCC'; table zoo has '10% BC', .* Did you mean 'DMM-DC'?"),
        ("show zoo --columns hopper", "unknown column 'hopper'; table zoo has .* Did you mean 'hopper-medium'?"),
        ("show zoo --budget smal", "unknown budget 'smal'; table zoo has medium, paper, short, smoke."),
        ("show zoo --source minary", "unknown source of data 'minary'; table zoo has d4rl."),
    ],
)  # fmt: skip
def test_a_wrong_word_is_one_line(words, said, dmm):
    code, out, error = dmm(*words.split())
    assert (code, out) == (2, "")
    assert re.fullmatch(f"error: {said.replace('?', '[?]')}\n", error), error


def test_a_wrong_word_about_a_grid_is_one_line(dmm, grid_table):
    error = dmm("run", grid_table, "DT")[2]
    assert error.startswith(
        "error: unknown row 'DT'; table mine has 'DT, context_length 4, width 16', 'DT, context_length 4"
    )
    assert error.endswith("Did you mean 'DT, context_length 4, width 16'?\n")
    Path(grid_table).write_text(GRID.replace("context_length=", "contxt_length="))
    code, _, error = dmm("show", grid_table)
    assert code == 2 and error.startswith("error: unknown axis 'contxt_length'; row 'DT, contxt_length 4, width 16'")
    assert error.endswith("Did you mean 'context_length'?\n") and error.count("\n") == 1


def test_hints_repeat_all_words_and_quote_them(dmm, grid_table, monkeypatch):
    from dmm.sweeps import submit

    row = "DT, context_length 4, width 16"
    part = ["--budget", "short", "--source", "dmm", "--rows", row, "--columns", "hopper-medium", "--seeds", "0,1"]
    shown = f"'{grid_table}' --budget short --source dmm --rows '{row}' --columns hopper-medium --seeds 0,1"
    counts = SimpleNamespace(total=4, done=2, failed=0, unsent=1, left=2)
    fake = SimpleNamespace(sweep=lambda *words, **more: counts)
    monkeypatch.setitem(sys.modules, "dmm.sweeps.sweep", fake)  # the real one imports Ray
    words = ["sweep", grid_table, "--profile", "laptop", *part, "--retrain", "--mlflow", "http://my host:5"]
    again = f"dmm sweep '{grid_table}' --profile laptop{shown.removeprefix(repr(grid_table))} --retrain"
    code, out, _ = dmm(*words)
    assert code == 130 and out.splitlines()[1:] == [
        f"this sends the results that are not in MLflow yet: dmm sync {shown} --mlflow 'http://my host:5'",
        f"stopped; the same command continues: {again} --mlflow 'http://my host:5'",
    ]
    counts = SimpleNamespace(total=4, done=3, failed=1, unsent=0, left=0)
    code, out, _ = dmm(*words)
    assert (code, out.splitlines()[1:]) == (
        1,
        [f"the same command runs failed trials again: {again} --mlflow 'http://my host:5'"],
    )
    counts = SimpleNamespace(total=4, done=4, failed=0, unsent=0, left=0)
    code, out, _ = dmm(*words[:-2])
    assert (code, out.splitlines()[1:]) == (0, [f"now: dmm report {shown}"])
    assert dmm(*words)[1].splitlines()[1:] == [f"now: dmm report {shown} --from 'http://my host:5'"]

    line = dmm("status", grid_table, *part)[1]
    assert line.endswith(f"; this continues it: dmm sweep {shown}\n")
    assert line.startswith(f"mine.short.dmm (rows {row}; columns hopper-medium; seeds 0, 1): 0/2 done")

    sent = []
    monkeypatch.setattr(submit, "submit", lambda table, words, **more: sent.append(words))
    out = dmm("submit", grid_table, *part, "--mlflow", "http://mlflow:5")[1]
    assert sent == [[grid_table, *part]]
    assert out.endswith(f": dmm submit {shown} --mlflow http://mlflow:5\n")


def test_a_variable_is_not_repeated_as_an_option(dmm, grid_table, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:secret@mlflow:5000")
    assert "secret" not in dmm("status", grid_table)[1]


def test_a_run_says_its_scores_and_where_its_model_is(dmm, toy):
    code, out, error = dmm("run", toy, "DT")
    (trial,) = find_table(toy).select(["DT"]).trials()
    result = load_result(trial)
    assert code == 0 and "100%, 6/6, " in error.splitlines()[-1] and "\x1b" not in out + error
    last = next(entry for entry in result.evaluations if (entry.update, entry.target) == (6, "x1"))
    line = next(line for line in out.splitlines() if line.startswith("x1 "))
    assert (
        f"{fmean(last.returns):,.1f} ± " in line
        and f"{trial.task.normalised_score(fmean(last.returns)):.1f} ± " in line
    )
    assert "finished: evaluation after 6 updates, mean ± standard deviation of 6 episodes" in out
    model = Path(out.split("model ")[1].splitlines()[0].strip())
    assert model == home() / "trials" / trial.weights_id / "weights" / "6" and (model / "model.safetensors").is_file()
    assert f'dmm.load("{trial.returns_id}")' in out
    assert dmm("run", toy, "DT") == (0, out, "")  # nothing is left to do, so there is no bar

    shutil.rmtree(model.parent)
    (home() / "trials" / trial.weights_id / "evaluations" / f"{trial.returns_id}.json").unlink()
    again = f"dmm run {toy} DT --retrain"
    assert dmm("run", toy, "DT")[2].endswith(f"--retrain trains the trial again: {again}\n")
    assert dmm("evaluate", toy, "DT")[2].endswith(f"has no kept weights at update 3, 6; `{again}` trains it again\n")


def test_a_stopped_run_says_how_to_continue(dmm, toy, monkeypatch):
    def stop(*words, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(progress, "run", stop)
    code, out, error = dmm("run", toy, "DT", "--seed", "3")
    assert code == 130 and "Traceback" not in error
    assert out.splitlines()[1:] == [f"stopped; the same command continues: dmm run {toy} DT --seed 3"]


def test_a_loss_that_is_not_finite_is_one_line(dmm, toy, monkeypatch):
    monkeypatch.setenv("DMM_TOY_BROKEN", "nan")
    code, _, error = dmm("run", toy, "NaN")
    assert code == 1 and re.fullmatch(r"error: the loss is nan between updates \d+ and \d+", error.splitlines()[-1])


@pytest.fixture
def clock(monkeypatch):
    """Time stands still unless it is moved."""
    now = [1000.0]
    monkeypatch.setattr(progress_bar.time, "perf_counter", lambda: now[0])
    return now


def test_a_day_of_work_is_a_few_lines_in_a_log(clock, capsys):
    with ProgressBar(86_400, "updates", "DT", evaluations=1) as bar:
        bar.start()
        for update in range(10, 86_401, 10):
            clock[0] += 10
            bar.advance(update, {"loss": "0.5"}, evaluates=update == 86_400)
        clock[0] += 60
        bar.evaluated({"score": "33.1"})
    lines = capsys.readouterr().err.splitlines()
    assert 50 < len(lines) < 200
    assert lines[0] == "DT: 0%, 10/86,400, 1 updates/s, loss 0.5, > 24.0 h left"
    assert lines[-1] == "DT: 100%, 86,400/86,400, 1 updates/s, loss 0.5, score 33.1, in 24.0 h"


def test_the_time_left_has_updates_and_evaluations(clock):
    bar = ProgressBar(100, "updates", evaluations=2)
    bar.start(10)  # of an earlier process
    clock[0] += 8
    bar.advance(50, {}, evaluates=True)
    assert bar.text() == "50/100, evaluating, > 10 s left"
    clock[0] += 60
    bar.evaluated({"score": "33.1"})
    assert bar.text() == "50/100, 5 updates/s, score 33.1, 1.2 min left"  # 50 updates and an evaluation
    assert [spell_duration(seconds) for seconds in (0, 59, 90, 7199, 7200)] == [
        "0 s",
        "59 s",
        "1.5 min",
        "120.0 min",
        "2.0 h",
    ]


def test_a_terminal_has_one_line_that_is_redrawn(clock, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    with ProgressBar(1000, "steps", "collecting dmm/hopper/medium-v0") as bar:
        bar.start()
        for step in range(1, 1001):
            clock[0] += 0.01
            bar.advance(step, {})
    name, drawn, end = terminal.getvalue().split("\n")
    assert (name, end) == ("collecting dmm/hopper/medium-v0", "")
    states = drawn.split("\r")
    assert 50 < len(states) < 150  # ten a second
    assert states[-1].startswith("100 %|") and states[-1].rstrip().endswith("1,000/1,000, 100 steps/s, in 10 s")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("sweep qui", ["quickstart"]),
        ("sweep quickstart --profile lap", ["laptop"]),
        ("sweep quickstart --budget s", ["smoke", "short"]),
        ("sweep quickstart --source ", ["dmm"]),
        ("sweep quickstart --rows ", [r"DMM\ v2", "DT"]),
        ("sweep quickstart --rows DT,", [r"DT,DMM\ v2"]),
        ("show quickstart --columns hop", ["hopper-medium"]),
        ("run quickstart D", [r"DMM\ v2", "DT"]),
        ("run quickstart DT --column ", ["hopper-medium"]),
        ("run no-such-table ", []),
        ("data collect dmm/hopper/m", ["dmm/hopper/medium-v0", "dmm/hopper/mixed-v0"]),
        ("check metam", ["metamamba"]),
        ("report quickstart --from reports/f", ["reports/five_seeds"]),
        ("report quickstart --format m", ["md"]),
        ("report quickstart --format md,c", ["md,csv"]),
        ("report quickstart --baseline D", [r"DMM\ v2", "DT"]),
        ("compare quick", ["quickstart"]),
        ("compare quickstart . --reading b", ["best"]),
        ("compare quickstart . --table quick", ["quickstart"]),
        ("compare quickstart . --format ", ["md", "csv"]),
    ],
)
def test_the_shell_completes(words, found, dmm, monkeypatch):
    line = ["dmm", *words.split(" ")]
    monkeypatch.setenv("_DMM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "\n".join(line))
    monkeypatch.setenv("COMP_CWORD", str(len(line) - 1))
    assert dmm()[1].split("\n")[:-1] == (found or [""])


def test_the_shell_completes_the_places_of_results(dmm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "no"):
        (tmp_path / "reports" / name).mkdir(parents=True)
    (tmp_path / "reports/mine/runs.jsonl.gz").touch()
    monkeypatch.setenv("_DMM_COMPLETE", "complete_bash")
    for words in ("report quickstart --from ", "sweep quickstart --from ", "compare quickstart rep"):
        line = ["dmm", *words.split(" ")]
        monkeypatch.setenv("COMP_WORDS", "\n".join(line))
        monkeypatch.setenv("COMP_CWORD", str(len(line) - 1))
        found = dmm()[1].split("\n")[:-1]
        assert found[0] == "reports/mine" and "reports/no" not in found and (str(home()) in found) == (words[-1] == " ")


def test_make_takes_torch_for_the_cpu_first_and_says_how_to_call_dmm(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)

    def make(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["make", "-n", "--no-print-directory", *words], cwd=tmp_path, capture_output=True, text=True
        )

    for goal in ("quickstart", "test"):
        lines = make(goal, "TORCH=cpu").stdout.splitlines()
        (first,) = [i for i, line in enumerate(lines) if "--index-url https://download.pytorch.org/whl/cpu" in line]
        assert re.search(r"pip install -q torch==[\d.]+ --index", lines[first]) and "-e ." in lines[first + 1]
        assert "download.pytorch.org" not in make(goal).stdout
    end = "\n".join(make("quickstart").stdout.splitlines()[-3:])
    assert ".venv/bin/dmm list" in end and "source .venv/bin/activate" in end
    assert "TORCH is 'gpu'; it takes cpu, or nothing" in make("quickstart", "TORCH=gpu").stderr
