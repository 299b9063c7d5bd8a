"""Logins of a user that were ended: they stay so, whoever changes the user at the same moment.

Two options of a user say it: `ended`, of single logins, and `signed_out_ms`, of all before a time.
Everything else of an object is what its last edit made it; these two only ever gain.  Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshcode.model.usercheck import ENDED_MAX

KIND = "user"
OPTIONS = ("ended", "signed_out_ms")


def kept(before: Mapping[str, Any], after: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """The two options of `after`, with what `before` has of them and `after` lacks.

    When they would be more than a user may have, all logins end that were made until now: nobody
    can tell one that is left out from one that holds.

    Args:
        before: options of the user as somebody else left it, or as it was.
        after: options that are to hold.
        now_ms: Unix milliseconds; logins that are over by then are not brought back.
    """
    mine = after.get("ended") or {}
    found = {**_live(before, now_ms), **mine}
    out = max(before.get("signed_out_ms") or 0, after.get("signed_out_ms") or 0)
    if len(found) > ENDED_MAX:
        out = max(out, now_ms)
        last = sorted(found.items(), key=lambda one: (one[1], one[0]))[-ENDED_MAX:]
        found = dict(sorted(last))
    return {"ended": found, "signed_out_ms": out or None}


def _live(options: Mapping[str, Any], now_ms: int) -> dict[str, int]:
    ended = options.get("ended") or {}
    return {login: until for login, until in ended.items() if until > now_ms}
