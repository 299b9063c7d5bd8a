"""What leaves the node, once its records are on disk."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from meshcode import limits
from meshcode.errors import LogDamaged
from meshcode.node.frames import TAKEN
from meshcode.node.sessions import answer_envelope
from meshcode.node.streamops import READER
from meshcode.router.effects import Assignment, Effects
from meshcode.router.events import Fetched, Read
from meshcode.router.records import accepted_call, sequence_key
from meshcode.store.contract import DONE, OPEN
from meshcode.wire.codec import pack
from meshcode.wire.frame import AT_ID, envelope
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

_READ_TOGETHER = 64  # Calls read back at once: a few bodies, when they are large.


class Release:
    """Carries out the effects of synced turns."""

    def __init__(self, loop: Loop) -> None:
        """Through the links and processes of `loop`."""
        self._loop = loop

    def __call__(self, effects: Effects) -> None:
        """Do all of it: workers first, so that they work while clients are told."""
        loop = self._loop
        if effects.credits:
            loop.crew.credit(effects.credits)
        for worker, assignments in effects.starts:
            self.begin(worker, assignments)
        self._to_clients(effects)
        for worker, call, reason in effects.interrupts:
            if loop.hosted.is_mine(worker):
                loop.hosted.interrupt(call, reason)
            else:
                loop.crew.interrupt(worker, call, reason, loop.clock.now_ms())
        for worker in effects.recalls:
            loop.crew.recall(worker, loop.clock.now_ms())
        if effects.lookups:
            loop.step(loop.turns.looked_up(effects.lookups, partial(loop.log.get, DONE)))
        if effects.fetches:
            self._fetch(effects.fetches)
        if loop.mesh is not None:
            if effects.peer:
                loop.mesh.say_entries(effects.peer)
            if effects.reads:
                self._read(effects.reads)
            for serial in effects.marks:
                loop.model_saved(serial)
        for channel, data in effects.news:
            if channel == "feed":
                loop.feed.tell(data)
            elif channel == TAKEN:
                self._tell_held(data["client"])
            else:
                loop.listeners.publish(channel, b"", "", data)
        if effects.events and loop.feed.wants("task"):
            loop.feed.calls(effects)
        for call, socket, name, note, ms in effects.events:
            event = {"name": name, "note": note, "ms": ms}
            loop.listeners.publish("state", call, socket, event)
            if name in ("received", "prerun", "postrun"):
                loop.listeners.publish("task", call, socket, event)

    def begin(self, worker: int, assignments: list[Assignment]) -> None:
        """Hand calls to a worker."""
        if self._loop.hosted.is_mine(worker):
            self._loop.hosted.start(assignments)
        else:
            self._loop.crew.start(worker, assignments)

    def _to_clients(self, effects: Effects) -> None:
        by_client: dict[int, list[bytes]] = {}
        for client, id, error in effects.refused:
            data = envelope(Kind.REFUSED, id=id, body=pack(error))
            by_client.setdefault(client, []).append(data)
        for client, sequence, level, copies, voters in effects.accepted:
            told = copies << 8 | voters
            data = envelope(Kind.ACCEPTED, number=sequence, code=level, attempt=told)
            by_client.setdefault(client, []).append(data)
        relayed: dict[int, list[bytes]] = {}
        held = self._loop.frames.held
        last, append = None, None  # Most go to the client of the one before.
        for client, data in effects.outcomes:
            if client == last and append is not None:
                append(data)
            elif client == READER:
                self._loop.readers.ended(data[AT_ID])
            else:  # Below zero: a peer, for a client of its own.
                found = held.get(client) if held else None
                if found is None:
                    found = (by_client if client >= 0 else relayed).setdefault(client, [])
                found.append(data)
                last, append = client, found.append
        mesh = self._loop.mesh
        for client, request, good, answer in effects.answers:
            if client < 0:
                if mesh is not None:
                    mesh.relay.give_answer(client, request, good, answer)
                continue
            id = self._loop.asks.answered(request)
            if id is not None:
                by_client.setdefault(client, []).append(answer_envelope(id, good, answer))
        for client, outcomes in relayed.items():
            if mesh is not None:
                mesh.relay.give_outcomes(client, outcomes)
        sessions = self._loop.sessions
        for client, envelopes in by_client.items():
            session = sessions.by_id.get(client)
            if session is not None:
                sessions.send(session, envelopes)

    def _tell_held(self, client: int) -> None:
        """A frame that was taken in parts is acknowledged: what ended meanwhile follows."""
        outcomes = self._loop.frames.taken(client)
        session = self._loop.sessions.by_id.get(client)
        if outcomes and session is not None:
            self._loop.sessions.send(session, outcomes)

    def _fetch(self, sequences: list[int]) -> None:
        found: list[tuple[int, bytes]] = []
        size = 0
        for sequence in sequences:
            try:
                value = self._loop.log.get(OPEN, sequence_key(sequence))
            except LogDamaged:
                value = None
            found.append((sequence, b"" if value is None else accepted_call(value)[1]))
            size += len(found[-1][1])
            if size >= limits.FETCH_BYTES_MIN:  # In pieces, so that memory holds one at a time.
                self._loop.step(Fetched(found))
                found, size = [], 0
        if found:
            self._loop.step(Fetched(found))

    def _read(self, wanted: list[tuple[int, bytes]]) -> None:
        """Read calls back for replication, with the outcome that the history has of their ids."""
        found: list[tuple[int, bytes, int, bytes]] = []
        size = 0
        for (sequence, id), value in zip(wanted, self._opens(wanted), strict=True):
            accepted_ms, submit = (0, b"") if value is None else accepted_call(value)
            found.append((sequence, id, accepted_ms, submit))
            size += len(submit)
            if size >= limits.FETCH_BYTES_MIN:
                self._give_read(found)
                found, size = [], 0
        if found:
            self._give_read(found)

    def _opens(self, wanted: list[tuple[int, bytes]]) -> Iterator[bytes | None]:
        """The `open` records of these sequences, some at a time; None for one that is damaged."""
        log = self._loop.log
        for at in range(0, len(wanted), _READ_TOGETHER):
            keys = [sequence_key(sequence) for sequence, _ in wanted[at : at + _READ_TOGETHER]]
            try:
                yield from log.get_many(OPEN, keys)
            except LogDamaged:
                for key in keys:
                    try:
                        value = log.get(OPEN, key)
                    except LogDamaged:
                        value = None
                    yield value

    def _give_read(self, found: list[tuple[int, bytes, int, bytes]]) -> None:
        loop = self._loop  # What was given before may have put outcomes into the history.
        ended = loop.ended([id for _, id, _, _ in found])
        loop.step(Read([
            (sequence, accepted_ms, submit, ended.get(id, b""))
            for sequence, id, accepted_ms, submit in found
        ]))  # fmt: skip
