"""Errors in words. One for a wrong name has the given name, the known names and the name that was likely meant.

One for a file has its path. If a right is missing, it has the owner too. Ctrl-C is found in errors that a library made of it.
"""

import errno
import os
import pwd
import stat
from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)  # another try does not help
MENDABLE = (  # by the user
    *NO_RIGHT, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR,
    errno.ENAMETOOLONG, errno.ELOOP,
)  # fmt: skip


def unknown_name(kind: str, given: str, known: Iterable[str], where: str = "") -> ValueError:
    """Returns the ValueError for a name that does not exist. The caller raises it."""
    known = sorted(known)
    close = get_close_matches(given, known, n=1, cutoff=0.5) or [name for name in known if given and given in name]
    meant = f" Did you mean {close[0]!r}?" if close else ""
    place = f"{where} has" if where else "there are"
    has_commas = any("," in name for name in known)
    names = ", ".join(map(repr, known) if has_commas else known) or "none"
    return ValueError(f"unknown {kind} {given!r}; {place} {names}.{meant}")


def raise_interrupt(error: BaseException) -> None:
    """Raises KeyboardInterrupt if it caused this error. At an import, libraries in C++ turn Ctrl-C into an ImportError."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        cause = cause.__cause__ or cause.__context__


def user_name(uid: int) -> str:
    """A user's name. In a container a user may have no name. Then this is the user's number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def explain(error: OSError) -> str:
    """Permission denied: /shared/dmm/trials. It belongs to ann (drwxr-xr-x), and this user is bob"""
    reason = error.strerror or str(error)
    if error.filename is None:
        return reason
    path = Path(os.fsdecode(error.filename))
    reason = f"{reason}: {path}"
    if error.errno in NO_RIGHT:
        for place in (path, *path.parents):  # the first one that exists and can be seen
            with suppress(OSError):
                found = place.stat()
                owner = f"belongs to {user_name(found.st_uid)} ({stat.filemode(found.st_mode)})"
                return (
                    f"{reason}. {'It' if place == path else place} {owner}, and this user is {user_name(os.geteuid())}"
                )
    return reason
