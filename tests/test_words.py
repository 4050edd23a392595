"""Words of users in every format: a table's files parse back, nothing runs as a formula or markup, and bad values are named."""

import csv
import dataclasses
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import handmade_results as handmade

from dmm import cli
from dmm.base.errors import unknown_name
from dmm.base.text_tables import csv_cell, csv_text, markdown_list, markdown_table, markdown_text, plain_table
from dmm.batch import Spaces
from dmm.cli import mistakes
from dmm.config import Budget, Column, Evaluation, Protocol, Reading, Row, Table, Target, Training, grid
from dmm.data.behaviour import Recipe
from dmm.data.readers.dmm import Collection, with_size
from dmm.report.files import write_report
from dmm.results.score import failure_reason, summarise
from dmm.schema import ReportSource
from dmm.sweeps.profile import Profile, find_profile
from dmm.tables import find_table, tables
from dmm.tracking.content import row_tag
from dmm.tracking.view import table_view

SOURCE = ReportSource(uri="sqlite:///x", experiment="dmm", query="q", commit="c", versions={})
NASTY = [
    "a|b", "a\\|b", "ends with \\", "<script>alert(1)</script>", "R&D &lt;", "`code`", "[x](http://y)", "![x](y)", "[x]: y",
    "*a* and _b_ and ~~c~~", "=1+1", "+1 layer", "-dropout", "@x", " =2+2", "# heading", "1. one", "10) ten", "> quote",
    "- item", "---", "[x] done", "C#", 'a "quoted", label', "$\\frac$", "_hidden", "ünï", "-3.2", "{{x}}",
]  # fmt: skip


def split_cells(line: str) -> list[str]:
    """The cells of a line of a Markdown table, as its readers find them: `|` after a backslash is text, `\\` is one."""
    cells = re.findall(r"((?:\\.|[^|\\])*)\|", line)
    return [re.sub(r"\\(.)", r"\1", cell.strip()).replace("&lt;", "<").replace("&amp;", "&") for cell in cells[1:]]


def nasty_table() -> Table:
    rows = tuple(
        Row(label=label, arch="dt", overrides={"width": 8 * (i + 1)}, note=label) for i, label in enumerate(NASTY)
    )
    column = Column(label="|<b>`x`", task=handmade.HOPPER, dataset="d4rl:/data/|<i>=@*x*.hdf5")
    protocol = replace(handmade.PROTOCOL, name="<p>|")
    return replace(
        handmade.TABLE, title="<img src=x> #", rows=rows, columns=(column,), departures=("- [ ] <u>",), source="`s`",
        protocol=protocol, readings=(Reading(name="*last*"),),
    )  # fmt: skip


def test_what_is_written_parses_back_and_holds_no_markup_of_a_user(tmp_path):
    table = nasty_table()
    results = [handmade.result(trial, {1.0: [1.0, 2.0, 3.0], 0.5: [1.0, 2.0, 3.0]}) for trial in table.trials()]
    error = "ValueError: \x1b[31m<b>|`=x`\nand more"
    results[0] = replace(results[0], status="failed", returns=replace(results[0].returns, status="failed", error=error))
    write_report(table, {result.id: summarise(result) for result in results}, tmp_path, SOURCE, ("md", "csv"))

    with open(tmp_path / "table.csv", newline="") as file:
        header, *lines = csv.reader(file)
    assert {len(line) for line in lines} == {len(header)}
    assert [line[header.index("row")].removeprefix("'") for line in lines] == NASTY
    for line in lines:
        assert not any(re.match(r"\s*[=@]|\s*[+-](?![\d.]+$)", cell) for cell in line)
    assert lines[0][header.index("data")] == "d4rl:/data/|<i>=@*x*.hdf5"

    text = (tmp_path / "table.md").read_text()
    of_tables = [split_cells(line) for line in text.splitlines() if line.startswith("|")]
    header, _, *scores = of_tables[: 2 + len(NASTY)]
    assert [cells[0] for cells in scores] == [label.strip() for label in NASTY] and header[1] == "*last*"
    assert {len(cells) for cells in [header, *scores]} == {len(header)}
    plain = re.sub(r"\*\*([-\d.][^*]*)\*\*|!\[[\w ,]+\]\(\w+\.png\)", r"\1", text)  # numbers in bold, and pictures
    assert not re.search(r"<|(?<!\\)`|\x1b|(?<!\\)\][(:]|(?<!\\)\*(?=\w)|&(?!lt;|amp;)", plain)
    assert r"ValueError: \\x1b[31m&lt;b>\|\`=x\` and more" in text
    listed = [line for line in text.splitlines() if line.startswith("- ")]
    assert not any(re.match(r"- (#|>|[-+*] |---|\d+[.)] |\[[ x]\])", line) for line in listed)


@pytest.mark.parametrize("value", [-3.2, 0, None, "-3.2", "+1e-3", "", "-.5", "3", "x-1", "a=b", "1@2"])
def test_numbers_and_plain_words_stay_as_they_are_in_csv(value):
    assert csv_cell(value) == value


@pytest.mark.parametrize("value", ["=1", "+x", "-x", "@x", "\t=1", " -1+1", "-1-1", "\r=1", "--1"])
def test_a_cell_of_csv_never_starts_a_formula(value):
    assert csv_cell(value)[0] in "'\\"


def test_the_tables_that_ship_have_the_same_bytes_as_before():
    for name in tables():
        table = find_table(name)
        texts = [table.title, table.source, table.protocol.name, *table.departures, *(r.name for r in table.readings)]
        texts += [text for row in table.rows for text in (row.label, row.note)]
        texts += [text for column in table.columns for text in (column.label, column.task.source, *column.dataset)]
        for text in filter(None, texts):
            assert markdown_text(text) == csv_cell(text) == text
            assert markdown_list([text]) == f"- {text}"
    for path in (Path(__file__).parent.parent / "reports").glob("*/*.md"):
        cells = {
            cell.strip().removeprefix("**").removesuffix("**")
            for line in path.read_text().splitlines()
            if line[:1] == "|"
            for cell in line.split("|")
        }
        assert {markdown_text(cell) for cell in cells} == cells


def test_a_terminal_shows_control_characters_and_does_not_obey_them(capsys):
    name = "d4rl/\x1b[2J\x1b]0;title\x07\nfile\u202e"
    shown = plain_table([{"id": name}])
    assert shown.splitlines()[2] == r"d4rl/\x1b[2J\x1b]0;title\x07\nfile\u202e"
    with pytest.raises(SystemExit):
        mistakes.end(str(unknown_name("dataset", name, [])) + name)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error[:-1].isprintable()
    assert failure_reason("a\x1b[31m\n b") == r"a\x1b[31m b"


@pytest.mark.parametrize(
    "text", ["a\nb", "a\tb", "\x1b[31mred", "a\r", "zero\u200bwidth", "\u202eright to left", "\x00"]
)
@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda text: Row(label=text, arch="dt"), "Row.label"),
        (lambda text: Row(label="x", arch="dt", note=text), "Row.note"),
        (lambda text: Column(label=text, task=handmade.HOPPER, dataset="d4rl/x"), "Column.label"),
        (lambda text: Column(label="x", task=handmade.HOPPER, dataset=text), "Column.dataset"),
        (lambda text: replace(handmade.TABLE, title=text), "Table.title"),
        (lambda text: replace(handmade.TABLE, departures=(text,)), "Table.departures"),
        (lambda text: Reading(name=text), "Reading.name"),
        (lambda text: Protocol(name=text), "Protocol.name"),
    ],
)
def test_a_text_of_a_table_is_one_line(make, field, text):
    with pytest.raises(ValueError, match=f"^{field} is .*; it takes one line without control characters$") as error:
        make(text)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("label", ["", "  ", "x" * 501])
def test_a_label_has_a_length_that_tables_and_mlflow_hold(label):
    for make in (
        lambda: Row(label=label, arch="dt"),
        lambda: Column(label=label, task=handmade.HOPPER, dataset="d4rl/x"),
    ):
        with pytest.raises(ValueError, match="label is .* characters; it takes 1 to 500"):
            make()


@pytest.mark.parametrize("name", ["n" * 245, "ü" * 100])
def test_a_name_that_no_file_can_have_is_refused(name):
    with pytest.raises(ValueError, match=r"a name of 2\d\d bytes; it takes at most 150"):
        replace(handmade.TABLE, name=name)
    with pytest.raises(ValueError, match="a name of 154 bytes"):
        replace(handmade.TABLE, name="n" * 148).at("short")


def test_the_view_of_mlflow_groups_by_the_row_so_variants_stay_apart():
    """Rows of one architecture, context and width differ in their tag only."""
    table = replace(
        handmade.TABLE,
        rows=(Row(label="BC|<b>", arch="bc"), Row(label="10% BC", arch="bc", overrides={"top_fraction": 0.1})),
    )
    view = table_view(table, "a query", count=2)
    assert view["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": row_tag("handmade")}]
    assert view["selectedColumns"][0] == f"tags.`{row_tag('handmade')}`"


VALUES = [
    Training(), Evaluation(), Protocol(name="p"), Target(1.0), Reading(name="r"),
    Budget(factor=0.1, num_evaluations=1, episodes_per_evaluation=1, seeds=1),
    handmade.TABLE.rows[0], handmade.TABLE.columns[0], handmade.TABLE, handmade.HOPPER, handmade.HOPPER.spaces,
    handmade.TABLE.trials()[0], Profile(name="p"), Recipe("Hopper-v5", 0, (1.0, 2.0), 3.0), Collection("hopper", "medium"),
]  # fmt: skip
BAD = [
    None, True, "", "-200", "a\nb", -1, 0, 2e2, math.nan, math.inf, 10**400, [], {"a": 1}, {1: 2}, [1], (1, 2), ((1, 2),),
    [[]], object(), np.int64(-3), np.float32(np.nan), np.bool_(True), np.arange(3), np.str_("x"), b"x", {1, 2}, int, Training,
]  # fmt: skip


def remade(value, /, **changes):
    """A changed copy. The annotations of its constructor, which tests check and users do not, are passed by."""
    made = object.__new__(type(value))
    for name, entry in {**{f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, **changes}.items():
        object.__setattr__(made, name, entry)
    made.__post_init__()
    return made


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_every_field_takes_a_value_or_names_itself(value):
    """A bad value is a ValueError with the field and the value, and never another error."""
    for field in dataclasses.fields(value):
        if (type(value).__name__, field.name) in (("Row", "source"), ("Trial", "source")):
            continue  # found by `arch`
        for bad in BAD:
            try:
                made = getattr(remade(value, **{field.name: bad}), field.name)
            except ValueError as error:
                named = rf"\b{field.name.rstrip('s')}s?\b|unknown field|cited|updates|architecture"
                assert re.search(named, str(error)), (field.name, bad, error)
                assert str(error).isprintable()
            else:
                assert type(made).__module__ != "numpy", (field.name, bad)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: remade(handmade.HOPPER, horizon=2e2), "Task.horizon is 200.0, a float; it takes an int"),
        (
            lambda: remade(handmade.HOPPER, target_return="-200"),
            "Task.target_return is '-200', a str; it takes a float",
        ),
        (lambda: replace(handmade.HOPPER, target_return=math.nan), "Task.target_return is nan; it must be finite"),
        (
            lambda: remade(handmade.HOPPER, options={"a": 1}),
            "Task.options is {'a': 1}, .*a tuple of pair of a str and any",
        ),
        (lambda: replace(handmade.HOPPER, options=(("a", {}),)), r"Task.options\['a'\] is {}, a dict; an option is"),
        (lambda: replace(handmade.HOPPER, options=(("a", 1), ("a", 2))), "takes each name once"),
        (lambda: replace(handmade.HOPPER, ref_min_score=9e9), "Task.ref_min_score of hopper is 9000000000.0"),
        (
            lambda: replace(handmade.HOPPER, ref_min_score=0.0, ref_max_score=5e-324),
            "Task.ref_max_score is 5e-324; it must be 0, or at least",
        ),
        (
            lambda: replace(handmade.HOPPER, return_scale=1e308),
            "Task.return_scale is 1e.308; it must be finite in float32",
        ),
        (lambda: Training(learning_rate=1e-50), "Training.learning_rate is 1e-50; it must be 0, or at least 1.2e-38"),
        (lambda: Training(std_offset=1e40), "Training.std_offset is 1e.40; it must be finite in float32"),
        (lambda: Training(pad_action=-1e39), "Training.pad_action is -1e.39; it must be finite in float32"),
        (lambda: Spaces(states=(3,), actions=1, low=(1,), high=(1,)), "dimension 0 of Spaces has low 1.0 and high 1.0"),
        (lambda: Spaces(states=(3,), actions=1, low=(1,), high=(1 + 1e-9,)), "in float32, low must be below high"),
        (
            lambda: Spaces(states=(3,), actions=1, low=(0,), high=(1e39,)),
            "Spaces.high is 1e.39; it must be finite in float32",
        ),
        (lambda: Evaluation(targets="-200"), "Evaluation.targets is '-200', a str; it takes a Target or a float"),
        (lambda: Evaluation(targets=(1.0, math.nan)), "Evaluation.targets is nan; it must be finite"),
        (lambda: replace(handmade.TABLE, seeds=2), "Table.seeds is 2, an int; it takes a tuple of int"),
        (lambda: replace(handmade.TABLE, seeds="012"), "Table.seeds is '012', a str; it takes a tuple of int"),
        (lambda: replace(handmade.TABLE, seeds=(0.0,)), "Table.seeds is 0.0, a float; it takes an int"),
        (lambda: replace(handmade.TABLE, seeds=(True,)), "Table.seeds is True, a bool; it takes an int"),
        (lambda: replace(handmade.TABLE, seeds=(0, -1)), "Table.seeds has -1; each seed must be at least 0"),
        (lambda: replace(handmade.TABLE, seeds=(1, np.int64(1))), r"one or more seeds, each once; it has \[1, 1\]"),
        (lambda: replace(handmade.TABLE, seeds=(2**64,)), "Table.seeds is 18446744073709551616; .* at most 63 bits"),
        (lambda: Row(label="x", arch="dt", overrides={3: 4}), "a key of Row.overrides is 3, an int; it takes a str"),
    ],
)
def test_a_bad_field_says_what_it_takes(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_numbers_of_numpy_are_those_of_python_everywhere():
    table = replace(
        handmade.TABLE,
        seeds=np.arange(2),
        rows=(Row(label="x", arch="dt", overrides={"width": np.int64(64), "learning_rate": np.float32(0.5)}),),
    )
    plain = replace(handmade.TABLE, rows=(Row(label="x", arch="dt", overrides={"width": 64, "learning_rate": 0.5}),))
    assert table.seeds == (0, 1) and [t.returns_id for t in table.trials()] == [t.returns_id for t in plain.trials()]
    assert Evaluation(targets=np.array([1.0, 0.5])) == Evaluation(targets=(1.0, 0.5))
    rows = grid(Row(label="x", arch="dt"), betas=([0.9, 0.99], [0.9, 0.999]))
    assert replace(handmade.TABLE, rows=rows).axes == {"betas": ((0.9, 0.99), (0.9, 0.999))}


def test_an_option_that_an_environment_does_not_have_is_one_error():
    task = replace(handmade.HOPPER, options=(("reset_noise", [0.1]),))
    assert task.options == (("reset_noise", (0.1,)),) and hash(task)
    with pytest.raises(ValueError, match="task hopper: 'Hopper-v5' cannot be made with the options .*'reset_noise'"):
        task.make()


BEGIN = "from dataclasses import replace\nfrom tune_spaces.quickstart import TABLE as QUICKSTART\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("TABLE = replace(QUICKSTART,\n  seeds=2)", "3: Table.seeds is 2, an int; it takes a tuple of int"),
        (
            "def f():\n  return replace(QUICKSTART.protocol.training, batch_size=2e2)\nf()",
            "4: Training.batch_size is 200.0",
        ),
        ("TABLE = replace(QUICKSTART, sedes=(1,))", "3: TypeError: .*'sedes'"),
        ("TABLE = nothing", "3: NameError: name 'nothing'"),
        ("import no_such_module", "3: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def f(:", "3: SyntaxError: "),
        ("raise SystemExit(3)", "3: SystemExit: 3"),
    ],
)
def test_a_mistake_in_a_tables_file_has_its_file_and_line(text, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("my table.py").write_text(BEGIN + text)
    monkeypatch.setattr(sys, "argv", ["dmm", "show", "my table.py"])
    with pytest.raises(SystemExit) as ended:
        cli.run()
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1
    assert re.match(f"error: my table.py:{said}", error), error


def test_a_mistake_in_a_module_beside_a_table_has_that_file(tmp_path):
    (tmp_path / "beside_words.py").write_text("\n\n1 / 0")
    (tmp_path / "table.py").write_text("import beside_words")
    with pytest.raises(ValueError, match=f"^{tmp_path}/beside_words.py:3: ZeroDivisionError"):
        find_table(str(tmp_path / "table.py"))


@pytest.mark.parametrize("name", ["./tg.short", "../tg", ".", "tables/mine"])
def test_a_path_without_py_is_said_to_be_one(name):
    with pytest.raises(
        ValueError, match=f"no table at {re.escape(name)}; the path of a table ends in .py, and --budget"
    ):
        find_table(name)


def test_a_profile_names_its_file_and_field(tmp_path):
    path = tmp_path / "odd.toml"
    for text, said in {
        b"workers = '2'": "Profile.workers is '2', a str",
        b"cpus = -1": "Profile.cpus is -1",
        b"\xff": "utf-8",
    }.items():
        path.write_bytes(text)
        with pytest.raises(ValueError, match=f"profile {path}: .*{said}"):
            find_profile(str(path))


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ("minari/mujoco/hopper/x-v0", "`dmm data download minari/mujoco/hopper/x-v0` gets it"),
        ("minari/a b", "`dmm data download 'minari/a b'` gets it"),
        ("d4rl/hopper-medium-v2", "`dmm data download d4rl/hopper-medium-v2` gets it"),
        ("d4rl/hopper-medium", "it is a file of yours"),
        ("d4rl:/data/x.hdf5", "it is a file of yours"),
    ],
)
def test_data_of_another_source_are_not_collected(dataset, said):
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        with_size(dataset, None, None)
    assert "Did you mean" not in str(error.value) and "dmm/TASK/POLICY-v0" in str(error.value)


def test_csv_and_markdown_of_any_rows_parse_back():
    @dataclasses.dataclass
    class Line:
        name: str
        number: float

    assert list(csv.reader(csv_text([Line('a,"b\n=c', -3.2)]).splitlines()))[1] == ['a,"b\\n=c', "-3.2"]
    assert split_cells(markdown_table(["a|b", "c"], [["x|\\", "y"]]).splitlines()[2]) == ["x|\\", "y"]
