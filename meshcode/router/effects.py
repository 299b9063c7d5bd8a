"""What the router core wants done.

One `Effects` per step, or merged per turn.  The law: the shell writes and syncs `records` before
anything else in here leaves the node, but for what says of itself that it may leave beside them.
Order inside each list is the order of the steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final

# One change of the log: table, key, value.  None deletes.
Op = tuple[str, bytes, bytes | None]

# One call to hand to a worker: id, attempt, the newest turn that must be on disk before
# (`Call.needs`), envelope.
Assignment = tuple[bytes, int, int, bytes | None]

Told = tuple[int, bytes]  # Client, sealed OUTCOME envelope.
Word = tuple[bytes, int, list[Any]]  # Node, wire.kinds.Kind, entry.


@dataclass(slots=True)
class Effects:
    """Orders to the shell, in batches."""

    records: list[Op] = field(default_factory=list)
    # client, frame sequence, level (wire.kinds.Level), copies, voters: the whole frame is accepted,
    # but for what was refused, and each of its calls is on that many disks at least.
    accepted: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    # client, call id, error data (errors.MeshError.to_data).
    refused: list[tuple[int, bytes, dict[str, Any]]] = field(default_factory=list)
    # client, sealed OUTCOME envelope.
    outcomes: list[Told] = field(default_factory=list)
    # worker, assignments.
    starts: list[tuple[int, list[Assignment]]] = field(default_factory=list)
    # worker, call id, attempt, units of items that it may have sent in all; 0: drop the attempt.
    # They go out before `starts`: the attempt may begin again under the same number.
    credits: list[tuple[int, bytes, int, int]] = field(default_factory=list)
    # worker, call id, "cancel" or "time limit": interrupt it; kill the worker after the grace.
    interrupts: list[tuple[int, bytes, str]] = field(default_factory=list)
    # client, request id, good, data.
    answers: list[tuple[int, bytes, bool, Any]] = field(default_factory=list)
    # log sequences whose envelopes the core wants back in memory; answered by events.Fetched.
    fetches: list[int] = field(default_factory=list)
    # workers whose staged, not begun calls shall come back (events.Returned): one is stuck.
    recalls: list[int] = field(default_factory=list)
    # node, wire.kinds.Kind, entry: for a peer.  May be lost: whoever sends it sends it again.
    peer: list[Word] = field(default_factory=list)
    # The same, for words that leave when the batch of this turn is handed to the log.
    early: list[Word] = field(default_factory=list)
    # The same, for `outcomes`: a majority has them on disk.
    chosen: list[Told] = field(default_factory=list)
    # log sequence and id of calls that replication wants to see; answered by events.Read.
    reads: list[tuple[int, bytes]] = field(default_factory=list)
    # node, call id: outcomes to look up in the history, for a peer or (empty) for calls here;
    # answered by events.LookedUp.
    lookups: list[tuple[bytes, bytes]] = field(default_factory=list)
    # numbers that the shell gets back when this turn is on disk.
    marks: list[int] = field(default_factory=list)
    # call id, socket, event name, note, node ms: for listeners; may be lost.
    events: list[tuple[bytes, str, str, str, int]] = field(default_factory=list)
    # channel, data: for listeners of the node itself; may be lost.
    news: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def merge(self, other: Effects) -> None:
        """Append all of `other`, which came later."""
        for name in _NAMES:
            theirs = getattr(other, name)
            if theirs:
                getattr(self, name).extend(theirs)


_NAMES: Final = [one.name for one in fields(Effects)]
