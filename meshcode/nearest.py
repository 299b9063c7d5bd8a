"""The nearest of the names that there are, for errors about one that there is not."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The name in `known` most like `word`; None when none is at all.

    Args:
        word: what somebody wrote.
        known: the names that there are.
        cutoff: how like it must be, from 0 to 1.
    """
    import difflib  # Only here: it is 0.15 MB that a node without errors does not need.

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return found[0] if found else None
