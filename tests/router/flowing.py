"""A router with a log and workers that run everything at once: for tests of flows and plugs."""

from __future__ import annotations

from typing import Any

from meshcode.ids import NO_ID, make_ids
from meshcode.router import events, ticking
from meshcode.router.effects import Effects
from meshcode.router.envelopes import body_of
from meshcode.router.records import split_done
from meshcode.wire.codec import pack, pack_call, unpack, unpack_call
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Flag, Kind, Outcome

from .driver import NOW, Driver

Step = list[Any]


def step(socket: str | None, *args: Any, feed: Any = None, **kwargs: Any) -> Step:
    """One step of a plan as the client writes it."""
    options = {"kw": list(kwargs)} if kwargs else None
    return [socket, len(args), pack_call(args, kwargs or None), feed, options]


class Flows(Driver):
    """A router whose workers run everything at once, by one function."""

    def __init__(self, **socket: Any) -> None:
        super().__init__(**socket)
        self.join()
        tables = ("open", "done", "state", "meta", "vote", "failed", "socket")
        self.log: dict[str, dict[bytes, bytes]] = {table: {} for table in tables}
        self.ran: list[tuple[str, list[Any], dict[str, Any]]] = []
        self.told: dict[bytes, bytes] = {}  # Outcomes that the client got.
        self.failing: set[str] = set()
        self.values: dict[str, Any] = {}  # What a socket's task returns instead of its text.
        self.routes: dict[str, list[str]] = {}  # The plugs that a socket's results choose.

    def prepare(self) -> None:
        """For kinds of this class with more of their own."""

    def step(self, event: Any) -> Effects:
        effects = super().step(event)
        log = getattr(self, "log", None)
        if log is not None:
            for table, key, value in effects.records:
                if value is None:
                    log[table].pop(key, None)
                else:
                    log[table][key] = value
            for _, outcome in effects.outcomes:
                self.told[outcome[16:32]] = outcome
        return effects

    def flow(
        self, steps: list[Step], result: int | None = None, id: bytes = b"", **more: Any
    ) -> tuple[bytes, Effects]:
        """Submit a plan, under an id if one is given, with `more` in it; its id."""
        id = id or make_ids(1, NOW)[0]
        data = {"steps": steps, "result": len(steps) - 1 if result is None else result, **more}
        body = pack_call([data])
        envelope_ = envelope(Kind.SUBMIT, id=id, name=b"@flow", body=body, argc=1)
        self.frames += 1
        call = (id, NO_ID, NO_ID, "@flow", 1, None, envelope_)
        return id, self.step(events.Submitted(1, self.frames, [call]))

    def run(self, effects: Effects) -> None:
        """Let the worker answer everything that is handed to it, `a:b` as text."""
        waiting = [effects]
        while waiting:
            for _, batch in waiting.pop().starts:
                for id, attempt, _, submit in batch:
                    assert submit is not None
                    waiting.append(self.answer(id, attempt, submit))

    def answer(self, id: bytes, attempt: int, submit: bytes) -> Effects:
        """One call runs."""
        name = submit[80 : 80 + submit[15]].decode()
        args, kwargs = unpack_call(body_of(submit), bool(submit[12] & Flag.KWARGS))
        assert submit[14] == len(args)
        self.ran.append((name, args, kwargs))
        meta = b""
        if name in self.routes:
            meta = pack({"plugs": self.routes[name]})
        if name in self.values:
            code, body = Outcome.DONE, pack(self.values[name])
        elif name in self.failing:
            code, body = (
                Outcome.FAILED,
                pack({"code": "remote", "text": name, "fields": {"type": "ValueError"}}),
            )
        else:
            code, body = Outcome.DONE, pack(said(name, *args, **kwargs))
        data = envelope(Kind.OUTCOME, id=id, code=code, attempt=attempt, body=body, meta=meta)
        return self.step(events.Finished(1, [(id, attempt, int(code), False, 200, 0, data)]))

    def call(
        self, name: str, *args: Any, flow: bytes = NO_ID, **options: Any
    ) -> tuple[bytes, Effects]:
        """Submit one plain call, perhaps in a flow; its id."""
        [id] = make_ids(1, NOW)
        self.frames += 1
        meta = pack(options) if options else b""
        data = envelope(
            Kind.SUBMIT,
            id=id,
            flow=flow,
            name=name.encode(),
            meta=meta,
            body=pack_call(args),
            argc=len(args),
        )
        call = (id, flow, NO_ID, name, len(args), options or None, data)
        return id, self.step(events.Submitted(1, self.frames, [call]))

    def opens_after(self, effects: Effects) -> list[bytes]:
        """The `open` records of the log when these effects are written."""
        kept = dict(self.log["open"])
        for table, key, value in effects.records:
            if table == "open" and value is None:
                kept.pop(key, None)
            elif table == "open":
                kept[key] = value
        return list(kept.values())

    def settle(self, effects: Effects) -> None:
        """Run and look up until nothing is left to do."""
        waiting = [effects]
        while waiting:
            done = waiting.pop()
            if done.lookups:
                waiting.append(looked_up(self, done))
            for _, batch in done.starts:
                for id, attempt, _, submit in batch:
                    assert submit is not None
                    waiting.append(self.answer(id, attempt, submit))

    def outcome(self, id: bytes) -> tuple[int, Any]:
        """How a call ended, from the log."""
        done = split_done(self.log["done"][id])
        return done["code"], unpack(body_of(done["outcome"]))


def said(name: str, *args: Any, **kwargs: Any) -> str:
    """What every task of these tests returns."""
    named = [f"{key}={shown(value)}" for key, value in kwargs.items()]
    return f"{name}({','.join([shown(one) for one in args] + named)})"


def shown(value: Any) -> str:
    return "[" + "|".join(map(shown, value)) + "]" if isinstance(value, list) else str(value)


def recovered(made: Flows) -> tuple[Flows, Effects]:
    """The same log with a new node."""
    after = type(made).__new__(type(made))
    after.prepare()
    Driver.__init__(after)
    after.log = {table: dict(kept) for table, kept in made.log.items()}
    after.ran, after.told, after.failing, after.values, after.routes = [], {}, set(), {}, {}
    after.sockets, after.queues = made.sockets, made.queues
    after.plugs, after.gates, after.schedules = made.plugs, made.gates, made.schedules
    after.now = made.now
    ticking.restore(after.router, sorted(after.log["meta"].items()))
    published = after.publish()
    effects = after.router.recover(
        sorted(after.log["open"].items()), sorted(after.log["state"].items()), after.now
    )
    effects.merge(published)
    after.router.check()
    return after, effects


def looked_up(made: Flows, effects: Effects) -> Effects:
    """What the shell answers."""
    found = []
    for node, id in effects.lookups:
        value = made.log["done"].get(id)
        found.append((node, id, split_done(value)["outcome"] if value else b""))
    return made.step(events.LookedUp(found))
