"""What can happen to the membership core, and what it wants done.

An event is a past participle.  Times are node milliseconds (`node/clock.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# A message of this protocol: plain data, see `messages.py`.
Message = dict[str, Any]

# node, state ("alive", "leaving", "suspect", "dead", "left", "evicted"), boot, meta.
# A boot of 0: nothing was ever heard of this member.
Change = tuple[bytes, str, int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Received:
    """A message came over the authenticated session of `sender`."""

    sender: bytes
    message: Any  # Not believed to be anything before it is checked.


@dataclass(frozen=True, slots=True)
class Added:
    """The roster or a seed names a member.  The same again is harmless."""

    node: bytes
    kind: str  # "core", "witness" or "edge".
    meta: dict[str, Any] = field(default_factory=dict)  # Until the member tells its own.


@dataclass(frozen=True, slots=True)
class Evicted:
    """The roster has removed a member for ever.  Only the roster can: gossip never evicts."""

    node: bytes


@dataclass(frozen=True, slots=True)
class Leaving:
    """This node is about to restart and will be back within `for_ms` (at most a minute)."""

    for_ms: int


@dataclass(frozen=True, slots=True)
class Left:
    """This node goes away on purpose, for long.  It says so and is silent from then on."""


@dataclass(frozen=True, slots=True)
class SelfHealth:
    """What the shell measured of itself since it last said."""

    loop_lag_ms: int = 0
    commit_ms: int = 0
    clock_step_ms: int = 0


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time passed: `Swim.next_due_ms()` is reached."""


@dataclass(frozen=True, slots=True)
class Contact:
    """The transport has a new session with a member: compare tables now."""

    node: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """A session of the transport went down: probe the member now.  No verdict by itself."""

    node: bytes


Event = Received | Added | Evicted | Leaving | Left | SelfHealth | Ticked | Contact | Lost


@dataclass(slots=True)
class Out:
    """Orders to the shell: messages to send, and what is now believed of whom."""

    sends: list[tuple[bytes, Message]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
