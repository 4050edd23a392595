"""Downloads of DQN-replay's games, and of Minari's datasets by Minari's own means."""

import errno
import gzip
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.data_files import make_minari
from helpers.file_server import serve

from dmm import data
from dmm.data import dqn_download
from dmm.data.inventory import here
from dmm.data.readers import dqn, minari


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as found:
        yield found


def download(server, *ids: str) -> list[str]:
    return list(data.download(ids, server.root))


def gzipped(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return gzip.compress(file.getvalue(), 1)


def test_a_game_of_the_dqn_replay_is_downloaded(server, monkeypatch):
    monkeypatch.setattr(dqn_download, "FILES", 2)
    rows = {"observation": np.zeros((7, 4, 4), np.uint8), "action": np.zeros(7, np.int32), "reward": np.zeros(7, np.float32),
            "terminal": np.zeros(7, np.uint8)}  # fmt: skip
    for number in (0, 1):
        for store, array in rows.items():
            server.files[f"/Pong/1/replay_logs/$store$_{store}_ckpt.{number}.gz"] = gzipped(array)
        server.files[f"/Pong/1/replay_logs/add_count_ckpt.{number}.gz"] = gzipped(np.array(7))
        server.files[f"/Pong/1/replay_logs/invalid_range_ckpt.{number}.gz"] = gzipped(np.arange(5))
    assert here("dqn/Pong") == ""
    short = "/Pong/1/replay_logs/$store$_reward_ckpt.1.gz"
    right, server.files[short] = server.files[short], gzipped(np.zeros(6, np.float32))
    with pytest.raises(ConnectionError, match="not whole.* has 6 rows; .* has 7"):
        download(server, "dqn/Pong")
    assert here("dqn/Pong") == "0 MB of it"
    server.files[short] = right
    before = len(server.asked)
    (said,) = download(server, "dqn/Pong")
    assert "12 files" in said and len(server.asked) == before + 4  # eight were here
    assert data.local_ids() == dqn.local_ids() == ["dqn/Pong-all"]
    assert data.is_present("dqn/Pong-all") and here("dqn/Pong") == "yes"
    assert len(data.records()) == 12


def test_files_of_the_sample_are_whole():
    if "DMM_TEST_DATA" not in os.environ:
        pytest.skip("DMM_TEST_DATA names no folder of real files")
    files = list(Path(os.environ["DMM_TEST_DATA"]).glob("dqn_replay*/*/1/replay_logs/*.gz"))
    assert files
    for file in files:
        dqn_download.check_whole(file)


@pytest.fixture
def minari_server(monkeypatch):
    """Minari's downloader, but its files come from nowhere."""
    import minari

    broken = set()

    def download_dataset(name: str, force_download: bool = False) -> None:
        if name == "toy/unknown-v0":
            raise ValueError("Couldn't find any version for dataset toy/unknown in the remote Farama server.")
        if name == "toy/far-v0":
            raise RuntimeError("outer") from OSError(errno.ENETUNREACH, "Network is unreachable")
        make_minari(name)
        if name in broken:
            file = Path(os.environ["MINARI_DATASETS_PATH"]) / name / "data/metadata.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | {"total_episodes": 4}))

    monkeypatch.setattr(minari, "download_dataset", download_dataset)
    return broken


def test_minari_downloads_by_its_own_means(minari_server):
    folder = Path(os.environ["MINARI_DATASETS_PATH"]) / "toy/medium-v0"
    assert list(data.download(["minari/toy/medium-v0"])) == [f"minari/toy/medium-v0: {folder}"]
    assert data.load(("minari/toy/medium-v0",)).episodes == 2
    (again,) = data.download(["minari/toy/medium-v0"])
    assert "which was here" in again


def test_a_name_of_minari_without_a_version_is_refused_before_the_download():
    with pytest.raises(ValueError, match="minari/toy/medium has no version"):
        list(data.download(["minari/toy/medium"]))


def test_a_minari_dataset_that_is_not_whole_is_not_moved_into_its_folder(minari_server):
    minari_server.add("toy/medium-v0")
    with pytest.raises(ConnectionError, match="not whole.* has 3 episodes, and metadata.json says 4"):
        list(data.download(["minari/toy/medium-v0"]))
    assert data.local_ids() == [] and not data.is_present("minari/toy/medium-v0")
    minari_server.clear()
    list(data.download(["minari/toy/medium-v0"]))
    assert data.local_ids() == ["minari/toy/medium-v0"]


def test_downloads_of_minari_do_not_disturb_each_other(minari_server, monkeypatch):
    """The second download runs within the first. One that was killed has left half a dataset behind."""
    import minari

    root, outer = Path(os.environ["MINARI_DATASETS_PATH"]), minari.download_dataset
    for folder in (".downloads", ".download.0.aside"):
        (root / folder / "toy/killed-v0/data").mkdir(parents=True)
        (root / folder / "toy/killed-v0/data/metadata.json").write_text("{")

    def download_dataset(name: str, force_download: bool = False) -> None:
        outer(name)
        if name == "toy/first-v0":
            list(data.download(["minari/toy/second-v0"]))

    monkeypatch.setattr(minari, "download_dataset", download_dataset)
    list(data.download(["minari/toy/first-v0"]))
    assert data.local_ids() == ["minari/toy/first-v0", "minari/toy/second-v0"]
    assert {path.name for path in root.iterdir()} == {"toy", ".downloads", ".download.0.aside"}


def test_what_minari_says_is_one_line(minari_server, monkeypatch):
    monkeypatch.delenv("MINARI_REMOTE", raising=False)
    place = Path(os.environ["MINARI_DATASETS_PATH"]) / "toy/far-v0"
    with pytest.raises(
        ValueError, match="toy/unknown-v0 cannot be downloaded from hf://farama-minari: Couldn't find any"
    ):
        list(data.download(["minari/toy/unknown-v0"]))
    with pytest.raises(
        ConnectionError,
        match=f"from hf://farama-minari: Network is unreachable. Or put the dataset's folder at {place}$",
    ):
        list(data.download(["minari/toy/far-v0"]))


def test_another_process_may_bring_the_same_dataset_first(tmp_path, monkeypatch):
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    answers = iter([False, True])  # it is moved there between the look and the rename
    monkeypatch.setattr(Path, "exists", lambda path: next(answers))
    minari.rename_new(tmp_path / "ours", tmp_path / "theirs")
    assert (tmp_path / "theirs" / "file").read_text() == "theirs"
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError):
        minari.rename_new(tmp_path / "nothing", tmp_path / "elsewhere")
