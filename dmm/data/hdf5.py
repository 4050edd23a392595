"""HDF5 files from outside. All values that are read are in the file itself, and every fault is one ValueError."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import h5py


@contextmanager
def faults(where: str) -> Iterator[None]:
    """Turns every error in the block into a ValueError that begins with `where`. The block only calls a reading library."""
    try:
        yield
    except Exception as error:  # h5py and Minari have no error class of their own
        said = " ".join(str(error).split()) or type(error).__name__
        reason = "The file is damaged or is not HDF5"
        if "unable to lock" in said:
            reason = (
                "Another process has the file open for writing. Try again when it has ended. On a file system without locks, "
                "HDF5_USE_FILE_LOCKING=FALSE helps"
            )
        elif isinstance(error, PermissionError):
            reason = "This user may not read the file"
        raise ValueError(f"{where} cannot be read. {reason}: {said}") from None


def open_contained(path: Path) -> "h5py.File":
    """Opens a file for reading. Raises ValueError if it refers to other files, because HDF5 would open any of them."""
    import h5py

    with faults(str(path)):
        file = h5py.File(path, "r")

    def refers(name: bytes, link: "h5py.h5l.LinkInfo") -> str | None:
        if link.type == h5py.h5l.TYPE_EXTERNAL:
            return f"{name.decode()!r} is a link to another file, {file.id.links.get_val(name)[0].decode()}"
        if link.type == h5py.h5l.TYPE_HARD and isinstance(found := h5py.h5o.open(file.id, name), h5py.h5d.DatasetID):
            properties = found.get_create_plist()
            if properties.get_external_count():
                return f"{name.decode()!r} has its values in another file, {properties.get_external(0)[0].decode()}"
            if properties.get_layout() == h5py.h5d.VIRTUAL:
                return f"{name.decode()!r} has its values in other files"
        return None

    with faults(str(path)):
        said = file.id.links.visit(refers, info=True)  # twice as fast as visititems_links, for files of many episodes
    if said:
        file.close()
        raise ValueError(f"{path}: {said}. Only files that are whole in themselves are read")
    return file
