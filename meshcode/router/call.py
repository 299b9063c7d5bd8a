"""One open call, as the router remembers it.  Ended calls live only in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshcode.limits import PRIORITY_DEFAULT, STORY_EVENTS_MAX
from meshcode.marks import mypyc_attr
from meshcode.router.states import State, is_allowed

if TYPE_CHECKING:
    from meshcode.replica.instance import Instance
    from meshcode.router.feeding import Fed, One, Whole
    from meshcode.router.gathering import Gather
    from meshcode.router.line import Line
    from meshcode.router.pool import Worker


@mypyc_attr(acyclic=True)
class Call:
    """A call between its acceptance and its outcome.

    `envelope` is None while the bytes are only in the log: see limits.BODIES_IN_MEMORY_BYTES_MAX.
    """

    __slots__ = (
        "accepted_ms",
        "attempt",
        "cancelled_by",
        "client",
        "due_ms",
        "envelope",
        "epoch",
        "estimate_us",
        "fed",
        "filed",
        "gather",
        "id",
        "inst",
        "interrupted",
        "line",
        "marked",
        "needs",
        "options",
        "owner",
        "owner_attempt",
        "priority",
        "reason_given",
        "recorded",
        "sequence",
        "size",
        "started_ms",
        "state",
        "story",
        "timers",
        "worker",
    )

    def __init__(
        self,
        id: bytes,
        sequence: int,
        line: Line,
        envelope: bytes | None,
        size: int,
        options: dict[str, Any] | None,
        client: int,
        accepted_ms: int,
    ) -> None:
        """A call that was just accepted or recovered; it is in no line yet."""
        self.id = id
        self.sequence = sequence
        self.line = line
        self.envelope = envelope
        self.size = size  # Of the envelope, in bytes.
        self.options = options
        self.client = client  # Who is told the outcome; 0 = nobody.  More: Router.watchers.
        self.accepted_ms = accepted_ms
        self.state = State.WAITING
        self.priority = line.priority
        self.attempt = 0  # Of the running try, or of the last one; 0 before the first.
        self.epoch = 0
        self.worker: Worker | None = None
        self.started_ms = 0  # When the running attempt began, as far as the router can know.
        self.due_ms = 0  # While DELAYED: when it becomes WAITING.
        self.estimate_us = 0
        # The newest turn that must be on disk before it begins; by default that in which it does.
        # 0: nothing but a client of this node is its cause, and no worker has had it (decision
        # 0023).
        self.needs: int | None = None
        self.cancelled_by: str | None = None
        self.interrupted = ""  # Why the running attempt was told to stop: "cancel", "time limit".
        self.reason_given = ""  # See `reason`.
        self.recorded = False  # A `state` record exists in the log.
        self.marked = False  # The log knows that this attempt began.
        self.story: list[list[Any]] | None = None
        self.inst: Instance | None = None  # Its agreement, when more nodes than this one keep it.
        self.filed = False  # The history has an outcome of this id already: it keeps that one.
        self.owner: bytes | None = None  # Of a guest: the peer that this node runs it for.
        self.owner_attempt = 0  # Of a guest whose owner changed while it ran: the new one's count.
        # Of a step: what it gets besides, once all is there.
        self.fed: Fed | One | Whole | None = None
        self.gather: Gather | None = None  # While GATHERING.
        self.timers = 0  # In the heap of the router: for its due time and its expiry.
        if options is not None:
            self.priority = options.get("priority", line.priority)

    @property
    def weight(self) -> int:
        """Bytes of what its worker gets."""
        return self.size if self.fed is None else self.size + self.fed.size

    def sent(self) -> bytes | None:
        """The SUBMIT envelope that its worker gets; None when it is only in the log."""
        envelope = self.envelope
        if self.fed is None or envelope is None:
            return envelope
        return self.fed.submit(envelope)

    @property
    def lacks(self) -> bool:
        """Whether it must gather results of other calls before it can run."""
        return self.fed is None and self.options is not None and "feed" in self.options

    @property
    def reason(self) -> str:
        """Why it is HELD or DELAYED, or what it waits for, for people."""
        if self.reason_given or self.gather is None:
            return self.reason_given
        return self.gather.reason  # Made when it is read: what it waits for changes often.

    @reason.setter
    def reason(self, text: str) -> None:
        self.reason_given = text

    def option(self, name: str) -> Any:
        """The call's own option, or None."""
        return None if self.options is None else self.options.get(name)

    def setting(self, name: str) -> Any:
        """The call's own option, else its socket's, else None."""
        value = None if self.options is None else self.options.get(name)
        return getattr(self.line.config, name) if value is None else value

    def move(self, state: State) -> None:
        """Change the state; a move that is not in the table is a bug and stops the node."""
        assert is_allowed(self.state, state), (self.state, state, self.id.hex(), self.story)
        self.state = state

    def gather_for(self, reason: str) -> None:
        """Be GATHERING: it waits for something else than its turn, or is the router's own to do."""
        if self.state is not State.GATHERING:
            self.move(State.GATHERING)
        self.reason = reason

    def note(self, now_ms: int, name: str, text: str = "") -> None:
        """Remember an event that a reader of the call's history will want to see."""
        if self.story is None:
            self.story = []
        if len(self.story) >= STORY_EVENTS_MAX:
            del self.story[STORY_EVENTS_MAX // 2]  # The first and the newest stay.
        self.story.append([now_ms, name, text])

    def changes(self) -> dict[str, Any]:
        """The fields of its `state` record."""
        return {
            "state": int(self.state),
            "attempt": self.attempt,
            "due_ms": self.due_ms,
            "reason": self.reason,
            "story": self.story or [],
            "begun": self.marked,
            "cancelled_by": self.cancelled_by,
        }


def priority_of(value: int | None) -> int:
    """The priority to use where none is given."""
    return PRIORITY_DEFAULT if value is None else value
