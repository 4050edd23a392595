"""What must not happen: code that is run because it was read, a name that leads out of DMM_HOME, a password that is shown."""

import ast
import io
import os
from dataclasses import replace
from pathlib import Path

import pytest

from dmm.base.secrets import masked, masked_uri
from dmm.tracking.mlflow_store import Recorder

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "dmm").rglob("*.py")) + sorted((ROOT / "tune_spaces").glob("*.py"))
UNPICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
# which keyword makes a reader safe; numpy's default is the safe one
SAFE = {("torch", "load"): ("weights_only", True), ("np", "load"): ("allow_pickle", False)}
FORBIDDEN = {("pd", "read_pickle"), ("pandas", "read_pickle"), ("torch", "jit"), ("dist", "broadcast_object_list"),
             ("dist", "all_gather_object"), ("dist", "gather_object"), ("dist", "recv_object_list"),
             ("dist", "scatter_object_list")}  # fmt: skip


def unsafe(text: str) -> list[str]:
    """Every place in a module at which something could be unpickled or evaluated."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"import {name}" for name in names if name.split(".")[0] in UNPICKLERS]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = (node.value.id, node.attr)
            found += [".".join(name)] * (name in FORBIDDEN)
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec", "compile", "__import__"):
                found.append(node.func.id)
            if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
                rule = SAFE.get((node.func.value.id, node.func.attr))
                given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
                if rule and given.get(rule[0], node.func.value.id == "np" and rule[1]) is not rule[1]:
                    found.append(f"{node.func.value.id}.load without {rule[0]}={rule[1]}")
                if rule and None in given:
                    found.append("a reader with **keywords")
    return found


RUNS_CODE = {"dmm/base/source_code.py": ["compile"]}  # of a model's file that a table names, or that its user trusts


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled(path):
    assert unsafe(path.read_text()) == RUNS_CODE.get(str(path.relative_to(ROOT)), [])


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from cloudpickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
        "dist.broadcast_object_list(state)",
        "eval(text)",
        "torch.load(path, **options)",
    ],
)
def test_the_search_finds_what_it_looks_for(text):
    assert unsafe(text)
    assert not unsafe("torch.load(path, weights_only=True); np.load(path); model.eval()")


def test_a_checkpoint_with_code_in_it_is_not_run(tiny_trial, tmp_path):
    import torch

    from dmm.base.checksums import seal
    from dmm.trials.run import run
    from dmm.trials.storage import trial_folder

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    file = io.BytesIO()
    torch.save({"model": Bomb()}, file)
    trial_folder(tiny_trial).mkdir(parents=True)
    (trial_folder(tiny_trial) / "checkpoint.pt").write_bytes(seal(file.getvalue()))
    with pytest.raises(ValueError, match="damaged .*Weights only load failed"):
        run(tiny_trial)
    assert not (tmp_path / "ran").exists()


EVIL = ["../outside", "/tmp/outside", "a/../../b", "..", ".", "", "a b/../..", "name\n", "..\\up"]


@pytest.mark.parametrize("name", EVIL)
def test_a_tables_name_is_a_folders(name):
    from helpers import handmade_results as handmade

    with pytest.raises(ValueError, match="name"):
        replace(handmade.TABLE, name=name)


@pytest.mark.parametrize("name", EVIL)
def test_names_do_not_lead_out_of_the_storage_path(name, tiny_trial):
    """What is written is named by hashes and cleaned names, whatever a dataset, a task or an architecture is called."""
    from dmm.base.paths import home
    from dmm.data.cache import folder_of
    from dmm.trials.storage import returns_path, trial_folder

    assert folder_of([f"d4rl:{name}", name]).resolve().parent == home() / "cache"
    if not name.isprintable():
        with pytest.raises(ValueError, match="control characters"):
            replace(tiny_trial.task, name=name)
        return
    trial = replace(tiny_trial, dataset=(name,), task=replace(tiny_trial.task, name=name))
    assert trial_folder(trial).resolve().parent == home() / "trials"
    assert returns_path(trial).resolve().parent == trial_folder(trial) / "evaluations"


@pytest.mark.parametrize("dataset", ["dmm/../../etc-v0", "dmm/hopper/../x-v0", "dmm/hopper/medium-n1-s0-v0/../..-v0"])
def test_a_dataset_that_is_to_be_collected_has_a_plain_name(dataset):
    from dmm.data import load

    with pytest.raises(ValueError):
        load((dataset,))


PASSWORD = "hunter2"
SECRET_TEXTS = [
    f"postgresql://ann:{PASSWORD}@host:5432/mlflow is away",
    f"postgresql+psycopg://ann:p@ss@{PASSWORD}@host/mlflow",
    f"postgresql://ann:pa/{PASSWORD}@host/mlflow",
    f"postgresql://ann:p#?{PASSWORD}@host/mlflow",
    f"https://{PASSWORD}@host/mlflow",
    f"http://a:b@one, then http://c:{PASSWORD}@two",
    f"postgresql://host/mlflow?user=ann&password={PASSWORD}&sslmode=require",
    f"http://host/?token={PASSWORD}",
    f"http://host/?Access_Token={PASSWORD}#page",
    f"mlflow ui --backend-store-uri 'postgresql://ann:{PASSWORD}@host/x?a=b' --port 5000",
    f"MLFLOW_TRACKING_PASSWORD={PASSWORD}",
    f"{{'MLFLOW_TRACKING_PASSWORD': '{PASSWORD}', 'x': 'y'}}",
    f'{{"env_vars": {{"AWS_SECRET_ACCESS_KEY": "{PASSWORD}"}}}}',
    f"connection failed: host=db password={PASSWORD} user=ann",
    f"MLFLOW_TRACKING_TOKEN={PASSWORD}, AWS_SESSION_TOKEN={PASSWORD}",
    f"Authorization: Bearer {PASSWORD}",
]


@pytest.mark.parametrize("text", SECRET_TEXTS)
def test_a_password_is_masked_wherever_it_stands(text):
    assert PASSWORD not in masked(text) and "***" in masked(text)
    assert masked(masked(text)) == masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/ann@lab/my data/mlflow.db",
        "sqlite+pysqlite:////home/50%25/what%3F/mlflow.db",
        "http://127.0.0.1:5000/#/experiments/1/runs?viewStateShareKey=table-zoo&compareRunsMode=CHART",
        "postgresql://db/mlflow?passfile=/home/ann/.pgpass",
        "DT on hopper-medium, seed 0 (e0e12897cf70a878): token_norm=False, tokens=3, key=value",
        "RAY_AUTH_MODE=token on both sides, and the head's token as RAY_AUTH_TOKEN",
        "swept by ann@node3, process 4711, since 2026-01-31",
        "d4rl:hopper-medium-v2@view=observation+goal",
        "d4rl:hopper@lab.hdf5 and K:20@lr at 2026-01-31 12:00:00",
    ],
)
def test_a_text_without_a_password_stays_as_it_is(text):
    assert masked(text) == text


@pytest.mark.parametrize(
    "uri",
    [f"ann:{PASSWORD}@host:5000", f"ann:s3@{PASSWORD}@host", f"ann:s3/{PASSWORD}@[::1]:5000", f"http:/ann:{PASSWORD}@host",
     f"ann@corp:{PASSWORD}@host", f"postgresql://ann:{PASSWORD}@host/x"],
)  # fmt: skip
def test_a_password_in_a_wrong_uri_is_masked_too(uri, monkeypatch):
    assert PASSWORD not in masked_uri(uri) and masked_uri(uri).endswith(uri.split("@")[-1])
    with pytest.raises(ValueError) as error:
        Recorder(uri)
    assert PASSWORD not in str(error.value)


@pytest.mark.parametrize("piece", ["a-", "a", "password", "?a", "&token", "://a", "bearer "])
def test_a_long_text_is_masked_in_a_moment(piece):
    assert masked(piece * 20_000)  # a search in quadratic time would take minutes


STORE = f"postgresql://ann:p@{PASSWORD}@127.0.0.1:1/mlflow?password={PASSWORD}"


def test_an_error_hides_a_password(capsys):
    from dmm.cli import mistakes
    from dmm.tracking.mlflow_store import Recorder

    with pytest.raises(
        ValueError, match="MLflow at postgresql://.*@127.0.0.1:1/mlflow.password=.* cannot be used"
    ) as error:
        Recorder(STORE)
    assert PASSWORD not in str(error.value)
    with pytest.raises(SystemExit):
        mistakes.end(f"no store at {STORE}")
    assert capsys.readouterr().err == "error: no store at postgresql://***@127.0.0.1:1/mlflow?password=***\n"


def test_the_command_of_a_hint_hides_a_password():
    import typer

    from dmm.cli import app
    from dmm.cli.options import command_line

    group = typer.main.get_command(app)
    context = typer.Context(group.commands["sync"], typer.Context(group, info_name="dmm"), "sync")
    group.commands["sync"].parse_args(context, ["quickstart", "--mlflow", STORE])
    assert command_line(context) == "dmm sync quickstart --mlflow 'postgresql://***@127.0.0.1:1/mlflow?password=***'"


def test_the_status_from_a_store_hides_its_password(monkeypatch):
    from helpers import handmade_results as handmade

    from dmm.sweeps.status import status_lines
    from dmm.tracking import mlflow_store

    class Empty:
        def __init__(self, uri, must_write):
            pass

        def summaries(self, table):
            return {}

    monkeypatch.setattr(mlflow_store, "Recorder", Empty)
    lines = status_lines(handmade.TABLE, STORE)
    assert lines[-1] == "as recorded in postgresql://***@127.0.0.1:1/mlflow?password=***"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_TRACKING_PASSWORD", PASSWORD),
        ("MLFLOW_TRACKING_TOKEN", PASSWORD),
        ("MLFLOW_TRACKING_URI", f"http://ann:{PASSWORD}@host"),
        ("DMM_WHATEVER", f"postgresql://host/x?password={PASSWORD}"),
    ],
)
def test_a_password_does_not_travel_with_a_job(name, value, monkeypatch, tmp_path):
    from helpers import handmade_results as handmade

    from dmm.sweeps.submit import submit

    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"{name} holds a password.*~/.mlflow/credentials.*~/.pgpass") as error:
        submit(handmade.TABLE, ["handmade"], address="http://127.0.0.1:9", folder=tmp_path, uri=None)
    assert PASSWORD not in str(error.value)


def test_a_password_in_the_uri_of_a_submission_does_not_travel(tmp_path):
    from helpers import handmade_results as handmade

    from dmm.sweeps.submit import submit

    uri = f"postgresql://ann:{PASSWORD}@host/mlflow"
    with pytest.raises(ValueError, match="MLFLOW_TRACKING_URI holds a password"):
        submit(handmade.TABLE, ["handmade"], address="http://127.0.0.1:9", folder=tmp_path, uri=uri)
