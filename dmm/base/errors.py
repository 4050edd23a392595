"""One clear error for a wrong name: what was given, what exists, what was likely meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def unknown_name(kind: str, given: str, known: Iterable[str], where: str = "") -> ValueError:
    """Returns the ValueError for a name that does not exist, to be raised by the caller."""
    known = sorted(known)
    close = get_close_matches(given, known, n=1, cutoff=0.5)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    place = f"{where} has" if where else "there are"
    return ValueError(f"unknown {kind} {given!r}; {place} {', '.join(known) or 'none'}.{meant}")
