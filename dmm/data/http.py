"""Files over HTTP. A download continues after a cut, is taken only when it is whole, and keeps the sha256 that it had first.

NAME.part          what has come so far
NAME.part.version  the server's mark of its version of the file, because two versions must not be mixed
NAME.sha256        the sha256 of the first whole file, as `sha256sum -c` reads it. Another file is refused later

The library pooch does not fit: it starts again after a cut, and it needs the sha256 before the first download.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dmm.base.checksums import file_sha256
from dmm.base.paths import delete, flush, write_atomic
from dmm.base.progress_bar import ProgressBar

if TYPE_CHECKING:
    import requests

SILENT_SECONDS = 30  # without a byte, after which a connection counts as cut
CHUNK = 2**20  # bytes
CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")  # first byte, bytes of the whole file
Advance = Callable[[int, int], None]  # called with the bytes that are here and those of the whole file


@dataclass(frozen=True)
class RemoteFile:
    """A file on the web and its place here."""

    address: str
    path: Path
    first_bytes: bytes  # of every file of this kind. A web page has others
    check: Callable[[Path], None]  # raises ValueError if a file of full length is not whole

    @property
    def by_hand(self) -> str:
        """What a user without a network can do."""
        return f"Or put the file at {self.path} and run the same command, which checks it"


class Cut(Exception):
    """The connection has ended before the file did."""


def fetch_all(name: str, files: Sequence[RemoteFile]) -> str:
    """Downloads the files of a dataset, with a bar. Gives a line with their size and, of a single file, the sha256.

    Files that are here are checked and not downloaded again. Raises ConnectionError for what a server or the network did, and
    ValueError or OSError for what the user can mend.
    """
    unit = "MB" if len(files) == 1 else "files"
    with ProgressBar(len(files), unit, name) as bar:
        digests = [fetch(file, partial(show, bar, number)) for number, file in enumerate(files)]
        if bar.started and unit == "files":
            bar.advance(len(files), {})
    size = sum(file.path.stat().st_size for file in files) / 1e6
    if unit == "MB":
        return f"{files[0].path}, {size:,.1f} MB, sha256 {digests[0]}"
    return f"{files[0].path.parent}, {size:,.1f} MB, {len(files)} files"


def show(bar: ProgressBar, number: int, size: int, whole: int) -> None:
    """Shows the bytes of the current file. A bar of several files counts files."""
    single = bar.unit == "MB"
    if single:
        bar.total = max(whole // 10**6, 1)
    done = min(size // 10**6, bar.total) if single else number
    if not bar.started:
        bar.start(done)
    bar.advance(done, {} if single else {"file": f"{size / 1e6:,.0f}/{whole / 1e6:,.0f} MB"})


def fetch(file: RemoteFile, advance: Advance = lambda size, whole: None) -> str:
    """Downloads a file, or checks the one that is here. Returns its sha256, which is recorded beside it."""
    if file.path.is_file():
        file.check(file.path)
        return hold_to_record(file.path, file.path)
    file.path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(file.path)
    with open(part, "ab") as opened:
        if not locked(opened, part):
            raise ValueError(f"another process downloads {file.path} now")
        try:
            transfer(file, opened, advance)
        finally:
            if not os.fstat(opened.fileno()).st_size:
                forget(part)
        fcntl.flock(opened, fcntl.LOCK_SH)  # HDF5 takes such a lock, too, when it reads
        try:
            file.check(part)
        except ValueError as error:
            forget(part)
            raise ConnectionError(f"{file.address} gave a file that is not whole, so it was deleted: {error}") from None
        digest = hold_to_record(part, file.path)
        flush(part)
        part.replace(file.path)
        forget(part)
    return digest


def locked(opened: BinaryIO, part: Path) -> bool:
    """Locks an open part for this process. False if another one has it, or has just given it its final name."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(opened.fileno()), part.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def part_of(path: Path) -> Path:
    """The name of a file until it is whole."""
    return path.with_name(f"{path.name}.part")


def version_of(part: Path) -> Path:
    """The file with the server's mark of the version that a part is of."""
    return part.with_name(f"{part.name}.version")


def forget(part: Path) -> None:
    """Deletes a part, and the mark of its version."""
    delete(part)
    delete(version_of(part))


def record_of(path: Path) -> Path:
    """The file with the sha256 that a file had first."""
    return path.with_name(f"{path.name}.sha256")


def recorded_sha256(path: Path) -> str | None:
    """The sha256 that a file had first. None if it is not known. Raises ValueError for a damaged record."""
    record = record_of(path)
    try:
        text = record.read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if isinstance(error, PermissionError):
            raise
        return None  # for example a name that is too long
    found = re.match(r"[0-9a-fA-F]{64}\b", text)
    if not found:
        raise ValueError(f"{record} has no sha256 at its start. If you trust {path.name}, delete the record")
    return found[0].lower()


def check_record(path: Path) -> None:
    """Raises ValueError if a file has another sha256 than the recorded one. A file without a record passes."""
    if recorded_sha256(path):
        hold_to_record(path, path)


def hold_to_record(file: Path, path: Path) -> str:
    """The sha256 of a file that is or will be at `path`. The first one is recorded. Raises ValueError for another one later."""
    found, recorded = file_sha256(file), recorded_sha256(path)
    if recorded is None:
        write_atomic(record_of(path), f"{found}  {path.name}\n".encode())
    elif found != recorded:
        raise ValueError(
            f"{file} has the sha256 {found}, and {record_of(path).name} has {recorded}. It is another version of the file, or "
            f"one of the two is damaged. To take this one, delete {record_of(path)}"
        )
    return found


def transfer(file: RemoteFile, part: BinaryIO, advance: Advance) -> None:
    """Appends what is missing to a part. After a cut it tries again, as long as each try brings new bytes."""
    best = part.seek(0, os.SEEK_END)
    while True:
        try:
            return receive(file, part, advance)
        except Cut as cut:
            part.flush()
            if part.tell() <= best:
                raise ConnectionError(
                    f"{file.address} was cut after {part.tell():,} bytes: {cut}. The same command continues. {file.by_hand}"
                ) from None
            best = part.tell()


def receive(file: RemoteFile, part: BinaryIO, advance: Advance) -> None:
    """Asks for the rest of a file once, and appends it to a part. Raises Cut if the connection ends before the file does."""
    import requests

    offset, mark = part.seek(0, os.SEEK_END), version_of(Path(part.name))
    version = mark.read_text() if mark.is_file() else ""
    headers = {"Accept-Encoding": "identity"}  # else Content-Length would be that of compressed bytes
    if offset and version:
        headers |= {"Range": f"bytes={offset}-", "If-Range": version}
    try:
        answer = requests.get(file.address, headers=headers, stream=True, timeout=SILENT_SECONDS)
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
    ) as error:
        raise ValueError(f"{file.address} is no address: {error}") from None
    except requests.RequestException as error:
        if offset:
            raise Cut(cause(error)) from None
        raise ConnectionError(f"{file.address} cannot be reached: {cause(error)}. {file.by_hand}") from None
    with answer:
        start, whole = answered_range(file, answer, offset)
        if start == whole:
            return
        if start == 0:
            part.truncate(0)
            part.seek(0)
            write_atomic(mark, version_in(answer).encode())
        free = shutil.disk_usage(file.path.parent).free
        if free < whole - start:
            raise ValueError(
                f"no space for {file.path}: {(whole - start) / 1e6:,.0f} MB are missing, and {file.path.parent} has "
                f"{free / 1e6:,.0f} MB left"
            )
        append(file, part, answer, whole, advance)


def answered_range(file: RemoteFile, answer: "requests.Response", offset: int) -> tuple[int, int]:
    """The first byte that a server sends, and the bytes of the whole file. They are equal if nothing is missing."""
    found = CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if answer.status_code == 416 and found:
        if int(found[2]) == offset:
            return offset, offset
        forget(part_of(file.path))
        raise ConnectionError(
            f"{file.address} has {int(found[2]):,} bytes, and {offset:,} were here. They were of another file and are "
            "deleted. The same command starts again"
        )
    if answer.status_code == 206 and found and found[1] and int(found[1]) == offset:
        return offset, int(found[2])
    if answer.status_code != 200:
        raise ConnectionError(f"{file.address} answers {answer.status_code} {answer.reason}. {file.by_hand}")
    length = answer.headers.get("Content-Length", "")
    if not length.isdecimal():
        raise ConnectionError(f"{file.address} does not say how long the file is, so a whole one cannot be told")
    return 0, int(length)


def version_in(answer: "requests.Response") -> str:
    """The server's mark of a file's version. "" if it has none, and then a part cannot be continued."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")


def append(file: RemoteFile, part: BinaryIO, answer: "requests.Response", whole: int, advance: Advance) -> None:
    """Appends an answer to a part, up to the bytes of the whole file."""
    from urllib3.exceptions import HTTPError

    try:
        while chunk := answer.raw.read1(CHUNK):  # iter_content would lose the bytes of a chunk that is cut
            if part.tell() == 0 and not chunk.startswith(file.first_bytes):
                kind = answer.headers.get("Content-Type", "no type")
                raise ConnectionError(
                    f"{file.address} answers with another kind of file: {kind}, which begins with {chunk[:20]!r}. "
                    f"{file.by_hand}"
                )
            write(part, chunk)
            advance(part.tell(), whole)
    except HTTPError as error:
        raise Cut(cause(error)) from None
    if part.tell() != whole:
        raise Cut(f"the whole file has {whole:,}")


def write(part: BinaryIO, chunk: bytes) -> None:
    """Appends bytes to a part. Raises OSError with the path, for example if no space is left. The part is kept."""
    try:
        part.write(chunk)
        part.flush()
    except OSError as error:
        reason = f"{error.strerror}, so the download stops. The same command continues"
        raise OSError(error.errno, reason, part.name) from None


def cause(error: BaseException) -> str:
    """The innermost reason of an error of requests, which wraps those of urllib3 and of the system."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    with suppress(AttributeError):
        return error.strerror or str(error)  # pyright: ignore[reportAttributeAccessIssue]
    return str(error) or type(error).__name__
