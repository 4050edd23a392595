"""The error for a wrong name, with the name that was likely meant. Ctrl-C that a library has turned into another error."""

from collections.abc import Iterable
from difflib import get_close_matches


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
