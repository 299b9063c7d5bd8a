"""Topic, fanout and broadcast queues: the sockets bound to them, and which topics those take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Bound = dict[str, list[tuple[str, str]]]  # By queue: sockets and their topics.


def bindings(snapshot: dict[str, Any], names: Iterable[str] | None = None) -> Bound:
    """The sockets of each queue that is not direct, with their topics, in order of their names.

    A socket of a topic queue without a topic of its own takes calls whose topic is its name.

    Args:
        snapshot: of the model.
        names: of the sockets that count; None for all.
    """
    queues = snapshot.get("queues") or {}
    sockets = snapshot.get("sockets") or {}
    found: Bound = {}
    for name in sorted(sockets if names is None else names):
        socket = sockets[name]
        queue = socket.get("queue") or ""
        kind = queues.get(queue, {}).get("type")
        if kind in ("fanout", "broadcast"):
            found.setdefault(queue, []).append((name, "#"))
        elif kind == "topic":
            found.setdefault(queue, []).append((name, socket.get("topic") or name))
    return found


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic fits a pattern, word by word: `*` is one word, `#` any number of them."""
    return _match(pattern.split("."), topic.split("."))


def _match(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_match(pattern[1:], words[at:]) for at in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _match(pattern[1:], words[1:])
