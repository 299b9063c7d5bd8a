"""`Socket`: the callable socket of the client, which is also found by its task, or declared."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from meshcode.client.objects.asking import (
    Data,
    Wanted,
    as_json,
    client_of,
    listed,
    warn_unused,
)
from meshcode.client.objects.base import Declared, name_of
from meshcode.client.objects.schedule import interval_wanted, milliseconds, set_interval
from meshcode.client.socket import Socket as CallableSocket
from meshcode.client.user import User
from meshcode.errors import BadRequest, UnknownSocket

if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Self

    from meshcode.client.call import Call
    from meshcode.client.client import Client
    from meshcode.client.mapping import Chunk
    from meshcode.client.objects.processor import Processor

_UNUSED = {
    "sync": "a call by () waits, and one by submit does not",
    "source": "the code is what the repository has",
    "beat": "an interval needs none: the mesh itself calls the socket",
}


class SocketRecord(Declared):
    """A socket as the model has it; `Socket` is the one to call."""

    kind: ClassVar[str] = "socket"
    _required = ("processor", "task", "queue")
    _unused = _UNUSED
    _more = ("interval",)

    @classmethod
    def _wanted(
        cls, name: str, *, interval: float | timedelta | None = None, **options: Any
    ) -> list[Wanted]:
        length = None if interval is None else milliseconds("interval", interval)
        found = super()._wanted(name, **options)
        if length is not None:
            found.append(interval_wanted(found[-1], length))
        return found

    @classmethod
    def _given(cls, found: list[Wanted], options: Mapping[str, Any]) -> Data:
        # The signature is always known from the code, so there is nothing to ask for.
        return super()._given(found, {k: v for k, v in options.items() if k != "arguments"})


class Socket(CallableSocket):
    """A function of the mesh, and the socket that the model has for it.

        Socket("shop.clean")("text")                            call it: nothing is declared
        Socket(task="clean")("text")                            any socket with this task
        Socket("shop.clean", processor=p, task="clean", queue={"name": "q1"})   find it or add it

    Args:
        name: of the socket; without it any socket with `task` is taken, the first by name whose
            processor is not stopped.  When there is none, and a processor and a queue are given, it
            is added as PROCESSOR.TASK.
        client: whose node is asked; without it the process-wide one.
        task: a function of the module.
        module: only a processor of this module is meant; with `task` and without `name`.
        processor: a `Processor` or a name.
        queue: a `Queue`, a name, or `{"name": ..., option: ...}`, which is found or added.
        loadbalanced: spread calls, in turn, over all sockets with this task and module whose
            processor is not stopped, as they are now; `refresh` looks again.
        update: change the socket if it is there and differs, instead of refusing.
        user: who is to own it when it is added.
        interval: have the mesh call it every so many seconds, by a `Schedule` of the socket's
            name; without its own `args` with the argument "message", as the original does.
        options: as docs/model.md has them.  Of the original: `arguments` is always so; `beat`,
            `sync` and `source` are not used.

    Raises:
        UnknownSocket: no socket has the task.
        as `Declared`, when it is found or added.
    """

    kind: ClassVar[str] = "socket"

    def __init__(
        self,
        name: str | None = None,
        client: Client | None = None,
        _options: dict[str, Any] | None = None,
        *,
        task: str | None = None,
        module: str | None = None,
        processor: Processor | str | None = None,
        queue: Any = None,
        loadbalanced: bool = False,
        update: bool = False,
        user: User | str | None = None,
        **options: Any,
    ) -> None:
        self._record: SocketRecord | None = None
        self._members: list[CallableSocket] = []  # Whom calls are spread over, if they are.
        self._turn = itertools.count()
        given = {"task": name_of(task), "processor": name_of(processor), "queue": queue, **options}
        given = {option: value for option, value in given.items() if value is not None}
        if name is None:
            if task is None:
                raise BadRequest("a socket is found by its name or by its task; neither was given")
            name = _any_with(client_of(client), given, module)
        if given and set(given) - set(_UNUSED) - {"arguments"}:
            self._record = SocketRecord(name, client=client, update=update, user=user, **given)
        else:
            for option in given.keys() & _UNUSED.keys():
                warn_unused("socket", option, _UNUSED[option])
        super().__init__(name, client, _options)
        if loadbalanced:
            self._spread()

    # Of the model.

    @classmethod
    def find(cls, name: str, *, client: Client | None = None) -> Self | None:
        """The socket of that name, or None.  Nothing is added."""
        record = SocketRecord.find(name, client=client)
        return None if record is None else cls._of(record, client)

    @classmethod
    def all(cls, *, client: Client | None = None) -> list[Self]:
        """All sockets, by name."""
        return [cls._of(record, client) for record in SocketRecord.all(client=client)]

    @classmethod
    def _of(cls, record: SocketRecord, client: Client | None) -> Self:
        found = cls(record.name, client)
        found._record = record
        return found

    def update(self, *, revision: int | None = None, **options: Any) -> Self:
        """As `Declared.update`; `interval` is of its schedule, and None takes that away."""
        missing = object()
        interval = options.pop("interval", missing)
        if options or interval is missing:
            self._read().update(revision=revision, **options)
        if interval is not missing:
            length = None if interval is None else milliseconds("interval", interval)
            set_interval(client_of(self._client), self.name, length)
        return self

    def delete(self) -> None:
        """As `Declared.delete`."""
        self._read().delete()

    def refresh(self) -> Self:
        """Read it again, and with `loadbalanced` whom its calls are spread over.

        Raises:
            UnknownObject: the model has no such socket any more.
        """
        self._record = None
        self._read()
        if self._members:
            self._spread()
        return self

    def to_dict(self) -> Data:
        """All that the model has of it; asked for when it was not yet.

        Raises:
            UnknownObject: the model has no such socket.
        """
        return self._read().to_dict()

    def get(self, taskid: str) -> Call:
        """A call made earlier, by its id; see `Client.call`."""
        return self.client.call(taskid)

    def delay(self, /, *args: Any, **kwargs: Any) -> Call:
        """As `submit`, by the original's name."""
        return self.submit(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._read(), name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Socket):
            return NotImplemented
        return self.name == other.name

    def __hash__(self) -> int:
        return hash((self.kind, self.name))

    def __getstate__(self) -> tuple[Any, ...]:
        return (*super().__getstate__(), [member.name for member in self._members])

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        *mine, members = state
        super().__setstate__(tuple(mine))
        self._members = self._sockets_of(members, self._options)

    def __repr__(self) -> str:
        """JSON of what is known here; nobody is asked, so that may be only the name."""
        known = {"kind": self.kind, "name": self.name}
        return as_json(known if self._record is None else self._record.to_dict())

    def _read(self) -> SocketRecord:
        if self._record is None:
            self._record = SocketRecord(self.name, client=self._client)
        return self._record

    # Spreading calls.

    def _spread(self) -> None:
        mine = self._read()
        link = client_of(self._client)
        processors = {row["name"]: row for row in listed(link, "processor")}
        module = processors[mine.processor]["module"]
        rows = _with_task(link, {"task": mine.task}, module)
        stopped = {name for name, row in processors.items() if row["requested_status"] == "stop"}
        names = [row["name"] for row in rows if row["processor"] not in stopped]
        self._members = self._sockets_of(names or [self.name], self._options)

    def _sockets_of(self, names: Sequence[str], options: dict[str, Any]) -> list[CallableSocket]:
        return [CallableSocket(name, self._client, options) for name in names]

    def _next(self) -> CallableSocket:
        return self._members[next(self._turn) % len(self._members)]

    def _target(self) -> CallableSocket:
        return self._next() if self._members else self

    def _with(self, options: dict[str, Any]) -> Self:
        copy = type(self)(self.name, self._client, options)
        copy._record = self._record
        copy._members = self._sockets_of([member.name for member in self._members], options)
        copy._turn = self._turn  # One turn for all copies, or each would begin with the first.
        return copy

    def _prepare(
        self, client: Client, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Call, bytes]:
        if not self._members:
            return super()._prepare(client, args, kwargs)
        return self._next()._prepare(client, args, kwargs)

    def _prepare_many(
        self, client: Client, arguments: Iterator[Sequence[Any]], count: int
    ) -> Chunk:
        if not self._members:
            return super()._prepare_many(client, arguments, count)
        return self._next()._prepare_many(client, arguments, count)


def _with_task(client: Client, given: Mapping[str, Any], module: str | None) -> list[Data]:
    """The sockets with the task, and with the processor and of the module when these are given."""
    rows = [row for row in listed(client, "socket") if row["task"] == given["task"]]
    if "processor" in given:
        rows = [row for row in rows if row["processor"] == given["processor"]]
    if module is not None:
        modules = {row["name"]: row["module"] for row in listed(client, "processor")}
        rows = [row for row in rows if modules.get(row["processor"]) == module]
    return rows


def _any_with(client: Client, given: Mapping[str, Any], module: str | None) -> str:
    """The name of the socket that is meant by a task."""
    rows = _with_task(client, given, module)
    if rows:
        stopped = {
            row["name"] for row in listed(client, "processor")
            if row["requested_status"] == "stop"
        }  # fmt: skip
        return str(min(rows, key=lambda row: (row["processor"] in stopped, row["name"]))["name"])
    if "processor" in given and "queue" in given:
        return f"{given['processor']}.{given['task']}"
    where = "".join(
        f" of {what} {value!r}"
        for what, value in (("processor", given.get("processor")), ("module", module)) if value
    )  # fmt: skip
    raise UnknownSocket(
        f"no socket has the task {given['task']!r}{where}; give a processor and a queue to add one",
        task=given["task"],
    )
