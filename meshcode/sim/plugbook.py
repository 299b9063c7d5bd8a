"""Plugs, gates, joins and ticks as the checkers of both simulators see them.

What an outcome must cause is worked out here anew, in plain Python, from the snapshot that the node
was told; it shares no code with `meshcode/router/wiring.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple
from zlib import crc32

from meshcode.ids import child_id
from meshcode.sim.flowbook import body_of, work
from meshcode.sim.violation import require
from meshcode.wire.codec import pack, unpack, unpack_call
from meshcode.wire.frame import check_envelope
from meshcode.wire.kinds import Flag, Outcome

Snapshot = dict[str, Any]
Find = Callable[[bytes], Iterable[bytes]]  # The outcomes of a call that are known.
JOIN, COLLECT, GATHER, ITEM = "@join", "@collect", "@gather", "@item"
NOBODY = bytes(16)
_DONE, _FAILED = int(Outcome.DONE), int(Outcome.FAILED)
_NODES = ("gate", "join", "edge", "expires_ms", "named", "feed", "copy", "plan")


class Way(NamedTuple):
    """One way of a plug."""

    plug: str
    key: bytes
    target: str
    argument: str
    place: str
    places: list[str]  # That all must be filled; empty = the target is called at once.
    gate: dict[str, Any] | None
    ttl_ms: int | None
    copy: bool = False  # The plug's own queue brings it there.


class Made(NamedTuple):
    """A call that an outcome must cause."""

    id: bytes
    name: str
    args: list[Any]
    kwargs: dict[str, Any]
    options: dict[str, Any]  # Those that only nodes write.


class Tick(NamedTuple):
    """A time at which a schedule calls a socket."""

    name: str
    at_ms: int
    fields: dict[str, Any]


class Known:
    """A call that somebody made."""

    __slots__ = ("copied", "flow", "id", "name", "options", "parent", "submit")

    def __init__(self, submit: bytes, *, copied: bool = False) -> None:
        """Read its SUBMIT envelope."""
        row = check_envelope(submit)
        meta = submit[row.meta_at : row.body_at]
        self.id = row.id
        self.submit = submit
        self.flow = row.id if row.flow == NOBODY else row.flow
        self.parent = row.parent
        self.name = submit[row.name_at : row.meta_at].decode()
        self.options: dict[str, Any] = unpack(meta) if meta else {}
        self.copied = copied  # A person or a dead-letter queue gave it a second life.

    def given(self) -> tuple[list[Any], dict[str, Any]]:
        """Its arguments; only of calls that the mesh made."""
        return unpack_call(body_of(self.submit), bool(self.submit[12] & Flag.KWARGS))

    @property
    def join(self) -> dict[str, Any] | None:
        """Of arrivals and collectors."""
        return self.options.get("join")


class PlugBook:
    """All calls of a world with plugs, and what became of values at joins."""

    def __init__(self, routers: frozenset[str]) -> None:
        """Nothing happened yet; `routers` are sockets whose results choose plugs."""
        self.calls: dict[bytes, Known] = {}
        self.made: set[bytes] = set()  # Those among them that plugs, joins or schedules made.
        # What outcomes were seen to cause: of calls that two nodes accepted, not always alike.
        self.judged: dict[bytes, dict[bytes, Known]] = {}
        self.routers = routers
        self.used: dict[bytes, bytes] = {}  # Arrival -> the collector that named it.
        self.sets: dict[bytes, list[bytes]] = {}  # What each collector named.
        self.free: set[bytes] = set()  # Calls whose gate was open since they came.
        self.order: dict[bytes, int] = {}  # In which order calls came, on one node.
        self.count = 0
        self.ticks: dict[bytes, Tick] = {}  # By the call of each.
        self.since: dict[str, int] = {}  # When a schedule was known, by the first disk.

    def __contains__(self, id: bytes) -> bool:
        return id in self.made

    # Schedules.

    def scheduled(self, schedules: dict[str, Any]) -> None:
        """Work out all ticks of the schedules of a world."""
        for name, fields in schedules.items():
            mark = blake2b(name.encode(), digest_size=10).digest()
            for at_ms in range(fields["start_ms"], fields["end_ms"] + 1, fields["interval_ms"]):
                root = at_ms.to_bytes(6, "big") + mark
                self.ticks[child_id(root, b"tick/%d" % at_ms)] = Tick(name, at_ms, fields)

    def saved(self, key: bytes, value: bytes | None) -> None:
        """A record is on a disk: perhaps that a schedule is known from now on."""
        if key.startswith(b"schedule/") and value is not None:
            self.since.setdefault(key.removeprefix(b"schedule/").decode(), unpack(value)[1])

    def fired(self, known: Known, now_ms: int) -> None:
        """The call of a tick was made: not too early, and as the schedule says."""
        tick = self.ticks[known.id]
        self.made.add(known.id)
        text = f"{tick.name} {tick.at_ms}"
        require(now_ms >= tick.at_ms, "tick", text, "made at", now_ms)
        require(known.name == tick.fields["socket"], "tick", text, "calls", known.name)
        require(known.given() == (tick.fields["args"], {}), "tick", text, "arguments")
        late_ms = known.options.get("eta_ms", tick.at_ms) - tick.at_ms
        require(0 <= late_ms <= tick.fields["jitter_ms"], "tick", text, "jitter", late_ms)

    def must_fire(self, until_ms: int) -> list[bytes]:
        """The ticks that must have a call by then: of schedules that make up for what they miss."""
        return [
            id
            for id, tick in self.ticks.items()
            if tick.fields["catch_up"] == "all"
            and self.since.get(tick.name, until_ms) < tick.at_ms <= until_ms
        ]

    # What workers do.

    def result(self, submit: bytes, plain: Any) -> tuple[Any, bytes]:
        """What a simulated task returns, and the meta of its outcome (a router's choice).

        Args:
            submit: what it was handed.
            plain: the value of a call that no plug made.
        """
        known = Known(submit)
        mark = crc32(submit[check_envelope(submit).body_at :] + known.id)
        value = plain
        if known.id in self.made:
            value = work(submit)
            if "edge" in known.options:
                value = mark % 3 > 0  # Whether the value may pass its gate.
        meta = b""
        if known.name in self.routers and mark % 4:
            meta = pack({"plugs": [f"p{n}" for n in range(12) if mark >> (n + 2) & 1]})
        return value, meta

    # Calls.

    def opened(self, submit: bytes, closed: set[str]) -> Known:
        """A call came into being; `closed` are the gates that are."""
        known = self.calls.get(submit[16:32])
        if known is None:
            known = self.calls[submit[16:32]] = Known(submit)
            self.count += 1
            self.order[known.id] = self.count
            if known.options.get("gate") not in closed:
                self.free.add(known.id)
        return known

    def told(self, closed: set[str]) -> None:
        """A node knows of a model: who waits at another gate than these may go on."""
        for id, known in self.calls.items():
            gate = known.options.get("gate")
            if gate is not None and gate not in closed:
                self.free.add(id)

    def copy(self, id: bytes, parent: bytes) -> None:
        """A person or a dead-letter queue gave a call a second life, under another id."""
        if parent in self.made:
            self.made.add(id)
            self.calls[id].copied = True

    def booted(self, done: Container[bytes]) -> None:
        """What the only node had on its disk when it went down is all that happened."""
        self.sets = {id: used for id, used in self.sets.items() if id in done}
        self.used = {id: by for id, by in self.used.items() if by in done}

    def as_made(self, id: bytes, submit: bytes | None) -> Known:
        """A call as one of two nodes that accepted its root has caused it (P14)."""
        known = self.calls[id]
        return known if submit is None else self.judged.get(id, {}).get(submit, known)

    def forms(self, id: bytes) -> list[Known]:
        """A call as each of them has."""
        known, judged = self.calls.get(id), self.judged.get(id, {})
        others = [one for submit, one in judged.items() if not known or submit != known.submit]
        return [known, *others] if known else others

    # What an outcome causes.

    def due(
        self, snapshot: Snapshot, id: bytes, outcome: bytes, submit: bytes | None = None
    ) -> list[Made]:
        """All calls that the outcome of a call, made as `submit`, must cause under this model."""
        known = self.as_made(id, submit)
        code = outcome[13]
        if known.name == COLLECT:
            return self._joined(known, outcome) if code == _DONE else []
        if code not in (_DONE, _FAILED) or outcome[15]:
            return []
        value = unpack(body_of(outcome))
        asked = known.options.get("edge")
        if asked is not None:
            if code == _FAILED or not value:
                return []
            [passing] = known.given()[0]
            way = Way(
                asked["plug"], b"", asked["target"], asked["argument"], asked["place"],
                asked["joined"], None, asked["ttl_ms"], asked["copy"],
            )  # fmt: skip
            return [_made(child_id(id, b"passed" + _kind(way)), way, passing, {})]
        row = check_envelope(outcome)
        meta = outcome[row.meta_at : row.body_at]
        said = unpack(meta) if meta else {}
        if "items" in said:
            return []  # A generator's: its items have gone along the plugs.
        chosen = said.get("plugs")
        source = known.options["item"]["of"] if known.name == ITEM else known.name
        found = []
        for way in ways(snapshot, source, error=code == _FAILED):
            if code == _DONE and chosen is not None and way.plug not in chosen:
                continue
            one = _along(id, way, value)
            if one is not None:
                found.append(one)
        return found

    def _joined(self, known: Known, outcome: bytes) -> list[Made]:
        body = unpack(body_of(outcome))
        join = known.join
        assert join is not None
        options = {"feed": body["with"], "named": join["places"]}
        id = child_id(body["with"][0], b"joined")
        require(body["call"] == id, "join", "names another call", known.id.hex())
        return [Made(id, join["target"], [], {}, options)]

    def caused(self, id: bytes, due: list[Made], submits: list[bytes], what: str) -> None:
        """Compare what an outcome caused with what it must cause, and remember it."""
        want = {one.id: one for one in due}
        ids = [submit[16:32] for submit in submits]
        text = id.hex()
        require(len(set(ids)) == len(ids), "plug", what, text, "causes a call twice")
        missing = [one.target_text() for one in map(_Text, due) if one.made.id not in ids]
        more = [one.hex() for one in ids if one not in want]
        require(not missing and not more, "plug", what, text, "misses", missing, "has", more)
        for submit in submits:
            known = Known(submit)
            self._alike(want[known.id], known, self.calls[id])
            self.made.add(known.id)
            self.judged.setdefault(known.id, {})[submit] = known

    def _alike(self, due: Made, known: Known, parent: Known) -> None:
        text = known.id.hex()
        args, kwargs = known.given()
        require(known.name == due.name, "plug", "target of", text, known.name, due.name)
        require(args == due.args, "plug", "arguments of", text, args, due.args)
        require(kwargs == due.kwargs, "plug", "arguments of", text, kwargs, due.kwargs)
        require(known.submit[14] == len(args), "plug", "argc of", text)
        named = list(known.options.get("kw", []))
        require(named == list(due.kwargs), "plug", "keywords of", text, named)
        own = {name: known.options[name] for name in _NODES if name in known.options}
        require(own == due.options, "plug", "options of", text, own, due.options)
        require(known.flow == parent.flow, "plug", "flow of", text)
        if parent.name != COLLECT:
            require(known.parent == parent.id, "plug", "parent of", text)

    # Begins.

    def begins(self, id: bytes, submit: bytes, *, twin: bool = False) -> None:
        """A worker gets the call: its gate let it pass, and a join put all together.

        Args:
            id: of the call.
            submit: what the worker gets.
            twin: two nodes may have caused it, each by another outcome.
        """
        forms = self.forms(id) if twin else [self.calls[id]]
        passes = any(self.may_pass(one) for one in forms)
        require(passes, "gate", "is closed, passed by", id.hex())
        given = id not in self.made or any(self._gives(one, submit, twin=twin) for one in forms)
        require(given, "plug", "arguments of", id.hex(), body_of(submit))

    def _gives(self, known: Known, submit: bytes, *, twin: bool) -> bool:
        """Whether a worker is to get a call that plugs or a join made like that."""
        if "named" not in known.options:
            return submit == known.submit
        args, kwargs = unpack_call(body_of(submit), bool(submit[12] & Flag.KWARGS))
        places, feed = known.options["named"], known.options["feed"]
        names = [place for place in places if place.startswith("#")]
        got = dict(zip(names, args, strict=False)) | kwargs
        if len(args) != len(names) or got.keys() != set(places):
            return False
        for place, one in zip(places, feed, strict=True):
            forms = [form for form in self.forms(one) if twin or form is self.calls[one]]
            if [got[place]] not in [form.given()[0] for form in forms]:
                return False
        return True

    def may_pass(self, known: Known) -> bool:
        """Whether the gate of a call, if any, was open at some time since it came."""
        return known.options.get("gate") is None or known.id in self.free

    # Ends.

    def ended(self, id: bytes, outcome: bytes, find: Find, *, executed: bool) -> bool:
        """A call that the mesh made has ended; whether that is explained here."""
        forms = self.forms(id)
        text = id.hex()
        code, made = outcome[13], [one for one in forms if one.name in (JOIN, COLLECT)]
        known = (made or forms)[0]
        require(not executed or len(made) < len(forms), "join", "somebody ran", text)
        if executed:
            return False  # Judged like any other; its arguments were looked at.
        if code == _DONE:
            require(bool(made), "plug", "nobody made", text)
            (self._arrived if known.name == JOIN else self._collected)(known, outcome)
            return True
        if "feed" in known.options:
            error = unpack(body_of(outcome))
            if "step" in error["fields"]:
                causes = [one for need in known.options["feed"] for one in find(need)]
                require(any(one[13] == code for one in causes), "join", "no cause of", text)
                return True
        return False

    def _arrived(self, known: Known, outcome: bytes) -> None:
        text = known.id.hex()
        require(known.id in self.used, "join", "no collector names", text)
        values = [one.given()[0] for one in self.forms(known.id) if one.name == JOIN]
        require([unpack(body_of(outcome))] in values, "join", "value of", text)

    def _collected(self, known: Known, outcome: bytes) -> None:
        """A set was chosen: complete, of one flow and join, and no value in two of them."""
        join, used = known.join, unpack(body_of(outcome))["with"]
        assert join is not None
        text = known.id.hex()
        first = self.sets.setdefault(known.id, used)
        require(first == used, "join", "two sets of one collector", text)
        require(len(used) == len(join["places"]), "join", "incomplete set", text, len(used))
        for place, id in zip(join["places"], used, strict=True):
            forms = [one for one in self.forms(id) if one.name == JOIN]
            require(bool(forms), "join", "no arrival", id.hex())
            alike = [one for one in forms if one.options.get("at") == known.options.get("at")]
            arrival = (alike or forms)[0]
            own = arrival.join
            assert own is not None
            require(arrival.flow == known.flow, "join", "of another flow", id.hex())
            at = (arrival.options.get("at"), known.options.get("at"))
            require(at[0] == at[1], "join", "of other keepers", id.hex())
            good = (own["target"], own["places"]) == (join["target"], join["places"])
            require(good and own["place"] == place, "join", "at another place", id.hex(), own)
            by = self.used.setdefault(id, known.id)
            elsewhere = self.calls[by].options.get("at") != at[1]  # It is there in two forms.
            require(by == known.id or elsewhere, "join", "used twice", id.hex(), by.hex(), text)
            require(self.may_pass(arrival), "gate", "is closed, passed by", id.hex())

    def in_order(self, known: Known, used: list[bytes], open_ids: Iterable[bytes]) -> None:
        """On one node: each place gives the value that came first of those that are open."""
        join = known.join
        assert join is not None
        for id in open_ids:
            one = self.calls[id]
            if one.name != JOIN or one.flow != known.flow or id in self.used:
                continue
            own = one.join
            assert own is not None
            if (own["target"], own["places"]) != (join["target"], join["places"]):
                continue
            taken = used[join["places"].index(own["place"])]
            gated = "gate" in one.options or "gate" in self.calls[taken].options
            before = self.order[id] < self.order[taken]
            require(gated or one.copied or not before, "join", "came before", id.hex(), taken.hex())

    def left(
        self, open_ids: Iterable[bytes], forms: Mapping[bytes, list[Known]] | None = None
    ) -> set[bytes]:
        """At rest: arrivals that may wait for ever, because no set of them is complete.

        Args:
            open_ids: of arrivals that are open.
            forms: how nodes have them; as somebody has proposed them, else.
        """
        groups: dict[tuple[Any, ...], dict[str, list[bytes]]] = {}
        for id in open_ids:
            known_as = self.forms(id) if forms is None else forms[id]
            for known in known_as if id not in self.used else ():
                join = known.join
                if known.name == JOIN and join is not None:
                    places = tuple(join["places"])
                    key = (known.flow, known.options.get("at"), join["target"], places)
                    groups.setdefault(key, {}).setdefault(join["place"], []).append(id)
        found = set()
        for key, by_place in groups.items():
            if len(by_place) < len(key[-1]):
                found.update(id for ids in by_place.values() for id in ids)
        return found


class _Text(NamedTuple):
    """For violations."""

    made: Made

    def target_text(self) -> str:
        """Which call is missing."""
        return f"{self.made.id.hex()} at {self.made.name}"


def ways(snapshot: Snapshot, source: str, *, error: bool) -> list[Way]:
    """The ways that an outcome of a socket takes under a model."""
    plugs = snapshot.get("plugs") or {}
    queues = snapshot.get("queues") or {}
    found = []
    for name in sorted(plugs):
        plug = plugs[name]
        if plug["source"] != source or (plug.get("type") == "ERROR") != error:
            continue
        queue = queues.get(plug.get("queue") or "") or {}
        place = plug.get("argument") or f"#{name}"
        places = [] if error else _places(snapshot, plug["target"])
        if place not in places or len(places) < 2:
            places = []
        common = (_gate(snapshot, name), queue.get("message_ttl_ms"))
        key = b"plug:" + name.encode()
        argument = plug.get("argument") or ""
        also = reached(snapshot, plug.get("queue") or "", source)
        target = plug["target"]
        found.append(Way(name, key, target, argument, place, places, *common, target in also))
        for other in also:
            if other != plug["target"]:
                key = b"plug:%s:%s" % (name.encode(), other.encode())
                found.append(Way(name, key, other, argument, place, [], *common, True))
    return found


def _places(snapshot: Snapshot, target: str) -> list[str]:
    """The places of a socket that take part in its joins."""
    waits = snapshot["sockets"].get(target, {}).get("wait_for_all")
    found = set()
    for name, plug in snapshot["plugs"].items():
        if plug["target"] == target and plug.get("type") != "ERROR":
            if plug.get("argument"):
                found.add(plug["argument"])
            elif waits:
                found.add(f"#{name}")
    return sorted(found)


def _gate(snapshot: Snapshot, plug: str) -> dict[str, Any] | None:
    """The strictest gate of a plug, with its name."""
    mine = [
        (("closed", "task", "open").index(gate.get("mode") or "open"), name)
        for name, gate in (snapshot.get("gates") or {}).items()
        if gate["plug"] == plug
    ]
    if not mine:
        return None
    strictest = min(rank for rank, _ in mine)
    name = max(name for rank, name in mine if rank == strictest)
    return {"name": name} | snapshot["gates"][name]


def reached(snapshot: Snapshot, queue: str, topic: str) -> list[str]:
    """The sockets that a topic or fanout queue brings a call to."""
    kind = (snapshot.get("queues") or {}).get(queue, {}).get("type")
    if kind not in ("topic", "fanout"):
        return []
    return [
        name
        for name, socket in sorted(snapshot["sockets"].items())
        if socket.get("queue") == queue
        and (kind == "fanout" or fits(socket.get("topic") or name, topic))
    ]


def fits(pattern: str, topic: str) -> bool:
    """Whether a topic fits a pattern; as a regular expression."""
    words = {"#": r"(?:\.[^.]+)*", "*": r"\.[^.]+"}
    parts = [words.get(word, re.escape("." + word)) for word in pattern.split(".")]
    return re.fullmatch("".join(parts), "." + topic) is not None


def closed_gates(snapshot: Snapshot) -> set[str]:
    """The gates that nothing passes."""
    gates = snapshot.get("gates") or {}
    return {name for name, gate in gates.items() if gate.get("mode") == "closed"}


def _kind(way: Way) -> bytes:
    """What the id of a value at a join has more than that of a call."""
    return b":join" if way.places else b""


def _along(parent: bytes, way: Way, value: Any) -> Made | None:
    gate, id = way.gate, child_id(parent, way.key + _kind(way))
    mode = "open" if gate is None else gate.get("mode") or "open"
    if gate is None or mode == "open":
        return _made(id, way, value, {})
    if mode == "closed":
        if gate.get("when_closed") == "reject":
            return None
        return _made(id, way, value, {"gate": gate["name"]})
    edge = {
        "plug": way.plug, "target": way.target, "argument": way.argument, "ttl_ms": way.ttl_ms,
        "place": way.place, "joined": way.places, "gate": gate["name"], "copy": way.copy,
    }  # fmt: skip
    asked = child_id(parent, way.key + b":gate")
    return Made(asked, gate["socket"], [value], {}, {"edge": edge})


def _made(id: bytes, way: Way, value: Any, options: dict[str, Any]) -> Made:
    if way.places:
        join = {"target": way.target, "places": list(way.places), "place": way.place}
        return Made(id, JOIN, [value], {}, {**options, "join": join})
    if way.copy:
        options = {**options, "copy": True}
    if way.ttl_ms is not None:
        options = {**options, "expires_ms": way.ttl_ms}
    if way.argument:
        return Made(id, way.target, [], {way.argument: value}, options)
    return Made(id, way.target, [value], {}, options)


__all__ = ["Known", "Made", "PlugBook", "Way", "closed_gates", "fits", "reached", "ways"]
