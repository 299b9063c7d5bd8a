"""What can happen to the router core: the only things `Router.step` takes.

An event is a past participle and carries a batch wherever there can be more than one.  Times are
node milliseconds (`node/clock.py`): Unix milliseconds at boot, then counted by a clock that only
goes forward.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

# One submitted call, as the shell indexed it:
#   id, flow, parent: 16 bytes each
#   socket: the name
#   argc: positional arguments, 255 = not told
#   options: the decoded meta, None when empty (see docs/wire.md, "Options of a call")
#   envelope: the sealed bytes, exactly as received
NewCall = tuple[bytes, bytes, bytes, str, int, dict[str, Any] | None, bytes]

# One reported outcome: id, attempt, code (wire.kinds.Outcome), retry (the failure may be tried
# again), duration_us, started_ms, and the sealed OUTCOME envelope, exactly as received.
Report = tuple[bytes, int, int, bool, int, int, bytes]

# One item that a generator yielded: call id, attempt, number from 0, its packed value (empty: only
# a question where the owner stands), the packed meta of the ITEM, and which run of a peer it is of.
NewItem = tuple[bytes, int, int, bytes, bytes, int]


# Which part of a frame an event has: the core acknowledges a frame with its last one.
WHOLE, FIRST, MIDDLE, LAST = range(4)


@dataclass(slots=True)
class Submitted:
    """A client sent a frame of calls."""

    client: int
    sequence: int  # Of the frame; the acknowledgement names it.
    calls: list[NewCall]
    ended: dict[bytes, bytes] = field(default_factory=dict)  # Ids with an outcome: its envelope.
    # Copies and voters of the one that has the fewest, of calls of the frame that other nodes have.
    elsewhere: tuple[int, int] | None = None
    part: int = WHOLE  # Perhaps without a call: then it only says that it is the last.


@dataclass(slots=True)
class Watched:
    """A client wants the outcomes of these calls (after a reconnect, or from another process)."""

    client: int
    ids: list[bytes]
    ahead: bool = False  # Calls that are not there yet will be: items of a stream.


@dataclass(slots=True)
class ClientLeft:
    """A client session is gone.  Its calls go on."""

    client: int


@dataclass(slots=True)
class CrewChanged:
    """How many workers this node is to have for each processor now, running or not.

    All processors with one at least.  A worker sits at a place, and who takes its place when it
    died or was replaced sits there then.
    """

    seats: dict[str, int]


@dataclass(slots=True)
class WorkerJoined:
    """A worker has loaded its code and can take calls."""

    worker: int
    processor: str
    slots: int = 1  # Calls it runs at once: 1, or more for `async def` tasks.


@dataclass(slots=True)
class WorkerLeaving:
    """A worker takes no more calls, but finishes those it runs (recycle, stop, new commit).

    The calls staged there and not begun come back with its `WorkerLost`.
    """

    worker: int


@dataclass(slots=True)
class Finished:
    """A worker reported outcomes."""

    worker: int
    reports: list[Report]


@dataclass(slots=True)
class Yielded:
    """Generators that stream have yielded: at a worker here, or at a peer (`node`)."""

    worker: int | None  # None when it is a peer.
    items: list[NewItem]
    ended: set[bytes] = field(default_factory=set)  # Of `streams.unsure`: those that have ended.
    node: bytes = b""


@dataclass(slots=True)
class WorkerLost:
    """A worker process is gone.

    `begun` are the calls it had begun and not finished (from its control page): these count an
    attempt.  All others it held go back without one.
    """

    worker: int
    begun: list[bytes]
    reason: str  # "exit 1", "signal 9", "over its time limit", "stopped", ...
    blame: bool = True  # False: the node stopped it on purpose, so no attempt is counted.


@dataclass(slots=True)
class Returned:
    """A worker gave back calls that it had not begun: all of them, in order, perhaps none.

    It was asked to (see Effects.recalls), and answers each time.
    """

    worker: int
    ids: list[bytes]


@dataclass(slots=True)
class Fetched:
    """Envelopes that the core asked for (Effects.fetches), by log sequence.

    An empty one could not be read: its record is damaged or missing.
    """

    envelopes: list[tuple[int, bytes]]


@dataclass(slots=True)
class CancelAsked:
    """Someone wants a call to end now."""

    client: int
    request: bytes
    id: bytes
    by: str


@dataclass(slots=True)
class RetryAsked:
    """Someone wants a HELD or DELAYED call tried now with fresh attempts, or an ended one again.

    An ended call keeps its outcome; a new call with the same arguments is made and its id answered.
    `ended` is the SUBMIT envelope of the ended call and what split_done gives, when there is one.
    """

    client: int
    request: bytes
    id: bytes
    by: str
    ended: tuple[bytes, dict[str, Any]] | None = None


@dataclass(slots=True)
class ModelChanged:
    """A newer snapshot of the model.  Plain data, see `router/config.py`."""

    snapshot: dict[str, Any]
    # Kind and name of all objects that differ from the last snapshot; None: anything may.
    keys: Collection[tuple[str, str]] | None = None


@dataclass(slots=True)
class ProcessorChanged:
    """What this node knows of a processor's code: is there an environment, what are its tasks."""

    processor: str
    reason: str  # Why its calls wait: "environment is being built", "" when it is ready.
    signatures: dict[str, Any] = field(default_factory=dict)  # By task; see router/signature.py.


@dataclass(slots=True)
class Forgotten:
    """Outcomes of calls made before this were pruned: such an old id cannot be told from new."""

    before_ms: int


@dataclass(slots=True)
class Drained:
    """The node is asked to take no new calls and begin none; what runs may finish."""


@dataclass(slots=True)
class DiskChanged:
    """How full the disk or map is now.

    0 good; 1 tight: no new calls; 2 full: outcomes only; 3 stuck: what is to be written waits for
    room and is as much as may wait, so nothing begins, for its outcome would wait in memory, too.
    """

    level: int
    left: int = 0  # Bytes, for who is refused; and how many there must be for new calls.
    needed: int = 0  # 0: nobody knows.


@dataclass(slots=True)
class RoomChanged:
    """How many open calls, with copies of those of others, the node's memory is enough for."""

    calls_max: int


@dataclass(slots=True)
class PeerSaid:
    """A peer sent entries of one kind (wire.kinds.Kind, 48 to 66)."""

    node: bytes
    kind: int
    entries: list[Any]


@dataclass(slots=True)
class PeerChanged:
    """Membership says something new of a peer: `replica.peers` has the states.

    `boot` is the newest life of the peer that is known of, 0 = none.
    """

    node: bytes
    state: str
    boot: int
    kind: str = "core"
    domain: str = ""
    name: str = ""


@dataclass(slots=True)
class PeerReturned:
    """A session with a peer was opened again: what was said before may be lost."""

    node: bytes


@dataclass(slots=True)
class Read:
    """Calls that replication asked for (Effects.reads).

    Each is its sequence, when it was accepted, its SUBMIT envelope (empty: it could not be read),
    and the OUTCOME envelope that the history has under its id (empty: none).
    """

    calls: list[tuple[int, int, bytes, bytes]]


@dataclass(slots=True)
class LookedUp:
    """Outcomes that were looked up in the history (Effects.lookups).

    Each is for whom (a peer; empty: calls here), the call, and its OUTCOME envelope; empty: none.
    """

    found: list[tuple[bytes, bytes, bytes]]


@dataclass(slots=True)
class RecoverAsked:
    """A person wants a call issued again that the rules leave alone: see `recovering.py`."""

    client: int
    request: bytes
    sequence: int
    accepted_ms: int
    submit: bytes  # Its SUBMIT envelope, as the log has it.
    by: str


@dataclass(slots=True)
class Ticked:
    """Time passed: `Router.next_due_ms()` is reached, or a second is over."""


Event = (
    Submitted
    | Watched
    | ClientLeft
    | CrewChanged
    | WorkerJoined
    | WorkerLeaving
    | Finished
    | Yielded
    | Returned
    | Fetched
    | WorkerLost
    | CancelAsked
    | RetryAsked
    | ModelChanged
    | ProcessorChanged
    | Forgotten
    | Drained
    | DiskChanged
    | RoomChanged
    | PeerSaid
    | PeerChanged
    | PeerReturned
    | Read
    | LookedUp
    | RecoverAsked
    | Ticked
)
