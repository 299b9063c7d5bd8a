"""The history of one node, page by page."""

from __future__ import annotations

from typing import Any

ROWS = 1_000  # Calls asked of a node at once.


def history(client: Any) -> list[dict[str, Any]]:
    """Every call the node knows, newest first."""
    rows: list[dict[str, Any]] = []
    before = None
    while True:
        fields: dict[str, Any] = {"rows": ROWS}
        if before is not None:
            fields["before"] = before
        page = client.ask("call.list", **fields)["calls"]
        rows += page
        if len(page) < ROWS:
            return rows
        before = page[-1]["id"]


__all__ = ["history"]
