"""What all declared objects have in common: found by name or made, read, changed, deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from meshcode.client.objects.asking import (
    Data,
    Wanted,
    as_json,
    client_of,
    declare,
    found_or_added,
    got,
    listed,
    model,
    warn_unused,
)
from meshcode.client.objects.optionnames import check_option
from meshcode.client.socket import Socket as CallableSocket
from meshcode.client.user import User
from meshcode.errors import BadRequest, UnknownObject

if TYPE_CHECKING:
    from typing import Self

    from meshcode.client.client import Client


class Named:
    """A thing with a kind, a name and plain data, shown as JSON.  Equal by kind and name."""

    kind: ClassVar[str] = ""
    _renamed: ClassVar[Mapping[str, str]] = {}  # The original's option -> ours.

    _client: Client | None
    _data: Data

    def __init__(self, data: Data, client: Client | None) -> None:
        """As `find` and `all` make it; nobody is asked."""
        object.__setattr__(self, "_client", client)
        object.__setattr__(self, "_data", data)

    @classmethod
    def _of(cls, data: Data, client: Client | None) -> Self:
        """One of which the data is known already."""
        found = cls.__new__(cls)
        Named.__init__(found, data, client)
        return found

    @property
    def name(self) -> str:
        """Its name, by which it is found."""
        return str(self._data["name"])

    def to_dict(self) -> Data:
        """All that was known of it when it was last read, as plain data."""
        return {"kind": self.kind, **self._data}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name == self.kind:
            return self.to_dict()
        try:
            return self._data[self._renamed.get(name, name)]
        except KeyError:
            known = ", ".join(sorted(self._data))
            text = f"a {self.kind} has no {name!r}; it has: {known}"
            raise AttributeError(text, name=name, obj=self) from None

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._data, *self._renamed, self.kind} - {""})

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(self, "update"):
            text = f"a {self.kind} is not changed by `.{name} =`; use update({name}=...)"
        else:
            text = f"a {self.kind} is only seen, not declared; it has nothing to set"
        raise AttributeError(text, name=name, obj=self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Named):
            return NotImplemented
        return (self.kind, self.name) == (other.kind, other.name)

    def __hash__(self) -> int:
        return hash((self.kind, self.name))

    def __repr__(self) -> str:
        return as_json(self.to_dict())


class Declared(Named):
    """An object of the model: the constructor finds the one of that name, or adds it.

    Args:
        name: of the object; unique in its kind.
        client: whose node is asked; without it the process-wide one.
        update: change an object that is there and differs, instead of refusing.
        user: who is to own it when it is added.
        options: as docs/model.md has them, and the original's names.  Objects stand for their
            names.  Options left out, or None, are not compared.

    Raises:
        ObjectExists: it is there and differs; the text has both values.  It is unchanged.
        UnknownObject: it is not there, and an option it must have was not given; or an option names
            what is not there.
        BadRequest: an option is none, or its value is not allowed.
        NoNode: no node answers.
    """

    _required: ClassVar[tuple[str, ...]] = ()
    _unused: ClassVar[Mapping[str, str]] = {}  # The original's option -> why it means nothing.
    _more: ClassVar[tuple[str, ...]] = ()  # Taken too; the kind makes options of them itself.

    def __init__(
        self,
        name: str,
        *,
        client: Client | None = None,
        update: bool = False,
        user: User | str | None = None,
        **options: Any,
    ) -> None:
        wanted = self._wanted(name, update=update, user=user, **options)
        link = client_of(client)
        if len(wanted) == 1:
            data = found_or_added(link, wanted[0])
        else:
            declare(link, wanted)
            data = got(link, self.kind, name)
        super().__init__(data, client)
        if wanted[-1].options:
            self._look()

    def _look(self) -> None:
        """Warn of what the model took, and what fails nevertheless; most kinds have none."""

    @classmethod
    def _wanted(
        cls, name: str, *, update: bool = False, user: User | str | None = None, **options: Any
    ) -> list[Wanted]:
        """What the constructor finds or adds, in this order: the object, and what it brings along.

        Raises:
            BadRequest: an option is none, or its value cannot be; nobody was asked.
        """
        queue = options.get("queue")
        if user is not None and isinstance(queue, Mapping):
            options["queue"] = {"user": user, **queue}
        found: list[Wanted] = []
        given = {k: v for k, v in cls._given(found, options).items() if v is not None}
        there = "change" if update else "keep" if isinstance(user, User) else "refuse"
        by = None if user is None else str(user)
        found.append(Wanted(cls.kind, name, given, cls._required, there, by))
        return found

    @classmethod
    def find(cls, name: str, *, client: Client | None = None) -> Self | None:
        """The object of that name, or None.  Nothing is added."""
        try:
            return cls._of(got(client_of(client), cls.kind, name), client)
        except UnknownObject:
            return None

    @classmethod
    def all(cls, *, client: Client | None = None) -> list[Self]:
        """All objects of the kind, by name."""
        return [cls._of(row, client) for row in listed(client_of(client), cls.kind)]

    def update(self, *, revision: int | None = None, **options: Any) -> Self:
        """Change options; None takes one away.  The node has acted on it when this returns.

        Args:
            revision: refuse if the object is at another one by now.
            options: as the constructor takes them.

        Raises:
            WrongState: another revision; the object is unchanged.
            UnknownObject, BadRequest: as the constructor.
        """
        before: list[Wanted] = []
        fields = self._given(before, options)
        link = client_of(self._client)
        if before:
            declare(link, before)
        if revision is not None:
            fields["revision"] = revision
        self._take(model(link, "update", self.kind, self.name, fields))
        self._look()
        return self

    def delete(self) -> None:
        """Remove it from the model.

        Raises:
            WrongState: something uses it, the text says what; it is unchanged.
            UnknownObject: it is gone already.
        """
        model(client_of(self._client), "delete", self.kind, self.name)

    def refresh(self) -> Self:
        """Read it again: attributes are as of the last reading.

        Raises:
            UnknownObject: it is gone.
        """
        self._take(got(client_of(self._client), self.kind, self.name))
        return self

    def _take(self, data: Data) -> None:
        object.__setattr__(self, "_data", data)

    @classmethod
    def _given(cls, found: list[Wanted], options: Mapping[str, Any]) -> Data:
        """The options as the model has them: our names, and names in the place of objects.

        What must be there before the object joins `found`.
        """
        given: Data = {}
        for option, value in options.items():
            if option in cls._unused:
                if value not in (None, False):
                    warn_unused(cls.kind, option, cls._unused[option])
                continue
            ours = cls._renamed.get(option, option)
            check_option(cls.kind, ours, (*cls._renamed, *cls._more))
            if ours in given:
                raise BadRequest(
                    f"a {cls.kind} has {ours} twice, also as {option}; nothing was changed",
                    kind=cls.kind, field=ours,
                )  # fmt: skip
            given[ours] = cls._plain(found, option, value)
        return given

    @classmethod
    def _plain(cls, found: list[Wanted], option: str, value: Any) -> Any:
        """One value as the model has it; kinds that take more than that have their own."""
        if option == "queue" and isinstance(value, Mapping):
            return _queue_name(found, value)
        return name_of(value)


def name_of(value: Any) -> Any:
    """The name of an object of ours, a callable socket too; any other value as it is."""
    return value.name if isinstance(value, Named | CallableSocket) else value


def _queue_name(found: list[Wanted], options: Mapping[str, Any]) -> str:
    """The name of the queue `{"name": ..., option: ...}`, which joins what is wanted."""
    from meshcode.client.objects.queue import Queue

    if not isinstance(options.get("name"), str):
        raise BadRequest(f"a queue has a name: {{'name': 'q1'}}, not {dict(options)!r:.80}")
    queues = Queue._wanted(**options)
    found += queues
    return queues[-1].name
