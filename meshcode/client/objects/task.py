"""`Task` and `Argument`: a function that processors offer, and its parameters.  Seen only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from meshcode.client.objects.asking import Data, client_of, listed, warn_unused
from meshcode.client.objects.base import Named, name_of
from meshcode.client.objects.socket import Socket
from meshcode.errors import BadRequest, UnknownObject, WrongState

if TYPE_CHECKING:
    from typing import Self

    from meshcode.client.call import Call
    from meshcode.client.client import Client


class Task(Named):
    """A function of a module, with the processors and sockets that offer it.

    `signature`, `doc`, `source` and `commit` are those of the code that is mounted; None before.

    Args:
        name: of the function.
        module: of it; needed when functions of several modules have the name.
        client: whose node is asked; without it the process-wide one.
        repo, user: of the original, not used: a task is what a processor offers.
        queue: of the original, not used: whatever it says, calling a task reaches every worker.

    Raises:
        UnknownObject: no socket has such a task.
        BadRequest: several modules have one; the text names them.
    """

    kind: ClassVar[str] = "task"

    def __init__(
        self, name: str, module: str | None = None, *, client: Client | None = None,
        repo: Any = None, queue: Any = None, user: Any = None,
    ) -> None:  # fmt: skip
        del user, queue
        if repo is not None:
            warn_unused("task", "repo", "a task is what the processor of a socket offers")
        rows = [row for row in _tasks(client) if row["name"] == name]
        found = [row for row in rows if module in (None, row["module"])]
        if not found:
            of = "" if module is None else f" of module {module!r}"
            raise UnknownObject(
                f"no socket has the task {name!r}{of}; add one with `mesh add socket`",
                kind="task", name=name,
            )  # fmt: skip
        if len(found) > 1:
            modules = ", ".join(str(row["module"]) for row in found)
            raise BadRequest(f"{len(found)} modules have a task {name!r}: {modules}; give module")
        super().__init__(_with_code(found[0], client), client)

    @classmethod
    def find(
        cls, name: str, module: str | None = None, *, client: Client | None = None
    ) -> Self | None:
        """As the constructor; None when no socket has such a task."""
        try:
            return cls(name, module, client=client)
        except UnknownObject:
            return None

    @classmethod
    def all(cls, *, client: Client | None = None) -> list[Self]:
        """All tasks of all sockets, by module and name."""
        return [cls(row["name"], row["module"], client=client) for row in _tasks(client)]

    @property
    def arguments(self) -> list[Argument]:
        """Its parameters, in their order.

        Raises:
            WrongState: the code is not mounted, so nobody knows them yet.
        """
        signature = self._data["signature"]
        if signature is None:
            raise WrongState(
                f"the arguments of task {self.name!r} are not known yet: no processor of"
                f" {', '.join(self._data['processors'])} is mounted; `mesh status` says why",
                kind="task", name=self.name,
            )  # fmt: skip
        rows = enumerate(signature["args"])
        return [Argument._part_of(self, position, *row) for position, row in rows]

    def socket(self) -> Socket:
        """A socket to call it by: the first by name whose processor is not stopped."""
        return Socket(task=self.name, module=self._data["module"], client=self._client)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Call:
        """Run it once on every worker of its first socket, without waiting, as the original does.

        The value of the call is what each worker said: see `Socket.broadcast`.

        Raises:
            as `Socket.submit`.
        """
        return self.socket().options(broadcast=True).submit(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        same = super().__eq__(other)
        return same and self._data["module"] == getattr(other, "module", None)

    __hash__ = Named.__hash__


class Argument(Named):
    """A parameter of a task: name, task, position from 0, parameter kind, and whether it must be.

    `parameter` is "pos", "posonly", "kwonly", "varargs" or "varkw", as signatures have it.

    Raises:
        UnknownObject: the task, or a parameter of that name, is not there.
        WrongState: the code is not mounted.
    """

    kind: ClassVar[str] = "argument"

    def __init__(
        self, name: str, task: Task | Socket | str, *, client: Client | None = None
    ) -> None:
        owner = _task_of(task, client)
        for argument in owner.arguments:
            if argument.name == name:
                super().__init__(argument._data, client)
                return
        known = ", ".join(argument.name for argument in owner.arguments) or "none"
        raise UnknownObject(
            f"task {owner.name!r} has no argument {name!r}; it has: {known}",
            kind="argument", name=name,
        )  # fmt: skip

    @classmethod
    def find(
        cls, name: str, task: Task | Socket | str, *, client: Client | None = None
    ) -> Argument | None:
        """The parameter of that name, or None.

        Raises:
            WrongState: the code is not mounted, so nobody knows.
        """
        try:
            return cls(name, task, client=client)
        except UnknownObject:
            return None

    @classmethod
    def all(cls, task: Task | Socket | str, *, client: Client | None = None) -> list[Argument]:
        """The parameters of a task, in their order."""
        return _task_of(task, client).arguments

    @classmethod
    def _part_of(
        cls, task: Task, position: int, name: str, parameter: str, required: bool
    ) -> Argument:
        found = cls.__new__(cls)
        data = {
            "name": name, "task": task.name, "module": task.module, "position": position,
            "parameter": parameter, "required": required,
        }  # fmt: skip
        Named.__init__(found, data, task._client)
        return found

    def __eq__(self, other: object) -> bool:
        same = super().__eq__(other)
        return same and isinstance(other, Argument) and self._data == other._data

    __hash__ = Named.__hash__


def _task_of(task: Task | Socket | str, client: Client | None) -> Task:
    if isinstance(task, Task):
        return task
    if isinstance(task, Socket):
        modules = {row["name"]: row["module"] for row in listed(client_of(client), "processor")}
        return Task(task.task, modules.get(task.processor), client=client)
    return Task(str(name_of(task)), client=client)


def _tasks(client: Client | None) -> list[Data]:
    """Name, module, processors and sockets of each task, by module and name."""
    link = client_of(client)
    modules = {row["name"]: str(row["module"]) for row in listed(link, "processor")}
    found: dict[tuple[str, str], Data] = {}
    for socket in listed(link, "socket"):
        key = (modules.get(socket["processor"], ""), str(socket["task"]))
        row = found.setdefault(
            key, {"name": key[1], "module": key[0], "processors": [], "sockets": []}
        )
        row["sockets"].append(socket["name"])
        if socket["processor"] not in row["processors"]:
            row["processors"].append(socket["processor"])
    return [found[key] for key in sorted(found)]


def _with_code(row: Data, client: Client | None) -> Data:
    """The row, with what the first mounted processor knows of the function."""
    told: Data = {}
    for socket in row["sockets"]:
        told = client_of(client).ask("task.show", name=socket)
        if told.get("signature") is not None:
            break
    return {**row, **{key: told.get(key) for key in ("signature", "doc", "source", "commit")}}
