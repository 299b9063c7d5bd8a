"""What an answer says of an object beside its options: nobody gave it, it is worked out."""

from __future__ import annotations

from typing import Any

from meshcode import flowdoc
from meshcode.model import versions
from meshcode.model.keptcheck import LARGE, bytes_of, digest_of
from meshcode.model.settingnames import SETTINGS

__all__ = ["LARGE", "of"]


def of(kind: str, row: Any) -> dict[str, Any]:
    """Facts about a row of the kind; most kinds have none."""
    if kind in ("file", "version"):
        data = bytes_of({"content": row.content, "encoding": row.encoding})
        facts: dict[str, Any] = {"bytes": len(data), "digest": digest_of(data)}
        if kind == "version":  # The name of its row is that of a slot, which others have later.
            facts |= {"name": versions.title(row), "slot": row.name}
        return facts
    if kind == "flow":
        steps = list(flowdoc.steps(row.document))
        return {
            "steps": len(steps), "sockets": flowdoc.sockets(row.document),
            "digest": digest_of(flowdoc.to_text(row.document).encode()),
        }  # fmt: skip
    if kind == "setting" and row.name in SETTINGS:
        found = SETTINGS[row.name]
        return {"default": found.default, "text": found.text}
    return {}
