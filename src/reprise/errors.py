"""The one exception meant for people, and the nearest valid name for a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class RepriseError(Exception):
    """A fault a person can mend: one line saying what is wrong, where, and what to do next.

    ``exit_code`` is 2 for bad input and 1 for a result that was examined and refused.
    """

    def __init__(self, message: str, exit_code: int = 2):
        super().__init__(" ".join(str(message).split()))
        self.exit_code = exit_code


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The valid name closest to ``name``, or None when nothing is close."""
    names = [str(n) for n in names]
    lowered = {n.lower(): n for n in names}
    found = get_close_matches(str(name).lower(), list(lowered), n=1, cutoff=0.4)
    return lowered[found[0]] if found else None


def unknown(kind: str, name: str, names: Iterable[str], place: str) -> RepriseError:
    """The error for a name that does not exist: where it stands, and the nearest valid one (or all when few)."""
    names = sorted(str(n) for n in names)
    close = nearest(name, names)
    if close:
        hint = f"nearest: '{close}'"
    elif names:
        hint = "valid: " + ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    else:
        hint = "none is defined"
    return RepriseError(f"{place}: unknown {kind} '{name}'; {hint}")
