"""HDF5 files that refer to other files, that are locked and that are damaged."""

import fcntl
import os
import random
from pathlib import Path

import h5py
import pytest
from helpers.data_files import make_minari, write

from dmm import data
from dmm.data import readers


def with_link(kind: str, file: h5py.File, other: str) -> None:
    """Puts values that lie in another file into a file."""
    shape, name = (6, 2), "observations"
    if kind == "external link":
        file[name] = h5py.ExternalLink(other, name)
    elif kind == "link to an external link":
        file["infos/there"] = h5py.ExternalLink(other, name)
        file[name] = h5py.SoftLink("/infos/there")
    elif kind == "external storage":
        file.create_dataset(name, shape, "f4", external=[(other, 0, 48)])
    else:
        layout = h5py.VirtualLayout(shape, "f4")
        layout[:] = h5py.VirtualSource(other, name, shape)
        file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize("kind", ["external link", "link to an external link", "external storage", "virtual"])
def test_values_in_other_files_are_not_read(tmp_path, kind):
    write(tmp_path / "other.hdf5")
    dataset_id = write(tmp_path / "a.hdf5", observations=None)
    with h5py.File(tmp_path / "a.hdf5", "a") as file:
        with_link(kind, file, str(tmp_path / "other.hdf5"))
    with pytest.raises(ValueError, match="a.hdf5: '.*other file.*Only files that are whole in themselves are read"):
        data.load((dataset_id,))


def test_values_in_other_files_are_not_read_by_minari(tmp_path):
    write(tmp_path / "other.hdf5")
    make_minari("toy/linked-v0")
    with h5py.File(Path(os.environ["MINARI_DATASETS_PATH"]) / "toy/linked-v0/data/main_data.hdf5", "a") as file:
        file["episode_0/infos/more"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "rewards")
    with pytest.raises(ValueError, match="main_data.hdf5: 'episode_0/infos/more' is a link to another file"):
        data.load(("minari/toy/linked-v0",))


def test_a_locked_file_is_not_called_damaged(tmp_path):
    dataset_id = write(tmp_path / "a.hdf5")
    with open(tmp_path / "a.hdf5", "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as HDF5 does while it writes
        with pytest.raises(ValueError, match="Another process has the file open for writing") as error:
            data.load((dataset_id,))
    assert "damaged" not in str(error.value)
    assert data.load((dataset_id,)).episodes == 2


@pytest.mark.parametrize("name", ["main_data.hdf5", "metadata.json"])
def test_a_damaged_minari_dataset_is_read_or_is_one_error(name):
    make_minari("toy/flipped-v0")
    file = Path(os.environ["MINARI_DATASETS_PATH"]) / "toy/flipped-v0/data" / name
    whole, generator = file.read_bytes(), random.Random(0)
    for _ in range(100):
        content = bytearray(whole)
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        file.write_bytes(content)
        try:
            readers()["minari"].read("minari/toy/flipped-v0")
        except ValueError as error:
            assert "\n" not in str(error) and "toy/flipped-v0" in str(error)
