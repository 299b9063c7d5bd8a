"""What of the model hangs below what, with what the node knows of it now."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from meshcode.cli.session import all_beside, objects
from meshcode.cli.tree import Branch
from meshcode.errors import UnknownObject
from meshcode.listing import LISTED
from meshcode.nearest import nearest

KINDS = (
    "network", "scheduler", "node", "queue", "processor", "socket", "deployment", "plug", "gate",
)  # fmt: skip
_NO_STATUS = {"node": ""}
_NO_WORKERS: dict[str, Any] = {"this": "", "nodes": [], "silent": []}
_DEEP = 32  # Plugs in a row that a tree follows.
Row = dict[str, Any]


class Graph:
    """All objects of the model, by kind, the state of this node, and the workers of all.

    Args:
        rows: the objects.
        status: of the node that was asked.
        told: what `mesh.workers` answers: the workers of the others, and who did not say.
    """

    def __init__(self, rows: dict[str, list[Row]], status: Row, told: Row) -> None:
        self.rows = rows
        this = {"name": told["this"] or status["node"], "declared": status.get("declared") or [],
                "workers": status.get("workers") or []}  # fmt: skip
        self._nodes = [this, *told["nodes"]]  # Those that run, with their workers.
        self._silent = {row["name"] for row in told["silent"]}
        self._is_mesh = bool(told["this"])
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
        listing = LISTED.get(kind, f"{kind}s")
        hint = f"; did you mean {near!r}?" if near else f"; `mesh ls {listing}` has all"
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
        """A node, declared or running: its deployments, and what else has workers there."""
        name = row["name"]
        here = [one for one in self._nodes if one["name"] == name or name in one["declared"]]
        deployed = [
            (d, cpus) for d in self.rows["deployment"] if (cpus := self._cpus_of(d, row))
        ]
        below = [
            Branch("deployment", d["name"], cpus, tuple(self._processor(d["processor"], here)))
            for d, cpus in deployed
        ]
        others = {w["processor"] for one in here for w in one["workers"]}
        for processor in sorted(others - {d["processor"] for d, _ in deployed}):
            below += self._processor(processor, here)
        notes = [str(row.get("host") or "")]
        if name in self._silent:
            notes.append("it did not tell its workers")
        return Branch("node", name, ", ".join(filter(None, notes)), tuple(below))

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

    def processor(self, row: Row, at: list[Row] | None = None) -> Branch:
        """A processor: its deployments, workers, and sockets.

        Args:
            at: show only the workers of these nodes; None: of all that told.
        """
        name = row["name"]
        deployments = [
            Branch(
                "deployment", d["name"],
                f"{_cpus(d)} on {d.get('scheduler') or d.get('host')}",
            )
            for d in self.where("deployment", "processor", name)
        ]  # fmt: skip
        workers = [
            Branch("worker", str(w["id"]), f"{w['state']}, pid {w['pid']}{self._on(one, at)}")
            for one in (self._nodes if at is None else at)
            for w in one["workers"]
            if w["processor"] == name
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

    def _on(self, node: Row, at: list[Row] | None) -> str:
        """Of which node a worker is, where the tree does not say so."""
        return f" on {node['name']}" if self._is_mesh and at is None else ""

    def _processor(self, name: Any, at: list[Row]) -> Iterable[Branch]:
        found = [self.processor(row, at) for row in self.where("processor", "name", name)]
        return found or [Branch("processor", str(name), "not there")]

    def _depth(self, sockets: Iterable[Row]) -> str:
        known = [self._lines[s["name"]] for s in sockets if s["name"] in self._lines]
        waiting, running = (sum(line[key] for line in known) for key in ("waiting", "running"))
        return f"{waiting} waiting, {running} running" if waiting or running else ""


def _plug_note(plug: Row) -> str:
    parts = [str(plug.get("type") or "")]
    if plug.get("argument"):
        parts.append(f"fills {plug['argument']}")
    return ", ".join(part for part in parts if part)


def graph(client: Any, top: str, item: Row) -> Graph:
    """All that this user may see, asked now; stderr says what is left out.

    Args:
        top: the kind of the object whose tree is wanted.
        item: that object: who may see it need not see others of its kind.
    """
    from meshcode.model.kinds import PLURALS  # Not before the node was found.

    asks: dict[str, Callable[[], Any]] = {
        PLURALS[kind]: partial(objects, client, kind) for kind in KINDS
    }
    asks["what waits and runs"] = partial(client.ask, "status", lines=True)
    asks["workers"] = partial(client.ask, "mesh.workers")
    found = all_beside(asks)
    rows = {kind: found.get(PLURALS[kind], [item] if kind == top else []) for kind in KINDS}
    status, told = found.get("what waits and runs"), found.get("workers")
    return Graph(rows, status or _NO_STATUS, told or _NO_WORKERS)


def _cpus(deployment: Row) -> str:
    return f"{deployment['cpus']} CPU{'' if deployment['cpus'] == 1 else 's'}"
