"""Arrays in the gzip of an .npy file, read from the beginning, some rows at a time. Memory holds only these rows."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dmm.base.errors import explain
from dmm.data.http import check_record

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
AT_ONCE = 1_000  # rows that are skipped at once


class ArrayStream:
    """An open file. `row` is the row that is read next. Raises ValueError for a file that is no such array."""

    def __init__(self, path: Path) -> None:
        self.path, self.row = path, 0
        with self.faults("its header"):
            self.file = gzip.open(path)
        try:
            with self.faults("its header"):
                version = np.lib.format.read_magic(self.file)
                if version not in HEADERS:
                    raise ValueError(f"version {version} of .npy is not read")
                self.shape, in_fortran_order, self.dtype = HEADERS[version](self.file)
                if self.dtype.hasobject or in_fortran_order:
                    raise ValueError("it holds Python objects, or is in Fortran's order")
        except ValueError:
            self.file.close()
            raise

    def __enter__(self) -> "ArrayStream":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def read(self, rows: int) -> np.ndarray:
        """The next rows. Raises ValueError if the file ends before them."""
        shape = (rows, *self.shape[1:])
        size = int(np.prod(shape)) * self.dtype.itemsize
        with self.faults(f"rows {self.row} to {self.row + rows - 1}"):
            data = self.file.read(size)
            if len(data) < size:
                raise EOFError(f"it ends at row {self.row + len(data) * rows // size} of {self.shape[0]}")
        self.row += rows
        return np.frombuffer(data, self.dtype).reshape(shape)

    def skip(self, rows: int) -> None:
        """Reads rows that nobody needs."""
        while rows > 0:
            rows -= len(self.read(min(rows, AT_ONCE)))

    def finish(self) -> None:
        """Reads the rest. Raises ValueError if the file is cut off or does not have its checksum or its recorded sha256."""
        self.skip((self.shape or (1,))[0] - self.row)
        with self.faults("its end"):
            self.file.read(1)
        check_record(self.path)

    @contextmanager
    def faults(self, what: str) -> Iterator[None]:
        """Turns every error of reading into a ValueError with the file and the rows."""
        try:
            yield
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise ValueError(f"{self.path} cannot be read: {explain(error)}") from None
        except (EOFError, zlib.error, OSError, ValueError) as error:
            raise ValueError(f"{self.path} is damaged or cut off in {what}: {error}") from None
