"""Options of calls, and metas and pointers of outcomes, that nodes write: what they can be.

A node checks the options that clients give (`accept.option_problem`).  This is for what comes from
peers, who write more of them: calls are taken over with what is in there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from meshcode.errors import BadValue
from meshcode.ids import ID_BYTES
from meshcode.limits import FLOW_STEPS_MAX
from meshcode.router import feeding
from meshcode.router.envelopes import body_of
from meshcode.wire.codec import unpack_call, unpack_map

_METAS_KEPT: Final = 1_024
_SHORT_META: Final = 64  # Bytes of a meta whose problem is worth remembering.
_WHOLE_MAX: Final = (1 << 63) - 1
_FLOW: Final = b"@flow"  # `plan.FLOW` and the others, as they are in envelopes.
# What a call to a socket of the router itself cannot do without.
_NEEDED: Final = {b"@gather": "feed", b"@join": "join", b"@collect": "join", b"@item": "item"}


def problem(name: bytes, meta: bytes, envelope: bytes) -> str | None:
    """What is wrong with the packed options of a SUBMIT envelope to a socket, or None."""
    wrong = _short_problem(meta) if len(meta) <= _SHORT_META else _problem(meta)
    if wrong is not None or (name[:1] != b"@" and b"seats" not in meta):
        return wrong
    options = unpack_map(meta)
    needed = _NEEDED.get(name)
    if needed is not None and needed not in options:
        return f"there is no option {needed}"
    if name == b"@join" and "place" not in options["join"]:
        return "option join names no place"
    if name == b"@collect" and "number" not in options["join"]:
        return "option join has no number"
    return _seats_problem(options, envelope) if "seats" in options else None


def _problem(meta: bytes) -> str | None:
    try:
        options = unpack_map(meta)
    except BadValue as error:
        return str(error)
    for name, value in options.items():
        good = _GOOD.get(name)
        if good is not None and not good(value):
            return f"option {name} cannot be {value!r:.60}"
    named, feed = options.get("named"), options.get("feed")
    if named is not None and not (type(feed) is list and len(feed) == len(named)):
        return "option named does not go with what it is fed"
    return None


_short_problem = lru_cache(_METAS_KEPT)(_problem)


def _seats_problem(options: dict[str, Any], envelope: bytes) -> str | None:
    """Whose answers a call gathers is in its arguments, one of each."""
    try:
        (rows,), _ = unpack_call(body_of(envelope), False)
        good = all([type(part) for part in row] == [str, str, int] for row in rows)
    except (BadValue, ValueError, TypeError):
        return "it does not say whose answers it gathers"
    if not good or "feed" not in options:
        return "it does not say whose answers it gathers"
    found = len(set(feeding.leaves(options["feed"])))
    return None if found == len(rows) else f"it gathers {found} answers of {len(rows)}"


def is_ending(name: bytes, meta: bytes, envelope: bytes, body_at: int) -> bool:
    """Whether an outcome that is more than a value can be read.

    Its name is that of a flow where it says which call has the value; its meta tells of items.
    """
    try:
        if meta and not _is_told(unpack_map(meta)):
            return False
        if name != _FLOW:
            return True
        data = unpack_map(envelope[body_at:])
    except BadValue:
        return False
    return _is_id(data.get("result")) and _is_whole(data.get("steps"))


def _is_told(meta: dict[str, Any]) -> bool:
    plugs = meta.get("plugs")
    return (plugs is None or _are_texts(plugs)) and _is_whole(meta.get("items", 0))


def is_routed(meta: bytes) -> bool:
    """Whether this is the meta of an item: none, or by which plugs it goes."""
    try:
        return not meta or _is_told(unpack_map(meta))
    except BadValue:
        return False


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _WHOLE_MAX


def _is_id(value: Any) -> bool:
    return type(value) is bytes and len(value) == ID_BYTES


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_flag(value: Any) -> bool:
    return type(value) is bool


def _are_texts(value: Any) -> bool:
    return type(value) is list and all(type(one) is str for one in value)


def _is_feed(value: Any) -> bool:
    return feeding.problem(value, FLOW_STEPS_MAX) is None


def _is_join(value: Any) -> bool:
    return (
        type(value) is dict and type(value.get("target")) is str
        and _are_texts(value.get("places")) and len(value["places"]) > 0
        and ("place" not in value or value["place"] in value["places"])
        and _is_whole(value.get("number", 0))
    )  # fmt: skip


def _is_edge(value: Any) -> bool:
    if type(value) is not dict or not _are_texts(value.get("joined")):
        return False
    texts = [value.get(name) for name in ("plug", "target", "argument", "place", "gate")]
    ttl_ms = value.get("ttl_ms")
    return (
        _are_texts(texts) and (ttl_ms is None or _is_whole(ttl_ms))
        and type(value.get("copy", False)) is type(value.get("cast", False)) is bool
    )  # fmt: skip


def _is_place(value: Any) -> bool:
    """Home and voters (`joins.where`)."""
    return type(value) is bytes and len(value) % ID_BYTES == 0


def _is_item(value: Any) -> bool:
    if type(value) is not dict or type(value.get("of")) is not str:
        return False
    plugs = value.get("plugs")
    return _is_whole(value.get("number", 0)) and (plugs is None or _are_texts(plugs))


def _is_seat(value: Any) -> bool:
    return type(value) is dict and _is_id(value.get("node")) and _is_whole(value.get("place"))


_GOOD: Final[dict[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(
        ("priority", "delay_ms", "eta_ms", "retries", "retry_delay_ms", "time_limit_ms",
         "expires_ms"), _is_whole,
    ),
    **dict.fromkeys(("key", "by", "trace", "topic", "ack", "gate"), _is_text),
    **dict.fromkeys(("stream", "broadcast", "copy", "seats"), _is_flag),
    **dict.fromkeys(("kw", "died", "named"), _are_texts),
    "feed": _is_feed, "plan": _is_id, "edge": _is_edge, "join": _is_join, "at": _is_place,
    "item": _is_item, "seat": _is_seat,
}  # fmt: skip


__all__ = ["is_ending", "is_routed", "problem"]
