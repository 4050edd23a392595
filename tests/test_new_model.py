"""dmm new model and dmm check: what they write, print and refuse."""

from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from dmm.architectures import find_model, resolve
from dmm.cli import models
from dmm.cli.models import parse_overrides
from dmm.contract import RULES
from dmm.contract.subject import Subject
from dmm.contract.writing import write_model


@pytest.fixture
def dmm(monkeypatch, tmp_path) -> Callable[..., Result]:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(models.app, words)


def test_a_new_model_is_written_and_checked(dmm, tmp_path):
    done = dmm("new", "model", "gru")
    assert done.exit_code == 0 and (tmp_path / "gru.py").is_file()
    assert "dmm check ./gru.py" in done.output and 'Row(label="gru", arch="./gru.py"' in done.output
    done = dmm("check", "./gru.py", "--set", "width=16", "--set", "dropout=0.2")
    assert done.exit_code == 0 and done.output.count("\nok ") == len(RULES) == 27
    for words in (
        "GruPolicy of ./gru.py\n", "width=16, layers=1, dropout=0.2\n", "recurrent  no\n", "needs      previous_actions\n",
        "sees       states, returns_to_go, previous_actions up to the step\n", "\nall 27 rules hold\n",
    ):  # fmt: skip
        assert words in done.output


def test_a_broken_rule_is_exit_code_1_and_its_words_fit_the_screen(dmm, tmp_path):
    path = write_model("gru", tmp_path)
    path.write_text(path.read_text().replace("batch.previous_actions)", "batch.actions)"))
    done = dmm("check", "gru.py", "--set", "width=16")
    assert done.exit_code == 1 and "\n2 of 27 rules failed\n" in done.output
    assert "failed  no step sees the future: The prediction for step 0 changes when the\n        action" in done.output
    assert all(len(line) <= 80 for line in done.output.splitlines() if not line.startswith("ok"))


def test_a_shipped_architecture_is_checked_by_its_name(dmm):
    done = dmm("check", "bc", "--set", "width=16")
    assert (
        done.exit_code == 0 and "BehaviourCloning of bc\n" in done.output and "states up to the step\n" in done.output
    )


@pytest.mark.parametrize(
    "words, said",
    [
        (["./absent.py"], "absent.py"),
        (["gru.py", "--set", "widht=3"], "Did you mean 'width'"),
        (["gru.py", "--set", "width"], "--set is 'width'; it takes a field and its value: width=32"),
        (["gru.py", "--set", "width=0"], "width is 0"),
        (["dtt"], "Did you mean 'dt'"),
    ],
)
def test_what_cannot_be_checked_is_one_error(words, said, dmm, tmp_path):
    write_model("gru", tmp_path)
    error = dmm("check", *words).exception
    assert isinstance(error, ValueError) and said in str(error)


def test_values_of_set_are_words_numbers_and_truth():
    given = ["mixer=conv", "residual=false", "double=True", "width=32", "dropout=1e-2", "name=a=b"]
    assert parse_overrides(given) == {
        "mixer": "conv", "residual": False, "double": True, "width": 32, "dropout": 0.01, "name": "a=b"
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["my-gru", "2gru", "class", "", "a/b", "dt", "dmm", "torch", "numpy", "json", "test", "match", "_", "__init__"],
)
def test_a_name_that_cannot_be_a_model_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=f"{name!r}"):
        write_model(name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["gru", "batch", "decision_model", "_1", "Dropout"])
def test_any_other_name_gives_a_model_that_can_be_built(name, tmp_path):
    found, source = resolve(write_model(name, tmp_path))
    assert found == name and find_model(source).__name__.endswith("Policy")
    Subject(source, {}).require_build()


def test_nothing_is_overwritten(tmp_path):
    path = write_model("gru", tmp_path)
    path.write_text("mine")
    with pytest.raises(ValueError, match="gru.py exists; nothing was written"):
        write_model("gru", tmp_path)
    assert path.read_text() == "mine"
    with pytest.raises(ValueError, match="there is no folder"):
        write_model("gru", tmp_path / "absent")
