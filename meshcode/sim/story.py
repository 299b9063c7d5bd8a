"""Story tests: scripts of acts with the node's recorded answers, for people to read.

A story is blocks of acts, each followed by `----` and what the node did:

    submit a c1 from=ann
    ----
    w1 <- START c1 attempt 1
    ann <- ACCEPTED c1

`run` plays a story on a real core, turn code and log under the checker's eyes and returns the text
with what really happened; a story is right when that is the same text.  The acts are the methods of
`Story` that begin with `do_`.  `python -m meshcode.sim.story [--rewrite] FILE...` checks them.
"""

from __future__ import annotations

import sys
from typing import Any

from meshcode.errors import LogSuspect, RemoteError
from meshcode.router import events
from meshcode.router.effects import Effects
from meshcode.router.plan import FLOW
from meshcode.router.records import split_done, split_state
from meshcode.router.states import PARKED, State
from meshcode.sim.actors import submit_envelope
from meshcode.sim.books import Fact
from meshcode.sim.checks import Checker
from meshcode.sim.flowbook import step_id, told, work
from meshcode.sim.node import SimNode
from meshcode.sim.plans import from_words
from meshcode.sim.playing import check, play
from meshcode.store.memory_log import MemoryDisk
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import check_envelope, envelope, frame
from meshcode.wire.kinds import Flag, Kind, Outcome

WALL_MS = 1_700_000_000_000
_PROCESSOR = {"requested_status": "start", "workers": 1}
_TEXT_OPTIONS = ("key", "by", "trace")


def _value(text: str) -> Any:
    if text in ("yes", "no"):
        return text == "yes"
    return int(text) if text.lstrip("-").isdigit() else (None if text == "none" else text)


class Story:
    """One node, its disk, and the people and workers around it, all moved by hand."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.checker = Checker()
        self.disk = MemoryDisk(store_id=b"a-story's-store1")
        self.now = 0
        self.slow = False
        self.memory: int | None = None
        self.model: dict[str, Any] = {
            "number": 1, "queues": {}, "processors": {"p": dict(_PROCESSOR)}, "sockets": {},
        }  # fmt: skip
        self.ids: dict[str, bytes] = {}
        self.clients: dict[str, int] = {}
        self.workers: dict[str, int] = {}
        self.sequences: dict[int, int] = {}
        self.requests = 0
        self.handed: dict[bytes, bytes] = {}  # Steps of flows, as workers got them.
        self.node: SimNode | None = None
        self.do_boot([], {})

    # Names.

    def name(self, id: bytes) -> str:
        """What the story calls a call; children are named after their parent."""
        for name, known in self.ids.items():
            if known == id:
                return name
        fact = self.checker.facts.get(id)
        parent = "?" if fact is None or fact.parent is None else self.name(fact.parent)
        name = plain = f"{parent}/{fact.edge.decode()}" if fact is not None else parent
        if fact is not None and (place := self.checker.casts.place_of(fact)) is not None:
            name = plain = f"{parent}/at-{place}"
        number = 1
        while name in self.ids:
            number += 1
            name = f"{plain}-{number}"
        self.ids[name] = id
        return name

    def text(self, text: str) -> str:
        """A text of the node with names in the place of ids."""
        for id in list(self.checker.facts):
            digits = id.hex()
            parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
            text = text.replace(digits, self.name(id)).replace("-".join(parts), self.name(id))
        return text

    def client(self, name: str) -> int:
        """The session of a person."""
        return self.clients.setdefault(name, len(self.clients) + 1)

    def who(self, table: dict[str, int], number: int) -> str:
        """The name of a session or worker."""
        return next(name for name, known in table.items() if known == number)

    def say(self, text: str) -> None:
        """A line of output."""
        self.lines.append(self.text(text))

    # The node.

    def up(self) -> SimNode:
        """The running node."""
        assert self.node is not None, "the node is down: boot it first"
        return self.node

    def tell(self, item: Any) -> None:
        """Let the node take one event as a turn, and write it unless the disk is slow."""
        node = self.up()
        node.post(item)
        self.think()

    def think(self) -> None:
        """Think until the inbox is empty."""
        node = self.up()
        while True:
            node.think(self.now)
            self.write()
            if self.node is None or not node.inbox:
                return

    def write(self) -> None:
        """Sync what was thought, unless the disk is slow."""
        node = self.up()
        while node.begin_sync() or node.ops is not None:
            if self.slow:
                return
            try:
                if not node.end_sync():
                    self.say("disk: full, nothing of this turn was kept or said")
                    self.slow = True
                    return
            except LogSuspect:
                self.say("disk: write failed, the node stops")
                self.do_crash([], {})
                return

    def released(self, effects: Effects) -> None:
        """What leaves the node."""
        for worker, batch in effects.starts:
            for id, attempt, _, submit in batch:
                who = self.who(self.workers, worker)
                given = ""
                if id in self.checker.flows and submit is not None:
                    self.handed[id] = submit
                    given = " with " + told(submit)
                self.say(f"{who} <- START {self.name(id)} attempt {attempt}{given}")
        for client, id, error in effects.refused:
            who = self.who(self.clients, client)
            self.say(f"{who} <- REFUSED {self.name(id)} {error['code']}: {error['text']}")
        for client, sequence, *_ in effects.accepted:
            refused = {id for session, id, _ in effects.refused if session == client}
            ids = [id for id in self.up().frames[client, sequence] if id not in refused]
            names = " ".join(self.name(id) for id in ids)
            self.say(f"{self.who(self.clients, client)} <- ACCEPTED {names}".rstrip())
        for client, data in effects.outcomes:
            self.say(f"{self.who(self.clients, client)} <- {_outcome(data, self.name)}")
        for client, _, good, data in effects.answers:
            text = data["done"] if good else data["text"]
            self.say(f"{self.who(self.clients, client)} <- {'OK' if good else 'NO'} {text}")
        for worker, id, why in effects.interrupts:
            who = self.who(self.workers, worker)
            self.say(f"{who} <- INTERRUPT {self.name(id)}: {why}")
        for worker in effects.recalls:
            self.say(f"{self.who(self.workers, worker)} <- GIVE BACK what has not begun")
        if effects.fetches:
            opens = self.checker.durable.open
            ids = [opens[sequence.to_bytes(8, "big")] for sequence in effects.fetches]
            self.say("log: read " + " ".join(map(self.name, ids)))

    # Acts: the model and the processes.

    def do_socket(self, names: list[str], given: dict[str, str]) -> None:
        """Add or change sockets: `socket a [processor=p] [retries=2] ...`; queue fields too."""
        for name in names:
            queue = {"type": "direct", "overflow": "reject"}
            socket: dict[str, Any] = {"processor": "p", "task": "work", "queue": f"{name}.queue"}
            for field, text in given.items():
                in_queue = field in ("max_length", "max_length_bytes", "message_ttl_ms",
                                     "expires_ms", "overflow", "dead_letter")  # fmt: skip
                (queue if in_queue else socket)[field] = _value(text)
            self.model["sockets"][name] = socket
            self.model["queues"][f"{name}.queue"] = queue
        self.publish()

    def do_processor(self, names: list[str], given: dict[str, str]) -> None:
        """Add or change a processor: `processor p requested_status=pause`."""
        for name in names:
            fields = self.model["processors"].setdefault(name, dict(_PROCESSOR))
            fields.update({field: _value(text) for field, text in given.items()})
        self.publish()

    def do_remove(self, names: list[str], _given: dict[str, str]) -> None:
        """Remove sockets from the model."""
        for name in names:
            del self.model["sockets"][name]
        self.publish()

    def publish(self) -> None:
        """Send the node a newer snapshot."""
        self.model["number"] += 1
        copy = {kind: value if kind == "number" else {k: dict(v) for k, v in value.items()}
                for kind, value in self.model.items()}  # fmt: skip
        self.model = copy
        self.tell(events.ModelChanged(self.model))

    def do_code(self, names: list[str], _given: dict[str, str]) -> None:
        """The code of a processor is there; its task is `work(a, b=1)`."""
        arguments = [["a", "pos", True], ["b", "pos", False]]
        for name in names:
            signatures = {"work": {"args": arguments, "text": "(a, b=1)"}}
            self.tell(events.ProcessorChanged(name, "", signatures))

    def do_worker(self, names: list[str], given: dict[str, str]) -> None:
        """Workers are ready: `worker w1 w2 [processor=p] [slots=4]`."""
        for name in names:
            self.workers[name] = len(self.workers) + 1
            processor, slots = given.get("processor", "p"), int(given.get("slots", 1))
            self.tell(events.WorkerJoined(self.workers[name], processor, slots))

    def do_crew(self, _names: list[str], given: dict[str, str]) -> None:
        """How many workers the node is to have for each processor, there or not: `crew p=2`."""
        self.tell(events.CrewChanged({name: int(count) for name, count in given.items()}))

    def do_leaving(self, names: list[str], _given: dict[str, str]) -> None:
        """A worker takes no more calls."""
        for name in names:
            self.tell(events.WorkerLeaving(self.workers[name]))

    def do_kill(self, names: list[str], given: dict[str, str]) -> None:
        """A worker dies: `kill w1 begun=c1,c2 [blame=no] [reason=signal-9]`; begun=? unknown."""
        begun = [self.ids[name] for name in given.get("begun", "?").split(",") if name != "?"]
        reason = given.get("reason", "signal 9").replace("-", " ")
        blame = given.get("blame") != "no"
        self.tell(events.WorkerLost(self.workers[names[0]], begun, reason, blame))

    # Acts: calls.

    def do_submit(self, names: list[str], given: dict[str, str]) -> None:
        """New calls in one frame: `submit SOCKET c1 c2 from=ann [argc=1] [retries=2] ...`."""
        person, argc = given.pop("from"), int(given.pop("argc", 1))
        size = int(given.pop("bytes", 0))
        options = {f: t if f in _TEXT_OPTIONS else _value(t) for f, t in given.items()} or None
        for name in names[1:]:
            number = len(self.ids) + 1
            id = (WALL_MS + self.now).to_bytes(6, "big") + number.to_bytes(10, "big")
            self.ids[name] = id
            self.checker.facts[id] = Fact(id, names[0], options, bytes(size))
        self.send(person, names[1:], argc, fresh=True)

    def do_flow(self, names: list[str], given: dict[str, str]) -> None:
        """A flow, as `plans.from_words` has it: `flow f from=ann a:1 b<0:2`; steps are f/0, f/1."""
        name, number = names[0], len(self.ids) + 1
        id = (WALL_MS + self.now).to_bytes(6, "big") + number.to_bytes(10, "big")
        plan = from_words(names[1:])
        self.ids[name] = id
        for n in range(len(plan.steps)):
            self.ids[f"{name}/{n}"] = step_id(id, n)
        self.checker.flows.add(id, plan, id)
        self.checker.facts[id] = Fact(id, FLOW, None, plan.body())
        self.send(given["from"], [name], 1, fresh=True)

    def do_again(self, names: list[str], given: dict[str, str]) -> None:
        """Submit known calls once more: `again c1 from=bob`."""
        self.send(given["from"], names, 1, fresh=False)

    def send(self, person: str, names: list[str], argc: int, *, fresh: bool) -> None:
        """Send one frame."""
        session = self.client(person)
        sequence = self.sequences[session] = self.sequences.get(session, 0) + 1
        facts = [self.checker.facts[self.ids[name]] for name in names]
        parts = [submit_envelope(fact, argc, fresh=fresh) for fact in facts]
        self.tell(("frame", session, frame(parts, sequence=sequence)))

    def do_done(self, names: list[str], _given: dict[str, str]) -> None:
        """The worker that has the call reports its result: `done c1 [value]`."""
        handed = self.handed.get(self.ids[names[0]])
        value = " ".join(names[1:]) or None if handed is None else work(handed)
        self.report(names[0], Outcome.DONE, pack(value), retry=False)

    def do_raise(self, names: list[str], given: dict[str, str]) -> None:
        """The function raised: `raise c1 [retry=no]`."""
        error = RemoteError("it raised ValueError", type="ValueError").to_data()
        self.report(names[0], Outcome.FAILED, pack(error), retry=given.get("retry") != "no")

    def do_stopped(self, names: list[str], _given: dict[str, str]) -> None:
        """The worker stopped the call when interrupted."""
        error = RemoteError("interrupted", type="Interrupted").to_data()
        self.report(names[0], Outcome.CANCELLED, pack(error), retry=False)

    def report(self, name: str, code: Outcome, body: bytes, *, retry: bool) -> None:
        """Report one execution."""
        call = self.up().router.calls[self.ids[name]]
        assert call.worker is not None, f"{name} is at no worker"
        flags = Flag.RETRY if retry else 0
        data = envelope(
            Kind.OUTCOME, id=call.id, code=code, attempt=call.attempt, body=body, flags=flags
        )
        self.checker.facts[call.id].executed.append(data)
        self.checker.begins.at_worker.pop(call.id, None)
        report = (call.id, call.attempt, int(code), retry, 200, 0, data)
        self.tell(events.Finished(call.worker.id, [report]))

    def do_back(self, names: list[str], _given: dict[str, str]) -> None:
        """A worker gives back calls that it had not begun: `back w1 c2 c3`."""
        ids = [self.ids[name] for name in names[1:]]
        for id in ids:
            self.checker.begins.at_worker.pop(id, None)
        self.tell(events.Returned(self.workers[names[0]], ids))

    def do_cancel(self, names: list[str], given: dict[str, str]) -> None:
        """Cancel a call: `cancel c1 by=ann`."""
        id, who = self.ids[names[0]], given["by"]
        self.checker.facts[id].cancel_asked = True
        self.requests += 1
        request = self.requests.to_bytes(16, "big")
        self.tell(events.CancelAsked(self.client(who), request, id, who))

    def do_retry(self, names: list[str], given: dict[str, str]) -> None:
        """Try a HELD, DELAYED or ended call again: `retry c1 by=ann`."""
        self.requests += 1
        request, who = self.requests.to_bytes(16, "big"), given["by"]
        self.tell(("retry", self.client(who), request, self.ids[names[0]], who))

    def do_watch(self, names: list[str], given: dict[str, str]) -> None:
        """Ask for the outcomes of calls: `watch c1 from=bob`."""
        self.tell(("watch", self.client(given["from"]), [self.ids[name] for name in names]))

    # Acts: time, disk, crashes.

    def do_wait(self, names: list[str], _given: dict[str, str]) -> None:
        """Let milliseconds pass; timers fire on their millisecond."""
        end = self.now + int(names[0])
        while self.node is not None:
            due_ms = self.node.router.next_due_ms()
            at = end if due_ms is None else max(self.now, due_ms - WALL_MS)
            if at >= end:
                break
            self.at(at)
        self.at(end)

    def at(self, now: int) -> None:
        """Let timers fire; tell the time when something came of it."""
        self.now = now
        before = len(self.lines)
        if self.node is not None:
            self.think()
        if len(self.lines) > before:
            self.lines.insert(before, f"at {now} ms:")

    def do_disk(self, names: list[str], given: dict[str, str]) -> None:
        """`disk slow` holds writes back until `disk quick`; `disk fails|full`; `disk level=1`.

        `disk room=9`: memory is enough for nine calls.
        """
        if "level" in given:
            self.tell(events.DiskChanged(int(given["level"])))
        elif "room" in given:
            self.tell(events.RoomChanged(int(given["room"])))
        elif names[0] in ("fails", "full"):
            self.up().log.fail_next_sync("suspect" if names[0] == "fails" else "full")
        else:
            self.slow = names[0] == "slow"
            self.write()

    def do_memory(self, names: list[str], _given: dict[str, str]) -> None:
        """How many bytes of envelopes the node keeps in memory."""
        self.memory = self.up().router.bodies_bytes_max = int(names[0])
        self.up().router.fetch_bytes_min = 1

    def do_crash(self, names: list[str], _given: dict[str, str]) -> None:
        """kill -9; `crash keep`: what was being written reached the disk."""
        node, self.node = self.up(), None
        node.crash(keep="keep" in names)
        self.workers.clear()
        self.clients.clear()
        self.sequences.clear()
        self.slow = False

    def do_boot(self, _names: list[str], _given: dict[str, str]) -> None:
        """Start the node on what its disk has."""
        self.node = node = SimNode(
            self.disk, self.checker, self.released, wall_ms=WALL_MS + self.now, sim_ms=self.now,
            seed=1, bodies_bytes_max=self.memory,
        )  # fmt: skip
        node.recover(self.model)
        if node.log.boot > 1:
            self.say(f"boot {node.log.boot}: {len(node.router.calls)} open calls")
        self.write()

    def do_drain(self, _names: list[str], _given: dict[str, str]) -> None:
        """The node takes no new calls and begins none."""
        self.tell(events.Drained())

    # Acts: looking.

    def do_show(self, _names: list[str], _given: dict[str, str]) -> None:
        """The open calls as the router has them."""
        router = self.up().router
        for call in sorted(router.calls.values(), key=lambda one: one.sequence):
            state, reason = call.state.name, call.reason
            if call.state is State.WAITING and (parked := router.parked_reason(call.line)):
                state, reason = PARKED, parked
            where = f" at {self.who(self.workers, call.worker.id)}" if call.worker else ""
            self.say(f"{self.name(call.id)} {state} attempt {call.attempt}{where}"
                     + (f": {reason}" if reason else ""))  # fmt: skip

    def do_log(self, _names: list[str], _given: dict[str, str]) -> None:
        """What is on the disk."""
        books = self.checker.durable
        for key, id in sorted(books.open.items()):
            self.say(f"open {self.name(id)}")
            if key in books.state:
                fields = split_state(books.state[key])
                state = State(fields["state"]).name
                self.say(f"state {self.name(id)} {state} attempt {fields['attempt']}")
        for id, value in sorted(books.done.items()):
            done = split_done(value)
            self.say(f"done {self.name(id)} {State(10 + done['code']).name}"
                     f" after {done['attempts']} attempts")  # fmt: skip


def _reply(reply: dict[str, Any]) -> str:
    """What a worker said to a broadcast."""
    error = reply.get("error")
    said = f"error {error['code']}" if error else str(reply.get("value"))
    return f"{reply['place']}: {said}"


def _outcome(data: bytes, name: Any) -> str:
    row = check_envelope(data)
    body = unpack(data[row.body_at :])
    text = body if row.code == Outcome.DONE else body["text"]
    if row.code == Outcome.DONE and isinstance(body, list):
        replies = [one for one in body if isinstance(one, dict) and "place" in one]
        text = ", ".join(map(_reply, replies)) if replies else body
    elif row.code == Outcome.DONE and isinstance(body, dict):
        text = f"a flow of {body['steps']} steps, its result is {name(body['result'])}"
    return f"{Outcome(row.code).name} {name(row.id)} {'' if text is None else text}".rstrip()


def run(text: str) -> str:
    """Play a story; its text again, with what really happened after each `----`."""
    return play(Story(), text)


def main(arguments: list[str]) -> int:
    """Check or rewrite story files; the number that differ."""
    return check(run, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
