"""`mesh nodes`, `mesh node leave|drain|evict`: the nodes of a mesh, and their going."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import click

from meshcode import paths
from meshcode.cli import output, plain
from meshcode.cli.labels import Rows, having, selectors_option
from meshcode.cli.objects import confirm, yes_option
from meshcode.cli.options import DURATION, command, listing, styled
from meshcode.cli.output import Column, Style, column
from meshcode.cli.session import COMPLETE_S, session
from meshcode.cli.session import objects as declared
from meshcode.cli.watch import watch as follow
from meshcode.cli.watch import watch_option
from meshcode.errors import (
    CallerError,
    MeshError,
    NoNode,
    NotAllowed,
    UnknownObject,
    WaitTimeout,
    WrongState,
)
from meshcode.nearest import nearest

if TYPE_CHECKING:
    import psutil

    from meshcode.trust.identity import Identity
    from meshcode.trust.roster import Roster
    from meshcode.trust.rosterfile import RosterFile
    from meshcode.trust.signing import SigningKey

EXIT_PARTIAL = 8  # Some nodes that have a link did not answer.
_ASK_S = 0.2  # Between two looks at a node that finishes its calls.
NOT_UP = "the node of this home is not up"
_NAMED_MAX = 10  # Deployments that a text names.
_NOTICE_S = 5.0  # A running node looks at its roster file each second.


def _milliseconds(value: Any) -> str:
    return "" if value is None else f"{value:.1f}ms"


def _duration(value: Any) -> str:
    return "" if value is None else plain.length_of_time(value)


NODE_COLUMNS = [
    Column("this", "", lambda v: "*" if v else ""),
    column("name"), Column("node", "ID", lambda v: str(v or "")[:8]), column("class"),
    column("state"), Column("for_ms", "For", _duration),
    Column("rtt_ms", "Round Trip", _milliseconds), column("boot"), column("version"),
    column("open", "Open Calls"), column("workers", "Workers"),
    column("address"), column("reason", "Note"),
]  # fmt: skip
_WATCHED = ("state", "boot", "version", "link", "class", "reason")


# Listing.


@command()
@click.option("--declared", "wanted", is_flag=True, help="What is declared of nodes instead.")
@selectors_option
@watch_option
@listing
def ls_nodes(wanted: bool, watch: bool, style: Style, labels: tuple[str, ...]) -> None:
    """List the nodes of the mesh as the node of this home sees them; * is that node.

    States: alive; suspect (was silent, has time to answer); away (silent for longer; may come
    back after days); leaving, left (it said so); draining (takes no calls); evicted (for good).

    Labels are those of the declared node of that name (`mesh add node -n NAME --label KEY=VALUE`).

    Exit status 8: a node with a link did not tell its load in time.

    Examples:
      mesh nodes -l zone=eu
      mesh ls nodes --declared               host, CPUs, scheduler and network of each
      mesh nodes                             also: mesh ls nodes, mesh ls agents
      mesh nodes -w -o jsonl                 one line for each node that changes
      mesh nodes -o json | jq '.items[] | select(.state != "alive") | .name'
    """
    if wanted:
        from meshcode.cli.objects import listed
        from meshcode.cli.topology import NODE

        empty = "no node is declared; add one: mesh add node -n NAME"
        listed("node", NODE.columns, style, empty=empty, watch=watch, labels=labels)
        return
    with session() as client:
        if watch:
            _watch(client, style, labels)
            return
        found = client.ask("nodes", ask=True)
        rows = _labelled(client, found["nodes"], labels)
    noted = any(row["reason"] for row in rows)
    columns = [c for c in NODE_COLUMNS if c.key != "reason" or noted]
    without = f"no node is declared with the label {' and '.join(labels)}: mesh ls nodes --declared"
    output.show("node", rows, columns, style, empty=without if labels else "")
    end_partial(found["silent"])


def _labelled(client: Any, rows: Rows, labels: tuple[str, ...]) -> Rows:
    """The nodes whose declared namesake has these labels."""
    if not labels:
        return rows
    names = {row["name"] for row in having(declared(client, "node"), labels)}
    return [row for row in rows if row["name"] in names]


def _watch(client: Any, style: Style, labels: tuple[str, ...]) -> None:
    """Print the listing, or with jsonl the nodes, whenever one changes; not for each round trip."""

    def rows_of() -> Rows:
        return _labelled(client, client.ask("nodes")["nodes"], labels)

    follow(client, "nodes", rows_of, "node", NODE_COLUMNS, style, key="node", watched=_WATCHED)


def tell_silent(silent: list[dict[str, Any]]) -> bool:
    """Say who did not answer; whether one of them should have, for it has a link."""
    for row in silent:
        state = "it has left" if row["state"] == "left" else f"it is {row['state']}"
        output.say(f"node {row['name']} is not in this: {row['why']} ({state})")
    return any(row["asked"] for row in silent)


def end_partial(silent: list[dict[str, Any]]) -> None:
    """Say who did not answer, and end with status 8 when one of them should have."""
    if tell_silent(silent):
        click.get_current_context().exit(EXIT_PARTIAL)


def complete_node(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """Names of nodes: asks the node for at most 150 ms, silent on any failure."""
    try:
        with session(timeout=COMPLETE_S) as client:
            names = [str(row["name"]) for row in client.ask("nodes")["nodes"]]
    except Exception:  # A Tab must never print a traceback into the line being typed.
        return []
    return [name for name in names if name.startswith(typed)]


def find_member(roster: Roster, wanted: str) -> bytes:
    """The node that a name or the beginning of an id means; evicted ones are found too.

    Raises:
        UnknownObject: none; the text has what is near.
        CallerError: several.
    """
    names: dict[bytes, str] = {node: gone.name for node, gone in roster.evicted.items()}
    names |= {node: member.name for node, member in roster.members.items()}
    found = [node for node in roster.members if names[node] == wanted]
    found = found or [node for node, name in names.items() if name == wanted]
    if not found and len(wanted) >= 4:
        found = [node for node in names if node.hex().startswith(wanted.lower())]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(sorted(node.hex()[:12] for node in found))
        raise CallerError(f"{wanted!r} means {len(found)} nodes: {ids}; name one by its id")
    near = nearest(wanted, names.values())
    known = ", ".join(sorted(names.values()))
    hint = f"did you mean {near!r}?" if near else f"known are {known}"
    raise UnknownObject(f"no node is called {wanted!r} or has an id that begins so; {hint}")


# Going.


@command()
@click.option(
    "--for", "for_ms", type=DURATION, default=None, metavar="TIME",
    help="It comes back within this time, at most 60s; nobody takes its calls over.",
)  # fmt: skip
@click.option("--timeout", type=DURATION, default="30s", show_default=True, help="Longest wait.")
@click.option("--now", is_flag=True, help="Do not wait for running calls.")
@yes_option
@styled
def leave(for_ms: int | None, timeout: int, now: bool, yes: bool, style: Style) -> None:
    """Tell the others that this node goes, finish what runs, and stop it.

    Without --for the others take over its calls at once. It stays a member: `mesh up` brings it
    back. Who shall never come back is evicted instead.

    Examples:
      mesh node leave --for 60s && apt-get upgrade -y && mesh up
      mesh node leave                         it is away until the next `mesh up`
    """
    from meshcode.cli import process

    home = paths.home()
    with session() as client:
        status = client.ask("status")
        target = process.prove(home, int(status["pid"]), status["boot"])
        if target is None:
            raise WrongState(
                f"the node that answers is not the one of {home}; nothing was changed; let a node"
                " leave on its own host, with its own --home"
            )
        _refuse_lonely(client.ask("node.alone"), for_ms, yes=yes)
        if not now:
            _wait_for_running(client, for_ms or 0, timeout)
        with contextlib.suppress(NoNode, WaitTimeout):  # It may end before it has answered.
            client.ask("node.leave", timeout=_NOTICE_S, for_ms=for_ms or 0, finish=True)
    if now:
        _interrupt(target)
    if not process.wait_gone(target, max(timeout / 1000, 5.0)):
        raise WaitTimeout(
            f"process {target.pid} has said good-bye and has not ended; end it with"
            f" `mesh down --now`; its log is {paths.log_file(home)}"
        )
    if style.is_text:
        output.write(f"the node has left{_until(for_ms)}; `mesh up` brings it back")
        return
    item = {"name": status["node"], "node": status["node"], "pid": target.pid, "for_ms": for_ms,
            "state": "left" if for_ms is None else "leaving"}  # fmt: skip
    output.show_facts("node", item, [], style)


def _interrupt(target: psutil.Process) -> None:
    """Let a node that drains end without waiting for what runs: its second signal does."""
    import psutil

    from meshcode.cli import process

    with contextlib.suppress(psutil.NoSuchProcess):
        for _ in range(2):
            if not process.wait_gone(target, 0.3):
                target.terminate()


def _until(for_ms: int | None) -> str:
    return "" if for_ms is None else f" for {plain.length_of_time(for_ms)}"


def _refuse_lonely(found: dict[str, Any], for_ms: int | None, *, yes: bool) -> None:
    """Ask before calls that nobody else keeps wait for the return of a node that goes for long."""
    alone = found["alone"]
    if not alone or for_ms is not None:
        return
    output.say(
        f"{alone} of {found['open']} open calls are kept on this node alone: they are safe in its"
        " log, and wait until it is up again, or until `mesh salvage` brings them elsewhere"
    )
    confirm("leave nevertheless", yes=yes)


def _wait_for_running(client: Any, for_ms: int, timeout: int) -> None:
    """Tell the others, and wait until no call runs here any more."""
    found = client.ask("node.leave", for_ms=for_ms)
    if found["running"]:
        output.say(f"waiting for {found['running']} running calls")
    end = time.monotonic() + timeout / 1000
    pause = threading.Event()
    while found["running"]:
        if time.monotonic() > end:
            raise WaitTimeout(
                f"{found['running']} calls still run after {plain.length_of_time(timeout)}; the"
                " node takes no new ones and is still there; wait on with the same command, or"
                " interrupt them with --now: they run again"
            )
        pause.wait(_ASK_S)
        found = client.ask("node.leave", for_ms=for_ms)


@command()
@styled
def drain(style: Style) -> None:
    """Let the node take no new calls and begin none; what runs finishes, and the node stays.

    It keeps calls and votes on; its sockets run on the others. `mesh down` and `mesh up` end it.

    Examples:
      mesh node drain
      mesh node drain && mesh nodes -w        until it has no open calls
    """
    from meshcode.trust import folder

    with session() as client:
        found = dict(client.ask("node.drain"))
    leave = "mesh node leave, or " if folder.has_mesh() else ""
    pairs = [("state", found["state"]), ("running", str(found["running"])),
             ("open calls", str(found["open"])), ("kept here alone", str(found["alone"])),
             ("next", f"{leave}mesh down and mesh up to take calls again")]  # fmt: skip
    output.show_facts("node", {"name": found["node"], **found}, pairs, style)


# Eviction.


@command()
@click.argument("target", metavar="NAME|ID", shell_complete=complete_node)
@click.option("--reason", default="", help="Why; every node keeps it and shows it.")
@click.option("--key", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
              help="The root key (root.key); needed for a node that admits others.")  # fmt: skip
@yes_option
@styled
def evict(target: str, reason: str, key: str | None, yes: bool, style: Style) -> None:
    """Put a node out of the mesh for ever: stolen, destroyed, or never to come back.

    Nothing takes it back. The machine may join again from a fresh home, as another node. Calls
    that it shared with others go on there.

    Examples:
      mesh node evict n3 --reason "disk lost"
      mesh node evict 5f21c8aa --yes
      mesh node evict alpha --key /media/stick/root.key
    """
    from meshcode.cli.leave import tell
    from meshcode.ids import unix_ms
    from meshcode.trust import admitting
    from meshcode.trust.rosterfile import RosterFile

    mine = my_identity()
    file = RosterFile(None, mine.root_key)
    roster = newest_roster(file)
    node = find_member(roster, target)
    found = roster.entry_of(node)
    name = found.member.name if found else node.hex()[:8]
    sign = _evicting_key(roster, node, key, mine)
    packed = admitting.evict(roster, node, sign, now_unix_ms=unix_ms(), reason=reason)
    weight, why = _weigh(node)
    for line in [*consequences(name, weight, is_me=node == mine.node, why=why), *_pointing(name)]:
        output.say(line)
    confirm(f"evict {name} ({node.hex()[:8]}) for ever", yes=yes)
    tell("evict", f"node {name} ({node.hex()[:8]}){f': {reason}' if reason else ''}")
    file.add(packed)
    is_up = why != NOT_UP
    is_known = is_up and _wait_until_known(node, is_me=node == mine.node)
    item = {"name": name, "node": node.hex(), "state": "evicted", "reason": reason,
            "by": sign.public.hex()[:8], "told": is_known, **(weight or {})}  # fmt: skip
    if style.is_text:
        told = "the others learn it after `mesh up`"
        if is_up:
            told = "the others learn it now" if is_known else (
                "the node of this home has not said that it knows: it reads mesh/roster each"
                " second, then the others learn it"
            )
        output.write(f"node {name} is evicted; {told}")
    else:
        output.show_facts("node", item, [], style)


def my_identity() -> Identity:
    """Who this home is in its mesh.

    Raises:
        NoMesh: it belongs to none.
    """
    from meshcode.trust import folder, identity

    folder.need_mesh()
    mine = identity.load()
    assert mine is not None
    return mine


def refuse_evicted() -> None:
    """Check that the node of this home is still a member of its mesh, when it has one.

    Raises:
        WrongState: it is evicted; it says what to do.
    """
    from meshcode.trust import folder, identity

    if not folder.has_mesh():
        return
    mine = identity.load()
    if mine is None:
        return
    from meshcode.trust.rosterfile import RosterFile

    gone = RosterFile(None, mine.root_key).load().evicted.get(mine.node)
    if gone is not None:
        why = f" ({gone.reason})" if gone.reason else ""
        raise WrongState(
            f"node {mine.name} was evicted from its mesh on {plain.local_time(gone.at_unix_ms)}"
            f"{why}: it does not start; its log is unchanged; `mesh salvage` exports what only it"
            " kept; to come back it joins as a new node, from another --home"
        )


def newest_roster(file: RosterFile) -> Roster:
    """The roster of this home with what its running node heard since, if there is one; saved."""
    roster = file.load()
    try:
        with session(timeout=2.0) as client:
            roster.merge(client.ask("mesh.roster")["roster"])
    except MeshError:  # No node is up, or it is one of another mesh: the file is what there is.
        return roster
    file.save(roster)
    return roster


def _evicting_key(roster: Roster, node: bytes, path: str | None, mine: Identity) -> SigningKey:
    from meshcode.trust import identity

    if path is not None:
        from pathlib import Path  # No listing needs it.

        return identity.read_signing_key(Path(path))
    root, admit = identity.load_root_key(), identity.load_admit_key()
    needs_root = roster.admitting_key_of(node) is not None
    found = (root or admit) if needs_root else (admit or root)
    if found is None:
        raise NotAllowed(
            f"node {mine.name} has neither mesh/admit.key nor mesh/root.key, so it cannot evict;"
            " nobody was evicted; do it on a node that admits, or give the root key with --key"
        )
    return found


def _weigh(node: bytes) -> tuple[dict[str, Any] | None, str]:
    """What the eviction means for calls, as the running node of this home knows it, or why not.

    Raises:
        NotAllowed: who is logged in here may not evict; nothing was written.
    """
    try:
        with session(timeout=2.0) as client:
            return dict(client.ask("node.weigh", node=node)), ""
    except NotAllowed:
        raise
    except NoNode:
        return None, NOT_UP
    except MeshError as error:
        return None, f"the node of this home does not tell: {error.text}"


def consequences(
    name: str, weight: dict[str, Any] | None, *, is_me: bool, why: str = NOT_UP
) -> list[str]:
    """What becomes of calls, in sentences; with no weight, why that is not known."""
    if weight is None:
        return [f"{why}, so it is not known what calls this concerns"]
    lines = []
    waiting = weight.get("waiting", 0)  # A node of an older version does not say.
    if is_me:
        lines.append("this is the node of this home: it will drain and be no member any more")
    if weight["shared"]:
        lines.append(
            f"{weight['shared']} open calls known here have {name} among their voters:"
            f" {weight['shared'] - weight['orphaned'] - waiting} go on with a majority of the"
            " others"
        )
    if waiting:
        lines.append(
            f"{waiting} of them wait until another of their voters, which is away, is back: evict"
            " that one, too, and they become ORPHAN"
        )
    if weight["orphaned"]:
        lines.append(
            f"{weight['orphaned']} of them lose their majority and become ORPHAN: they are kept and"
            " do not run until `mesh recover --force` issues them again"
        )
    if weight["copies"]:
        lines.append(
            f"{weight['copies']} calls of {name} are kept here as copies; `mesh recover --force`"
            " lets them run here"
        )
    if weight["alone"] is None and weight.get("said_goodbye"):
        lines.append(
            f"{name} said good-bye before it went: it runs nothing, and whatever calls only it has"
            " lie whole in its log; `mesh salvage --data DIR` exports them from its disk; if it is"
            " only stopped, it comes back by `mesh up`, and needs no eviction"
        )
    elif weight["alone"] is None:
        lines.append(
            f"{name} does not answer: whether it keeps calls that nobody else has cannot be known;"
            " if its disk can be read, `mesh salvage --data DIR` exports them"
        )
    elif weight["alone"]:
        lines.append(
            f"{weight['alone']} of the {weight['open']} open calls of {name} are kept nowhere else:"
            " after the eviction run `mesh salvage -o FILE` there and `mesh salvage --submit FILE`"
            " here"
        )
    return lines


def _pointing(name: str) -> list[str]:
    """What is declared for the node and gets nothing once it is gone, in sentences."""
    try:
        with session(timeout=2.0) as client:
            deployments, nodes = declared(client, "deployment"), declared(client, "node")
    except MeshError:  # No node is up, as was said, or it may not be seen.
        return []
    here = [row["name"] for row in deployments if row["host"] == name]
    lines = [
        f"deployment {one} names {name}, so it has no worker afterwards: `mesh update deployment"
        f" {one} -h HOST` or `mesh delete deployment {one}`"
        for one in here[:_NAMED_MAX]
    ]
    if len(here) > _NAMED_MAX:
        lines.append(f"{len(here) - _NAMED_MAX} more deployments name {name}")
    if any(row["name"] == name and row["scheduler"] for row in nodes):
        lines.append(f"its scheduler goes on giving CPUs to {name}: `mesh delete node {name}`")
    return lines


def _wait_until_known(node: bytes, *, is_me: bool) -> bool:
    """Wait until the running node has read it; False when it has not in time.

    A node that finds itself evicted drains and ends, perhaps before it can answer.
    """
    end = time.monotonic() + _NOTICE_S
    pause = threading.Event()
    try:
        with session(timeout=1.0) as client:
            while time.monotonic() < end:
                rows = client.ask("nodes", timeout=1.0)["nodes"]
                if any(r["node"] == node.hex() and r["state"] == "evicted" for r in rows):
                    return True
                pause.wait(_ASK_S)
    except MeshError:
        return is_me
    return False
