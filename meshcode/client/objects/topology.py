"""Networks, schedulers, declared nodes, deployments, plugs and gates."""

from __future__ import annotations

from typing import ClassVar

from meshcode.client.fitting import plug_problem
from meshcode.client.objects.asking import client_of, listed, model, warn
from meshcode.client.objects.base import Declared
from meshcode.client.places import place_problem


class Network(Declared):
    """A network; deleting it deletes its schedulers, nodes and queues.  See `Declared`."""

    kind: ClassVar[str] = "network"

    def nodes(self) -> list[Node]:
        """The declared nodes that name it."""
        return [node for node in Node.all(client=self._client) if node.network == self.name]


class Scheduler(Declared):
    """A scheduler; `scheduler += node` gives it a node.  See `Declared`."""

    kind: ClassVar[str] = "scheduler"

    def __iadd__(self, node: Node | str) -> Scheduler:
        """Have a node, or the one of that name, spread by this scheduler.

        Raises:
            UnknownObject: no node of that name is declared.
        """
        link = client_of(self._client)
        name = node.name if isinstance(node, Node) else node
        data = model(link, "update", "node", name, {"scheduler": self.name})
        if isinstance(node, Node):
            node._take(data)
        return self

    def nodes(self) -> list[Node]:
        """The declared nodes that name it."""
        return [node for node in Node.all(client=self._client) if node.scheduler == self.name]


class Node(Declared):
    """What is wanted of the node of that name; the one that runs is an `Agent`.  See `Declared`.

    Of the original: `hostname` is `host`.
    """

    kind: ClassVar[str] = "node"
    _renamed = {"hostname": "host"}
    _unused = {"agent": "a node that runs has its name, and is seen as Agent(name)"}


class Deployment(Declared):
    """CPUs for a processor on a host: `Deployment("d1", processor="p1", cpus=4)`; see `Declared`.

    Of the original: `hostname` is `host`.  A RuntimeWarning says when no node has such a name or
    host.
    """

    kind: ClassVar[str] = "deployment"
    _required = ("processor",)
    _renamed = {"hostname": "host"}

    def _look(self) -> None:
        if problem := place_problem(client_of(self._client), self._data):
            mend = "its CPUs wait for one; update(host=...) gives another"
            warn(f"{problem}; {mend}", RuntimeWarning)


class Plug(Declared):
    """An edge: the outcome of `source` becomes an argument of `target`; see `Declared`.

    Source and target are sockets or their names, and must be there; a plug that would close a way
    round is refused with the way.  A RuntimeWarning says when the target has no such argument.
    """

    kind: ClassVar[str] = "plug"
    _required = ("source", "target")
    _unused = {"processor": "a plug belongs to the processor of its source"}

    def _look(self) -> None:
        if problem := plug_problem(client_of(self._client), self._data):
            warn(f"{problem}; update(argument=...) gives another", RuntimeWarning)

    def gates(self) -> list[Gate]:
        """The gates on it."""
        link = client_of(self._client)
        rows = [row for row in listed(link, "gate") if row["plug"] == self.name]
        return [Gate._of(row, self._client) for row in rows]


class Gate(Declared):
    """A condition on a plug: open, closed, or decided by the task of a socket; see `Declared`."""

    kind: ClassVar[str] = "gate"
    _required = ("plug",)
