"""Sockets: the callable endpoints of the mesh, seen from a client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from meshcode.client.call import Call
from meshcode.client.mapping import CHUNK, Chunk, check_chunk, map_calls
from meshcode.client.options import to_wire
from meshcode.client.tracing import NOWHERE, Origin, origin
from meshcode.errors import NOTHING_SENT, BadData, BadRequest, CallerError, TooLarge
from meshcode.limits import FRAME_BYTES_GOAL, NAME_BYTES_MAX
from meshcode.wire.codec import pack, pack_call
from meshcode.wire.kinds import Flag, Kind
from meshcode.wire.mold import Mold, mold_of

if TYPE_CHECKING:
    from datetime import datetime

    from meshcode.client.client import Client
    from meshcode.client.flows.composition import Segment, Signature
    from meshcode.client.options import Seconds

_Shape = int | tuple[int | str, ...]  # How many arguments; then the keywords, if any.

_SUBMIT = int(Kind.SUBMIT)
_FRESH = int(Flag.FRESH)
_WITH_KEYWORDS = int(Flag.FRESH | Flag.KWARGS)
_ARGC_MAX = 254  # More are not told: 255 says so.
_MOLDS_MAX = 64  # Kept per socket.


class Socket:
    """A function of the mesh, by the name of its socket: `Socket("shop.clean")("some text")`.

    Without a client, the process-wide one is connected when it is first needed.  Making a socket
    sends nothing; whether there is one of that name the first call tells.
    """

    __slots__ = ("_client", "_molds", "_name", "_options", "name")

    def __init__(
        self, name: str, client: Client | None = None, _options: dict[str, Any] | None = None
    ) -> None:
        """Raises BadRequest when `name` can be no socket's."""
        if not isinstance(name, str) or not name:
            raise BadRequest(f"a socket has a name of 1 character at least, not {name!r}")
        self.name = name
        try:
            self._name = name.encode()
        except UnicodeEncodeError as error:
            raise BadRequest(
                f"the name of a socket is text that is not Unicode: {name!r:.60}, character"
                f" {error.start}; nothing was sent"
            ) from None
        if len(self._name) > NAME_BYTES_MAX:
            raise BadRequest(
                f"the name of a socket has at most {NAME_BYTES_MAX} bytes, "
                f"this has {len(self._name)}: {name:.40}..."
            )
        self._client = client
        self._options = _options or {}
        # The same for every call with as many arguments and the same keywords.
        self._molds: dict[_Shape, Mold] = {}

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function and wait: its value, or its exception raised here.

        Raises:
            as `submit` and `Call.result`.
        """
        return self.submit(*args, **kwargs).result()

    def submit(self, /, *args: Any, **kwargs: Any) -> Call:
        """Call the function without waiting for it, or for the node.

        It only waits while the window of the client is full: 8192 calls or 16 MiB that the node has
        not acknowledged yet.

        Raises:
            BadData: an argument is not plain data; the text says where.
            TooLarge: the arguments have too many bytes.
            WrongState: the client is closed.
        """
        client = self._client or self.client
        call, data = self._prepare(client, args, kwargs)
        client.session.outbox.put(call, data)
        return call

    def broadcast(self, /, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """Run the function once on every worker that serves it, on every node, and wait.

        `options(broadcast=True).submit(...)` does not wait.

        Returns:
            One map for each worker: `socket`, `node`, `place` (which worker of that node, from 0),
            and `value`, or `error` with its `code`, `text` and `fields`.  An error at one worker
            is not raised and loses nothing of the others.

        Raises:
            as `__call__`, but for what goes wrong at a worker.
        """
        found: list[dict[str, Any]] = self.options(broadcast=True)(*args, **kwargs)
        return found

    def map(
        self,
        iterable: Iterable[Any],
        *,
        chunk: int = CHUNK,
        timeout: Seconds | None = None,
        propagate: bool = True,
    ) -> Iterator[Any]:
        """Call the function with each item; the values in the order of the items.

        The items are read as results are taken: a few thousand calls are in flight at most, and
        fewer when results are large, so `iterable` may be endless.

        Args:
            chunk: items to send together; smaller chunks have their first result earlier.
            timeout: seconds from now until the last result; None waits as long as it takes.
            propagate: False gives errors in the place of values instead of raising them, also
                those of items that cannot be sent.  What `iterable` raises ends the map.

        Raises:
            as `submit` and `Call.result`, in the place of the item.  The calls behind it go on.
            BadData, TooLarge: of an item that cannot be sent; the text has its number, from 0.
        """
        return self.starmap(
            ((item,) for item in iterable), chunk=chunk, timeout=timeout, propagate=propagate
        )

    def starmap(
        self,
        iterable: Iterable[Sequence[Any]],
        *,
        chunk: int = CHUNK,
        timeout: Seconds | None = None,
        propagate: bool = True,
    ) -> Iterator[Any]:
        """As `map`, with each item a sequence of arguments."""
        check_chunk(chunk)
        return map_calls(self, iter(iterable), chunk=chunk, timeout=timeout, propagate=propagate)

    def p(self, /, *args: Any, **kwargs: Any) -> Signature:
        """A signature for a flow: the call with these arguments, made when the flow comes to it.

        In a pipeline the function is called with the previous value first, then `args`.
        """
        from meshcode.client.flows.composition import Signature

        return Signature(self, args, kwargs)

    def chunks(self, items: Iterable[Any], size: int) -> Segment:
        """A composition with one call per item, in chunks of `size`; its value is a list of lists.

        Raises:
            BadRequest: `size` is under 1.
        """
        from meshcode.client.flows.composition import segment

        return segment(self, items, size)

    def options(
        self,
        *,
        priority: int | None = None,
        delay: Seconds | None = None,
        eta: datetime | None = None,
        retries: int | None = None,
        retry_delay: Seconds | None = None,
        time_limit: Seconds | None = None,
        expires: Seconds | None = None,
        key: str | None = None,
        ack: str | None = None,
        trace: str | None = None,
        topic: str | None = None,
        stream: bool | None = None,
        broadcast: bool | None = None,
    ) -> Socket:
        """A copy of this socket whose calls have these options; None leaves one as it was.

        Args:
            priority: 0 to 9; 9 runs first.  Usually 4.
            delay: seconds from acceptance before it may run.
            eta: the moment before which it may not run; with a time zone.
            retries: further attempts after a failure that may be tried again.
            retry_delay: seconds before the first further attempt; it grows from there.
            time_limit: seconds one attempt may run.
            expires: seconds from acceptance after which it is cancelled if it has not begun.
            key: calls with one key share a concurrency limit of the socket.
            ack: how safe it must be before it is acknowledged: "local", on the disk of one node;
                "quorum", on a majority of its voters; "all", on every voter's; "strict", as
                "quorum", and refused where there are too few nodes for one.  Without it as
                "quorum" when the node can.  `Call.accepted` says what is true.
            trace: a W3C traceparent, handed to the task; see `meshcode.client.tracing`.
            topic: which sockets of a topic queue take it, like "order.new"; docs/plugs.md.
            stream: the items of a generator are calls of their own; see `Call.stream`.
            broadcast: a call runs once on every worker, on every node; see `broadcast`.  False
                takes that from a socket whose queue asks for it.

        Raises:
            BadRequest: a value is of the wrong kind or out of its range.
        """
        given = to_wire({
            "priority": priority, "delay": delay, "eta": eta, "retries": retries,
            "retry_delay": retry_delay, "time_limit": time_limit, "expires": expires, "key": key,
            "ack": ack, "trace": trace, "topic": topic, "stream": stream, "broadcast": broadcast,
        })  # fmt: skip
        return self._with({**self._options, **given})

    def describe(self) -> dict[str, Any]:
        """What the node knows of it: task, processor, queue, signature, source, doc, limits.

        Raises:
            UnknownSocket: the model has no socket of that name; the text names the nearest.
        """
        answer: dict[str, Any] = self.client.ask("socket.describe", name=self.name)
        return answer

    @property
    def client(self) -> Client:
        """The client it calls through."""
        if self._client is not None:
            return self._client
        from meshcode.client.default import default_client

        return default_client()

    def __repr__(self) -> str:
        options = f", {self._options}" if self._options else ""
        return f"Socket({self.name!r}{options})"

    # To other processes it goes as its name and options, and calls through the client there.

    def __getstate__(self) -> tuple[Any, ...]:
        if self._client is not None:
            raise TypeError(
                f"socket {self.name!r} calls through a client of its own, and that cannot go to "
                f"another process; make it there, or send Socket({self.name!r}), which calls "
                "through the client of the process that it is in"
            )
        return self.name, self._options

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        name, options = state
        self.__init__(name, None, options)  # type: ignore[misc]

    def __copy__(self) -> Socket:
        return self._with(self._options)

    # For the package.

    def _with(self, options: dict[str, Any]) -> Socket:
        """A copy with these options of its calls."""
        return type(self)(self.name, self._client, options)

    def _target(self) -> Socket:
        """The socket that the next call goes to."""
        return self

    def _prepare(
        self, client: Client, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Call, bytes]:
        """A new call and its envelope, not handed over yet."""
        body = pack_call(args, kwargs)
        shape: _Shape = (len(args), *kwargs) if kwargs else len(args)
        whence = origin()
        molds = self._molds if whence is NOWHERE else None
        mold = molds.get(shape) if molds else None
        if mold is None:
            mold = self._make_mold(len(args), tuple(kwargs), whence, molds)
        call_id = client.fresh_id()
        return Call(client, call_id, self.name), mold(call_id, whence.flow or call_id, body, 0, 0)

    def _prepare_many(
        self, client: Client, arguments: Iterator[Sequence[Any]], count: int
    ) -> Chunk:
        """Calls of up to `count` items, fewer when they fill a frame or the items end."""
        calls: list[Call] = []
        drafts: list[bytes] = []
        unfit: list[tuple[int, CallerError]] = []
        error: Exception | None = None
        size = 0
        name, whence = self.name, origin()
        ids = client.fresh_id.many(count)
        molds = self._molds if whence is NOWHERE else {}  # Others are of this chunk only.
        flow = whence.flow
        try:
            # `_prepare`, unrolled: this is the hot path.  No item is taken that has no id.
            for call_id, args in zip(ids, arguments, strict=False):
                try:
                    argc, body = len(args), pack_call(args)
                except TypeError:
                    unfit.append((len(calls) + len(unfit), _no_arguments(args)))
                    continue
                except (BadData, TooLarge) as found:  # Of this item: the others are calls.
                    unfit.append((len(calls) + len(unfit), found))
                    continue
                mold = molds.get(argc) or self._make_mold(argc, (), whence, molds)
                data = mold(call_id, flow or call_id, body, 0, 0)
                calls.append(Call(client, call_id, name))
                drafts.append(data)
                size += len(data)
                if size >= FRAME_BYTES_GOAL:
                    break
        except Exception as found:  # Of the caller's iterable: raised in its place, later.
            error = found
        return Chunk(calls, drafts, size, unfit, error)

    def _make_mold(
        self, argc: int, names: tuple[str, ...], whence: Origin, keep: dict[_Shape, Mold] | None
    ) -> Mold:
        options = {**self._options, "kw": list(names)} if names else self._options
        if whence.trace is not None and "trace" not in options:
            options = {**options, "trace": whence.trace}
        mold = mold_of(
            _SUBMIT,
            name=self._name,
            meta=pack(options, "the options") if options else b"",
            flags=_WITH_KEYWORDS if names else _FRESH,
            argc=argc if argc <= _ARGC_MAX else 255,
            parent=whence.parent,
        )
        if keep is not None and len(keep) < _MOLDS_MAX:
            keep[(argc, *names) if names else argc] = mold
        return mold


def _no_arguments(item: object) -> BadData:
    """The error of an item of `starmap` that has no arguments to call with."""
    return BadData(
        f"an item of starmap is a list or tuple of arguments, not {item!r:.80}; {NOTHING_SENT}"
    )
