"""Pages of a listing: which part of one a request is to give, and where the next goes on.

A request looks at LOOKED_MAX records at most.  What it has not found by then, the next request
finds, which has the `cursor` and `passed` of this answer as fields (`meshcode.listing`).
"""

from __future__ import annotations

from typing import Any

from meshcode.errors import BadRequest
from meshcode.ids import ID_BYTES, parse_id, text_of

SCAN_MAX = 200_000  # How far the rows of numbered pages reach.
LOOKED_MAX = 20_000  # Records looked at for one request, 40 ms: all calls wait meanwhile.
ROWS_MAX = 1_000


def whole(fields: dict[str, Any], name: str, default: int) -> int:
    """A whole number of a request, or the default when it is not given.

    Raises:
        BadRequest: it is something else.
    """
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadRequest(f"field {name!r} must be a whole number, it is {value!r}")
    return value


def cursor_of(fields: dict[str, Any]) -> bytes | None:
    """Where a listing goes on: behind this call, which need not be there any more.

    Raises:
        BadRequest: it is no id.
    """
    value = fields.get("cursor")
    if value is None:
        return None
    try:
        return value if isinstance(value, bytes) and len(value) == ID_BYTES else parse_id(value)
    except (TypeError, ValueError, AttributeError):
        raise BadRequest(f"field 'cursor' must be that of an answer, it is {value!r}") from None


class Part:
    """What one request is to add to a page: where that begins, and how many rows it lacks."""

    def __init__(self, fields: dict[str, Any]) -> None:
        """Read the fields of a request.

        Raises:
            BadRequest: a field is of the wrong kind, or the page is beyond SCAN_MAX.
        """
        self.rows = min(max(whole(fields, "rows", 10), 1), ROWS_MAX)
        self.page = max(whole(fields, "page", 1), 1)
        first = 0 if fields.get("before") else (self.page - 1) * self.rows
        if first + self.rows > SCAN_MAX:
            raise BadRequest(
                f"page {self.page} with {self.rows} rows ends at row {first + self.rows}, pages "
                f"reach to row {SCAN_MAX}; go on from a call (`mesh ls calls --before ID`, the "
                "field `cursor`), name a socket, a state or a time, or list from the other end "
                "with `ascending`"
            )
        gone_on = cursor_of(fields) is not None
        self.passed = max(whole(fields, "passed", 0), 0) if gone_on else 0
        self.skipped = max(0, first - self.passed)  # Calls before the page.
        self._room = max(0, first + self.rows - max(first, self.passed))
        self.wanted = self.skipped + self._room + 1  # One more says that there is another page.

    def shown(self, ids: list[bytes]) -> list[bytes]:
        """Those of the page."""
        return ids[self.skipped : self.skipped + self._room]

    def told(self, ids: list[bytes], reach: bytes | None) -> dict[str, Any]:
        """What the answer says beside the calls; `ids` is whole up to `reach`."""
        more = len(ids) >= self.wanted
        found: dict[str, Any] = {
            "page": self.page, "rows": self.rows, "more": more or reach is not None,
        }  # fmt: skip
        if not more and reach is not None:
            found |= {"cursor": text_of(reach), "passed": self.passed + len(ids)}
        return found
