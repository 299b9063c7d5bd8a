"""What each part of `mesh doctor` gives: lines of its report."""

from __future__ import annotations

from typing import NamedTuple

OK, WARN, FAIL = "OK", "WARN", "FAIL"


class Check(NamedTuple):
    """One line of the report; `fix` says what to do when the state is not OK."""

    name: str
    state: str
    detail: str
    fix: str = ""
