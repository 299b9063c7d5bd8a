"""`Queue`: the rules of a durable waiting line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from meshcode.client.objects.asking import Data, Wanted, warn_unused
from meshcode.client.objects.base import Declared
from meshcode.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping



class Queue(Declared):
    """A queue: `Queue("orders", max_length=1000)`; see `Declared`.

    Of the original: `qtype` is `type`; `message_ttl` is seconds, and kept as `message_ttl_ms`;
    `durable` is always true, so False is refused; `expires` is not used.
    """

    kind: ClassVar[str] = "queue"
    _renamed = {"qtype": "type"}
    _more = ("durable", "message_ttl")
    _unused = {
        "reliable": "every call is on disk before it is acknowledged",
        "auto_delete": "a queue is never deleted by itself",
    }

    @classmethod
    def _given(cls, found: list[Wanted], options: Mapping[str, Any]) -> Data:
        kept = dict(options)
        if kept.pop("durable", True) is False:
            raise BadRequest(
                "a queue here is always durable, and durable is False; nothing was changed; leave"
                " it out", kind="queue", field="durable",
            )  # fmt: skip
        if kept.pop("expires", None) is not None:
            why = "a queue is never deleted because nobody uses it; expires_ms ends calls"
            warn_unused("queue", "expires", why)
        seconds = kept.pop("message_ttl", None)
        if seconds is not None:
            if not isinstance(seconds, int | float) or isinstance(seconds, bool):
                raise BadRequest(
                    f"message_ttl is {seconds!r}; it must be seconds; nothing was changed",
                    kind="queue", field="message_ttl",
                )  # fmt: skip
            kept["message_ttl_ms"] = round(seconds * 1000)
        return super()._given(found, kept)
