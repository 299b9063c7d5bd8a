"""`mesh init`, `mesh invite`, `mesh join`: a mesh is made, and other hosts come into it."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import re
import socket as hostnames
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from meshcode import paths
from meshcode.cli import output, plain, standard
from meshcode.cli.options import DURATION, command, styled
from meshcode.cli.output import Style
from meshcode.errors import CallerError, NameTaken, NodeError, NotAllowed, NotApproved
from meshcode.limits import (
    INVITE_LINE_BYTES_MAX,
    INVITE_TTL_MS_MAX,
    JOIN_WAIT_MS,
    NODE_NAME_BYTES_MAX,
)

if TYPE_CHECKING:
    from meshcode.trust.founding import Place
    from meshcode.trust.identity import Identity
    from meshcode.trust.invites import Invitation, Invites

CLASSES = ("core", "edge", "witness")
PEER_PORT = 7420  # The join link has the next one.
_LOOK_S = 0.3  # How often an approver looks for who wants to join.
_ALL = ("tcp://0.0.0.0", "tcp://[::]")  # Hosts of a bind on all interfaces.
_NOT_OURS = re.compile(r"(docker|br-|veth|virbr|cni|flannel|cali)")  # Networks of this host alone.


def _bind(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_address(value) for value in values)


def _address(text: str) -> str:
    """`tcp://IP:PORT` as libzmq takes it; refuses names, which may mean another host."""
    host, colon, port = text.removeprefix("tcp://").rpartition(":")
    host = "0.0.0.0" if host == "*" else host
    try:
        if not colon or not 1 <= int(port) <= 65_534:
            raise ValueError
        found = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not tcp://IP:PORT with a port of 1 to 65534; the join link takes the"
            " port after it"
        ) from None
    return f"tcp://[{found}]:{port}" if found.version == 6 else f"tcp://{found}:{port}"


def _reach(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> Any:
    return _reachable(values)


def _reachable(values: tuple[str, ...]) -> tuple[str, ...]:
    from meshcode.trust.line import parse_host

    for value in values:
        try:
            parse_host(value.removeprefix("tcp://"))
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return tuple("tcp://" + value.removeprefix("tcp://") for value in values)


def _name(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    from meshcode.trust.statements import is_name

    if value is not None and not is_name(value):
        raise click.BadParameter(
            f"{value!r} is not a name: letters, digits, '.', '_' and '-', at most"
            f" {NODE_NAME_BYTES_MAX}, a letter or digit first"
        )
    return value


def _placed(function: Any) -> Any:
    """The options that say what a node is called and where it is."""
    for option in (
        click.option("--domain", default="", callback=_domain, help="What fails together: a rack."),
        click.option(
            "--advertise", multiple=True, metavar="HOST:PORT", callback=_reach,
            help="Where others reach it, behind NAT for instance.  [default: the bound addresses]",
        ),
        click.option(
            "--bind", multiple=True, metavar="tcp://IP:PORT", callback=_bind,
            help=f"Listen there for peers; joiners use the next port.  [default: all, {PEER_PORT}]",
        ),
        click.option("--name", callback=_name, help="Name of this node.  [default: the host's]"),
    ):  # fmt: skip
        function = option(function)
    return function


def _domain(ctx: click.Context, param: click.Parameter, value: str) -> str:
    return (_name(ctx, param, value) or "") if value else ""


def host_name() -> str:
    """The name of this host, as far as a node may be called so."""
    short = re.sub(r"[^A-Za-z0-9._-]", "-", hostnames.gethostname().partition(".")[0])
    return short.lstrip("._-")[:NODE_NAME_BYTES_MAX] or "node"


def place_of(bind: tuple[str, ...], advertise: tuple[str, ...]) -> Place:
    """Where the node listens, its join link one port higher, and how others reach it."""
    from meshcode.trust.founding import Place

    bind = bind or (f"tcp://0.0.0.0:{PEER_PORT}",)
    join, reached = [], list(advertise)
    worked_out = not advertise and any(one.rpartition(":")[0] in _ALL for one in bind)
    for address in bind:
        host, _, port = address.rpartition(":")
        join.append(f"{host}:{int(port) + 1}")
        if not advertise:
            hosts = own_addresses() if host in _ALL else [host[6:]]
            reached += [f"tcp://{found}:{port}" for found in hosts]
    return Place(bind, tuple(dict.fromkeys(reached)), tuple(join), worked_out)


def own_addresses() -> list[str]:
    """The IPv4 addresses of this host that others may reach, the one of the default route first."""
    import psutil

    found: list[str] = []
    with contextlib.suppress(OSError), hostnames.socket(
        hostnames.AF_INET, hostnames.SOCK_DGRAM
    ) as probe:
        probe.connect(("192.0.2.1", 9))  # Sends nothing; the kernel chooses the way out.
        found.append(probe.getsockname()[0])
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    for name, addresses in sorted(psutil.net_if_addrs().items()):
        if name in up and not _NOT_OURS.match(name):
            found += [a.address for a in addresses if a.family == hostnames.AF_INET]
    outside = [text for text in dict.fromkeys(found) if not text.startswith(("127.", "169.254."))]
    return outside[:4] or ["127.0.0.1"]


def move(bind: tuple[str, ...], advertise: tuple[str, ...]) -> None:
    """Give the node of this home, which is down, other addresses; it keeps them.

    Args:
        bind: where it listens; as before when empty.
        advertise: how others reach it; the bound addresses when empty.

    Raises:
        NoMesh: it belongs to none, so nobody reaches it.
        click.BadParameter: an address is none; nothing was changed.
    """
    from dataclasses import replace

    from meshcode.cli.nodes import my_identity
    from meshcode.trust import folder, identity

    mine = my_identity()
    place = place_of(tuple(map(_address, bind)) or mine.bind, _reachable(advertise))
    moved = replace(mine, bind=place.bind, advertise=place.advertise, join=place.join)
    with _disk():
        identity.write_self(folder.folder_of(), moved)


def renew() -> None:
    """Let the node of this home, which is down, be reached where its host is now.

    Only where nobody said how it is reached: then `init`, `join` or `up` worked it out from the
    addresses that the host had, and a host may get others.  Without a network nothing changes.
    """
    from dataclasses import replace

    from meshcode.trust import folder, identity

    mine = identity.load()
    if mine is None or not mine.worked_out:
        return
    now = place_of(mine.bind, ()).advertise
    if set(now) == set(mine.advertise) or all("//127.0.0.1:" in address for address in now):
        return
    with _disk():
        identity.write_self(folder.folder_of(), replace(mine, advertise=now))
    output.say(f"this node is reached at {_shown(now)} now; before: {_shown(mine.advertise)}")


def _shown(addresses: tuple[str, ...]) -> str:
    return ", ".join(address.removeprefix("tcp://") for address in addresses)


def _tell_taken(mine: Identity) -> None:
    """Say where something else listens now, of the addresses that the node is to have."""
    taken = [address for address in (*mine.bind, *mine.join) if _is_taken(address)]
    if taken:
        output.say(
            f"in use on this host now: {', '.join(taken)}; the node cannot start or let others in"
            " as long as it is; stop what listens there, or choose another address when you start"
            " it: mesh up --bind tcp://IP:PORT"
        )


def _is_taken(address: str) -> bool:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    family = hostnames.AF_INET6 if host.startswith("[") else hostnames.AF_INET
    with contextlib.closing(hostnames.socket(family)) as probe:
        probe.setsockopt(hostnames.SOL_SOCKET, hostnames.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as error:  # An address that this host does not have yet is another matter.
            return error.errno == errno.EADDRINUSE
        return False


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    """An error of the disk as one of ours."""
    try:
        yield
    except OSError as error:
        where = error.filename or paths.home()
        raise NodeError(
            f"{where}: {error.strerror}; nothing is left half made; mend that and try again"
        ) from None


def _is_up(home: str) -> bool:
    from meshcode.cli import process

    return process.ask_status(home, timeout=1.0) is not None


def _facts(mine: Identity) -> dict[str, Any]:
    """What a command tells about this node; no secret is in it."""
    return {
        "name": mine.name, "node": mine.node.hex(), "class": mine.kind, "domain": mine.domain,
        "mesh": mine.mesh.hex(), "bind": list(mine.bind), "advertise": list(mine.advertise),
        "join": list(mine.join), "seeds": list(mine.seeds), "folder": paths.mesh_dir(),
    }  # fmt: skip


def _show(mine: Identity, more: list[tuple[str, str]], style: Style, **extra: Any) -> None:
    pairs = [
        ("node", mine.name), ("class", mine.kind), ("id", mine.node.hex()[:8]),
        ("mesh", mine.mesh.hex()[:8]), ("listens", ", ".join(mine.bind)),
        ("reached", ", ".join(mine.advertise)), ("folder", paths.mesh_dir()),
    ]  # fmt: skip
    output.show_facts("node", {**_facts(mine), **extra}, [*pairs, *more], style)


@command()
@click.option("--class", "kind", type=click.Choice(CLASSES), default="core", show_default=True,
              help="What the node does for the mesh.")  # fmt: skip
@_placed
@styled
def init(
    kind: str, name: str | None, bind: tuple[str, ...], advertise: tuple[str, ...], domain: str,
    style: Style,
) -> None:  # fmt: skip
    """Make a mesh, with this node as its first member.

    Its root key is written to mesh/root.key: move that file off-line.

    Examples:
      mesh init
      mesh init --name alpha --bind tcp://10.0.0.5:7420 --domain rack1
      mesh init --advertise mesh.example.org:7420     behind NAT
    """
    from meshcode.cli import leave
    from meshcode.ids import unix_ms
    from meshcode.trust import folder
    from meshcode.trust.founding import found_mesh

    leave.ask(paths.home(), "node.may", audited=False)
    folder.refuse_mesh()
    place = place_of(bind, advertise)
    with _disk():
        mine = found_mesh(
            None, name=name or host_name(), kind=kind, domain=domain, place=place,
            now_unix_ms=unix_ms(),
        )  # fmt: skip
    leave.tell("init", f"node {mine.name}")
    root_key = os.path.join(paths.mesh_dir(), folder.ROOT_KEY)
    _show(mine, [("root key", root_key), ("next", _next_step("mesh invite"))], style,
          root_key=root_key)  # fmt: skip
    _tell_taken(mine)
    output.say(
        f"move {root_key} off-line, with a second copy: it is needed to make another node admit"
        " or to evict one that does, and whoever has it owns the mesh"
    )


def _next_step(then: str) -> str:
    return f"mesh down, mesh up, then {then}" if _is_up(paths.home()) else f"mesh up, then {then}"


def _ttl(_ctx: click.Context, _param: click.Parameter, value: int) -> int:
    if not 1_000 <= value <= INVITE_TTL_MS_MAX:
        raise click.BadParameter(
            f"{plain.length_of_time(value)} is not between 1s and"
            f" {plain.length_of_time(INVITE_TTL_MS_MAX)}"
        )
    return value


@command()
@click.option("--class", "kind", type=click.Choice(CLASSES), default="core", show_default=True,
              help="What the new node will do.")  # fmt: skip
@click.option("--name", callback=_name, help="The only name it is good for.  [default: any]")
@click.option("--ttl", type=DURATION, default="15m", show_default=True, callback=_ttl,
              help="How long it is good.")  # fmt: skip
@click.option("--approve", is_flag=True, help="Stay here, and ask before the node is let in.")
@styled
def invite(kind: str, name: str | None, ttl: int, approve: bool, style: Style) -> None:
    """Print the line by which one other node can join.

    The line holds a secret: send it over a channel you trust. It is good once.

    Examples:
      mesh invite
      mesh invite --class edge --name sensor7 --ttl 1h
      mesh invite --approve                           compare a code before it is let in
    """
    from meshcode.cli import leave
    from meshcode.cli.nodes import my_identity, refuse_evicted
    from meshcode.ids import unix_ms
    from meshcode.trust import identity as identities
    from meshcode.trust.door import join_hosts
    from meshcode.trust.invites import Invites
    from meshcode.trust.line import Line, text_of

    leave.ask(paths.home(), "node.may", audited=False)
    mine = my_identity()
    refuse_evicted()
    if identities.load_admit_key() is None:
        raise NotAllowed(
            f"node {mine.name} has no admitting key, so it cannot invite; nothing was written; run"
            " `mesh invite` on a node that has mesh/admit.key, such as the one of `mesh init`"
        )
    _refuse_taken(mine, name)
    invites = Invites()
    with _disk():
        found, secret = invites.make(
            kind=kind, name=name or "", ttl_ms=ttl, approve=approve, now_unix_ms=unix_ms()
        )
    good_for = f" for {name}" if name else ""
    leave.tell("invite", f"invitation {found.id.hex()[:12]}{good_for}, class {kind}")
    line = text_of(Line(found.id, secret, join_hosts(mine)[:8], mine.public))
    _show_invitation(found, line, style)
    if not _is_up(paths.home()):
        output.say("the node of this home is not up: nobody can join before `mesh up`")
    if approve:
        _approve(invites, found)


def _refuse_taken(mine: Identity, name: str | None) -> None:
    """Refuse a line that is good for one name only, and that name is a member's."""
    from meshcode.cli.nodes import newest_roster
    from meshcode.trust.rosterfile import RosterFile

    if name is None:
        return
    taken = newest_roster(RosterFile(None, mine.root_key)).by_name(name)
    if taken is not None:
        raise NameTaken(
            f"a member called {name} is in the mesh already ({taken.node.hex()[:8]}); no invitation"
            " was made; give another --name, or evict that one first",
            name=name,
        )


def _show_invitation(found: Invitation, line: str, style: Style) -> None:
    if style.is_text:
        output.write(line)
        sys.stdout.flush()
        output.say(
            f"good once, for {plain.length_of_time(found.expires_unix_ms - found.made_unix_ms)},"
            f" class {found.kind}; on the other host: mesh join 'LINE'"
        )
        return
    item = {
        "name": found.id.hex(), "line": line, "class": found.kind, "for": found.name,
        "approve": found.approve, "expires_unix_ms": found.expires_unix_ms,
    }  # fmt: skip
    output.show_facts("invitation", item, [], style)
    sys.stdout.flush()


def _approve(invites: Invites, found: Invitation) -> None:
    """Wait for somebody who shows the secret, and ask the person here."""
    from meshcode.ids import unix_ms

    output.say("waiting for the other host; Ctrl-C takes nothing back, but nobody is let in then")
    pause = threading.Event()
    while not found.is_over(unix_ms()):
        asks = invites.pending(found.id)
        if asks is None or invites.decision(found.id, asks.key) is not None:
            pause.wait(_LOOK_S)
            continue
        output.say(f"{asks.name} at {asks.address} wants to join; it must show {asks.code}")
        good = click.confirm(f"Does its terminal show {asks.code}?", default=False, err=True)
        with _disk():
            invites.decide(found.id, asks.key, approved=good)
        if good:
            output.say(f"{asks.name} is let in")
            return
        raise NotApproved(f"{asks.name} was refused; nobody was admitted; make a new invitation")
    raise NotApproved("nobody came in time; the invitation is over")


@command()
@click.argument("line")
@_placed
@click.option("--wait", type=DURATION, default=f"{JOIN_WAIT_MS}ms", help="Longest wait per step.")
@styled
def join(
    line: str, name: str | None, bind: tuple[str, ...], advertise: tuple[str, ...], domain: str,
    wait: int, style: Style,
) -> None:  # fmt: skip
    """Join the mesh of an invitation. LINE is what `mesh invite` printed; - reads it from stdin.

    Keys are made here and never leave; both sides prove themselves. After a failure nothing is
    left behind.

    Examples:
      mesh join 'mesh1:ID.SECRET@HOST:PORT#FINGERPRINT'
      mesh join --name beta --bind tcp://10.0.0.6:7420 - < invitation
    """
    from meshcode.cli import leave
    from meshcode.trust import folder
    from meshcode.trust.joining import Wish, join_mesh
    from meshcode.trust.line import parse
    from meshcode.trust.rosterfile import RosterFile

    leave.ask(paths.home(), "node.may", audited=False)
    folder.refuse_mesh()
    text = line
    if line == "-":
        text = standard.read_stdin(INVITE_LINE_BYTES_MAX + 1, line=True).decode(errors="replace")
    if line == "-" and not text.strip():
        raise CallerError("there is no invitation on stdin; nothing was written")
    invitation = parse(text)
    wish = Wish(
        name or host_name(), domain, place_of(bind, advertise), is_named=bool(name),
        wait_ms=max(wait, 1),
    )  # fmt: skip
    with _disk():
        mine = join_mesh(None, invitation, wish, output.say)
        members = sorted(
            member.name for member in RosterFile(None, mine.root_key).load().members.values()
        )
    leave.tell("join", f"node {mine.name}, by invitation {invitation.id.hex()[:12]}")
    more = [("members", ", ".join(members)), ("next", _next_step("mesh ls nodes"))]
    _show(mine, more, style, members=members)
    _tell_taken(mine)
