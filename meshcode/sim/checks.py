"""What must be true in every world, checked after every step, sync and release.

The checker keeps its own books: what the core wrote (`thought`), what reached the disk
(`durable`), what workers really did (`Fact.executed`) and what people were told.  It compares; it
never decides.  Rule numbers are those of docs/simulation.md.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

from meshcode import limits
from meshcode.ids import child_id, text_of
from meshcode.router import events
from meshcode.router.call import Call
from meshcode.router.config import SocketConfig
from meshcode.router.core import Router
from meshcode.router.effects import Assignment, Effects, Op
from meshcode.router.plan import FLOW
from meshcode.router.records import sequence_key, split_done, split_open, split_state
from meshcode.router.room import kept
from meshcode.router.states import State
from meshcode.sim import plugchecks
from meshcode.sim.begins import Begins
from meshcode.sim.books import Books, Fact
from meshcode.sim.castbook import CastBook
from meshcode.sim.flowbook import FlowBook
from meshcode.sim.plans import Drawn, are_wrong, binds
from meshcode.sim.plugbook import PlugBook
from meshcode.sim.streambook import StreamBook
from meshcode.sim.violation import require
from meshcode.store.memory_log import MemoryDisk
from meshcode.wire.codec import unpack
from meshcode.wire.frame import check_envelope
from meshcode.wire.kinds import Outcome

_IN_LINE = (State.WAITING, State.DELAYED, State.GATHERING)
_CALL_BYTES_MAX = 700  # Of one envelope, in any world.
_DEEP_CALLS = 48  # Worlds with more open calls than this get the slow check at some steps only.


def is_late(router: Router, now_ms: int) -> bool:
    """Whether timers are due that a step has left to the next."""
    return bool(router.timers) and router.timers[0][0] <= now_ms


class Checker:
    """The judge of one world; it outlives the node's boots."""

    def __init__(self) -> None:
        self.facts: dict[bytes, Fact] = {}
        self.thought = Books()
        self.durable = Books()
        self.begins = Begins(self)
        self.flows = FlowBook()
        self.plugs: PlugBook | None = None  # Of worlds that have plugs.
        self.streams = StreamBook(self)
        self.casts = CastBook(self)
        self.refused: set[tuple[int, bytes]] = set()  # Told, and not yet its frame.
        self.last_acked: dict[int, int] = {}  # Client session -> sequence of its last frame.
        self.accepted_now: list[Fact] = []  # In this step.
        self.ended_now: list[str] = []  # Sockets of the calls that ended in this step.
        self.kept = 0  # Open calls before the step, as the node counts them for its memory.
        self.steps = 0
        self.digest = 0  # Of all that happened: the same seed gives the same one.

    # The node.

    def booted(
        self, router: Router, effects: Effects, snapshot: dict[str, Any] | None = None
    ) -> None:
        """The node recovered from the disk."""
        self.thought = self.durable.copy()
        held = {
            self.durable.open[key]
            for key, value in self.durable.state.items()
            if split_state(value)["state"] == State.HELD
        }
        for fact in self.facts.values():
            fact.held = fact.id in held
            state = self.durable.state.get(self.durable.open_ids.get(fact.id, b""))
            attempts = 0 if state is None else split_state(state)["attempt"]
            fact.deaths = min(fact.deaths, attempts)  # What was not on disk is not remembered.
        self.begins.booted()
        self.casts.booted()
        if self.plugs is not None:
            self.plugs.booted(self.durable.done)
        for line in router.lines.values():
            if line.removed:  # Nothing is known of its limits: the defaults hold.
                self.begins.allow_retries(line.name, limits.RETRIES_DEFAULT)
        if snapshot is not None:
            self.begins.told(events.ModelChanged(snapshot))
        self._records(effects.records, None, 0)
        self._tables(router, 0)
        self.kept = kept(router)

    def crashed(self, disk: MemoryDisk) -> None:
        """The node is gone: what the books say is durable is what the disk has."""
        for table, mine in (
            ("open", self.durable.open),
            ("state", self.durable.state),
            ("done", self.durable.done),
        ):
            real = disk.tables[table].values
            require(real.keys() == mine.keys(), "disk", table, len(real), len(mine))

    def stepped(self, router: Router, event: Any, effects: Effects, now_ms: int) -> None:
        """The core took one event."""
        self.steps += 1
        told = b"".join(data for _, data in effects.outcomes)
        self.digest = crc32(
            b"%d %d %d" % (now_ms, len(effects.records), len(effects.starts)) + told, self.digest
        )
        begins = self.begins
        begins.started_now = {}
        self.ended_now.clear()
        begins.fetching.update(effects.fetches)
        begins.interrupted.update(id for _, id, _ in effects.interrupts)
        begins.recalled.update(effects.recalls)
        self._records(effects.records, event, now_ms)
        if effects.starts:
            begins.started(router, effects.starts, now_ms)
        if isinstance(event, events.Submitted):
            self._queues(router)
            self._room()
        for _client, id, data in effects.refused:
            self._refused(router, event, id, data)
        for _client, envelope in effects.outcomes:
            id = envelope[16:32]
            done = self.thought.done.get(id)
            require(done is not None, "I2 one outcome", "told but not recorded", id.hex())
            assert done is not None
            require(split_done(done)["outcome"] == envelope, "I2 one outcome", "another", id.hex())
        require(not router.ripe and not router.plans, "flow", "left over after a step")
        self.streams.stepped(router, effects)
        if is_late(router, now_ms):  # The next step goes on.
            require(not effects.starts, "begin", "before all timers that are due have fired")
        else:
            begins.idle(router, now_ms)
            begins.over_time(router, now_ms)
        self._tables(router, now_ms)
        if len(router.calls) <= _DEEP_CALLS or self.steps % 16 == 0:
            router.check()
        self._memory(router)

    def _queues(self, router: Router) -> None:
        """What was accepted in this step had room in its queue."""
        for name in {fact.name for fact in self.accepted_now if fact.edge in (b"", b"step")}:
            config = self.begins.config(name)
            if config is None or config.max_length is None or config.dead_letter_overflow:
                continue
            depth = sum(
                call.line.name == name and call.state in _IN_LINE and not call.line.addressed
                for call in router.calls.values()
            )
            depth += self.begins.started_now.get(name, 0)
            depth -= sum(
                fact.name == name and fact.edge not in (b"", b"step") for fact in self.accepted_now
            )
            require(depth <= config.max_length, "queue", name, depth, "of", config.max_length)

    def _room(self) -> None:
        """What was accepted from clients in this step had room in the memory."""
        own = [fact for fact in self.accepted_now if fact.edge == b""]
        most = self.begins.calls_max
        if own and all(fact.name != FLOW for fact in own):  # A flow ends at once, and has steps.
            there = self.kept + len(own) - len(self.ended_now)  # A full line's dead letters end.
            require(there <= most, "I15 memory", self.kept, len(own), "of", most)
        require(not own or self.kept < most, "I15 memory", self.kept, "calls of", most)

    def _memory(self, router: Router) -> None:
        self.kept = kept(router)
        largest = max((call.size for call in router.calls.values()), default=0)
        bound = router.bodies_bytes_max
        lines = len(router.lines) + len(router.seats.lines)
        bound += (largest + router.fetch_bytes_min) * (lines + 1)
        held = sum(worker.bytes for worker in router.workers.values())
        held += sum(  # What a step is fed is in memory only.
            call.size
            for call in router.calls.values()
            if call.worker is None
            and (call.lacks or call.fed is not None or call.option("join") is not None)
        )
        require(
            router.bodies_bytes <= bound + held,
            "I15 memory", router.bodies_bytes, "bytes, bound", bound, "at workers", held,
        )  # fmt: skip

    def _not_expired(self, call: Call, now_ms: int) -> None:
        config = self.begins.limits_of(call.line.name)
        if call.envelope is None and config is not None and config.dead_letter:
            return  # Its bytes are being read from the log, to be moved.
        expiry_ms = self.begins.expiry_ms(self.facts[call.id], config, call)
        alive = expiry_ms is None or now_ms < expiry_ms
        require(alive, "expiry", "still open after", expiry_ms, call.id.hex(), call.state.name)

    def _tables(self, router: Router, now_ms: int) -> None:
        books = self.thought
        require(
            len(books.open) == len(router.calls),
            "tables", len(books.open), "open records,", len(router.calls), "open calls",
        )  # fmt: skip
        require(books.state.keys() <= books.open.keys(), "tables", "a state record without a call")
        for call in router.calls.values():
            key = sequence_key(call.sequence)
            require(books.open.get(key) == call.id, "tables", "open record of", call.id.hex())
            if call.state in (State.WAITING, State.DELAYED) and not is_late(router, now_ms):
                self._not_expired(call, now_ms)
            state = books.state.get(key)
            require((state is not None) == call.recorded, "tables", "recorded?", call.id.hex())
            if state is None:
                require(call.attempt <= 1 or call.worker is not None or not call.attempt,
                        "tables", "attempts not on disk", call.id.hex(), call.attempt)  # fmt: skip
                require(call.state is not State.HELD, "tables", "held, not on disk", call.id.hex())
            else:
                self._state_agrees(call, split_state(state))

    def _state_agrees(self, call: Call, fields: dict[str, Any]) -> None:
        recorded = State(fields["state"])
        attempts = call.attempt
        if call.state is State.RUNNING:
            # A try that has begun and is not marked yet is not in the record.
            require(
                fields["attempt"] in (attempts, attempts - 1),
                "tables", "attempts", call.id.hex(), fields, attempts,
            )  # fmt: skip
            require(call.marked == (recorded is State.RUNNING and fields["begun"]), "tables",
                    "mark", call.id.hex(), fields, call.marked)  # fmt: skip
            return
        require(
            fields["attempt"] == attempts, "tables", "attempts", call.id.hex(), fields, attempts
        )
        require((recorded is State.HELD) == (call.state is State.HELD), "tables", call.id.hex())
        require(recorded is not State.RUNNING, "tables", "RUNNING on disk only", call.id.hex())
        if call.state is State.DELAYED:
            require(fields["due_ms"] == call.due_ms, "tables", "due", call.id.hex(), fields)

    def _records(self, records: list[Op], event: Any, now_ms: int) -> None:
        self.accepted_now = fresh = []
        self.streams.come(records)
        for op in records:
            self.thought.apply(op)
            table, key, value = op
            if table == "open" and value is not None:
                fresh.append(self._opened(value, event, now_ms))
            elif table == "done" and value is not None:
                self._ended(key, value, now_ms)
            elif table == "state" and value is not None:
                held = split_state(value)["state"] == State.HELD
                fact = self.facts[self.thought.open[key]]
                if fact.held and not held:
                    asked = isinstance(event, events.RetryAsked) and event.id == fact.id
                    require(asked, "I12 HELD", "left without a person", fact.id.hex())
                if isinstance(event, events.RetryAsked) and event.id == fact.id:
                    fact.deaths = 0
                fact.held = held
        if self.plugs is not None:
            plugchecks.stepped(self, records)
        new = {fact.id for fact in fresh}
        for fact in fresh:
            if fact.edge in (b"dead-letter", b"step", b"copy", b"gather"):
                require(fact.parent in self.thought.done, "I5 child", "parent has not ended")
            plan = self.flows.plans.get(fact.id)
            if plan is not None and isinstance(event, events.Submitted):
                wrong = plan.code != "" or any(
                    self._step_is_refused(code, step)
                    for step in plan.steps
                    for code in ("bad_request", "unknown_socket")
                )
                require(not wrong, "flow", "a wrong one was accepted", plan.wrong)
        for table, key, value in records:
            if table == "done" and value is not None and value[1] == 1:
                self.casts.ended_well(key, value, fresh)
            if table == "done" and key in self.flows.plans and value is not None and value[1] == 1:
                missing = [id for id in self.flows.members(key) if id not in new]
                require(not missing, "flow", key.hex(), "without its steps", len(missing))

    def _opened(self, value: bytes, event: Any, now_ms: int) -> Fact:
        custody, envelope = split_open(value)
        row = check_envelope(envelope)
        fact = self.facts.get(row.id)
        if self.plugs is not None:
            fact = plugchecks.opened(self, fact, row, envelope, event, now_ms)
        if fact is None:
            fact = self._child(row, envelope, event)
        elif fact.edge == b"copy":  # What it was before a crash, it was never on disk.
            fact.options = unpack(envelope[row.meta_at : row.body_at])
        require(envelope[row.body_at :] == fact.body, "I6 content", "body of", row.id.hex())
        if row.id in self.flows.steps:
            self.flows.opened(row.id, envelope)
        fact.accepted_ms = custody["accepted_ms"]
        fact.held = False
        return fact

    def _child(self, row: Any, envelope: bytes, event: Any) -> Fact:
        parent = self.facts.get(row.parent)
        require(parent is not None, "I5 child", "of an unknown call", row.id.hex())
        assert parent is not None
        meta = envelope[row.meta_at : row.body_at]
        name = envelope[row.name_at : row.meta_at].decode()
        fact = Fact(row.id, name, unpack(meta) if meta else None, parent.body)
        fact.parent = parent.id
        fact.flow = row.flow
        flows = self.flows
        if parent.id in flows.plans and row.id in flows.steps:
            fact.edge = b"step"
            fact.body = envelope[row.body_at :]  # Judged by the book of flows.
        elif row.id == child_id(parent.id, b"dead-letter"):
            fact.edge = b"dead-letter"
            if parent.id in flows.steps:
                flows.copy(row.id, parent.id, name)
        elif not self.casts.born(fact, parent, envelope[row.body_at :]):
            asked = isinstance(event, events.RetryAsked) and event.id == parent.id
            require(asked, "I5 child", "nobody asked for", row.id.hex())
            fact.edge = b"retry"
            self.casts.again(fact, parent)
            if parent.id in flows.plans:
                flows.again(row.id, parent.id)
            elif parent.id in flows.steps:
                flows.copy(row.id, parent.id, name)
        self.facts[row.id] = fact
        return fact

    def _ended(self, id: bytes, value: bytes, now_ms: int) -> None:
        done = split_done(value)
        fact = self.facts[id]
        row = check_envelope(done["outcome"])
        require(row.id == id and row.code == done["code"], "I6 content", id.hex())
        fact.held = False
        fact.ended_ms = now_ms
        self.ended_now.append(fact.name)
        if self.streams.ended(fact, done):
            return
        executed = done["outcome"] in fact.executed
        if self.casts.ended(fact, done["outcome"], executed=executed):
            return
        plugs = self.plugs
        if plugs is not None and id in plugs and plugs.ended(
            id, done["outcome"], self.known, executed=executed
        ):
            return
        if id in self.flows and self.flows.ended(id, done["outcome"], executed, self.known):
            require(executed or not done["attempts"] or fact.deaths, "flow", "attempts", id.hex())
            return
        if executed:
            require(row.attempt == done["attempts"] or fact.cancel_asked, "I6 attempt", id.hex())
            return
        require(done["code"] != Outcome.DONE, "I6 content", "nobody made this result", id.hex())
        error = unpack(done["outcome"][row.body_at :])
        if done["code"] == Outcome.FAILED:
            require(error["code"] == "time_limit", "I6 content", "failed by itself", error)
        elif not error["fields"].get("expired"):
            require(fact.cancel_asked, "cancel", "nobody asked", id.hex())
        else:
            self._dead_lettered(fact, error["text"], now_ms)

    def known(self, id: bytes) -> list[bytes]:
        """How a call ended, as the core wrote it; empty while it is open."""
        done = self.thought.done.get(id)
        return [] if done is None else [split_done(done)["outcome"]]

    def ready_ms(self, fact: Fact) -> int:
        """When a call could begin but for its delay: a step, when the last that it needs ended."""
        needs = self.flows.waits_for(fact.id) if fact.id in self.flows.steps else ()
        return max([fact.accepted_ms, *(self.facts[need].ended_ms for need in needs)])

    def waits_for_a_person(self, router: Router, id: bytes) -> bool:
        """Whether a call is HELD, or needs one that is."""
        call = router.calls.get(id)
        if call is None:
            return False
        if call.state is not State.GATHERING:
            return call.state is State.HELD or self.streams.waits(router, call)
        if plugchecks.may_wait(self, router, id) or self.casts.waits(router, id):
            return True
        if id not in self.flows.steps:
            return False
        return any(self.waits_for_a_person(router, need) for need in self.flows.waits_for(id))

    def _dead_lettered(self, fact: Fact, text: str, now_ms: int) -> None:
        config = self.begins.limits_of(fact.name)
        if "it expired" in text:
            due_ms = self.begins.expiry_ms(fact, config, None)
            require(due_ms is not None and due_ms <= now_ms, "expiry", "too early", fact.id.hex())
        else:
            require(config is not None and config.dead_letter_overflow, "queue", text)
        if "it goes on as" in text:
            child = child_id(fact.id, b"dead-letter")
            require(child in self.thought.open_ids, "I5 child", "not accepted", child.hex())

    def _refused(self, router: Router, event: Any, id: bytes, data: dict[str, Any]) -> None:
        fact = self.facts[id]
        code = data["code"]
        plan = self.flows.plans.get(id)
        require(id not in self.thought.open_ids, "refusal", "of an open call", id.hex(), code)
        require(id not in self.thought.done, "refusal", "of an ended call", id.hex(), code)
        config = self.begins.config(fact.name)
        if code == "busy":
            true = self.begins.draining or self.begins.disk_level > 0
            true = true or self.begins.calls_max < limits.OPEN_CALLS_MAX
        elif plan is not None:
            true = code == plan.code or any(
                self._step_is_refused(code, step) for step in plan.steps
            )
        elif code == "unknown_socket":
            true = config is None
        elif code == "queue_full":
            true = config is not None and self._is_full(router, config, fact)
        elif code == "bad_request":
            true = are_wrong(fact.options)
        elif code == "wrong_arguments":
            argc = next(call[4] for call in event.calls if call[0] == id)
            true = argc not in (1, 2)
        else:
            true = False
        require(true, "refusal", "without a true reason", code, data["text"])

    def _step_is_refused(self, code: str, step: Drawn) -> bool:
        """Whether a step is a reason to refuse its whole flow."""
        if step.done is not None:
            return False
        config = self.begins.config(step.socket) if step.socket else None
        if code == "bad_request":
            return are_wrong(step.options or {})
        if code == "unknown_socket":
            return config is None and step.socket != ""
        if code == "wrong_arguments":
            return step.socket != "" and not binds(step)
        # All steps at one socket are taken together, so how full it is must not be worked out.
        return code == "queue_full" and config is not None and (
            config.max_length is not None or config.max_length_bytes is not None
        )

    def _is_full(self, router: Router, config: SocketConfig, fact: Fact) -> bool:
        waiting = [
            call
            for call in router.calls.values()
            if call.line.name == fact.name and call.state in _IN_LINE and not call.line.addressed
        ]
        # Some may have been handed over, or have expired, in this very step.
        started = self.begins.started_now.get(fact.name, 0) + self.ended_now.count(fact.name)
        count = len(waiting) + started
        if config.max_length is not None and count >= config.max_length:
            return True
        size = sum(call.size for call in waiting)
        return config.max_length_bytes is not None and (
            size + len(fact.body) + 250 + started * _CALL_BYTES_MAX > config.max_length_bytes
        )

    # The disk and what leaves.

    def synced(self, ops: list[Op]) -> None:
        """These changes are on disk now."""
        self.durable.passing |= self.streams.written(ops).keys()
        for op in ops:
            self.durable.apply(op)
            if op[0] == "meta" and self.plugs is not None:
                self.plugs.saved(op[1], op[2])

    def released(self, effects: Effects, frames: dict[tuple[int, int], list[bytes]]) -> None:
        """The effects of a turn leave the node: all they tell must be on disk."""
        durable = self.durable
        refused = self.refused  # Of a frame in parts, some with an earlier one.
        refused.update((client, id) for client, id, _ in effects.refused)
        for client, sequence, *_ in effects.accepted:
            require(self.last_acked.get(client, 0) < sequence, "law", "released out of order")
            self.last_acked[client] = sequence
            for id in frames[client, sequence]:
                if (client, id) in refused:
                    continue
                on_disk = id in durable.open_ids or id in durable.done
                require(on_disk, "I1 acknowledged", "but not on disk", id.hex())
                self.facts[id].acked = True
        for client, sequence, *_ in effects.accepted:  # Two of them may have the same call.
            refused.difference_update([(client, id) for id in frames[client, sequence]])
        for _client, envelope in effects.outcomes:
            self._told(envelope)
        for _worker, batch in effects.starts:
            for id, *_ in batch:
                on_disk = id in durable.open_ids or id in durable.done
                require(on_disk, "law", "handed over before it is on disk", id.hex())
        for _client, _request, good, data in effects.answers:
            if good and isinstance(data, dict) and "done" in data:
                self._answered(data)

    def begun_early(self, batch: list[Assignment]) -> None:
        """Calls leave for a worker before their turn is on disk: what a client alone is the cause
        of, or what is itself on disk with all that it is fed.
        """
        for id, attempt, _, _ in batch:
            fact = self.facts[id]
            good = fact.parent is None and not fact.edge and attempt == 1
            if not good and attempt == 1 and id in self.durable.open_ids:
                good = all(need in self.durable.done for need in self._fed(id))
            require(good, "law", "begins before it is on disk", id.hex())

    def _fed(self, id: bytes) -> list[bytes]:
        """The calls whose outcomes a call is fed."""
        if id in self.flows:
            return self.flows.waits_for(id)
        known = None if self.plugs is None else self.plugs.calls.get(id)
        return [] if known is None else list(known.options.get("feed", ()))

    def _told(self, envelope: bytes) -> None:
        id = envelope[16:32]
        done = self.durable.done.get(id)
        require(done is not None, "law", "outcome told before it is on disk", id.hex())
        assert done is not None
        fact = self.facts[id]
        same = split_done(done)["outcome"] == envelope and fact.told in (None, envelope)
        require(same, "I2 one outcome", "told another", id.hex())
        fact.told = envelope

    def _answered(self, data: dict[str, Any]) -> None:
        id = bytes.fromhex(data["id"].replace("-", ""))
        what = data["done"]
        on_disk = id in self.durable.open_ids or id in self.durable.done
        if what == "cancelled":
            require(id in self.durable.done, "law", "cancel told before it is on disk", id.hex())
            self.facts[id].cancelled_told = True
        elif what == "interrupted":
            require(on_disk, "law", "cancel told before it is on disk", id.hex())
            self.facts[id].cancelled_told = True
        elif what in ("submitted again", "waiting"):
            require(on_disk, "law", "retry told before it is on disk", id.hex())
            self.facts[id].acked = True

    # The end.

    def at_the_end(self, router: Router, now_ms: int) -> None:
        """All is calm and nothing moves any more: who is still open must have a reason."""
        for id, fact in self.facts.items():
            ended = id in self.durable.done
            require(not (ended and id in self.durable.open_ids), "I2 one outcome", id.hex())
            if ended or not fact.acked:
                continue
            self.must_wait(router, id)
        for root in self.flows.plans:
            members = self.flows.members(root)
            done = self.durable.done.get(root)
            if done is not None and done[1] == Outcome.DONE:
                for id in members:
                    if id not in self.durable.done:
                        self.must_wait(router, id)
            else:
                known = [id for id in members if id in self.facts]
                here = [id for id in known if id in self.durable.done or id in router.calls]
                require(not here, "flow", "steps of what was not accepted", root.hex(), len(here))
        plugchecks.at_the_end(self, router, now_ms)
        self.casts.at_the_end(router)
        for need in router.needed:
            require(need in router.calls, "flow", "left over: who waits for", need.hex())
        for id, fact in self.facts.items():
            if fact.edge == b"dead-letter" and fact.parent is not None:
                known = id in self.durable.done or id in self.durable.open_ids
                named = text_of(id).encode() in self.durable.done.get(fact.parent, b"")
                require(known == named, "I5 child", "parent and child disagree", id.hex())
        require(len(router.calls) <= limits.OPEN_CALLS_MAX, "bound")

    def must_wait(self, router: Router, id: bytes) -> None:
        """What has not ended when all is over waits for a person, or for a call that does."""
        call = router.calls.get(id)
        require(call is not None, "I4 lost", id.hex(), self.facts[id].name)
        assert call is not None
        require(self.waits_for_a_person(router, id), "I4 liveness", id.hex(), call.state.name,
                call.reason, router.parked_reason(call.line), call.story)  # fmt: skip
