"""What runs: `Agent`, a node that is there, and `Worker`, a process of it.  Only seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from meshcode.client.objects.asking import Data, client_of, warn_unused
from meshcode.client.objects.base import Named, name_of
from meshcode.errors import UnknownObject

if TYPE_CHECKING:
    from typing import Self

    from meshcode.client.client import Client


class Agent(Named):
    """A node as the node of the client sees it now: name, state, cpus, workers, open calls.

    Args:
        name: of the node; without it, the node of the client.
        client: whose node is asked; without it the process-wide one.
        hostname, node, user: of the original, not used: a node runs its agent, and says where.

    Raises:
        UnknownObject: no node has the name; nodes are started with `mesh up` and join a mesh.
    """

    kind: ClassVar[str] = "agent"

    def __init__(
        self, name: str | None = None, *, client: Client | None = None, hostname: Any = None,
        node: Any = None, user: Any = None,
    ) -> None:  # fmt: skip
        _warn_of("agent", hostname=hostname, node=node)
        del user
        rows = _nodes(client)
        found = [row for row in rows if row["name"] == name or (name is None and row.get("this"))]
        if not found:
            known = ", ".join(str(row["name"]) for row in rows)
            raise UnknownObject(
                f"no node of the mesh is named {name!r}; there are: {known}; a node is started with"
                " `mesh up` and let in with `mesh join`", kind="agent", name=name,
            )  # fmt: skip
        super().__init__(found[0], client)

    @classmethod
    def find(cls, name: str, *, client: Client | None = None) -> Self | None:
        """The node of that name, or None."""
        return next((agent for agent in cls.all(client=client) if agent.name == name), None)

    @classmethod
    def all(cls, *, client: Client | None = None) -> list[Self]:
        """All nodes of the mesh, the one that was asked first."""
        return [cls._of(row, client) for row in _nodes(client)]


class Worker(Named):
    """A worker process of the node: name (its number), processor, state, pid, cpu, calls.

    Args:
        name: its number, as text or not.
        client: whose node is asked; without it the process-wide one.
        processor: without a name, the first worker of this processor.
        hostname, agent, user: of the original, not used: only the workers of the node are seen.

    Raises:
        UnknownObject: there is none; workers are started by the node.
    """

    kind: ClassVar[str] = "worker"

    def __init__(
        self, name: str | int | None = None, *, client: Client | None = None, processor: Any = None,
        hostname: Any = None, agent: Any = None, user: Any = None,
    ) -> None:  # fmt: skip
        _warn_of("worker", hostname=hostname, agent=agent)
        del user
        wanted = name_of(processor)
        rows = [
            row for row in _workers(client)
            if (name is None or row["name"] == str(name))
            and (wanted is None or row["processor"] == wanted)
        ]  # fmt: skip
        if not rows:
            of = "" if wanted is None else f" of processor {wanted!r}"
            number = "" if name is None else f" {name}"
            raise UnknownObject(
                f"the node has no worker{number}{of}; it starts as many as the processor's"
                " `workers` or its deployments say, when its code is ready",
                kind="worker", name=None if name is None else str(name),
            )  # fmt: skip
        super().__init__(rows[0], client)

    @classmethod
    def find(cls, name: str | int, *, client: Client | None = None) -> Self | None:
        """The worker of that number, or None."""
        return next((w for w in cls.all(client=client) if w.name == str(name)), None)

    @classmethod
    def all(cls, *, processor: Any = None, client: Client | None = None) -> list[Self]:
        """The workers of the node, or those of one processor."""
        wanted = name_of(processor)
        rows = _workers(client)
        return [cls._of(r, client) for r in rows if wanted in (None, r["processor"])]


def _warn_of(kind: str, **given: Any) -> None:
    for option, value in given.items():
        if value is not None:
            warn_unused(kind, option, "it is found by its name and never made")


def _nodes(client: Client | None) -> list[Data]:
    return [dict(row) for row in client_of(client).ask("nodes", ask=True)["nodes"]]


def _workers(client: Client | None) -> list[Data]:
    rows = client_of(client).ask("status").get("workers") or []
    return [{"name": str(row["id"]), **row} for row in rows]
