"""What of the model hangs below what, with what the node knows of it now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from meshcode.cli.session import objects
from meshcode.cli.tree import Branch
from meshcode.errors import UnknownObject
from meshcode.nearest import nearest

KINDS = (
    "network", "scheduler", "node", "queue", "processor", "socket", "deployment", "plug", "gate",
)  # fmt: skip
_DEEP = 32  # Plugs in a row that a tree follows.
Row = dict[str, Any]


class Graph:
    """All objects of the model, by kind, and the state of this node."""

    def __init__(self, rows: dict[str, list[Row]], status: Row) -> None:
        self.rows = rows
        self._workers: dict[str, list[Row]] = {}
        for worker in status.get("workers") or ():
            self._workers.setdefault(worker["processor"], []).append(worker)
        self._shares: dict[str, dict[str, int]] | None = None  # What schedulers give to nodes.
        self._lines = {line["name"]: line for line in status.get("sockets") or ()}

    def find(self, kind: str, name: str) -> Row:
        """The object of that name.

        Raises:
            UnknownObject: there is none; the text has what is near.
        """
        names = {str(row["name"]): row for row in self.rows[kind]}
        if name in names:
            return names[name]
        near = nearest(name, names)
        hint = f"; did you mean {near!r}?" if near else f"; `mesh ls {kind}s` has all"
        raise UnknownObject(f"no {kind} is named {name!r}{hint}", kind=kind, name=name)

    def where(self, kind: str, field: str, value: Any) -> list[Row]:
        """The objects of a kind whose option has that value."""
        return [row for row in self.rows[kind] if row.get(field) == value]

    # Branches.

    def network(self, row: Row) -> Branch:
        """A network: its schedulers, nodes and queues."""
        name = row["name"]
        schedulers = [
            Branch("scheduler", s["name"], str(s.get("strategy") or ""))
            for s in self.where("scheduler", "network", name)
        ]
        nodes = map(self.node, self.where("node", "network", name))
        queues = map(self.queue, self.where("queue", "network", name))
        return Branch(
            "network", name, str(row.get("description") or ""), (*schedulers, *nodes, *queues)
        )

    def node(self, row: Row) -> Branch:
        """A declared node: the deployments that run there, with their processors."""
        below = [
            Branch("deployment", d["name"], cpus, tuple(self._named("processor", d["processor"])))
            for d in self.rows["deployment"]
            if (cpus := self._cpus_of(d, row))
        ]
        return Branch("node", row["name"], str(row.get("host") or ""), tuple(below))

    def _cpus_of(self, deployment: Row, node: Row) -> str:
        """How many CPUs of a deployment a declared node has, in words; empty for none."""
        if deployment.get("scheduler"):
            here = self._placed().get(deployment["name"], {}).get(node["name"], 0)
            return f"{here} of {_cpus(deployment)}" if here else ""
        hosts = {node["name"], node.get("host"), "*"} - {None}
        return _cpus(deployment) if deployment.get("host") in hosts else ""

    def _placed(self) -> dict[str, dict[str, int]]:
        if self._shares is None:
            from meshcode.model.placing import placed

            self._shares = placed({
                f"{kind}s": {row["name"]: row for row in self.rows[kind]}
                for kind in ("node", "scheduler", "deployment")
            })  # fmt: skip
        return self._shares

    def processor(self, row: Row) -> Branch:
        """A processor: its deployments, workers here, and sockets."""
        name = row["name"]
        deployments = [
            Branch(
                "deployment", d["name"],
                f"{_cpus(d)} on {d.get('scheduler') or d.get('host')}",
            )
            for d in self.where("deployment", "processor", name)
        ]  # fmt: skip
        workers = [
            Branch("worker", str(w["id"]), f"{w['state']}, pid {w['pid']}")
            for w in self._workers.get(name, ())
        ]
        sockets = map(self.socket, self.where("socket", "processor", name))
        return Branch(
            "processor", name, str(row.get("status") or ""), (*deployments, *workers, *sockets)
        )

    def queue(self, row: Row) -> Branch:
        """A queue: the sockets behind it."""
        sockets = self.where("socket", "queue", row["name"])
        return Branch(
            "queue", row["name"], self._depth(sockets), tuple(map(self.socket, sockets))
        )

    def socket(self, row: Row, above: tuple[str, ...] = ()) -> Branch:
        """A socket: the plugs that take its outcomes, and where they lead."""
        name = row["name"]
        if name in above or len(above) > _DEEP:  # Two nodes may have declared halves of a round.
            return Branch("socket", name, "again")
        below = []
        for plug in self.where("plug", "source", name):
            gates = [
                Branch("gate", g["name"], str(g.get("mode") or ""))
                for g in self.where("gate", "plug", plug["name"])
            ]
            targets = [
                self.socket(s, (*above, name))
                for s in self.where("socket", "name", plug.get("target"))
            ] or [Branch("socket", str(plug.get("target")), "not there")]
            below.append(Branch("plug", plug["name"], _plug_note(plug), (*gates, *targets)))
        return Branch("socket", name, self._depth([row]), tuple(below))

    def task(self, row: Row) -> Branch:
        """The task of a socket, its processor, and all sockets that call it."""
        same = [
            s for s in self.where("socket", "task", row["task"])
            if s.get("processor") == row.get("processor")
        ]  # fmt: skip
        return Branch("task", row["task"], str(row.get("processor")), tuple(map(self.socket, same)))

    def _named(self, kind: str, name: Any) -> Iterable[Branch]:
        make = {"processor": self.processor, "socket": self.socket}[kind]
        found = [make(row) for row in self.where(kind, "name", name)]
        return found or [Branch(kind, str(name), "not there")]

    def _depth(self, sockets: Iterable[Row]) -> str:
        known = [self._lines[s["name"]] for s in sockets if s["name"] in self._lines]
        waiting, running = (sum(line[key] for line in known) for key in ("waiting", "running"))
        return f"{waiting} waiting, {running} running" if waiting or running else ""


def _plug_note(plug: Row) -> str:
    parts = [str(plug.get("type") or "")]
    if plug.get("argument"):
        parts.append(f"fills {plug['argument']}")
    return ", ".join(part for part in parts if part)


def graph(client: Any) -> Graph:
    """All there is, asked now."""
    return Graph({kind: objects(client, kind) for kind in KINDS}, client.ask("status", lines=True))


def _cpus(deployment: Row) -> str:
    return f"{deployment['cpus']} CPU{'' if deployment['cpus'] == 1 else 's'}"
