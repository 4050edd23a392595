"""Architectures that installed packages offer, and what a file may import from outside of its folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.foreign import GRU, HELPERS, write
from helpers.reacher import REACHER, parts

from dmm import architectures, catalogue
from dmm.architectures import build_model, find_model, list_models, resolve
from dmm.config import Trial

ALONE = GRU.replace("from helpers import head", "head = nn.Linear")  # imports no file
STRAY = "from stray_helper import SCALE\n" + ALONE


def trial(path) -> Trial:
    return Trial(arch=path, task=REACHER, dataset=("d4rl:none",), seed=0, **parts())


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Returns a function that installs a package, without pip, with one entry point."""

    def install(value="nets.gru:GRU", name="gru", version="1.2", distribution="nets", files=None):
        info = f"{distribution.replace('-', '_')}-{version}.dist-info"
        folder = tmp_path / "site-packages"
        files = files if files is not None else {
            "nets/__init__.py": "", "nets/gru.py": GRU.replace("from helpers", "from nets.helpers"),
            "nets/helpers.py": "import beside\n" + HELPERS,
        }  # fmt: skip
        write(folder, {
            **files, "beside.py": "", f"{info}/entry_points.txt": f"[dmm.models]\n{name} = {value}\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n",
        })  # fmt: skip
        if str(folder) not in sys.path:
            monkeypatch.syspath_prepend(folder)
        architectures.entry_points.cache_clear()
        find_model.cache_clear()
        return folder

    yield install
    architectures.entry_points.cache_clear()
    find_model.cache_clear()


@pytest.mark.parametrize("value", ["nets.gru:GRU", "nets.gru"])
def test_an_installed_package_offers_an_architecture(installed, value):
    folder = installed(value)
    first = trial("gru")
    assert first.arch == "gru" and first.weights_record.distribution == "nets 1.2"
    assert [name for name, _ in first.source.code.files] == ["nets/__init__.py", "nets/gru.py", "nets/helpers.py"]
    assert find_model("gru") is first.model and "nets" not in sys.modules
    shutil.rmtree(folder / "nets-1.2.dist-info")
    installed(value, version="1.3")
    second = trial("gru")
    assert second.source.code == first.source.code and second.weights_id != first.weights_id
    assert second.model is first.model
    assert [offer.name for offer in architectures.entry_points()] == ["gru"] and "gru" not in list_models()


def test_a_single_file_offers_an_architecture(installed):
    installed("gru", files={"gru.py": GRU.replace("from helpers import head", "head = nn.Linear")})
    assert [name for name, _ in trial("gru").source.code.files] == ["gru.py"]


def test_a_shipped_name_is_the_shipped_one_and_the_list_says_so(installed):
    installed(name="dt")
    assert trial("dt").source is None and find_model("dt").__module__ == "dmm.models.dt"
    found = {summary.title: summary for summary in catalogue.summaries() if summary.arch == "dt"}
    (offer,) = [summary for summary in found.values() if summary.error]
    assert offer.error.startswith("nets 1.2 (nets.gru:GRU): dmm has an architecture of this name")
    assert offer.text() == f"dt: {offer.error}" and len(found) == 2


def test_a_name_that_two_packages_offer_is_refused(installed):
    installed()
    installed(distribution="more-nets")
    with pytest.raises(ValueError, match="'gru' is offered by more-nets 1.2 .* and by nets 1.2"):
        trial("gru")
    assert trial("dt").source is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("nets.gru:Nope", "unknown model 'Nope'; nets/gru.py has GRU"),
        ("nets.absent:GRU", "and there is no Python file of this module"),
        ("sys", "and there is no Python file of this module"),
        ("absent_package:GRU", "and there is no Python file of this module"),
        ("nets", "nets/__init__.py has no model"),
    ],
)
def test_a_broken_offer_stops_no_other_name(installed, value, said):
    installed(value, name="broken")
    with pytest.raises(ValueError, match=said):
        trial("broken")
    assert trial("dt").source is None
    assert [summary.arch for summary in catalogue.summaries()] == [*list_models(), "broken"]
    assert f"nets 1.2 ({value}): " in catalogue.summaries()[-1].text() and said in catalogue.summaries()[-1].title
    with pytest.raises(ValueError, match="unknown architecture 'brokn'; there are .*broken.*Did you mean 'broken'"):
        resolve("brokn")


def test_list_prints_the_error_of_a_broken_offer_beside_its_name(installed):
    folder = installed("nets.gru:Nope", name="broken")
    root = Path(architectures.__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": f"{root}:{folder}"}
    for extra in ((), ("--models",)):
        done = subprocess.run([sys.executable, "-m", "dmm", "list", *extra], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said = " ".join(done.stdout.split())  # in lines of 80 columns
        assert "unknown model 'Nope'; nets/gru.py has GRU" in said.partition(" broken")[2] and "attention_ssm" in said


@pytest.mark.parametrize(
    "files",
    [
        {"stray_helper.py": "SCALE = 1"},
        {"stray_helper/__init__.py": "SCALE = 1"},
        {"stray_helper/SCALE.py": ""},
    ],
)
def test_a_file_that_is_neither_beside_the_model_nor_installed_is_refused(tmp_path, monkeypatch, files):
    write(tmp_path, {f"on_path/{name}": text for name, text in files.items()} | {"nets/gru.py": STRAY})
    monkeypatch.syspath_prepend(tmp_path / "on_path")
    said = r"nets/gru.py imports stray_helper from .*on_path/stray_helper.*; put it into .*/nets, or install it"
    with pytest.raises(ValueError, match=said):
        trial(tmp_path / "nets/gru.py")
    lazy = ALONE.replace("head = nn.Linear", "import stray_helper.SCALE; head = nn.Linear")
    write(tmp_path, {"nets/lazy.py": lazy, "nets/by_helper.py": "import more\n" + ALONE, "nets/more.py": STRAY})
    for name in ("lazy", "by_helper"):
        with pytest.raises(ValueError, match="imports stray_helper.* from .*; put it into"):
            trial(tmp_path / f"nets/{name}.py")
    write(tmp_path, {f"nets/{name}": text for name, text in files.items()})
    assert {f"{name}" for name in files} | {"gru.py"} == {
        name for name, _ in trial(tmp_path / "nets/gru.py").source.code.files
    }


def test_a_helper_in_the_current_folder_is_refused(tmp_path, monkeypatch):
    write(tmp_path, {"stray_helper.py": "SCALE = 1", "nets/gru.py": STRAY})
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    with pytest.raises(ValueError, match="imports stray_helper from .*; put it into .*/nets, or install it"):
        trial("nets/gru.py")


def metadata_of(folder: Path, *, editable: bool, lists: str) -> dict[str, str]:
    """The files of a distribution, mine, that is installed from a folder."""
    url = {"url": folder.as_uri(), "dir_info": {"editable": editable}}
    return {
        "mine-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: mine\nVersion: 1\n",
        "mine-1.dist-info/RECORD": f"{lists},,\n", "mine-1.dist-info/direct_url.json": json.dumps(url),
        "mine.pth": f"{folder}\n", "mine-1.dist-info/top_level.txt": "" if ".pth" in lists else "stray_helper\n",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("editable", "lists", "installed"),
    [
        (True, "mine.pth", True),  # as hatchling: a .pth file names the folder
        (True, "stray_finder.py", True),  # as setuptools: a finder, and the names of its packages
        (False, "stray_helper.py", False),  # a file that hides an installed one of the same name
    ],
)
def test_an_editable_installation_counts_as_installed(tmp_path, monkeypatch, editable, lists, installed):
    source = tmp_path / "source"
    write(source, {"stray_helper.py": "SCALE = 1"})
    write(tmp_path / "site-packages", metadata_of(source, editable=editable, lists=lists))
    write(tmp_path, {"nets/gru.py": STRAY})
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    monkeypatch.syspath_prepend(source)
    if installed:
        assert [name for name, _ in trial(tmp_path / "nets/gru.py").source.code.files] == ["gru.py"]
    else:
        with pytest.raises(ValueError, match="neither beside the model nor installed"):
            trial(tmp_path / "nets/gru.py")


def test_what_is_installed_or_absent_may_be_imported(tmp_path, monkeypatch):
    text = "import numpy.linalg, torch, yaml\ntry:\n    import folder_of_logs\nexcept ImportError:\n    pass\n"
    write(tmp_path, {"nets/gru.py": text + ALONE, "on_path/folder_of_logs/notes.txt": ""})
    monkeypatch.syspath_prepend(tmp_path / "on_path")
    assert [name for name, _ in trial(tmp_path / "nets/gru.py").source.code.files] == ["gru.py"]


def test_two_names_of_one_class_are_one_model(tmp_path):
    write(tmp_path, {"gru.py": ALONE + "\nOther = GRU\n"})
    assert trial(tmp_path / "gru.py").source.class_name == "GRU"


def test_a_file_beside_a_carried_model_cannot_be_opened_and_the_error_says_why(tmp_path):
    opened = "open(__file__.replace('gru.py', 'w.txt'))"
    write(tmp_path, {"w.txt": "1", "gru.py": f"VALUE = {opened}\n" + ALONE})
    said = "No such file or directory.*Only Python text is carried with a model, so it cannot open a file beside it"
    with pytest.raises(ValueError, match=f"gru.py, line 1 cannot be run: FileNotFoundError: .*{said}"):
        trial(tmp_path / "gru.py")
    write(tmp_path, {"gru.py": ALONE.replace("head = nn.Linear", f"{opened}; head = nn.Linear")})
    with pytest.raises(ValueError, match=f"gru cannot be built: .*{said}"):
        build_model(trial(tmp_path / "gru.py").source, {}, REACHER.spaces, 4)


def test_an_interrupted_import_says_where(tmp_path):
    write(tmp_path, {"gru.py": "\nraise KeyboardInterrupt\n" + ALONE})
    with pytest.raises(KeyboardInterrupt, match="gru.py, line 2 was interrupted"):
        trial(tmp_path / "gru.py")
