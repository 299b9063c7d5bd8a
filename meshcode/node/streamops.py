"""Reading a stream: the items of a generator from any position, as they come or long after.

`stream.read {"id", "from", "wait_ms"}` is answered with the items that are there, as many as fit;
without any it waits for the next, at most STREAM_WAIT_MS, so that a node that asks for a client of
its own hears in time.  Nothing is kept for a reader between two questions.

    {"items": [packed value, ...]}                what is there from `from` on
    {"items": []}                                 nothing yet: ask again
    {"items": [], "end": count, "streamed": bool} there are no more; the call ended

`streamed` is false for a call whose items are not calls of their own: its result has them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshcode import limits
from meshcode.errors import Busy, ResultExpired, UnknownCall
from meshcode.ids import text_of
from meshcode.node.meshcalls import has_owner, kept_id
from meshcode.node.paging import whole
from meshcode.node.sessions import Session
from meshcode.node.subjects import call_of
from meshcode.replica.instance import ENDED
from meshcode.router.effects import Effects
from meshcode.router.envelopes import body_of
from meshcode.router.events import Watched
from meshcode.router.records import outcome_of, read_envelope
from meshcode.router.streams import count_of, item_id
from meshcode.wire.frame import AT_CODE
from meshcode.wire.kinds import Outcome

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

READER = 1 << 62  # A client of the core that is no session: this file.
_DONE = int(Outcome.DONE)


class _Waiting:
    """A reader that has come to the end of what is there."""

    __slots__ = ("client", "due_ms", "first", "id", "request")

    def __init__(self, client: int, request: bytes, id: bytes, first: int, due_ms: int) -> None:
        self.client = client
        self.request = request
        self.id = id
        self.first = first
        self.due_ms = due_ms


class Readers:
    """The readers of streams that wait at this node."""

    def __init__(self, loop: Loop) -> None:
        """None."""
        self._loop = loop
        self._waiting: dict[bytes, _Waiting] = {}  # By this node's number of the request.
        self._by_call: dict[bytes, set[bytes]] = {}  # Item or stream -> requests.

    def wait(self, client: int, request: bytes, id: bytes, first: int, wait_ms: int) -> None:
        """Answer when item `first` is there, or the stream has ended, or after `wait_ms`.

        Raises:
            Busy: too many wait.
        """
        if len(self._waiting) >= limits.STREAM_READERS_MAX:
            raise Busy(
                f"{len(self._waiting)} readers of streams wait at this node, the limit is "
                f"{limits.STREAM_READERS_MAX}; nothing was read; ask again later"
            )
        loop = self._loop
        due_ms = loop.clock.now_ms() + min(wait_ms, limits.STREAM_WAIT_MS)
        self._waiting[request] = _Waiting(client, request, id, first, due_ms)
        for one in (id, item_id(id, first)):
            self._by_call.setdefault(one, set()).add(request)
        loop.step(Watched(READER, [id, item_id(id, first)], ahead=True))

    def ended(self, id: bytes) -> None:
        """An item is there, or a stream has ended; it is on disk."""
        for request in list(self._by_call.get(id, ())):
            found = self._forget(request)
            if found is not None:
                self._answer(found)

    def _answer(self, found: _Waiting) -> None:
        loop = self._loop
        try:
            answer = _read(loop, found.id, found.first)
        except (UnknownCall, ResultExpired):
            answer = {"items": []}  # It asks again, and is told then.
        if answer is None:
            answer = {"items": []}
        told = (found.client, found.request, True, answer)
        loop.turns.add(Effects(answers=[told]))

    def _forget(self, request: bytes) -> _Waiting | None:
        found = self._waiting.pop(request, None)
        if found is None:
            return None
        for one in (found.id, item_id(found.id, found.first)):
            requests = self._by_call.get(one, set())
            requests.discard(request)
            if not requests:
                self._by_call.pop(one, None)
                self._unwatch(one)
        return found

    def _unwatch(self, id: bytes) -> None:
        """Nobody waits for the call any more; an item may never come."""
        router = self._loop.router
        call = router.calls.get(id)
        if call is not None and call.client == READER:
            call.client = 0
        router.watchers.drop(id, READER)

    def next_due_ms(self) -> int | None:
        """When `tick` has something to do."""
        if not self._waiting:  # Asked in each round.
            return None
        return min(found.due_ms for found in self._waiting.values())

    def tick(self, now_ms: int) -> None:
        """Answer those that waited long enough, with nothing."""
        for request, found in list(self._waiting.items()):
            if now_ms >= found.due_ms:
                self._forget(request)
                self._answer(found)


def _stream_read(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    which = call_of(fields)
    try:
        id = loop.history.find(which)
    except UnknownCall:
        id = kept_id(loop, which)
        if has_owner(loop, id):
            raise  # The owner is asked; with none, the stream goes on when one has taken over.
    first = whole(fields, "from", 0)
    answer = _read(loop, id, first)
    if answer is None:
        wait_ms = whole(fields, "wait_ms", limits.STREAM_WAIT_MS)
        loop.readers.wait(session.id, request, id, first, wait_ms)
    return answer


def _read(loop: Loop, id: bytes, first: int) -> dict[str, Any] | None:
    """What there is from an item on; None when that has still to come.

    Raises:
        UnknownCall: this node knows no such call, or has not got its items.
    """
    items: list[bytes] = []
    size = 0
    while len(items) < limits.STREAM_READ_ITEMS and size < limits.STREAM_READ_BYTES:
        item = item_id(id, first + len(items))
        record = loop.history.done_record(item)
        if record is None:
            break
        outcome = outcome_of(record)
        if outcome[AT_CODE] != _DONE:  # A person has cancelled it before it was on enough disks.
            break
        items.append(body_of(outcome))
        size += len(items[-1])
    if items:
        return {"items": items}
    if _is_open(loop, id) or _is_open(loop, item_id(id, first)):
        return None
    record = loop.history.done_record(id)
    if record is None:
        raise UnknownCall(f"no call {text_of(id)} is open or kept in the history of this node")
    ended = outcome_of(record)
    count = count_of(read_envelope(ended)[1])
    if count is not None and first < count:
        return _missing(loop, id, first, count)
    streamed = count is not None or ended[AT_CODE] != _DONE
    return {"items": [], "end": first if count is None else count, "streamed": streamed}


def _missing(loop: Loop, id: bytes, first: int, count: int) -> dict[str, Any]:
    if loop.mesh is not None and loop.mesh.up:
        raise UnknownCall(f"item {first} of call {text_of(id)} is not in the history of this node")
    raise ResultExpired(
        f"item {first} of the {count} of call {text_of(id)} is not in the history of this node any "
        "more; items are kept as long as other outcomes, begin at a later one"
    )


def _is_open(loop: Loop, id: bytes) -> bool:
    router = loop.router
    if id in router.calls or id in router.copies:
        return True
    inst = router.replica.by_id.get(id)
    return inst is not None and (inst.role != ENDED or not inst.filed)


OPERATIONS = {"stream.read": _stream_read}
