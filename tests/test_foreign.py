"""Architectures from outside: found by path, class or entry point; carried as text; made once in every process."""

import inspect
import pickle
import shutil
import subprocess
import sys
import traceback
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from helpers.foreign import GRU, HELPERS, write, write_gru
from helpers.reacher import REACHER, parts

from dmm import models
from dmm.architectures import build_model, find_model, resolve
from dmm.base.source_code import PREFIX, SourceCode
from dmm.config import Row, Trial, grid
from dmm.schema import ModelSource, from_json, to_json
from dmm.tables import find_table
from dmm.trials.run import run
from dmm.trials.storage import read_checked, write_checked
from dmm.trials.weights import CARD, load_weights, weights_folder

ROOT = Path(__file__).parent.parent


def trial(path, **changes) -> Trial:
    return Trial(**{"arch": path, "task": REACHER, "dataset": ("d4rl:none",), "seed": 0, **parts(), **changes})


def test_a_path_a_class_and_a_text_give_the_same_trial(tmp_path, monkeypatch):
    path = write_gru(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    kind = import_module("gru").GRU
    by_path, by_text, by_class = trial(path), trial("gru.py"), trial(kind)
    del sys.modules["gru"]
    assert by_path == by_text == by_class and hash(by_path) == hash(by_class)
    assert by_path.arch == "gru" and by_path.source.class_name == "GRU"
    assert [name for name, _ in by_path.source.code.files] == ["gru.py", "helpers.py"]
    assert by_path.model is by_class.model is not kind  # the carried text makes the class, here too
    assert trial(by_path.model).source == by_path.source
    assert by_path.weights_record.source_sha256 == by_path.source.sha256
    assert trial("dt").source is None and trial(find_model("dt")) == trial("dt") == trial(models.__path__[0] + "/dt.py")
    assert trial("./gru.py").model.__module__.startswith(PREFIX)


def test_an_edit_of_the_file_or_of_a_file_that_it_imports_gives_another_id(tmp_path):
    path = write_gru(tmp_path)
    first = trial(path)
    found = {first.weights_id}
    for gru, helpers in ((GRU + "# a note\n", HELPERS), (GRU, HELPERS.replace("Tanh", "Identity"))):
        write_gru(tmp_path, gru, helpers)
        found.add(trial(path).weights_id)
        assert replace(first, seed=0).weights_id == first.weights_id  # a copy keeps its text
        assert replace(first, arch=path) == trial(path) != first
    write_gru(tmp_path)
    (tmp_path / "unrelated.py").write_text("1")
    assert len(found) == 3 and trial(path).weights_id == first.weights_id
    write_gru(tmp_path / "moved")
    assert trial(tmp_path / "moved" / "gru.py") == first


def test_line_ends_move_no_id(tmp_path):
    first = trial(write_gru(tmp_path)).weights_id
    (tmp_path / "gru.py").write_bytes(GRU.replace("\n", "\r\n").encode())
    assert trial(tmp_path / "gru.py").weights_id == first


def test_a_shipped_architecture_has_no_source_and_a_copy_of_it_is_another(tmp_path):
    shutil.copy(ROOT / "dmm" / "models" / "dt.py", tmp_path)
    ours, copied = trial("dt"), trial(tmp_path / "dt.py")
    assert (copied.arch, copied.source.class_name) == ("dt", "DecisionTransformer")
    assert copied.weights_id != ours.weights_id and copied != ours


LAYOUTS = {  # files -> the file of the model
    "lazy": {"gru.py": GRU, "helpers.py": HELPERS},
    "import of a module": {"gru.py": GRU.replace("from helpers import head", "import helpers; head = helpers.head"),
                           "helpers.py": HELPERS},
    "import as": {"gru.py": GRU.replace("from helpers import head", "import helpers as h; head = h.head"),
                  "helpers.py": HELPERS},
    "beside, relative": {"gru.py": GRU.replace("from helpers", "from .helpers"), "helpers.py": HELPERS},
    "package, relative": {"mine/__init__.py": "WIDTH = 3\n", "mine/gru.py": GRU.replace("from helpers", "from .helpers"),
                          "mine/helpers.py": "from . import WIDTH\nassert WIDTH == 3\n" + HELPERS},
    "package, above": {"mine/__init__.py": "", "mine/nets/__init__.py": "", "mine/helpers.py": HELPERS,
                       "mine/nets/gru.py": GRU.replace("from helpers", "from ..helpers")},
    "package, absolute": {"mine/__init__.py": "", "mine/helpers.py": HELPERS,
                          "mine/gru.py": GRU.replace("from helpers import head", "import mine.helpers as h; head = h.head")},
    "package, name by name": {"mine/__init__.py": "", "mine/helpers.py": HELPERS,
                              "mine/gru.py": GRU.replace("from helpers import head", "import mine.helpers").replace(
                                  "head(config", "mine.helpers.head(config")},
    "helpers in a package": {"gru.py": GRU.replace("from helpers import head", "from nets.helpers import head"),
                             "nets/__init__.py": "from nets.more import VALUE\n", "nets/more.py": "VALUE = 1\n",
                             "nets/helpers.py": HELPERS},
    "helpers in a folder": {"gru.py": GRU.replace("from helpers import head", "from nets import helpers; head = helpers.head"),
                            "nets/helpers.py": HELPERS},
    "helpers that import helpers": {"gru.py": GRU, "helpers.py": "from more import head\n", "more.py": HELPERS},
    "helpers that import the model": {"gru.py": GRU, "helpers.py": "import gru\n" + HELPERS},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_local_imports_are_carried_and_work_without_the_files(layout, tmp_path):
    write(tmp_path, {**LAYOUTS[layout], "other.py": "1"})
    (path,) = tmp_path.rglob("gru.py")
    found = trial(path)
    shutil.rmtree(tmp_path)
    assert {name for name, _ in found.source.code.files} == set(LAYOUTS[layout])
    model = build_model(found.source, {"width": 4}, REACHER.spaces, 4)
    assert model.head[0].in_features == 4 and not {"gru", "mine", "nets"} & set(sys.modules)


def test_what_is_not_local_is_not_carried(tmp_path):
    text = (
        "import random\nimport dmm.layers\nimport torch\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import types_only\ntry:\n    import absent\nexcept ImportError:\n    absent = None\n"
    )
    names = ("random.py", "dmm/__init__.py", "dmm/layers.py", "types_only.py", "other.py")
    write(tmp_path, {**{name: "raise SystemExit" for name in names}, "gru.py": text + GRU.replace("helpers", "nets")})
    write(tmp_path, {"nets.py": HELPERS})
    assert [name for name, _ in trial(tmp_path / "gru.py").source.code.files] == ["gru.py", "nets.py"]


def test_two_files_with_helpers_of_one_name_live_in_one_process(tmp_path):
    write_gru(tmp_path / "one")
    write_gru(tmp_path / "two", helpers=HELPERS.replace("Tanh", "Sigmoid"))
    heads = []
    for name in ("one", "two", "one"):
        source = trial(tmp_path / name / "gru.py").source
        heads.append(type(build_model(source, {}, REACHER.spaces, 4).head[1]).__name__)
    assert heads == ["Tanh", "Sigmoid", "Tanh"]


def test_the_class_is_made_once_a_process(tmp_path):
    path = write_gru(tmp_path, "print('made')\n" + GRU)
    code = (
        "import pickle, sys; found = [pickle.loads(data) for data in pickle.load(sys.stdin.buffer)]; "
        "print(len({trial.model for trial in found}), found[0] == found[1], found[0].weights_id)"
    )
    first = trial(path)
    shutil.rmtree(tmp_path)
    given = pickle.dumps([pickle.dumps(first), pickle.dumps(replace(first, seed=0))])
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, cwd=ROOT)
    assert done.stdout.decode().splitlines() == ["made", f"1 True {first.weights_id}"], done.stderr.decode()


def test_a_pickled_trial_has_its_fields_alone(tmp_path):
    first = trial(write_gru(tmp_path), overrides=(("width", 4),))
    assert first.config.width == 4
    again = pickle.loads(pickle.dumps(first))
    assert again == first and hash(again) == hash(first) and "config" not in vars(again)
    assert again.config == first.config and again.returns_id == first.returns_id


def test_tracebacks_and_inspect_show_the_text(tmp_path):
    source = trial(write_gru(tmp_path, helpers=HELPERS.replace("return nn", "raise KeyError('me'); return nn"))).source
    shutil.rmtree(tmp_path)
    with pytest.raises(KeyError) as caught:
        build_model(source, {}, REACHER.spaces, 4)
    text = "".join(traceback.format_exception(caught.value))
    assert "helpers.py" in text and "raise KeyError('me')" in text and "self.head = head(" in text
    assert "class GRU(DecisionModel)" in inspect.getsource(find_model(source))


def test_a_tables_paths_begin_at_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = TABLE.replace("ARCH", '"./nets/gru.py"')
    write(tmp_path, {"tables/mine.py": table, "tables/nets/gru.py": GRU, "tables/nets/helpers.py": HELPERS})
    found = find_table("tables/mine.py")
    assert [row.arch for row in found.rows] == ["gru", "gru"] and found.rows[0].source == found.rows[
        1
    ].source is not None
    assert len({row.model.__name__ for row in found.trials()}) == 1 and len(found.trials()) == 4
    write(tmp_path, {"tables/beside.py": GRU.replace("from helpers import head", "head = nn.Linear")})
    write(tmp_path, {"tables/by_class.py": "from beside import GRU\n" + TABLE.replace("ARCH", "GRU")})
    by_class = find_table("tables/by_class.py").rows[0].source
    assert by_class == resolve("tables/beside.py")[1] and "beside" not in sys.modules
    with pytest.raises(ValueError, match="there is no file nets/gru.py"):
        Row(label="x", arch="./nets/gru.py")  # the table is read


def test_a_grid_keeps_the_source(tmp_path):
    rows = grid(Row(label="GRU", arch=write_gru(tmp_path)), width=(4, 8))
    assert {row.source for row in rows} == {trial(tmp_path / "gru.py").source} and rows[0].overrides["width"] == 4


TABLE = """
from dmm.config import Column, Row, Table, grid
from helpers.reacher import REACHER, TINY
TABLE = Table(
    name="mine", title="Mine", rows=grid(Row(label="GRU", arch=ARCH), width=(4, 8)),
    columns=(Column(label="c", task=REACHER, dataset="d4rl:none"),), seeds=(0, 1), protocol=TINY,
)
"""
IN_TABLE = GRU + TABLE


ALONE = GRU.replace("from helpers import head", "head = nn.Linear")  # imports no file
BASE = "from dataclasses import dataclass\nfrom dmm.models import DecisionModel\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"there is no file .*model"),
        ("x = 1", "model.py has no model, a class whose base is dmm.models.DecisionModel"),
        ("from torch import nn\nclass A(nn.Module):\n    pass", "model.py has no model"),
        ("from dmm.models.dt import DecisionTransformer", "model.py has no model"),
        (
            ALONE + ALONE.replace("GRU(D", "LSTM(D"),
            "model.py has the models GRU and LSTM; a file has one, or give the class itself",
        ),
        (ALONE.replace("def forward", "def backward"), "GRU of model.py does not define forward"),
        ("def f(:", r"model.py is no Python: .*line 1"),
        ("\0", "model.py is no Python"),
        ("import absent_package\n" + ALONE, "model.py, line 1 cannot be run: ModuleNotFoundError: .*'absent_package'"),
        ("import sys\nsys.exit(3)\n", "model.py, line 2 cannot be run: SystemExit: 3"),
        (BASE + "class A(DecisionModel):\n    pass", "line 3 cannot be run: ValueError: A needs a Config of its own"),
        (BASE + "class A(DecisionModel):\n    Config = dict", "A needs a Config of its own"),
    ],
)
def test_a_file_without_a_model_is_refused(tmp_path, text, said):
    if text is not None:
        (tmp_path / "model.py").write_text(text)
    with pytest.raises(ValueError, match=said):
        Row(label="x", arch=tmp_path / "model.py")


def test_wrong_values_are_refused(tmp_path):
    write_gru(tmp_path)
    (tmp_path / "my-gru.py").write_text(ALONE)
    for value, said in [
        (3, "an architecture is a name, the path of a file, or a class; it is 3"),
        (None, "it is None"),
        (dict, "dict is no DecisionModel; an architecture is a subclass of dmm.models.DecisionModel"),
        (models.DecisionModel, "has no model|DecisionModel"),
        ("metamanba", "unknown architecture 'metamanba'.*Did you mean 'metamamba'"),
        (str(tmp_path / "gru"), "there is no file .*gru. Did you mean gru.py"),
        (str(tmp_path / "my-gru.py"), "'my-gru.py' cannot be carried.*letters, digits and _"),
        (str(tmp_path), "there is no file .* It is a folder"),
        ("./", r"there is no file \.\. It is a folder"),
        ("./absent.py", "there is no file absent.py.$"),
    ]:
        with pytest.raises(ValueError, match=said):
            Row(label="x", arch=value)


def test_a_class_must_come_from_a_file_of_its_own(tmp_path):
    (tmp_path / "mine.py").write_text(IN_TABLE.replace("ARCH", "GRU"))
    with pytest.raises(ValueError, match="GRU is defined in the table's own file.*put it in a file of its own"):
        find_table(str(tmp_path / "mine.py"))
    (tmp_path / "mine.py").write_text(IN_TABLE.replace("ARCH", "__file__"))
    with pytest.raises(ValueError, match="is defined in the table's own file"):
        find_table(str(tmp_path / "mine.py"))
    for module in ("__main__", "notebook"):
        made: dict = {"__name__": module}
        exec(GRU, made)
        with pytest.raises(ValueError, match="GRU is defined in a notebook or a script.*put it in a file of its own"):
            resolve(made["GRU"])


def test_an_inner_class_is_refused(tmp_path, monkeypatch):
    (tmp_path / "inner_gru.py").write_text(
        ALONE + "\nclass Outer:\n    class Inner(GRU):\n        Config = GRU.Config\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="unknown model 'Outer.Inner'; inner_gru.py has GRU"):
        resolve(import_module("inner_gru").Outer.Inner)


@pytest.mark.parametrize(
    "path", ["../evil.py", "/evil.py", "a/../../evil.py", "evil", "a b.py", "a//b.py", ".py", "a\\b.py"]
)
def test_a_path_that_leaves_its_folder_is_refused(path):
    with pytest.raises(ValueError, match="cannot be carried"):
        from_json(SourceCode, {"path": path, "files": [[path, ""]]})
    with pytest.raises(ValueError, match="holds no such file"):
        SourceCode("a.py", (("b.py", ""),))


@pytest.fixture
def gru_trial(reacher_file, tmp_path) -> Trial:
    """A trial of seconds whose file is gone."""
    found = trial(write_gru(tmp_path / "gone"), dataset=(f"d4rl:{reacher_file}",))
    shutil.rmtree(tmp_path / "gone")
    return found


def test_kept_weights_run_their_code_only_if_it_is_trusted(gru_trial, monkeypatch):
    done = run(gru_trial)
    assert done.status == "finished"
    folder = weights_folder(gru_trial, 8)
    find_model.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(SourceCode, "load", lambda self: pytest.fail("code that is not trusted was run"))
        with pytest.raises(
            ValueError, match=r"gru of .*/8 brings its own source code, of gru.py; pass trust_code=True"
        ):
            load_weights(folder)
    model, card = load_weights(folder, trust_code=True)
    assert isinstance(model, gru_trial.model) and card.source == gru_trial.source
    assert card.weights.source_sha256 == gru_trial.source.sha256
    evil = replace(card.source, code=SourceCode("gru.py", (("gru.py", "print('evil')"),)))
    for source in (evil, replace(card.source, name="dt"), replace(card.source, distribution="nets 1.2"), None):
        write_checked(folder / CARD, replace(card, source=source))
        with pytest.raises(ValueError, match="card.json is damaged: its source code does not have the sha256"):
            load_weights(folder, trust_code=True)


def test_a_card_names_no_file_of_this_machine(gru_trial, tmp_path):
    run(gru_trial)
    card = read_checked(type(load_weights(weights_folder(gru_trial, 8), trust_code=True)[1]),
                        weights_folder(gru_trial, 8) / CARD)  # fmt: skip
    assert str(tmp_path) not in str(to_json(card.source))
    assert from_json(ModelSource, to_json(card.source)) == gru_trial.source


def test_a_trial_goes_on_after_its_file_is_deleted(gru_trial, monkeypatch):
    from dmm.training import fit

    ticks = iter(range(0, 10**6, 100))
    monkeypatch.setattr(fit.time, "perf_counter", lambda: float(next(ticks)))  # a checkpoint after each update

    def stop(result):
        if result.update == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(gru_trial, on_progress=stop)
    again = pickle.loads(pickle.dumps(gru_trial))
    assert run(again).status == "finished"
