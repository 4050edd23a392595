"""`dmm data download`: a local server that cuts, lies and refuses. Nothing half-written is ever taken as whole."""

import errno
import io
import os
import re
import shutil
from collections import namedtuple
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from helpers.data_files import arrays, make_minari, write
from helpers.file_server import serve
from typer.testing import CliRunner

from dmm import data
from dmm.base.paths import home
from dmm.cli import app, completion, run
from dmm.data import addresses, http
from dmm.data.inventory import inventory, remote_datasets, verify

NAME = "d4rl/hopper-medium-v2"
ADDRESS = "/gym_mujoco_v2/hopper_medium-v2.hdf5"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as found:
        yield found


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("source") / "a.hdf5"
    write(path, observations=np.random.default_rng(0).normal(size=(6, 2000)).astype(np.float32))
    return path.read_bytes()


def place(name: str = "hopper-medium-v2") -> Path:
    return home() / "d4rl" / f"{name}.hdf5"


def left() -> set[str]:
    return {path.name for path in (home() / "d4rl").iterdir()} if (home() / "d4rl").exists() else set()


def download(server, *ids: str) -> list[str]:
    return list(data.download(ids or (NAME,), server.root))


WHOLE = {"hopper-medium-v2.hdf5", "hopper-medium-v2.hdf5.sha256"}
PART = {"hopper-medium-v2.hdf5.part", "hopper-medium-v2.hdf5.part.version"}


def test_a_dataset_is_downloaded_by_its_name_and_read(server, content):
    server.files[ADDRESS] = content
    (said,) = download(server)
    digest = sha256(content).hexdigest()
    assert said == f"{NAME}: {place()}, {len(content) / 1e6:,.1f} MB, sha256 {digest}"
    assert place().read_bytes() == content and left() == WHOLE
    assert http.record_of(place()).read_text() == f"{digest}  hopper-medium-v2.hdf5\n"  # as sha256sum has it
    assert data.load((NAME,)).episodes == 2
    assert download(server) == [said] and len(server.asked) == 1  # it is here


def test_a_cut_download_continues_where_it_was_cut(server, content):
    server.files[ADDRESS], server.cut_after = content, [9_000, 20_000]
    download(server)
    assert [wanted for _, wanted in server.asked] == ["", "bytes=9000-", "bytes=29000-"]
    assert place().read_bytes() == content and left() == WHOLE


def test_a_download_that_brings_nothing_more_stops_and_the_next_one_continues(server, content):
    server.files[ADDRESS], server.cut_after = content, [9_000, 0]
    with pytest.raises(
        ConnectionError, match="was cut after 9,000 bytes: .*The same command continues.*put the file at "
    ):
        download(server)
    assert left() == PART and not data.is_present(NAME) and data.local_ids() == []
    assert [row.here for row in remote_datasets() if row.id == NAME] == ["0 MB of it"]
    download(server)
    assert server.asked[-1] == (ADDRESS, "bytes=9000-") and place().read_bytes() == content and left() == WHOLE


def test_two_versions_of_a_file_are_not_mixed(server, content):
    server.files[ADDRESS], server.cut_after = content[:200] + bytes(9_000), [5_000, 0]
    with pytest.raises(ConnectionError, match="was cut"):
        download(server)
    server.files[ADDRESS], server.tag = content, '"v2"'
    download(server)
    assert place().read_bytes() == content


@pytest.mark.parametrize("without", ["ranges", "tag"])
def test_a_server_that_cannot_continue_begins_again(server, content, without):
    server.files[ADDRESS], server.cut_after = content, [9_000, 9_000]
    setattr(server, without, "" if without == "tag" else False)
    with pytest.raises(ConnectionError, match="was cut after 9,000 bytes"):
        download(server)
    download(server)
    assert place().read_bytes() == content and left() == WHOLE


def test_a_part_that_is_whole_is_not_asked_for_again(server, content):
    """As after a kill between the last byte and the new name."""
    server.files[ADDRESS] = content
    place().parent.mkdir(parents=True)
    http.part_of(place()).write_bytes(content)
    http.version_of(http.part_of(place())).write_text(server.tag)
    download(server)
    assert server.asked == [(ADDRESS, f"bytes={len(content)}-")] and place().read_bytes() == content and left() == WHOLE


def test_a_part_that_is_too_long_is_deleted(server, content):
    server.files[ADDRESS] = content
    place().parent.mkdir(parents=True)
    http.part_of(place()).write_bytes(content + b"more")
    http.version_of(http.part_of(place())).write_text(server.tag)
    with pytest.raises(
        ConnectionError, match=f"has {len(content):,} bytes, and {len(content) + 4:,} were here.*starts again"
    ):
        download(server)
    download(server)
    assert place().read_bytes() == content


FAULTS = {
    "not found": ({"status": 404}, "answers 404 Not Found"),
    "broken": ({"status": 503}, "answers 503 Service Unavailable"),
    "a page": ({"page": True}, "another kind of file: text/html, which begins with b'<!DOCTYPE"),
    "no length": ({"length": -1}, "does not say how long the file is"),
    "too short": ({"length": 30_000}, "gave a file that is not whole, so it was deleted: .*truncated"),
}


@pytest.mark.parametrize(("behaviour", "said"), FAULTS.values(), ids=FAULTS)
def test_a_wrong_answer_leaves_nothing(server, content, behaviour, said):
    server.files[ADDRESS] = content
    for name, value in behaviour.items():
        setattr(server, name, value)
    with pytest.raises(ConnectionError, match=said) as error:
        download(server)
    assert server.root + ADDRESS in str(error.value) and "\n" not in str(error.value)
    assert left() == set()


def test_a_length_beyond_the_file_is_a_cut(server, content):
    server.files[ADDRESS], server.length, server.ranges = content, len(content) + 100, False
    with pytest.raises(ConnectionError, match=f"was cut after {len(content):,} bytes"):
        download(server)
    assert left() == PART


def test_arrays_of_several_lengths_are_not_whole(server, tmp_path):
    write(tmp_path / "a.hdf5", actions=np.zeros((5, 1), np.float32))
    server.files[ADDRESS] = (tmp_path / "a.hdf5").read_bytes()
    with pytest.raises(ConnectionError, match="not whole.*'actions' ends at row 5; 'observations' has 6 rows"):
        download(server)
    assert left() == set()


def test_the_first_sha256_is_held_to(server, content, tmp_path):
    write(tmp_path / "other.hdf5", rewards=np.ones(6, np.float32))
    other = (tmp_path / "other.hdf5").read_bytes()
    server.files[ADDRESS] = content
    download(server)
    both = f"{sha256(other).hexdigest()}, and hopper-medium-v2.hdf5.sha256 has {sha256(content).hexdigest()}"

    place().unlink()
    server.files[ADDRESS], server.tag = other, '"v2"'
    for _ in range(2):  # the second time the part is whole
        with pytest.raises(ValueError, match=f"{both}.*To take this one, delete "):
            download(server)
        assert not place().exists()

    place().write_bytes(other)
    for use in (lambda: download(server), lambda: data.load((NAME,))):
        with pytest.raises(ValueError, match=both):
            use()
    lines = []
    assert not verify(lines.append) and both in lines[0]

    place().unlink()
    http.record_of(place()).unlink()
    download(server)
    assert place().read_bytes() == other and data.load((NAME,)).episode_returns.tolist() == [2, 3]
    assert verify(lines.append) and f"{place()}: has its recorded sha256" in lines


def test_a_file_that_was_put_there_by_hand_is_checked(server, content):
    place().parent.mkdir(parents=True)
    place().write_bytes(content)
    download(server)
    assert left() == WHOLE and not server.asked
    http.record_of(place()).write_text("what?")
    with pytest.raises(ValueError, match="has no sha256 at its start"):
        download(server)


def test_without_a_network_the_error_has_the_address_and_the_place(server):
    root, server.root = server.root, "http://127.0.0.1:1"
    with pytest.raises(ConnectionError) as error:
        download(server)
    assert str(error.value) == (
        f"http://127.0.0.1:1{ADDRESS} cannot be reached: Connection refused. Or put the file at {place()} and run the same "
        "command, which checks it"
    )
    assert left() == set() and root
    server.root = "no address"
    with pytest.raises(ValueError, match="no address"):
        download(server)


def test_no_space_left(server, content, monkeypatch):
    server.files[ADDRESS] = content
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 100))
        with pytest.raises(ValueError, match=f"no space for {place()}: .* 0 MB left"):
            download(server)
    assert left() == set()

    class Full(io.FileIO):
        def write(self, chunk):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Full(str(http.part_of(place())), "ab") as part, pytest.raises(OSError, match="so the download stops") as error:
        http.write(part, b"more")
    assert error.value.errno == errno.ENOSPC and error.value.filename == str(http.part_of(place()))
    download(server)
    assert place().read_bytes() == content


def test_two_processes_do_not_download_one_file(server, content):
    import fcntl

    server.files[ADDRESS] = content
    place().parent.mkdir(parents=True)
    with open(http.part_of(place()), "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process downloads"):
            download(server)
        http.part_of(place()).replace(place())  # the other one is done: its file is not written to
        assert not http.locked(other, http.part_of(place()))
    place().unlink()
    download(server)


def test_medium_expert_is_two_datasets_and_several_ids_are_one_call(server, content):
    for kind in ("medium", "expert"):
        server.files[f"/gym_mujoco_v2/hopper_{kind}-v2.hdf5"] = content
    said = download(server, "d4rl/hopper-medium-expert-v2", NAME)
    assert [line.split(":")[0] for line in said] == ["d4rl/hopper-expert-v2", NAME]
    assert data.load(("d4rl/hopper-expert-v2", NAME)).episodes == 4
    assert addresses.parts("minari/mujoco/hopper/medium-expert-v0") == (
        "minari/mujoco/hopper/expert-v0", "minari/mujoco/hopper/medium-v0",
    )  # fmt: skip
    assert addresses.parts("d4rl/bullet-hopper-medium-expert-v0") == ("d4rl/bullet-hopper-medium-expert-v0",)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("d4rl/hoper-medium-v2", "Did you mean 'd4rl/hopper-medium-v2'"),
        ("hopper-medium-v2", "Did you mean 'd4rl/hopper-medium-v2'"),
        ("dqn/Brekout", "Did you mean 'dqn/Breakout'"),
        ("dqn/Breakout/6", "unknown dataset 'dqn/Breakout/6'"),
        ("d4rl:/some/file.hdf5", "unknown dataset"),
        ("dmm/hopper/medium-v0", "`dmm data collect dmm/hopper/medium-v0` makes it here"),
        ("minari/mujoco/hopper/medium-v0", "--url-root is not for minari"),
    ],
)
def test_an_unknown_id_downloads_nothing_at_all(server, content, wrong, said):
    server.files[ADDRESS] = content
    with pytest.raises(ValueError, match=said):
        download(server, NAME, wrong)
    assert not server.asked


def test_the_folder_of_d4rl_is_where_the_reader_looks(server, content, tmp_path, monkeypatch):
    monkeypatch.setenv("DMM_D4RL", str(tmp_path / "mine"))
    server.files[ADDRESS] = content
    download(server)
    assert (tmp_path / "mine/hopper-medium-v2.hdf5").is_file() and data.is_present(NAME)


def test_the_table_of_addresses_has_what_the_tables_name():
    known = set(data.downloadable_ids())
    wanted = {f"d4rl/{name}-{kind}-v2" for name in ("hopper", "walker2d", "halfcheetah") for kind in
              ("medium", "medium-replay", "expert")}  # fmt: skip
    assert wanted | {"d4rl/antmaze-umaze-v2", "d4rl/kitchen-mixed-v0", "d4rl/maze2d-large-v1", "dqn/Seaquest"} <= known
    assert len(addresses.GAMES) == len(set(addresses.GAMES)) == 60
    assert completion.downloadable() == sorted(known)
    files = list(addresses.d4rl_files().values())
    assert len(set(files)) == len(files) and all(file.endswith(".hdf5") for file in files)


def test_the_command_prints_a_line_for_each_dataset_and_has_exit_codes(server, content, monkeypatch, capsys):
    server.files[ADDRESS] = content
    found = CliRunner().invoke(app, ["data", "download", NAME, "--url-root", f"{server.root}/"])
    assert found.exit_code == 0 and f"{NAME}: {place()}" in found.stdout
    listed = CliRunner().invoke(app, ["data", "list", "--remote"]).stdout
    row = next(line for line in listed.splitlines() if line.startswith(f"{NAME} "))
    assert "yes" in row and row.endswith(f"{addresses.D4RL}{ADDRESS}")
    local = CliRunner().invoke(app, ["data", "list"]).stdout
    assert re.search(r"collected on first use:\n(  \S.*\n)*.*dmm/hopper/medium-v0[,\n]", local)
    assert "127 datasets can be downloaded" in local
    for code, words in {1: ["d4rl/ant-expert-v2"], 2: ["d4rl/x"]}.items():
        monkeypatch.setattr("sys.argv", ["dmm", "data", "download", *words, "--url-root", server.root])
        with pytest.raises(SystemExit) as ended:
            run()
        error = capsys.readouterr().err
        assert ended.value.code == code and error.startswith("error: ") and error.count("\n") == 1


def test_a_missing_dataset_names_the_command():
    with pytest.raises(
        ValueError, match=f"is not in {home()}/d4rl, which has none. `dmm data download {NAME}` gets it from http"
    ):
        data.load((NAME,))
    with pytest.raises(ValueError, match="To get it: dmm data download dqn/Pong"):
        data.load(("dqn/Pong-1pct-s123",))


def test_one_broken_dataset_hides_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("DMM_D4RL", str(tmp_path))
    write(tmp_path / "good.hdf5", **arrays())
    (tmp_path / "text.hdf5").write_text("no HDF5")
    make_minari("toy/good-v0")
    make_minari("toy/wrong-v0")
    make_minari("toy/bug-v0")
    metadata = Path(os.environ["MINARI_DATASETS_PATH"]) / "toy/wrong-v0/data/metadata.json"
    metadata.write_text("{")
    reader = data.readers()["minari"]
    read = reader.read

    def sometimes(dataset_id):
        if "bug" in dataset_id:
            raise MemoryError("too large")
        return read(dataset_id)

    monkeypatch.setattr(reader, "read", sometimes)
    rows = {row.id: row for row in inventory()}
    assert rows["d4rl/good"].episodes == rows["minari/toy/good-v0"].episodes == 2
    assert "cannot be read" in rows["d4rl/text"].source and "metadata.json" in rows["minari/toy/wrong-v0"].source
    assert rows["minari/toy/bug-v0"].source == "MemoryError: too large"
