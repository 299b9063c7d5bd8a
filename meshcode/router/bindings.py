"""Topic, fanout and broadcast queues: the sockets bound to them, and which topics those take."""

from __future__ import annotations

from typing import Any


def bindings(snapshot: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """The sockets of each queue that is not direct, with their topics, in order of their names.

    A socket of a topic queue without a topic of its own takes calls whose topic is its name.
    """
    queues = snapshot.get("queues") or {}
    found: dict[str, list[tuple[str, str]]] = {}
    for name, socket in sorted((snapshot.get("sockets") or {}).items()):
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
