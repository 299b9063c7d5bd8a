"""Calls that were sent and have not ended: how an outcome finds its handle.

Handles are held weakly: a program that submits and forgets keeps nothing, whatever the number of
its calls.  Only the I/O thread uses this.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable

from meshcode.client.call import LOST, REFUSED, Call
from meshcode.errors import MeshError
from meshcode.wire.codec import pack

SWEEP_MIN = 10_000  # Calls followed before those whose handles are gone are looked for.

UNHEARD_MAX = 1_000  # Refused calls remembered until somebody looks at them.

_Reference = weakref.ref[Call]


class Pending:
    """All followed calls by id."""

    __slots__ = ("_round", "_sweep_at", "calls", "twins", "unheard")

    def __init__(self) -> None:
        """None yet."""
        self.calls: dict[bytes, _Reference] = {}
        self.twins: dict[bytes, list[_Reference]] = {}  # More handles of the same call.
        self.unheard: dict[bytes, bytes] = {}  # Calls refused whose error nobody has looked at.
        self._sweep_at = SWEEP_MIN
        self._round: list[bytes] = []  # What `some_known` has not named yet.

    def __len__(self) -> int:
        return len(self.calls)

    def follow(self, calls: Iterable[Call]) -> None:
        """Follow calls that are sent now."""
        known = self.calls
        reference = weakref.ref
        for call in calls:
            known[call._id] = reference(call)
        if len(known) > self._sweep_at:
            self.sweep()

    def follow_found(self, call: Call) -> bool:
        """Follow a call found by its id; False when another handle of it is followed already."""
        return self._follow_as(call._id, call)

    def redirect(self, call_id: bytes, to_id: bytes) -> bool:
        """A flow began: its handles end as the call `to_id` does; whether there are any."""
        handles = self.handles(call_id)
        self.calls.pop(call_id, None)
        self.twins.pop(call_id, None)
        for call in handles:
            self._follow_as(to_id, call)
        return bool(handles)

    def _follow_as(self, call_id: bytes, call: Call) -> bool:
        known = self.calls.get(call_id)
        if known is not None and known() is not None:
            self.twins.setdefault(call_id, []).append(weakref.ref(call))
            return False
        self.calls[call_id] = weakref.ref(call)
        return True

    def sweep(self) -> None:
        """Stop following calls whose handles are gone: nobody can ask for them any more."""
        for call_id in [id for id, reference in self.calls.items() if reference() is None]:
            if not self._promote(call_id):
                del self.calls[call_id]
        self._sweep_at = max(SWEEP_MIN, 2 * len(self.calls))

    def _promote(self, call_id: bytes) -> bool:
        """Let another handle of the call take the place of the one that is gone."""
        twins = [ref for ref in self.twins.pop(call_id, ()) if ref() is not None]
        if not twins:
            return False
        self.calls[call_id] = twins.pop()
        if twins:
            self.twins[call_id] = twins
        return True

    def some_known(self, count: int) -> list[bytes]:
        """Up to `count` ids of calls that the node should know, others each time."""
        if not self._round:
            self._round = list(self.calls)
        asked, self._round = self._round[:count], self._round[count:]
        return [id for id in asked if any(call._is_known() for call in self.handles(id))]

    def handles(self, call_id: bytes) -> list[Call]:
        """All living handles of one call that has not ended."""
        references = [self.calls.get(call_id), *self.twins.get(call_id, ())]
        found = [None if reference is None else reference() for reference in references]
        return [call for call in found if call is not None and not call._code]

    def end(self, call_id: bytes, code: int, body: bytes) -> None:
        """A call has ended; stop following it."""
        handles = self.handles(call_id)
        self.calls.pop(call_id, None)
        self.twins.pop(call_id, None)
        for call in handles:
            call._end(code, body)

    def refuse(self, call_id: bytes, body: bytes) -> None:
        """The node did not accept a call."""
        if len(self.unheard) < UNHEARD_MAX:  # Before it ends: who waits for it looks at once.
            self.unheard[call_id] = body
        self.end(call_id, REFUSED, body)

    def lose(self, call_ids: Iterable[bytes], error: MeshError) -> None:
        """End calls of which nothing more will be heard."""
        body = pack(error.to_data())
        for call_id in call_ids:
            self.end(call_id, LOST, body)

    def lose_all(self, error: MeshError) -> None:
        """The session is over."""
        self.lose(list(self.calls), error)

    def take_item(self, call_id: bytes, number: int, body: bytes) -> None:
        """Keep one item of a generator for whoever reads them."""
        for call in self.handles(call_id):
            if call._items is None:
                call._items = {}
            call._items[number] = body
