"""What `mesh doctor` says of the mesh of this home's running node, and of what is to run where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from meshcode.cli import plain
from meshcode.cli.doctor_check import FAIL, OK, WARN, Check
from meshcode.cli.session import objects, session
from meshcode.errors import MeshError, NotAllowed, WrongState
from meshcode.limits import PEER_SKEW_MS

if TYPE_CHECKING:
    from meshcode.client import Client

SHOWN_MAX = 5


def checks() -> Iterator[Check]:
    """Ask the node, and through it its peers; nothing when there is no node or no mesh."""
    try:
        with session(timeout=2.0) as client:
            found = dict(client.ask("mesh.status", ask=True))
            told = _code_of_all(client) if found["mesh"] else {}
    except MeshError:  # The check of the node itself has said why it does not answer.
        yield from _of_files()
        return
    if found["mesh"]:
        yield from judge(found)
        yield from judge_code(told)


def _code_of_all(client: Client) -> dict[str, dict[str, str]]:
    """The commit of each processor that each node runs: {node: {processor: commit}}."""
    try:
        found = client.ask("mesh.workers")
        here = client.ask("status").get("processors") or []
    except NotAllowed:  # Who may see the mesh need not see workers.
        return {}
    told = {str(one["name"]): dict(one.get("commits") or {}) for one in found["nodes"]}
    told[str(found["this"])] = {
        str(row["name"]): str(row["commit"]) for row in here if row["workers"] and row["commit"]
    }
    return told


def judge_code(told: Mapping[str, Mapping[str, str]]) -> Iterator[Check]:
    """Processors that nodes run different code of; `told`: by node, the commit of each."""
    for name in sorted({name for commits in told.values() for name in commits}):
        nodes: dict[str, list[str]] = {}
        for node in sorted(told):
            if commit := told[node].get(name):
                nodes.setdefault(commit, []).append(node)
        if len(nodes) > 1:
            runs = "; ".join(
                f"{_some(names)} {'run' if len(names) > 1 else 'runs'} {plain.short_commit(commit)}"
                for commit, names in nodes.items()
            )
            text = f"processor {name} is not the same code everywhere: {runs}"
            fix = f"`mesh proc restart -n {name} --wait`: all nodes fetch its newest commit"
            yield Check("code", WARN, text, fix)


def check_deployments() -> Iterator[Check]:
    """Deployments on hosts that no node has, or for which their scheduler has no room; nothing
    without a node.
    """
    from meshcode.cli.scheduling import lacking, shares_of
    from meshcode.client.places import missing, places

    try:
        with session(timeout=2.0) as client:
            found = {k: objects(client, k) for k in ("node", "deployment", "scheduler")}
            there = places(client)
    except MeshError:  # The node's own check has said why; or they may not be seen.
        return
    shares = shares_of(found)
    for row in found["deployment"]:
        if told := lacking(row, shares):
            yield Check("deployment", WARN, *told)
        if problem := missing(there, row, found["node"]):
            name, where = row["name"], f"of processor {row['processor']}"
            fix = f"start a node there, or mesh update deployment {name} -h HOST"
            yield Check("deployment", WARN, f"deployment {name} {where}: {problem}", fix)


def _of_files() -> Iterator[Check]:
    """Whether the node of this home is still a member, by its files."""
    from meshcode.cli.nodes import refuse_evicted

    try:
        refuse_evicted()
    except WrongState as error:
        text = str(error).split(": it does", maxsplit=1)[0]
        yield Check("membership", FAIL, text, "mesh salvage, then join from a new home")
    except MeshError as error:
        yield Check("membership", FAIL, str(error), "bring the mesh folder back from a copy")


def judge(found: dict[str, Any]) -> Iterator[Check]:
    """What the answer to `mesh.status` says to a person."""
    if found["this_evicted"]:
        text = "this node is evicted: it is no member any more"
        yield Check("membership", FAIL, text, "export what only it keeps: mesh down, mesh salvage")
    yield _peers(found)
    if found.get("worked_out"):
        yield from _reached(found["advertise"])
    yield _roster(found)
    yield _clocks(found)
    yield _models(found)
    yield _versions(found)
    if found["keeper_alive"]:
        yield Check("doorkeeper", OK, "answers: only members get in")
    else:
        text = "does not answer any more: nobody gets in"
        yield Check("doorkeeper", FAIL, text, "restart the node: mesh down, mesh up")
    yield Check("discovery", OK, found["discovery"])
    if found["refused"]:
        last = found["refused"][-1]
        text = f"{len(found['refused'])} lately, the last: {last}"
        yield Check("refused", WARN, text, "see docs/operations.md, \"What the news say\"")
    else:
        yield Check("refused", OK, "nobody lately")
    if not_taken := _not_taken(found.get("not_used") or {}):
        fix = "see docs/operations.md, \"What the news say\", and the node's log"
        yield Check("not taken", WARN, not_taken, fix)
    if found["orphans"]:
        text = f"{found['orphans']} calls lost the majority of their voters to evictions"
        yield Check("orphans", WARN, text, "mesh recover")


def _not_taken(counts: dict[str, int]) -> str:
    """What peers said that this node could not take; "" when nothing is odd about it."""
    odd = {what: count for what, count in counts.items()
           if what.startswith("kind ") or what.endswith("internal error")}  # fmt: skip
    most = sorted(odd, key=lambda what: -odd[what])[:SHOWN_MAX]
    return "of peers since the start: " * bool(odd) + "; ".join(f"{odd[w]} {w}" for w in most)


def _peers(found: dict[str, Any]) -> Check:
    text = f"{found['up']} of {found['known']} linked"
    if found["left"]:
        text += f"; left: {', '.join(found['left'][:SHOWN_MAX])}"
    deaf = [row for row in found["silent"] if row["asked"]]
    if deaf:
        text += f"; no answer from {_names(deaf)}"
        return Check("peers", WARN, text, "look at that node: is it frozen, or its disk slow?")
    if not found["unlinked"]:
        return Check("peers", OK, text)
    if not found["up"]:
        fix = "see that their ports can be reached from here, and this one's from there"
        state = WARN if found["class"] == "edge" else FAIL  # Off-line is normal at the edge.
        return Check("peers", state, f"{text}: this node is alone", fix)
    text += f"; no link to {', '.join(found['unlinked'][:SHOWN_MAX])}"
    if found.get("cut_off"):  # Others reach it: to evict it would be wrong.
        text += f"; others reach {', '.join(found['cut_off'][:SHOWN_MAX])}, which is alive"
        fix = "see that this host reaches the address of it that `mesh nodes` shows; where a node"
        return Check("peers", WARN, text, f"{fix} was moved to another, mesh down, mesh up there")
    fix = "start it; or, when it will never come back, mesh node evict"
    return Check("peers", WARN, text, fix)


def _reached(told: list[str]) -> Iterator[Check]:
    """Whether this host still has the addresses that were worked out for it."""
    from meshcode.cli.mesh import own_addresses

    own = own_addresses()
    if not any(address.rpartition(":")[0].removeprefix("tcp://") in own for address in told):
        text = f"peers are told {', '.join(told)}; this host has {', '.join(own)} now"
        yield Check("address", WARN, text, "mesh down, mesh up: it is worked out anew")


def _names(rows: list[dict[str, Any]]) -> str:
    return _some([str(row["name"]) for row in rows])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN_MAX} more" if len(names) > SHOWN_MAX else ""
    return ", ".join(names[:SHOWN_MAX]) + more


def _roster(found: dict[str, Any]) -> Check:
    others = [row for row in found["others"] if not row["same_roster"]]
    count = len(found["others"]) + 1
    if others:
        text = f"{_names(others)} of {count} that answer have another one than this node"
        return Check("roster", WARN, text, "it evens out in seconds; if not, look at their logs")
    return Check("roster", OK, f"equal on all {count} that answer ({found['roster'][:8]})")


def _clocks(found: dict[str, Any]) -> Check:
    skews = [(abs(row["skew_ms"]), row) for row in found["others"] if row["skew_ms"] is not None]
    if not skews:
        return Check("clocks", OK, "no other node to compare with")
    most, row = max(skews, key=lambda pair: pair[0])
    side = "ahead of" if row["skew_ms"] > 0 else "behind"
    text = f"at most {plain.length_of_time(most)} apart"
    if any(row["skewed"] for _, row in skews):
        text = (
            f"{row['name']} is {plain.length_of_time(most)} {side} this node, the limit is"
            f" {plain.length_of_time(PEER_SKEW_MS)}; calls are safe, times and delays are not right"
        )
        return Check("clocks", WARN, text, "let NTP or chrony set the clocks of all nodes")
    return Check("clocks", OK, text)


def _models(found: dict[str, Any]) -> Check:
    if found["problems"]:
        text = "; ".join(found["problems"][:SHOWN_MAX])
        fix = "change or delete what it names, see docs/model.md; calls it concerns wait"
        return Check("shared model", WARN, text, fix)
    others = [row for row in found["others"] if not row["same_model"]]
    if others:
        text = f"{_names(others)} have another one than this node"
        return Check("shared model", WARN, text, "it evens out in seconds; if not, see their logs")
    return Check("shared model", OK, "equal on all that answer, without contradictions")


def _versions(found: dict[str, Any]) -> Check:
    from meshcode import __version__

    others = {str(row["version"]) for row in found["others"]} - {__version__}
    if others:
        text = f"this node {__version__}, others {', '.join(sorted(others))}"
        return Check("versions", WARN, text, "upgrade the rest, one node after the other")
    return Check("versions", OK, f"{__version__} on all that answer")
