"""What decorated classes declare: in order, once, and not before a node can be asked.

A decorated class has a plan: the objects it declares, each as one step.  The plan is run when the
class is made, if a node listens.  If none does, a warning says so and the plan waits for the first
use of the class, or for `declare`; plans wait in the order in which their classes were made, so
that what one names is declared before it.  In a worker nothing is declared: there the module is
code to run, and it was declared by whoever deployed it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from threading import RLock
from typing import Any, NamedTuple

from meshcode import paths
from meshcode.client.client import Client
from meshcode.client.default import default_client
from meshcode.client.objects.asking import warn
from meshcode.client.seeds import seeds_of
from meshcode.errors import MeshError, NoNode

_lock = RLock()
_waiting: list[Plan] = []  # Plans with steps that were not done, in the order of their classes.
_missed = False  # A node was tried in vain: the next class does not wait for another refusal.


class Step(NamedTuple):
    """One object to declare."""

    where: str  # The class, or Class.method, for the text of an error.
    declare: Callable[[Client], Any]


class Plan:
    """What one class declares."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.steps: list[Step] = []
        self.network: str | None = None
        self.nodes: list[str] = []
        self.deployments: list[str] = []  # Those without a host of their own.
        self.is_warned = False  # That nothing of it is declared yet.
        self._done = 0

    def add(self, declare: Callable[[Client], Any], method: str = "") -> None:
        """Add a step, to be done after those that are there."""
        where = f"{self.owner}.{method}" if method else self.owner
        self.steps.append(Step(where, declare))
        with _lock:
            if self not in _waiting:
                _waiting.append(self)

    @property
    def is_done(self) -> bool:
        """Whether everything is declared."""
        return self._done == len(self.steps)

    def run(self, client: Client) -> None:
        """Do the steps that were not done.

        Raises:
            MeshError: one was refused; the text names class and method.  What was declared before
                it stays, and the plan goes on there when it is run again.
        """
        while self._done < len(self.steps):
            step = self.steps[self._done]
            try:
                step.declare(client)
            except MeshError as error:
                raise type(error)(f"{step.where}: {error.text}", **error.fields) from error
            self._done += 1


def offer(plan: Plan) -> None:
    """Run a plan of a class that is being made, and those before it, if a node listens.

    Raises:
        MeshError: something was refused; the plan is given up with its class.
    """
    global _missed
    if in_worker():
        return
    if not _missed and _listens():
        try:
            declare(plan)
            return
        except NoNode:
            pass
        except MeshError:
            with _lock:
                _waiting.remove(plan)
            raise
    _missed = True
    if plan.is_warned:
        return
    plan.is_warned = True
    warn(
        f"no node answers, so nothing of class {plan.owner} is declared yet; it will be when the"
        " class is first used, or by declare(); start a node with `mesh up` or `mesh dev`",
        RuntimeWarning,
    )


def declare(plan: Plan | None = None, client: Client | None = None) -> None:
    """Declare what waits: all of it, or a plan and what was there before it.

    Raises:
        NoNode: no node answers; nothing more was declared.
        MeshError: something was refused; what was declared before it stays.
    """
    global _missed
    if in_worker():
        return
    with _lock:
        if plan is None:
            last = len(_waiting)
        else:
            last = _waiting.index(plan) + 1 if plan in _waiting else 0
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
                if plan in (None, one):
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
