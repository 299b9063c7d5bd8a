"""The options of each kind of object that a program declares, by name.

What a value may be is for the model to say, which no client loads; that these are its names, a test
holds.  So a name that is none is refused where it is written, whether a node is there or not.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshcode.errors import BadRequest
from meshcode.nearest import nearest

OPTIONS: dict[str, tuple[str, ...]] = {
    "setting": ("value",),
    "secret": ("source", "description"),
    "network": ("description", "labels"),
    "scheduler": ("network", "strategy"),
    "node": ("network", "scheduler", "host", "cpus", "labels"),
    "queue": (
        "network", "type", "max_length", "max_length_bytes", "message_ttl_ms", "expires_ms",
        "overflow", "dead_letter", "labels",
    ),
    "processor": (
        "git", "module", "branch", "commit", "tag", "requirements", "module_path",
        "workers", "retries", "retry_delay_ms", "time_limit_ms", "rate_limit",
        "recycle_calls", "recycle_age_ms", "recycle_bytes", "requested_status", "env",
        "labels", "password",
    ),
    "socket": (
        "processor", "task", "queue", "priority", "rate_limit", "topic", "wait_for_all",
        "concurrency", "key_concurrency", "retries", "retry_delay_ms", "time_limit_ms",
        "labels",
    ),
    "deployment": ("processor", "scheduler", "host", "cpus"),
    "plug": ("source", "target", "queue", "type", "argument"),
    "gate": ("plug", "mode", "socket", "when_closed"),
    "schedule": (
        "socket", "cron", "interval_ms", "at", "timezone", "jitter_ms", "catch_up", "start",
        "end", "args", "kwargs", "requested_status",
    ),
    "file": ("content", "encoding", "folder", "description"),
    "flow": ("document", "description"),
}  # fmt: skip
# What goes with a change and is no option.
_BESIDE = {"processor": ("unlock",), "file": ("restore",), "flow": ("restore",)}


def check_option(kind: str, option: str, also: Iterable[str] = ()) -> None:
    """Refuse what is no option of the kind.

    Args:
        also: other names that are taken, which the text may mean.

    Raises:
        BadRequest: the text has the name that was probably meant.
    """
    known = OPTIONS[kind]
    if option in known or option in _BESIDE.get(kind, ()):
        return
    near = nearest(option, (*known, *also), cutoff=0.5)
    raise BadRequest(
        f"a {kind} has no option {option!r}{f'; did you mean {near!r}?' if near else ''}; it has:"
        f" {', '.join(known)}; nothing was changed",
        kind=kind, field=option,
    )  # fmt: skip
