"""What decorated classes declare: each class in one request, and not before a node can be asked.

A decorated class has a declaration: the objects it wants, each with the method that said so.  It is
made when the class is, if a node listens: all of it or nothing.  If none does, a warning says so
and it waits for the first use of the class, or for `declare`; declarations wait in the order in
which their classes were made, so that what one names is declared before it.  In a worker nothing is
declared: there the module is code to run, and it was declared by whoever deployed it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from threading import RLock
from typing import NamedTuple

from meshcode import paths
from meshcode.client.client import Client
from meshcode.client.default import default_client
from meshcode.client.objects.asking import Wanted, warn
from meshcode.client.objects.asking import declare as ask_for
from meshcode.client.seeds import seeds_of
from meshcode.errors import MeshError, NoNode

_lock = RLock()
_waiting: list[Declaration] = []  # Not done, in the order of their classes.
_missed = False  # A node was tried in vain: the next class does not wait for another refusal.


class Part(NamedTuple):
    """What one decorator wants."""

    where: str  # The class, or Class.method, for the text of an error.
    wanted: Callable[[], Sequence[Wanted]]


class Declaration:
    """What one class declares."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.parts: list[Part] = []
        self.network: str | None = None
        self.nodes: list[str] = []
        self.deployments: list[str] = []  # Those without a host of their own.
        self.is_warned = False  # That nothing of it is declared yet.
        self._wanted: list[tuple[str, Sequence[Wanted]]] = []  # Of the first parts: where, what.
        self._done = 0

    def add(self, wanted: Callable[[], Sequence[Wanted]], method: str = "") -> None:
        """Add a part, to be done after those that are there."""
        where = f"{self.owner}.{method}" if method else self.owner
        self.parts.append(Part(where, wanted))
        with _lock:
            if self not in _waiting:
                _waiting.append(self)

    @property
    def is_done(self) -> bool:
        """Whether everything is declared."""
        return self._done == len(self.parts)

    def prepare(self) -> None:
        """See what the parts want; nobody is asked.

        Raises:
            MeshError: one wants what there is not; the text names class and method.
        """
        for part in self.parts[len(self._wanted) :]:
            try:
                self._wanted.append((part.where, part.wanted()))
            except MeshError as error:
                raise _placed(error, part.where) from error

    def run(self, client: Client) -> None:
        """Do the parts that were not done, in one request.

        Raises:
            MeshError: one was refused; the text names class and method.  None of them is done, and
                they come first when it is run again.
        """
        self.prepare()
        wanted: list[Wanted] = []
        places: list[str] = []
        for where, objects in self._wanted[self._done :]:
            wanted += objects
            places += [where] * len(objects)
        if wanted:
            try:
                ask_for(client, wanted)
            except MeshError as error:
                at = error.fields.pop("at", None)
                raise _placed(error, self.owner if at is None else places[at]) from error
        self._done = len(self._wanted)


def _placed(error: MeshError, where: str) -> MeshError:
    return type(error)(f"{where}: {error.text}", **error.fields)


def offer(declaration: Declaration) -> None:
    """Declare what a class that was made wants, and those before it, if a node listens.

    Raises:
        MeshError: something was refused; its declaration is given up with the class.
    """
    global _missed
    if in_worker() or declaration.is_done:
        return
    try:
        declaration.prepare()
    except MeshError:
        _give_up(declaration)
        raise
    if not _missed and _listens():
        try:
            declare(declaration)
            return
        except NoNode:
            pass
        except MeshError:
            _give_up(declaration)
            raise
    _missed = True
    if declaration.is_warned:
        return
    declaration.is_warned = True
    warn(
        f"no node answers, so nothing of class {declaration.owner} is declared yet; it will be when"
        " the class is first used, or by declare(); start a node with `mesh up` or `mesh dev`",
        RuntimeWarning,
    )


def _give_up(declaration: Declaration) -> None:
    with _lock:
        _waiting.remove(declaration)


def declare(declaration: Declaration | None = None, client: Client | None = None) -> None:
    """Declare what waits: all of it, or a declaration and what was there before it.

    Raises:
        NoNode: no node answers; nothing more was declared.
        MeshError: something of a class was refused, and nothing of it was declared; the classes
            before it are.
    """
    global _missed
    if in_worker():
        return
    with _lock:
        if declaration is None:
            last = len(_waiting)
        else:
            last = _waiting.index(declaration) + 1 if declaration in _waiting else 0
        if not last:
            return
        if client is None and not _listens():
            raise NoNode(
                f"no node listens at {paths.clients_address()}, so class {_waiting[0].owner} cannot"
                " be declared; start one with `mesh up` or `mesh dev`",
                address=paths.clients_address(),
            )
        link = client or default_client()
        for one in _waiting[:last]:
            try:
                one.run(link)
            except NoNode:
                raise
            except MeshError:
                if declaration in (None, one):
                    raise
                continue  # Its own use says what is wrong with it.
            _waiting.remove(one)
        _missed = False


def _listens() -> bool:
    return any(paths.listens(seed.address) for seed in seeds_of(None))


def in_worker() -> bool:
    """Whether this process is a worker, or looks at code for one."""
    main = getattr(sys.modules.get("__main__"), "__file__", None) or ""
    return main.endswith(os.path.join("meshcode", "worker", "bootstrap.py"))
