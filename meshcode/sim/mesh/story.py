"""Stories of several nodes: scripts of acts with the recorded answers, for people to read.

A story is blocks of acts, each followed by `----` and what came of it:

    mesh 3 workers=n1
    submit n0 s0 c1 from=ann
    deliver
    ----
    n0 -> n1 STORE c1
    n1 -> n0 STORED c1
    ann <- ACCEPTED c1 quorum 2/3
    ...

Messages fly until the script delivers or drops them.  `run` plays a story on the simulator's nodes
under its checker's eyes and returns the text with what really happened; a story is right when that
is the same text.  The acts are the methods of `Story` that begin with `do_`, with the words of the
line; `A->B` names a direction, `*` stands for any node.
`python -m meshcode.sim.mesh.story [--rewrite] FILE...` checks them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from meshcode.router import events
from meshcode.router.effects import Effects
from meshcode.router.plan import FLOW
from meshcode.sim.flowbook import step_id, told
from meshcode.sim.mesh.storytell import Names, message, outcome_text, show
from meshcode.sim.mesh.storyworld import TICK_MS, Packet, StoryNode, StoryWorld
from meshcode.sim.plans import from_words
from meshcode.sim.playing import check, play
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind, Level

START_MS = 1_600_000_000_000
DELIVERIES_MAX = 10_000  # More in one act means that two nodes answer each other for ever.
TOLD = ("taken over", "left", "superseded", "recovered", "held", "copied")
_TEXT_OPTIONS = ("ack", "key")

Words = list[str]
Given = dict[str, str]


class Story:
    """A mesh, the people around it, and every act that a script may have."""

    def __init__(self) -> None:
        """No mesh yet: the first act makes it."""
        self.lines: list[str] = []
        self.names = Names()
        self.kept: list[Packet] = []  # Copies for `replay`.
        self._world: StoryWorld | None = None
        self._calls: dict[str, events.NewCall] = {}
        self._requests = 0
        self._quiet = False  # Messages are not told.

    @property
    def world(self) -> StoryWorld:
        """The mesh."""
        assert self._world is not None, "a story begins with the act `mesh`"
        return self._world

    def settle(self) -> None:
        """Let all that an act has begun come to rest."""
        self.world.settle()

    def node(self, name: str) -> StoryNode:
        """The node that people call n0, n1, ..."""
        return self.world.nodes[int(name.removeprefix("n"))]

    def nodes(self, names: Iterable[str]) -> list[StoryNode]:
        """Several of them."""
        return [self.node(name) for name in names]

    def say(self, text: str) -> None:
        """A line of output."""
        self.lines.append(text)

    def told(self, node: StoryNode, effects: Effects) -> None:
        """Tell what leaves a node for people and workers; messages are told when they arrive."""
        world = self.world
        self.names.learn(effects)
        for id, _, name, note, _ in effects.events:
            if name in TOLD:
                self.say(f"{node}: {self.names.call(id)} {name}, {note}".rstrip(", "))
        for client, id, error in effects.refused:
            self.say(f"{world.name_of(client)} <- REFUSED {self.names.call(id)} {error['text']}")
        for client, _, level, copies, voters in effects.accepted:
            refused = {id for session, id, _ in effects.refused if session == client}
            ids = [id for id in world.frames.get(client, ()) if id not in refused]
            if not ids:
                continue
            calls = " ".join(self.names.call(id) for id in ids)
            text = f"{Level(level).name.lower()} {copies}/{voters}"
            self.say(f"{world.name_of(client)} <- ACCEPTED {calls} {text}")
        for client, data in effects.outcomes:
            who = world.name_of(client) if client > 0 else f"peer {client}"
            self.say(f"{who} <- {outcome_text(self.names, data)}")
        for _, _, good, data in effects.answers:
            self.say(f"answer: {'OK' if good else 'NO'} {data['done' if good else 'text']}")
        for worker, batch in effects.starts:
            for id, attempt, _, submit in batch:
                if worker > 0:
                    given = " with " + told(submit) if id in world.checker.flows and submit else ""
                    self.say(f"{node}: START {self.names.call(id)} attempt {attempt}{given}")

    # Acts: the mesh.

    def do_mesh(self, words: Words, given: Given) -> None:
        """Make it: `mesh 3 [workers=n0,n1] [kinds=core,core,witness] [ttl=1000 dead_letter=s1]`.

        `workers` are the hosts of s0 and s1; `others`, when given, those of s1.  `beat` is how
        often a node looks at the time, in milliseconds; `crew` how many workers a host is to have.
        """
        count = int(words[0])
        kinds = given.get("kinds", ",".join(["core"] * count)).split(",")
        names = given.get("workers", "")
        hosts = [
            [int(name[1:]) for name in words.split(",") if name]
            for words in (names, given.get("others", names))
        ]
        queue: dict[str, Any] = {}
        if "dead_letter" in given:
            queue = {"message_ttl_ms": int(given["ttl"]), "dead_letter": given["dead_letter"]}
        beat, crew = int(given.get("beat", TICK_MS)), int(given.get("crew", 0))
        self._world = StoryWorld(kinds, hosts, queue, beat, crew)
        self.world.listener = self.told

    def do_crash(self, words: Words, _given: Given) -> None:
        """kill -9, of several at once too; `keep`: what was being written reached the disk."""
        for node in self.nodes(word for word in words if word != "keep"):
            node.crash(keep="keep" in words)
        wire = self.world.wire
        wire.flying = [p for p in wire.flying if self.world.nodes[p.to].up]

    def do_boot(self, words: Words, _given: Given) -> None:
        """Start nodes on what their disks have; `boot n0 alone`: nobody hears of it yet."""
        for node in self.nodes(word for word in words if word != "alone"):
            self.world.boot(node, alone="alone" in words)
            self.say(f"{node}: boot {node.boot}")

    def do_destroy(self, words: Words, _given: Given) -> None:
        """The machine burns, with its disk."""
        self.do_crash(words, {})
        for node in self.nodes(words):
            node.lost = True

    def do_evict(self, words: Words, _given: Given) -> None:
        """A person strikes a node from the mesh, for ever; all others hear of it."""
        for node in self.nodes(words):
            self.world.evict(node)

    def do_dead(self, words: Words, _given: Given) -> None:
        """Somebody believes a node dead: `dead n0 at n1 n2`."""
        for node in self.nodes(words[2:]):
            self.world.bury(node, self.node(words[0]))

    def do_alive(self, words: Words, _given: Given) -> None:
        """Somebody hears of a node again: `alive n0 at n1 n2`."""
        for node in self.nodes(words[2:]):
            self.world.meet(node, self.node(words[0]))

    def do_disk(self, words: Words, _given: Given) -> None:
        """`disk slow n1`: nothing is written before `disk quick n1`."""
        for node in self.nodes(words[1:]):
            if words[0] == "slow":
                node.slow = True
            else:
                node.hurry()

    # Acts: calls.

    def do_submit(self, words: Words, given: Given) -> None:
        """New calls in one frame: `submit n0 s0 c1 c2 from=ann [ack=all] [expires_ms=1000]`."""
        person = given.pop("from")
        options = {
            k: v == "yes" if v in ("yes", "no") else v if k in _TEXT_OPTIONS else int(v)
            for k, v in given.items()
        } or None
        for name in words[2:]:
            number = len(self._calls) + 1
            id = START_MS.to_bytes(6, "big") + b"\x70" + number.to_bytes(9, "big")
            data = envelope(
                Kind.SUBMIT, id=id, flow=id, name=words[1].encode(),
                meta=pack(options) if options else b"", body=pack([number]), argc=1,
            )  # fmt: skip
            self._calls[name] = (id, id, bytes(16), words[1], 1, options, data)
            self.names.by_id[id] = name
            self.world.sockets[id] = words[1]
            if options and options.get("broadcast"):
                self.world.checker.casts.names[id] = words[1]
        self._send(self.node(words[0]), words[2:], person)

    def do_flow(self, words: Words, given: Given) -> None:
        """A flow, written as `plans.from_words` says: `flow n0 f from=ann s0:1 s1<0 <[0,1]`."""
        name = words[1]
        id = START_MS.to_bytes(6, "big") + b"\x71" + (len(self._calls) + 1).to_bytes(9, "big")
        plan = from_words(words[2:])
        data = envelope(
            Kind.SUBMIT, id=id, flow=id, name=FLOW.encode(), body=plan.body(), argc=1
        )
        self._calls[name] = (id, id, bytes(16), FLOW, 1, None, data)
        self.names.by_id[id] = name
        self.world.sockets[id] = FLOW
        for n, step in enumerate(plan.steps):
            self.names.by_id[step_id(id, n)] = f"{name}/{n}"
            self.world.sockets[step_id(id, n)] = step.socket or "@gather"
        self.world.checker.flows.add(id, plan, id)
        self._send(self.node(words[0]), [name], given["from"])

    def do_again(self, words: Words, given: Given) -> None:
        """The same calls, to another node perhaps: `again n1 c1 from=ann`."""
        self._send(self.node(words[0]), words[1:], given["from"])

    def _send(self, node: StoryNode, names: Words, person: str) -> None:
        calls = [self._calls[name] for name in names]
        session = self.world.session(person, calls)
        for call in calls:
            self.world.checker.submitted(call[0], node)
        node.post(events.Submitted(session, 1, calls))

    def do_watch(self, words: Words, given: Given) -> None:
        """Ask for outcomes: `watch n1 c1 from=ann`; those on record are told at once."""
        node = self.node(words[0])
        session = self.world.session(given["from"])
        ids = [self.names.id(name) for name in words[1:]]
        ended = node.turns.ended(ids, node._done)
        for id in ids:
            if id in ended:
                self.say(f"{given['from']} <- {outcome_text(self.names, ended[id])}")
        node.post(events.Watched(session, [id for id in ids if id not in ended]))

    def do_cancel(self, words: Words, given: Given) -> None:
        """End a call: `cancel n0 c1 by=ann`."""
        self._requests += 1
        node = self.node(words[0])
        session = self.world.session(given["by"])
        request = self._requests.to_bytes(16, "big")
        node.post(events.CancelAsked(session, request, self.names.id(words[1]), given["by"]))

    # Acts: workers.

    def do_done(self, words: Words, _given: Given) -> None:
        """The worker of a node that runs the call returns: `done c1 at n1`."""
        self._end(words, "return")

    def do_raise(self, words: Words, _given: Given) -> None:
        """The function raised: `raise c1 at n1`."""
        self._end(words, "raise")

    def do_kill(self, words: Words, _given: Given) -> None:
        """The worker dies under the call: `kill c1 at n1`."""
        self._end(words, "die")

    def _end(self, words: Words, fate: str) -> None:
        node, id = self.node(words[2]), self.names.id(words[0])
        for worker in list(node.workers.values()):
            if worker.running is not None and worker.running[0] == id:
                self.world.fate = fate
                worker._end(*worker.running)
                return
        raise AssertionError(f"{words[0]} does not run at {words[2]}")

    def do_crew(self, words: Words, _given: Given) -> None:
        """A node is to have another number of workers of the processor of s0: `crew n1 1`."""
        self.node(words[0]).scale("p0", int(words[1]))

    # Acts: the network.

    def do_deliver(self, words: Words, given: Given) -> None:
        """Messages arrive, one after the other.

        `deliver`: all, and what comes of them, until nothing flies; with `quietly` only what comes
        of them is told.  `deliver n0->n1 n2->*`: what flies there now.  `only=STORE,STORED`: just
        these kinds.
        """
        self._quiet = words == ["quietly"]
        if (words and not self._quiet) or "only" in given:
            for packet in self._take(words, given):
                self._arrive(packet)
            return
        for _ in range(DELIVERIES_MAX):
            if not self.world.wire.flying:
                return
            self._arrive(self.world.wire.flying.pop(0))
        raise AssertionError(f"more than {DELIVERIES_MAX} messages in one act")

    def do_drop(self, words: Words, given: Given) -> None:
        """Messages are lost; words as for `deliver`."""
        for packet in self._take(words, given):
            self.say(f"lost: {message(self.names, packet)}")

    def do_double(self, words: Words, given: Given) -> None:
        """The network keeps a second one of what flies there, for `replay`; words as for those."""
        taken = self._take(words, given)
        self.kept += taken
        self.world.wire.flying += taken

    def do_late(self, words: Words, given: Given) -> None:
        """What flies there is late: it arrives with `replay`; words as for `deliver`."""
        self.kept += self._take(words, given)

    def do_replay(self, _words: Words, _given: Given) -> None:
        """What was kept arrives now."""
        self._quiet = False
        kept, self.kept = self.kept, []
        for packet in kept:
            self._arrive(packet)

    def _take(self, words: Words, given: Given) -> list[Packet]:
        kinds = {int(Kind[name]) for name in given.get("only", "").split(",") if name}
        ways = [word.split("->") for word in words]

        def wanted(packet: Packet) -> bool:
            ends = (f"n{packet.sender}", f"n{packet.to}")
            on_way = not ways or any(
                way[0] in ("*", ends[0]) and way[1] in ("*", ends[1]) for way in ways
            )
            return on_way and (not kinds or packet.kind in kinds)

        wire = self.world.wire
        taken = [packet for packet in wire.flying if wanted(packet)]
        wire.flying = [packet for packet in wire.flying if not wanted(packet)]
        return taken

    def _arrive(self, packet: Packet) -> None:
        at = len(self.lines)
        if not self.world.nodes[packet.to].up:
            return  # There is no link to it.
        why = self.world.arrive(packet)
        if not self._quiet:
            self.lines.insert(at, message(self.names, packet) + (f": {why}" if why else ""))
        self.world.settle()

    # Acts: time, and looking.

    def do_tick(self, words: Words, _given: Given) -> None:
        """Milliseconds pass; what is sent meanwhile flies."""
        shown = -1
        before = len(self.lines)
        for now in self.world.advance(int(words[0])):
            if len(self.lines) > before and now != shown:
                self.lines.insert(before, f"at {now} ms:")
                shown = now
            before = len(self.lines)

    def do_flying(self, _words: Words, _given: Given) -> None:
        """What is under way."""
        for packet in self.world.wire.flying:
            if self.world.nodes[packet.to].up:
                self.say(f"flying: {message(self.names, packet)}")

    def do_show(self, words: Words, _given: Given) -> None:
        """What these nodes, or all, know of the calls that are not forgotten, and of outcomes."""
        for node in self.nodes(words) if words else self.world.nodes:
            self.lines += show(self.names, node)

    def do_recover(self, words: Words, given: Given) -> None:
        """A person has an orphan issued again: `recover n1 c1 by=ann`."""
        from meshcode.router import recovering
        from meshcode.router.records import accepted_call

        node, id = self.node(words[0]), self.names.id(words[1])
        sequence = recovering.sequences(node.router)[id]
        value = node.log.get("open", sequence.to_bytes(8, "big"))
        assert value is not None, words
        accepted_ms, submit = accepted_call(value)
        self._requests += 1
        request = self._requests.to_bytes(16, "big")
        session = self.world.session(given["by"])
        self.world.checker.recovered[id] = node.index
        node.post(events.RecoverAsked(session, request, sequence, accepted_ms, submit, given["by"]))


def run(text: str) -> str:
    """Play a story; its text again, with what really happened after each `----`.

    Raises:
        Violation: a rule of the mesh was broken on the way.
    """
    story = Story()
    return play(story, text, story.settle)


def main(arguments: list[str]) -> int:
    """Check or rewrite story files; the number that differ."""
    return check(run, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
