"""A simulated mesh for tests: its own clock, its own faults, all of it worked out from a seed.

    world.serve("shop.price", price)
    call = world.submit("shop.price", {"id": 1})
    world.kill("n1")
    assert world.result(call) == 2
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from meshcode.errors import (
    BadRequest,
    MeshError,
    UnknownSocket,
    WaitTimeout,
    WrongState,
    from_data,
)
from meshcode.ids import NO_ID, text_of
from meshcode.model.fields import check_served, check_value
from meshcode.nearest import nearest
from meshcode.router import events, plan
from meshcode.router.envelopes import body_of
from meshcode.schedule import parse
from meshcode.sim.mesh.node import WALL_MS
from meshcode.testing.simulated import (
    FunctionNode,
    FunctionWorker,
    FunctionWorld,
    OneCall,
    WorkerDies,
)
from meshcode.wire.codec import pack, pack_call, unpack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Flag, Kind, Outcome

if TYPE_CHECKING:
    from meshcode.client.client import Client
    from meshcode.client.flows.composition import Composition
    from meshcode.client.socket import Socket

MEET_S = 4.0  # Until all nodes have heard of each other.
RESULT_S = 120.0  # Of simulated time: several take-overs.
TAKES_S = (0.001, 0.02)
_SOCKET_FIELDS = (
    "priority", "concurrency", "key_concurrency", "retries", "retry_delay_ms", "time_limit_ms",
    "rate_limit",
)  # fmt: skip


class Ran(NamedTuple):
    """One execution of a function."""

    socket: str
    args: list[Any]
    kwargs: dict[str, Any]
    node: str
    attempt: int
    at: float  # Seconds since the world began.


class WorldCall:
    """A call or a flow in a simulated mesh."""

    def __init__(self, world: World, client: OneCall, id: bytes, socket: str) -> None:
        """Made by `World.submit`."""
        self._world = world
        self._client = client
        self._id = id
        self.socket = socket

    @property
    def id(self) -> str:
        """The id as text."""
        return text_of(self._id)

    @property
    def state(self) -> str:
        """What its client knows: SENT, ACCEPTED, then DONE, FAILED, CANCELLED, MOVED, REFUSED."""
        if self._client.refusal is not None:
            return "REFUSED"
        if self._client.outcome is not None:
            return Outcome(self._client.outcome[13]).name
        return "ACCEPTED" if self._client.is_accepted else "SENT"

    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state not in ("SENT", "ACCEPTED")

    def result(self, timeout: float = RESULT_S) -> Any:
        """As `World.result`."""
        return self._world.result(self, timeout)

    def cancel(self) -> None:
        """Ask every node that knows it to cancel it; it takes a moment, so `advance`.

        Of a flow, every call that has not ended is cancelled, also what comes of it a little later.

        Raises:
            WrongState: it has ended.
        """
        if self.done():
            raise WrongState(f"call {self.id} is {self.state} already, nothing was cancelled")
        if self.socket == plan.FLOW:
            self._world.sim.cancel_flow(self._id)
            return
        for node in self._world.sim.nodes:
            if node.up and self._id in node.router.calls:
                node.post(events.CancelAsked(0, NO_ID, self._id, "the test"))

    def __repr__(self) -> str:
        return f"<WorldCall {self.id} {self.socket} {self.state}>"


class _NoClient:
    """In the place of the client of a world's sockets, so that none of them reaches a real node."""

    def __getattr__(self, name: str) -> Any:
        raise BadRequest(
            "a socket of a simulated mesh calls nothing itself, and no real node was asked; submit"
            " it, or what is composed of it, with mesh_world.submit(...)"
        )


_NO_CLIENT = _NoClient()  # One, so that the sockets of a composition have the same.


class World:
    """A mesh of simulated nodes n1, n2, ... that run functions of the test.

    The core of the nodes is that of real ones, so flows, plugs, retries, limits and take-overs are
    as they will be.  Time passes only in `advance`, `result` and `run`.  A function is run when a
    simulated worker begins it; how long that takes in simulated time, `serve` says.  What it does
    has been done when a fault comes before its end is told, and it is run again then.
    """

    def __init__(
        self, *, nodes: int = 3, seed: int = 0, loss: float = 0.0, delay: float = 0.002
    ) -> None:
        """All nodes are up and know each other; nothing is served.

        Args:
            nodes: how many, 1 to 50.
            seed: what happens by chance is drawn from it.
            loss: the chance of each message between nodes to be lost, 0 to 1.
            delay: mean seconds that a message takes.

        Raises:
            BadRequest: a value is out of its range.
        """
        if not 0 <= loss < 1 or delay < 0:
            raise BadRequest(f"loss is 0 to below 1 and delay 0 s at least, not {loss} and {delay}")
        self.seed = seed
        self.ran: list[Ran] = []
        self.calls: list[WorldCall] = []
        self.sim = FunctionWorld(
            seed, nodes, self._execute, loss=loss, delay_ms=max(1, round(delay * 1000))
        )
        self._functions: dict[str, Callable[..., Any]] = {}
        self._began_ms = 0
        self.advance(MEET_S)
        self._began_ms = self.sim.now

    # Declaring.

    def serve(
        self, name: str, function: Callable[..., Any], *,
        takes: float | tuple[float, float] = TAKES_S, queue: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:  # fmt: skip
        """Offer a function on every node, as socket `name`; a later one takes its place.

        Args:
            name: of the socket.
            function: plain Python or `async def`; runs in the test itself.
            takes: seconds of simulated time, or the least and the most, drawn for each run; of an
                `async def` function on top of what it awaits.
            queue: fields of its queue: max_length, message_ttl_ms, dead_letter, ...
            fields: of the socket: retries, retry_delay_ms, time_limit_ms, concurrency, ...

        Raises:
            BadRequest: a name, a field or a value that sockets or queues cannot have, or no
                function; nothing was changed.
        """
        fields = check_served(name, function, fields, _SOCKET_FIELDS)
        kept = {
            field: check_value("queue", name, field, value)
            for field, value in (queue or {}).items()
            if value is not None
        }
        low, high = takes if isinstance(takes, tuple) else (takes, takes)
        if not 0 <= low <= high:
            raise BadRequest(
                f"takes is {takes}: seconds from 0, or the least and the most; nothing was changed"
            )
        self._functions[name] = function
        self.sim.takes_ms[name] = (round(low * 1000), round(high * 1000))
        self.sim.worker_of[name] = _worker_of(function)
        model = self.sim.options.snapshot
        model["queues"][name] = kept
        model["processors"][name] = {"workers": 1, "requested_status": "start"}
        model["sockets"][name] = {"processor": name, "task": name, "queue": name, **fields}
        self.sim.publish()

    def plug(self, name: str, source: str, target: str, **fields: Any) -> None:
        """Results of socket `source` go to `target`, as a plug of the model with these fields.

        Raises:
            BadRequest: one of the two is not served.
        """
        for end in (source, target):
            self._served(end)
        self.sim.options.snapshot["plugs"][name] = {"source": source, "target": target, **fields}
        self.sim.publish()

    def gate(self, name: str, plug: str, mode: str = "closed", **fields: Any) -> None:
        """A gate on a plug: closed, it holds back what comes until it is open; again, to change it.
        """
        self.sim.options.snapshot["gates"][name] = {"plug": plug, "mode": mode, **fields}
        self.sim.publish()

    def schedule(
        self, name: str, socket: str, *args: Any, interval: float | None = None, **fields: Any
    ) -> None:
        """Have the mesh call a socket again and again; again, to change it.

        Args:
            name: of the schedule.
            socket: is called with `args`.
            args: plain data.
            interval: seconds between calls; or a field `cron` says when, and `timezone` where.
            fields: as of a schedule in the model.

        Raises:
            UnknownSocket: nothing serves the socket.
            BadRequest: a field is wrong.
        """
        self._served(socket)
        when = fields if interval is None else {"interval_ms": round(interval * 1000), **fields}
        parse(when)
        self.sim.options.snapshot["schedules"][name] = {
            "socket": socket, "args": list(args), **when,
        }  # fmt: skip
        self.sim.publish()

    def socket(self, name: str) -> Socket:
        """A socket for compositions and options, which `submit` takes; it calls nothing itself.

        Raises:
            UnknownSocket: nothing is served by that name.
        """
        from meshcode.client.socket import Socket

        self._served(name)
        return Socket(name, cast("Client", _NO_CLIENT))

    # Calls.

    def submit(self, target: str | Socket | Composition, *args: Any, **kwargs: Any) -> WorldCall:
        """Submit a call or a flow to any node, without waiting.

        Args:
            target: the name of a socket, a `Socket` with options, or a composition of such.
            args: plain data.
            kwargs: plain data.

        Raises:
            UnknownSocket: nothing is served by that name.
            BadData, TooLarge: as `Socket.submit`.
        """
        return self._submit(None, target, args, kwargs)

    def submit_to(
        self, node: str, target: str | Socket | Composition, *args: Any, **kwargs: Any
    ) -> WorldCall:
        """As `submit`, to this node first; the client waits for it when it is down."""
        return self._submit(self._node(node), target, args, kwargs)

    def _submit(
        self, via: FunctionNode | None, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> WorldCall:
        name, options, args, kwargs = _request(target, args, kwargs)
        if name != plan.FLOW:
            self._served(name)
        number = len(self.calls) + 1
        id = (WALL_MS + self.sim.now).to_bytes(6, "big") + b"\x70" + number.to_bytes(9, "big")
        if kwargs:
            options = {**options, "kw": list(kwargs)}
        data = envelope(
            Kind.SUBMIT, id=id, flow=id, name=name.encode(), meta=pack(options) if options else b"",
            body=pack_call(args, kwargs or None), argc=len(args),
            flags=Flag.KWARGS if kwargs else 0,
        )  # fmt: skip
        call = (id, id, NO_ID, name, len(args), options or None, data)
        client = OneCall(self.sim, call, via)
        self.calls.append(WorldCall(self, client, id, name))
        client.submit()
        return self.calls[-1]

    def result(self, call: WorldCall, timeout: float = RESULT_S) -> Any:
        """Let time pass until the call has ended; its value.

        Args:
            call: of this world.
            timeout: seconds of simulated time.

        Raises:
            WaitTimeout: it has not ended by then.
            MeshError: as `Call.result`.
        """
        self.sim.run_until(call.done, self.sim.now + round(timeout * 1000))
        if not call.done():
            raise WaitTimeout(
                f"call {call.id} to {call.socket} is {call.state} after {timeout:g} simulated "
                f"seconds, at {self.now:g}; {self._where(call)}; it goes on; seed {self.seed}",
                id=call.id,
            )
        if call._client.refusal is not None:
            raise from_data(call._client.refusal)
        assert call._client.outcome is not None
        value = unpack(body_of(call._client.outcome))
        if call.state == "DONE":
            return value
        error: MeshError = from_data(value)
        raise error

    def _where(self, call: WorldCall) -> str:
        """What the nodes that have a call say of it."""
        said = [
            f"{node.router.calls[call._id].state.name} on {node.name}"
            for node in self.sim.nodes if node.up and call._id in node.router.calls
        ]  # fmt: skip
        return ", ".join(said) or "no node that is up has it open"

    # Time.

    @property
    def now(self) -> float:
        """Seconds of simulated time since the world began."""
        return (self.sim.now - self._began_ms) / 1000

    @property
    def utc(self) -> datetime:
        """What the clocks of the nodes say, for schedules and options with a date."""
        return datetime.fromtimestamp((WALL_MS + self.sim.now) / 1000, UTC)

    def advance(self, seconds: float) -> None:
        """Let so much simulated time pass, with all that happens in it.

        Raises:
            BadRequest: it would go back.
        """
        if not seconds >= 0:
            raise BadRequest(f"time goes on by 0 seconds at least, not by {seconds}")
        self.sim.run_until(lambda: False, self.sim.now + round(seconds * 1000))

    def run(self, timeout: float = RESULT_S) -> None:
        """Let time pass until every call that was submitted, and what it caused, has ended.

        Raises:
            WaitTimeout: something has not after `timeout` simulated seconds; the text says what.
        """
        self.sim.run_until(lambda: not self._open(), self.sim.now + round(timeout * 1000))
        if self._open():
            raise WaitTimeout(
                f"not ended after {timeout:g} simulated seconds: {self._open()[:5]}; "
                f"seed {self.seed}"
            )

    def _open(self) -> list[str]:
        found = [repr(call) for call in self.calls if not call.done()]
        if not found:  # Then what they caused, on the nodes that are up.
            ended = self.sim.ended()
            up = [node for node in self.sim.nodes if node.up]
            left = {id: node for node in up for id in node.known() - ended}
            found = [f"{text_of(id)} on {node.name}" for id, node in left.items()]
            found += [f"{node.name} thinks" for node in up if node.is_busy]
        return found

    # Faults.

    @property
    def nodes(self) -> list[str]:
        """The names of all nodes that are not destroyed."""
        return [node.name for node in self.sim.nodes if not node.lost]

    @property
    def up(self) -> list[str]:
        """The names of those that are up."""
        return [node.name for node in self.sim.nodes if node.up]

    def kill(self, node: str) -> None:
        """kill -9 of a node and its workers; its disk stays, `start` starts it again."""
        self.sim.kill(self._node(node))

    def start(self, node: str) -> None:
        """Start a node that is down.

        Raises:
            WrongState: it is destroyed.
        """
        found = self._node(node)
        if found.lost:
            raise WrongState(f"{node} is destroyed, it cannot be started; nothing was done")
        found.start()

    def restart(self, node: str) -> None:
        """kill -9, and a start at once."""
        self.kill(node)
        self.start(node)

    def power_cut(self) -> None:
        """All nodes are killed in one moment; they start again."""
        up = [node for node in self.sim.nodes if node.up]
        for node in up:
            self.sim.kill(node)
        for node in up:
            node.start()

    def destroy(self, node: str) -> None:
        """A node is gone for ever with its disk; it is evicted some seconds later."""
        self.sim.destroy(self._node(node))

    def kill_worker(self, socket: str, node: str | None = None) -> str:
        """A worker of this socket dies, rather one that runs a call; another one follows.

        Returns:
            The name of its node.

        Raises:
            WrongState: there is none.
        """
        self._served(socket)
        found = [
            worker for host in self.sim.nodes if node in (None, host.name)
            for worker in host.workers.values() if worker.processor == socket and worker.alive
        ]  # fmt: skip
        if not found:
            raise WrongState(f"no worker of {socket} is up on {node or 'any node'}")
        worker = max(found, key=lambda one: len(one.begun))
        worker.die(worker.begun)
        return self.sim.nodes[worker.node.index].name

    def die(self) -> None:
        """Called by a function: its worker is gone, as by os._exit."""
        raise WorkerDies

    def partition(self, *groups: Sequence[str]) -> None:
        """Only nodes of one group hear each other; those that no group has are alone.

        Raises:
            BadRequest: there is no such node.
        """
        group_of = {self._node(name).index: n for n, group in enumerate(groups) for name in group}
        self.sim.network.cut = {
            (a.index, b.index) for a in self.sim.nodes for b in self.sim.nodes
            if a is not b and group_of.get(a.index, -1 - a.index) != group_of.get(b.index)
        }  # fmt: skip

    def heal(self) -> None:
        """All nodes hear each other."""
        self.sim.network.heal()

    # For the world itself.

    def close(self) -> None:
        """Drop what `async def` functions have not ended; the fixtures do it after the test."""
        while self.sim.abandons:
            self.sim.abandons.pop()()

    def _node(self, name: str) -> FunctionNode:
        for node in self.sim.nodes:
            if node.name == name:
                return node
        raise BadRequest(f"there is no node {name!r}; there are {', '.join(self.nodes)}")

    def _served(self, name: str) -> None:
        if name not in self._functions:
            served = ", ".join(sorted(self._functions)) or "nothing"
            near = nearest(name, self._functions)
            hint = f"did you mean {near!r}? " if near else ""
            raise UnknownSocket(
                f"nothing serves {name!r} in this world; {hint}served is {served}", name=name
            )

    def _execute(
        self, node: FunctionNode, name: str, attempt: int, args: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        """Run a function."""
        self.ran.append(Ran(name, list(args), dict(kwargs), node.name, attempt, self.now))
        return self._functions[name](*args, **kwargs)


def _worker_of(function: Callable[..., Any]) -> type[FunctionWorker]:
    """What runs a function; asyncio is loaded for those that need it."""
    call = function if inspect.isroutine(function) else getattr(function, "func", function)
    if not inspect.isroutine(call):
        call = type(call).__call__
    if inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call):
        from meshcode.testing.coroutines import AsyncWorker

        return AsyncWorker
    return FunctionWorker


def _request(
    target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, dict[str, Any], tuple[Any, ...], dict[str, Any]]:
    """Socket, options, arguments of what a test submits."""
    from meshcode.client.flows.compiling import compile_flow
    from meshcode.client.flows.composition import Composition
    from meshcode.client.socket import Socket

    if isinstance(target, str):
        return target, {}, args, kwargs
    if isinstance(target, Socket):
        return target.name, dict(target._options), args, kwargs
    if isinstance(target, Composition):
        taken = target.taking(args)
        made = compile_flow(taken, args if taken is target else args[1:], kwargs)
        return plan.FLOW, {}, (made.to_data(),), {}
    raise BadRequest(f"a socket or a composition is submitted, not {target!r:.80}")
