"""Why calls wait, as far as a whole node can tell: the core's reason, and what it cannot know.

The core takes a peer that was not found dead for a worker.  People want to know before that.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from meshcode.node.knots import knot
from meshcode.replica.peers import ALIVE, EVICTED, KNOWN, LEAVING, SUSPECT
from meshcode.router.core import Router
from meshcode.router.line import Line
from meshcode.router.pool import Pool

if TYPE_CHECKING:
    from meshcode.node.loop import Loop
    from meshcode.node.processors import Processor

ADD = "`mesh add deployment -n {name} -d {name}-here -h {here}` gives it workers here"


SILENT = "silent"  # Nobody has missed it yet, and there is no link to it.


def peer_states(loop: Loop) -> dict[str, str]:
    """The states of the other nodes, by name; `SILENT` beside those of the mesh."""
    if loop.mesh is None:
        return {}
    up = loop.mesh.up
    # A new node may have the name of one that was evicted.
    peers = sorted(loop.router.replica.peers.by_node.values(), key=lambda p: p.state != EVICTED)
    return {
        peer.name: SILENT if peer.here and peer.node not in up else peer.state for peer in peers
    }


def parked_reason(router: Router, line: Line) -> str:
    """Why no call of the line can begin; "" when they wait only for their turn."""
    found = router.parked_reason(line)
    if found or line.builtin or line.addressed:
        return found
    return silent(router, router.pools[line.config.processor]) or knot(router, line)


_SAID = {
    SILENT: "does not answer", SUSPECT: "does not answer", LEAVING: "went down or starts again",
}  # fmt: skip


def silent(router: Router, pool: Pool) -> str:
    """Which nodes do not answer, when the only workers of a processor are theirs; else ""."""
    able = [worker for worker in pool.workers.values() if worker.slots and not worker.leaving]
    peers = [router.replica.peers.by_node.get(worker.node) for worker in able]
    if not peers or any(peer is None or peer.state == ALIVE for peer in peers):
        return ""
    names = sorted(f"{p.name}, which {_SAID.get(p.state, 'is away')}" for p in peers if p)
    return f"processor {pool.name} has workers only at {'; '.join(names)}; see `mesh nodes`"


def cure(processor: Processor) -> str:
    """What to do about the problem of a processor, in words; "" without one."""
    if not processor.problem:
        return ""
    if processor.is_refused:
        return "`mesh ls repos` shows the rules, and `mesh update repo` changes one"
    for task in processor.overrides:  # A traceback names the one at fault.
        if re.search(rf"<override of [^<>]*\.{re.escape(task)}>", processor.problem):
            away = f"`mesh update task {processor.name}.{task} --no-code`"
            return f"take the override away with {away}, or mend it"
    return (
        f"mend what it names and `mesh proc restart -n {processor.name}`, or run an earlier commit:"
        f" `mesh update processor -n {processor.name} -c COMMIT`"
    )


def elsewhere(
    name: str,
    deployments: Mapping[str, Mapping[str, Any]],
    shares: Mapping[str, Mapping[str, int]],
    here: str,
    states: Mapping[str, str],
) -> str:
    """Why a processor has no worker that belongs on this node: where it is deployed instead.

    Args:
        name: of the processor.
        deployments: of it.
        shares: what schedulers give to declared nodes, by deployment.
        here: what this node is called.
        states: of the other nodes, by name.
    """
    hosts: list[str] = []
    for which, entry in sorted(deployments.items()):
        hosts += shares.get(which) or () if entry.get("scheduler") else [str(entry["host"])]
    add = ADD.format(name=name, here=here)
    if not hosts:
        return f"no node of its scheduler has room for it; {add}"
    only = f"it is deployed on {_listed(hosts)} only"
    there = [host for host in hosts if states.get(host) == ALIVE]
    silent = [host for host in hosts if states.get(host) in _SAID]
    if there:
        none = f"no worker of it is ready at {_listed(there)}"
        return f"{only}, and {none}; `mesh ls processors -w` tells why"
    evicted = [host for host in hosts if states.get(host) == EVICTED]
    away = [host for host in hosts if states.get(host, KNOWN) not in (KNOWN, EVICTED, *_SAID)]
    unknown = [host for host in hosts if host not in states]
    are = "is" if len(set(away)) == 1 else "are"
    said = [f"{host} {_SAID[states[host]]}" for host in dict.fromkeys(silent)]
    said += [f"{host} was evicted" for host in dict.fromkeys(evicted)]
    if away:
        said.append(f"{_listed(away)} {are} away")
    if unknown:
        said.append(f"no node is called {_listed(unknown)} (this one is {here})")
    said += [f"{host} was never heard of" for host in hosts if states.get(host) == KNOWN]
    do = [f"update or delete {_stale(deployments, evicted)}"] if evicted else []
    do += ["start a node there"] if len(evicted) < len(hosts) else []
    return f"{only}, and {', and '.join(said)}; {', or '.join([*do, add])}"


def _stale(deployments: Mapping[str, Mapping[str, Any]], evicted: Collection[str]) -> str:
    """What names nodes that will never be back: deployments, or what is declared of a node."""
    named = [d for d, entry in sorted(deployments.items()) if entry.get("host") in evicted]
    by_name = {deployments[name]["host"] for name in named}
    nodes = [host for host in dict.fromkeys(evicted) if host not in by_name]  # By a scheduler.
    return " and ".join(
        f"the {what}{'' if len(names) == 1 else 's'} {_listed(names)}"
        for what, names in (("deployment", named), ("declared node", nodes)) if names
    )  # fmt: skip


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))
