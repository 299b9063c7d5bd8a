"""A client: one link to one node at a time, shared by all threads of a process."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import zmq

from meshcode.client.call import SECONDS_MAX, Call, FoundCall, renew_lock, seconds_of
from meshcode.client.ends import not_to_be_sent
from meshcode.client.freshids import FreshIds
from meshcode.client.listening import LISTEN_S, Listening
from meshcode.client.requests import Ask, Subscription
from meshcode.client.route import Route
from meshcode.client.seeds import Seed, seeds_of
from meshcode.client.session import AWAY, UP, Session
from meshcode.client.socket import Socket
from meshcode.client.wake import Waiter
from meshcode.errors import BadRequest, NoNode, WaitTimeout, from_data
from meshcode.ids import ID_BYTES, parse_id
from meshcode.wire.codec import unpack

if TYPE_CHECKING:
    from datetime import datetime

    from meshcode.client.flows.composition import Composition
    from meshcode.client.flows.flow import Flow
    from meshcode.client.keys import Key
    from meshcode.client.options import Seconds

CONNECT_S = 5.0
ASK_S = 30.0  # For one request; nodes answer in milliseconds, but builds may hold up a model.
CLOSE_S = 5.0  # For what was submitted to be acknowledged before a client is closed.


def connect(
    address: str | Sequence[str] | None = None,
    *,
    timeout: Seconds | None = CONNECT_S,
    curve: Sequence[Key] | None = None,
) -> Client:
    """Connect to a node.

    Args:
        address: where a node listens: "ipc:///run/mesh/clients.ipc" or "tcp://HOST:PORT?key=KEY".
            Several, in a list or with commas between them, are tried in their order, and when one
            is gone the client goes on at another.  Without it $MESH_NODE, else the node of
            $MESH_HOME or of the default home, then the peers of that node.
        timeout: seconds or a timedelta to wait for a node's greeting; None as long as it takes.
        curve: the key pair for links over TCP, public and secret; without it the one in the file
            $MESH_CLIENT_KEY, else that of this home's node, else a fresh one.

    Returns:
        A client; close it, or use it in a `with`.  It outlives restarts of the node.

    Raises:
        NoNode: nothing answered in time; the text names every address and what was wrong there.
        BadRequest: an address or a key is not one.
    """
    seconds = seconds_of(timeout)
    client = Client(address, curve=curve)
    session = client.session
    try:
        welcomed = session.wait_news(lambda: session.phase is UP or session.outbox.gone, seconds)
    except BaseException:
        client.close(0)
        raise
    if welcomed and session.phase is UP:
        return client
    client.close(0)
    raise no_node(session, seconds)


def no_node(session: Session, seconds: float | None) -> NoNode:
    """The error of a connection that did not come up, with what is known of the reason."""
    route = session.route
    within = "" if seconds is None else f" within {seconds:g} s"
    if route.several:
        where = f"at any of {len(route.seeds)} addresses{within}: "
        where += route.reasons(otherwise="no answer yet")
    else:
        what = "nothing listens there" if session.phase is AWAY else "it does not greet"
        where = f"at {session.address}{within}: "
        where += session.problem or route.reason(otherwise=what)
    there = any(seed.address.startswith("tcp:") for seed in route.seeds)
    start = "see to it there" if there else "start one with `mesh up` or `mesh dev`"
    return NoNode(
        f"no node answers {where}; {start}, or name another with MESH_NODE",
        address=session.address,
        addresses=[seed.address for seed in route.seeds],
    )


class Client:
    """A connection to a node.  `connect` makes one and waits for the node; see there."""

    def __init__(
        self, address: str | Sequence[str] | None = None, *, curve: Sequence[Key] | None = None
    ) -> None:
        """Start to connect, without waiting; see `connect`.

        Raises:
            BadRequest: an address or a key is not one.
        """
        self.pid = os.getpid()
        self.session = _open(seeds_of(address or None), curve)
        self.fresh_id = FreshIds()
        _sessions.add(self.session)
        _see_to_end_of_child()
        # A client that is dropped without close() must not keep its thread for ever.
        self._finalizer = weakref.finalize(self, self.session.stop, CLOSE_S)
        self._finalizer.atexit = False

    @property
    def address(self) -> str:
        """Where the node listens that is used now, or tried."""
        return self.session.address

    @property
    def addresses(self) -> list[str]:
        """All addresses of this client, in the order in which they are tried."""
        return [seed.address for seed in self.session.route.seeds]

    @property
    def is_linked(self) -> bool:
        """Whether a node is there just now; a call that was accepted is safe either way."""
        return self.session.phase is UP

    @property
    def node(self) -> dict[str, Any]:
        """What the node said that greeted last: `{"node", "boot", "version", "pid", ...}`."""
        return dict(self.session.welcome)

    def socket(self, name: str) -> Socket:
        """A socket to call, by its name in the model.  Nothing is sent yet."""
        return Socket(name, self)

    def call(self, call_id: str | bytes) -> Call:
        """A call made earlier, perhaps by another process.

        Args:
            call_id: the id as text, or its 16 bytes, or the beginning of the text if the node
                knows only one call that begins so.

        Raises:
            UnknownCall: no call begins so.  A whole id is looked up only when it is used.
        """
        return FoundCall(self, self._find(call_id))

    def flow(self, flow_id: str | bytes) -> Flow:
        """A flow that was submitted earlier, perhaps by another process; the id as for `call`.

        Raises:
            UnknownCall: no call begins so.  A whole id is looked up only when it is used.
        """
        from meshcode.client.flows.flow import Flow

        return Flow(self, self._find(flow_id))

    def submit(self, composition: Composition, /, *args: Any, **kwargs: Any) -> Flow:
        """Submit a composition through this client, whatever the clients of its sockets are.

        Raises:
            as calling the composition.
        """
        from meshcode.client.flows.submitting import submit

        return submit(composition, args, kwargs, self)

    def _find(self, call_id: str | bytes) -> bytes:
        if isinstance(call_id, bytes) and len(call_id) == ID_BYTES:
            return call_id
        try:
            return parse_id(str(call_id))
        except ValueError:
            found = self.ask("call.get", id=call_id)
            return parse_id(str(found["id"]))

    def ask(self, operation: str, /, *, timeout: Seconds | None = ASK_S, **fields: Any) -> Any:
        """Ask the node for something: one request, one answer (docs/wire.md, "Operations").

        Args:
            operation: for instance "status" or "call.list".
            timeout: seconds or a timedelta to wait for the answer; None waits as long as it takes.
            fields: of the request, plain data.

        Raises:
            MeshError: what the node answered instead.
            NoNode: the node is away, or went away while it did something that is not safe to ask
                for twice.
            WaitTimeout: the node is there and did not answer in time.
        """
        seconds = seconds_of(timeout)
        request, waiter = self._begin(operation, fields)
        self._wait_for(request, waiter, seconds)
        return request.value()

    def _begin(self, operation: str, fields: dict[str, Any]) -> tuple[Ask, Waiter]:
        """Send a request without waiting for its answer."""
        waiter = Waiter()
        request = Ask(operation, fields, waiter.set)
        self.session.begin(request)
        return request, waiter

    def _wait_for(self, request: Ask, waiter: Waiter, seconds: float | None) -> None:
        """Wait for the answer of what was begun.

        Raises:
            WaitTimeout: the node is there and did not answer in time.
        """
        if not waiter.wait(seconds):
            self.session.forget(request)
            raise self.too_late(request.operation, seconds)

    def ask_stream(self, operation: str, /, **fields: Any) -> Subscription:
        """Ask for something that goes on, for instance "subscribe"; an iterator of its events.

        It ends when the node says so or when it is closed, and begins again by itself after a
        restart of the node.

        Raises:
            MeshError: what the node answered instead; from the iterator.
        """
        subscription = Subscription(self, operation, fields)
        self.session.begin_subscription(subscription)
        return subscription

    def listen(
        self, name: str | None = None, channel: str = "task", *,
        since: datetime | Seconds | None = None, timeout: Seconds | None = LISTEN_S,
    ) -> Listening:  # fmt: skip
        """Hear what happens on all nodes of the mesh, as it happens; an iterator of its events.

        Args:
            name: of a socket, a processor or a queue, QUEUE.PROCESSOR, or a pattern of such with
                `*`, `?` or `[...]`; on the channel state of any object.  None hears of all.
            channel: "task" calls, "log" what they print, "state" objects that change, "queue" how
                much waits, once a second, "stats" the figures of each node when they change.
            since: tell what is kept of calls accepted since then first: a time with a zone, or
                seconds ago.  Only of the channels task and log anything is kept.
            timeout: seconds to wait until the nodes tell; None waits as long as it takes.

        Returns:
            An iterator that goes on until it is closed: best used in a `with`.  It may be read
            with `async for` too.

        Raises:
            UnknownObject: nothing has this name.
            BadRequest: no such channel, or it takes no name.
            NotAllowed: this client may not READ_LOG there (for stats: LS_WORKERS).
            NoNode, WaitTimeout: the node did not answer in time.
        """
        seconds = seconds_of(timeout)
        if since is None:
            return Listening(self, name, channel).begin(seconds)
        from meshcode.client.past import check_kept, since_ms

        begin_ms = since_ms(since)
        check_kept(channel)
        listening = Listening(self, name, channel).begin(seconds)
        listening.look_back(begin_ms)
        return listening

    def too_late(self, operation: str, timeout: float | None) -> NoNode | WaitTimeout:
        """The error of a request without an answer."""
        if self.session.phase is not UP:
            return no_node(self.session, timeout)
        return WaitTimeout(
            f"the node at {self.address} did not answer {operation!r} within {timeout} s; "
            "it may still do it; look before asking again",
            operation=operation,
        )

    def close(self, timeout: Seconds | None = CLOSE_S) -> None:
        """Close the link, once everything submitted is acknowledged.

        Calls that were refused, and whose handles nobody has asked, are told as a RuntimeWarning.

        Args:
            timeout: seconds or a timedelta to wait for the acknowledgements; None as long as it
                takes.

        Raises:
            WaitTimeout: some calls were not acknowledged; they may or may not have been accepted.

        In a forked child this does nothing: the link, and what was submitted, are the parent's.
        """
        given = seconds_of(timeout)  # First: a client that refuses it goes on.
        seconds = SECONDS_MAX if given is None else given
        if os.getpid() != self.pid:
            return
        self._finalizer.detach()
        unacknowledged = _close(self.session, seconds)
        unheard = _unheard(self.session)
        if unheard:
            warnings.warn(unheard, RuntimeWarning, stacklevel=2)
        if unacknowledged and seconds > 0:
            raise WaitTimeout(
                f"{_count(unacknowledged)} not acknowledged by the node at {self.address} within "
                f"{seconds:g} s; the client is closed, {_they(unacknowledged)} may or may not be "
                "accepted",
                calls=unacknowledged,
            )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
            return
        try:
            self.close()
        except WaitTimeout as error:
            tell_aside(error)

    def __repr__(self) -> str:
        return f"<Client {self.address} {self.session.phase}>"

    def __getstate__(self) -> None:
        raise not_to_be_sent(f"the client of {self.address}", f"connect({self.address!r}) there")


def tell_aside(error: WaitTimeout) -> None:
    """What is not acknowledged when an error ends a `with`: that error matters more."""
    print(f"meshcode: {error}", file=sys.stderr)


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()  # Of this process.
_of_parent: list[Session] = []  # Kept, because links made before a fork must not be closed after.


def _open(seeds: list[Seed], curve: Sequence[Key] | None) -> Session:
    keys = None
    if curve is not None or any(seed.key for seed in seeds):
        from meshcode.client.keys import key_pair

        keys = key_pair(curve)
    session = Session(Route(seeds, _jitter), keys)
    address = session.address
    try:
        session.start()
    except zmq.ZMQError as error:
        session.abort()
        raise BadRequest(
            f"{address!r} cannot be connected to: {error.strerror or error}; "
            "an address is for instance ipc:///run/mesh/clients.ipc",
            address=address,
        ) from None
    return session


def _jitter() -> float:
    return os.urandom(1)[0] / 255


def _close(session: Session, timeout: float) -> int:
    """Stop a session; how many calls were not acknowledged."""
    end = time.monotonic() + timeout
    session.stop(timeout)
    session.join(max(0.0, end - time.monotonic()) + 1.0)
    _sessions.discard(session)
    return session.outbox.unacked_calls


def _count(calls: int) -> str:
    return "1 call was" if calls == 1 else f"{calls} calls were"


def _they(calls: int) -> str:
    return "it" if calls == 1 else "they"


def _unheard(session: Session) -> str:
    """What to say of calls that were refused and never asked about, once; mostly nothing."""
    unheard, session.pending.unheard = session.pending.unheard, {}
    if not unheard:
        return ""
    first = from_data(unpack(next(iter(unheard.values()))))
    return (
        f"{_count(len(unheard))} refused and nobody asked what became of "
        f"{'them; the first' if len(unheard) > 1 else 'it'}: {first}; `result()` or "
        "`wait_accepted()` of a call raises this"
    )


@atexit.register
def _close_all() -> None:
    """The end of the program: what was submitted is sent first, what was refused is told."""
    for session in list(_sessions):
        unacknowledged = _close(session, CLOSE_S)
        if unacknowledged:
            print(
                f"meshcode: {_count(unacknowledged)} not acknowledged by the node at "
                f"{session.address} before this program ended; {_they(unacknowledged)} may or may "
                "not be accepted",
                file=sys.stderr,
            )
        unheard = _unheard(session)
        if unheard:
            print(f"meshcode: {unheard}", file=sys.stderr)


_LAST = -1_000  # After all that others see to: they may submit something still.
_seen_to = 0  # The process id of the child of multiprocessing whose end is seen to.


def _see_to_end_of_child() -> None:
    """A child of multiprocessing may end without `atexit`: it has a list of its own for its end."""
    global _seen_to
    util, process = (sys.modules.get(f"multiprocessing.{name}") for name in ("util", "process"))
    if util is None or process is None or _seen_to == os.getpid():
        return
    if process.parent_process() is not None:
        _seen_to = os.getpid()
        util.Finalize(None, _close_all_of_child, exitpriority=_LAST)


def _close_all_of_child() -> None:
    """As a program ends: its threads first, then its clients."""
    wait_for_threads = getattr(threading, "_shutdown", None)  # multiprocessing does it next.
    if wait_for_threads is not None:
        wait_for_threads()
    _close_all()


def _after_fork_in_child() -> None:
    """A child has none of its parent's threads: the parent's clients are closed for it."""
    renew_lock()
    for session in list(_sessions):
        session.abandon()
    _of_parent.extend(_sessions)
    _sessions.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
