"""How nodes find each other: mDNS on the local networks, and addresses to try again (`Seeds`).

Nothing of this is believed.  mDNS answers can be made by anybody on the network, so what it finds
is an address to try; who is there is settled by the keys of the link.  It only *finds*: a node that
is killed says nothing for up to 75 minutes, so who lives and who died is asked of the membership.
`Seeds` alone is enough where multicast is blocked.  zeroconf may be missing or fail in any way: the
node then has one line in `Discovery.status`, and goes on.  See docs/discovery.md.
"""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from meshcode import limits
from meshcode.digest import blake2b

if TYPE_CHECKING:
    from zeroconf import ServiceInfo, ServiceStateChange, Zeroconf

SERVICE = "_meshcode._tcp.local."
PROTOCOL = 1  # Of what is announced; a node that announces another one is found all the same.
GROUP, GROUP_PORT = "224.0.0.251", 5353  # mDNS, RFC 6762.
WILDCARDS = ("", "*", "0.0.0.0")
# Interfaces that lead to containers, virtual machines or through tunnels: multicast there reaches
# nobody, or strangers, and a host has dozens of them.  Whoever wants one names it.
SKIPPED = (
    "docker*", "br-*", "veth*", "virbr*", "vnet*", "vmnet*", "vboxnet*", "cni*", "cali*",
    "flannel*", "cilium*", "podman*", "lxc*", "lxdbr*", "tun*", "tap*", "utun*", "wg*", "awdl*",
    "llw*",
)  # fmt: skip
_STOP_S = 2.0  # A goodbye takes a quarter of a second; nobody waits longer for mDNS.
_SRV, _TXT, _IN = 33, 16, 1  # RFC 1035 and 2782.


class Interface(NamedTuple):
    """A network interface of this host, as far as discovery cares."""

    name: str
    addresses: tuple[str, ...]  # IPv4.
    up: bool = True
    loopback: bool = False
    point_to_point: bool = False


def local_interfaces() -> list[Interface]:
    """Those of this host now, in the kernel's order.

    Raises:
        OSError: the kernel does not tell.
    """
    import psutil

    states = psutil.net_if_stats()
    found = []
    for name, entries in psutil.net_if_addrs().items():
        state = states.get(name)
        flags = state.flags.split(",") if state is not None else []
        addresses = tuple(entry.address for entry in entries if entry.family == socket.AF_INET)
        found.append(
            Interface(
                name,
                addresses,
                up=state is not None and state.isup,
                loopback="loopback" in flags or any(map(is_loopback, addresses)),
                point_to_point="pointopoint" in flags,
            )
        )
    return found


def choose_interfaces(
    there: Iterable[Interface], wanted: Sequence[str] = (), *, loopback: bool = False
) -> list[Interface]:
    """Those on which to look for nodes.

    Args:
        there: the interfaces of this host.
        wanted: names or IPv4 addresses; when any is given, these and no others.
        loopback: this node can be reached on this host only, so look there only.

    Returns:
        Interfaces that are up and have an IPv4 address, at most DISCOVERY_INTERFACES_MAX.  Without
        `wanted`: the real ones, and loopback when there are none.
    """
    usable = [one for one in there if one.up and one.addresses]
    if wanted:
        chosen = [one for one in usable if {one.name, *one.addresses} & set(wanted)]
    else:
        chosen = [] if loopback else [one for one in usable if _is_real(one)]
        chosen = chosen or [one for one in usable if one.loopback]
    return chosen[: limits.DISCOVERY_INTERFACES_MAX]


def _is_real(one: Interface) -> bool:
    skipped = any(fnmatchcase(one.name, pattern) for pattern in SKIPPED)
    return not (one.loopback or one.point_to_point or skipped)


def is_loopback(address: str) -> bool:
    """Whether an IP address leads to this host only; False for what is no IP address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def announced(
    announce: Iterable[tuple[str, int]], interfaces: Iterable[Interface]
) -> dict[int, list[str]]:
    """What to tell the networks: IP addresses by port.

    A wildcard becomes the addresses of the chosen interfaces.  Left out is what would mislead:
    names of hosts, link-local IPv6 (it needs a scope), and loopback when others listen.
    """
    chosen = list(interfaces)
    local = all(one.loopback for one in chosen)
    own = [address for one in chosen for address in one.addresses]
    found: dict[int, list[str]] = {}
    for host, port in announce:
        for address in own if host in WILDCARDS else [host.strip("[]")]:
            try:
                ip = ipaddress.ip_address(address)
            except ValueError:
                continue
            scoped = ip.version == 6 and ip.is_link_local
            if (local or not ip.is_loopback) and not ip.is_unspecified and not scoped:
                known = found.setdefault(port, [])
                if str(ip) not in known and len(known) < limits.DISCOVERY_ADDRESSES_MAX:
                    known.append(str(ip))
    return found


def address_of(ip: str, port: int) -> str:
    """An address as links take it: `tcp://192.168.1.5:7700`, `tcp://[fd00::2]:7700`."""
    return f"tcp://[{ip}]:{port}" if ":" in ip else f"tcp://{ip}:{port}"


def mesh_tag(mesh: bytes) -> str:
    """What tells meshes apart on a network without naming them: 16 hexadecimal digits."""
    return blake2b(mesh, digest_size=8).hexdigest()


def read_announcement(
    name: str, port: int | None, ips: Iterable[str], text: dict[bytes, bytes | None], tag: str
) -> tuple[bytes, list[str]] | None:
    """The node and its addresses in an announcement; None when it is not one of our mesh.

    Args:
        name: the whole instance name; its first label is the node id, perhaps with `-PORT`.
        port: of the SRV record.
        ips: of the A and AAAA records.
        text: the TXT record: `m` tag of the mesh, `n` node id, `p` port, `v` PROTOCOL.
        tag: `mesh_tag` of our mesh.
    """
    if port is None or text.get(b"m") != tag.encode() or text.get(b"p") != b"%d" % port:
        return None
    digits = (text.get(b"n") or b"").decode("ascii", "replace")
    label = name.partition(".")[0].lower()
    if len(digits) != 32 or label.partition("-")[0] != digits or not _is_hex(digits):
        return None
    kept = [ip for ip in ips if "%" not in ip][: limits.DISCOVERY_ADDRESSES_MAX]
    return (bytes.fromhex(digits), [address_of(ip, port) for ip in kept]) if kept else None


def _is_hex(digits: str) -> bool:
    return not digits.strip("0123456789abcdef")


class Discovery:
    """One node's mDNS: it announces itself and finds others, in threads of its own.

    `start`, `found`, `status` and `stop` are for the node's thread; none of them waits for the
    network, except `stop`, at most two seconds.  After a change of the interfaces, and as long as
    something is wrong, everything is begun again every DISCOVERY_WATCH_S seconds.
    """

    def __init__(
        self,
        node: bytes,
        mesh: bytes,
        wake: Callable[[], None],
        interfaces: Sequence[str] = (),
        *,
        watch_s: float = limits.DISCOVERY_WATCH_S,
    ) -> None:
        """Nothing is opened and zeroconf is not loaded until `start`.

        Args:
            node: the id of this node, 16 bytes.
            mesh: the id of its mesh; only a hash of it is announced.
            wake: called from another thread when `found` has something; must be thread-safe.
            interfaces: names or IPv4 addresses; empty for `choose_interfaces` to decide.
            watch_s: seconds between two looks at the interfaces.
        """
        assert len(node) == 16, node
        self.node = node
        self.tag = mesh_tag(mesh)
        self._wake = wake
        self._wanted = tuple(interfaces)
        self._watch_s = watch_s
        self._announce: list[tuple[str, int]] = []
        self._lock = threading.Lock()
        # Both are bounded, and the oldest go first, so that a flood cannot keep a new node out.
        self._known: OrderedDict[tuple[bytes, str], tuple[str, ...]] = OrderedDict()
        self._new: OrderedDict[bytes, list[str]] = OrderedDict()
        self._status = "off: not started"
        self._listening = False
        self._trouble = ""  # What the browser's thread met; told behind the status.
        self._own: set[str] = set()  # What this node announces.
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, announce: Iterable[tuple[str, int]]) -> None:
        """Begin, and return at once.

        Args:
            announce: pairs of IP address (or wildcard) and port at which peers reach this node.
        """
        assert self._thread is None, "started twice"
        self._announce = list(announce)
        self._status = "starting"
        self._thread = threading.Thread(target=self._run, name="mdns", daemon=True)
        self._thread.start()

    def found(self) -> list[tuple[bytes, list[str]]]:
        """Nodes of this mesh announced, or with other addresses, since the last time.

        Each with all its addresses (`tcp://IP:PORT`).  Not this node, and nothing about nodes that
        went away.
        """
        with self._lock:
            found = list(self._new.items())
            self._new.clear()
        return found

    def status(self) -> str:
        """One line for people: where it looks and how many nodes it saw, or why it does not."""
        with self._lock:
            count = len({node for node, _ in self._known})
            seen = f"; other nodes seen: {count}" if self._listening else ""
            return f"{self._status}{seen}{self._trouble}"

    def stop(self) -> None:
        """Say goodbye and end; `found` still gives what was found before."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)
        self._set("off: stopped")

    # From here on: the thread `mdns`.

    def _set(self, status: str, *, listening: bool = False) -> None:
        with self._lock:
            self._status, self._listening = status, listening

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._session():
                    continue
            except ImportError:
                self._set("off: zeroconf is not installed; nodes are found by seeds alone")
                return  # It will not come by itself.
            except Exception as error:  # Whatever zeroconf or the kernel has; the node goes on.
                self._set(f"off: {_in_one_line(error)}; nodes are found by seeds alone")
            self._stopping.wait(self._watch_s)

    def _session(self) -> bool:
        """Announce and listen on the interfaces of now, until they change or `stop` is called.

        Returns:
            False when there is no interface to listen on.
        """
        from zeroconf import IPVersion, Zeroconf

        chosen = self._choose()
        if not chosen:
            what = f"none of {', '.join(self._wanted)} is" if self._wanted else "no interface is"
            self._set(f"off: {what} up with an IPv4 address; nodes are found by seeds alone")
            return False
        # One address per interface: a second one would double every packet.
        places = [one.addresses[0] for one in chosen]
        zeroconf = Zeroconf(interfaces=places, ip_version=IPVersion.V4Only)
        try:
            whole = self._begin(zeroconf, chosen)
            while not self._stopping.wait(self._watch_s) and whole and self._choose() == chosen:
                pass
        finally:
            zeroconf.close()
        return True

    def _choose(self) -> list[Interface]:
        hosts = [host for host, _ in self._announce]
        local = bool(hosts) and all(map(is_loopback, hosts))
        return choose_interfaces(local_interfaces(), self._wanted, loopback=local)

    def _begin(self, zeroconf: Zeroconf, chosen: list[Interface]) -> bool:
        """Listen, then announce; False when the latter did not succeed."""
        from zeroconf import NonUniqueNameException, ServiceBrowser

        where = "on " + ", ".join(one.name for one in chosen)
        self._set(f"{where}: not announced yet", listening=True)
        self._trouble = ""
        own = announced(self._announce, chosen)
        self._own = {address_of(ip, port) for port, ips in own.items() for ip in ips}
        ServiceBrowser(zeroconf, SERVICE, handlers=[self._heard])
        if not own:
            why = "not announced: no address that others could reach"
            self._set(f"{where}: {why}", listening=True)
            return True
        try:
            for info in self._infos(own):
                if self._stopping.is_set():
                    return False
                zeroconf.register_service(info, allow_name_change=False)
        except NonUniqueNameException:
            why = (
                f"not announced: another node announces this node's id {self.node.hex()}: two homes"
                " hold one identity; stop the copy, and let it join with a home of its own"
            )
            self._set(f"{where}: {why}", listening=True)
            return False
        self._set(f"{where}: announced {' '.join(sorted(self._own))}", listening=True)
        return True

    def _infos(self, own: dict[int, list[str]]) -> list[ServiceInfo]:
        """One announcement per port; the name of the first is the node id alone."""
        from zeroconf import ServiceInfo

        found: list[ServiceInfo] = []
        for port, ips in own.items():
            label = f"{self.node.hex()}-{port}" if found else self.node.hex()
            text = {"m": self.tag, "n": self.node.hex(), "p": str(port), "v": str(PROTOCOL)}
            info = ServiceInfo(
                SERVICE, f"{label}.{SERVICE}", port=port, properties=text, parsed_addresses=ips,
                server=f"{label}.local.",  # Never the name of the host.
            )  # fmt: skip
            found.append(info)
        return found

    # From here on: the thread of zeroconf's browser.

    def _heard(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        """An instance was announced, changed or removed; the last one says nothing reliable."""
        try:
            self._take(zeroconf, service_type, name, returned=state_change.name == "Added")
        except Exception as error:  # A hostile packet must not end the thread.
            self._trouble = f"; an announcement could not be read: {_in_one_line(error)}"

    def _take(self, zeroconf: Zeroconf, service_type: str, name: str, *, returned: bool) -> None:
        from zeroconf import IPVersion, ServiceInfo

        if not _is_hex(name[:32].lower()) or self._stopping.is_set():
            return
        info = ServiceInfo(service_type, name)
        if not info.load_from_cache(zeroconf):  # Usually all comes in one packet.
            if returned:
                _ask(zeroconf, name)  # Not waited for, or made-up names would block real ones.
            return
        ips = info.parsed_scoped_addresses(IPVersion.All)
        found = read_announcement(name, info.port, ips, info.properties, self.tag)
        if found is None:
            return
        node, addresses = found
        if node == self.node:
            self._take_own(addresses)
        elif self._note(node, name.partition(".")[0].lower(), addresses, returned=returned):
            self._wake()

    def _take_own(self, addresses: list[str]) -> None:
        """Two that begin at the same moment do not see each other's claim to the name."""
        others = sorted(set(addresses) - self._own)
        if others:
            self._trouble = (
                f"; this node's id {self.node.hex()} is also announced at {' '.join(others)}: two"
                " homes hold one identity, or this host has just changed its address"
            )

    def _note(self, node: bytes, label: str, addresses: list[str], *, returned: bool) -> bool:
        """Keep what was found; whether it is news."""
        with self._lock:
            before = self._known.get((node, label))
            self._known[node, label] = tuple(addresses)
            self._known.move_to_end((node, label))
            if len(self._known) > limits.DISCOVERY_NODES_MAX:
                self._known.popitem(last=False)
            if before == tuple(addresses) and not returned:
                return False
            every = [one for (who, _), some in self._known.items() if who == node for one in some]
            self._new[node] = list(dict.fromkeys(every))[: limits.DISCOVERY_ADDRESSES_MAX]
            self._new.move_to_end(node)
            if len(self._new) > limits.DISCOVERY_NODES_MAX:
                self._new.popitem(last=False)
        return True


def _ask(zeroconf: Zeroconf, name: str) -> None:
    """Ask for the details of an instance; they come as an update of it."""
    from zeroconf import DNSOutgoing, DNSQuestion  # type: ignore[attr-defined]

    question = DNSOutgoing(0)
    for kind in (_SRV, _TXT):
        question.add_question(DNSQuestion(name, kind, _IN))
    zeroconf.send(question)


def _in_one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:120]}" if text else type(error).__name__


# Does multicast work here?


def multicast_check(
    interfaces: Iterable[Interface], wait_s: float = limits.MULTICAST_CHECK_S
) -> dict[str, str]:
    """Send a harmless mDNS question on each interface, and hear it.

    It shows that this host lets multicast out and in.  Whether the network carries it on to other
    hosts, only another host can tell.

    Args:
        interfaces: that have an address; one that went down meanwhile is blocked.
        wait_s: for all of them together.

    Returns:
        Name of the interface -> "ok", or "blocked: why".
    """
    links: dict[str, tuple[socket.socket, bytes]] = {}
    found: dict[str, str] = {}
    try:
        for one in interfaces:
            nonce = os.urandom(8).hex().encode()
            try:
                links[one.name] = (_group_link(one.addresses[0]), nonce)
            except OSError as error:
                found[one.name] = f"blocked: {error.strerror or error}"
        _hear_own(links, found, wait_s)
    finally:
        for link, _ in links.values():
            link.close()
    return found


def _group_link(address: str) -> socket.socket:
    """A UDP socket that sends to and hears the mDNS group on the interface of that address.

    Raises:
        OSError: the port is not shared, the address is gone, the group cannot be joined.
    """
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        place = socket.inet_aton(address)
        link.setblocking(False)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        link.bind(("", GROUP_PORT))
        link.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, place)
        link.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        link.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        group = socket.inet_aton(GROUP) + place
        link.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    except OSError:
        link.close()
        raise
    return link


def _question(nonce: bytes) -> bytes:
    """A question about a name that nobody has, as any mDNS program may ask: RFC 6762, 18."""
    name = b"".join(bytes([len(p)]) + p for p in (nonce, b"meshcode-check", b"local")) + b"\0"
    return struct.pack(">6H", 0, 0, 1, 0, 0, 0) + name + struct.pack(">2H", 16, 1)


def _hear_own(
    links: dict[str, tuple[socket.socket, bytes]], found: dict[str, str], wait_s: float
) -> None:
    """Ask on each link, three times because packets get lost, until each heard its question."""
    begun = time.monotonic()
    waiting = dict(links)
    for asked in range(1, 4):
        for name, (link, nonce) in list(waiting.items()):
            try:
                link.sendto(_question(nonce), (GROUP, GROUP_PORT))
            except OSError as error:
                found[name] = f"blocked: {error.strerror or error}"
                del waiting[name]
        until = begun + wait_s * asked / 3
        while waiting and (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select([link for link, _ in waiting.values()], [], [], left)
            for name, (link, nonce) in list(waiting.items()):
                if link in ready and nonce in link.recv(9000):
                    found[name] = "ok"
                    del waiting[name]
    for name in waiting:
        found[name] = f"blocked: sent, but not heard within {wait_s:g} s: a firewall drops UDP 5353"


# Addresses to try.


@dataclass(slots=True)
class _Seed:
    fixed: bool
    due_ms: int | None  # None: connected, nothing to try.
    tries: int = 0  # In a row without success.


class Seeds:
    """Which address to try next, and when: those of the identity, and learned ones.  Pure.

    An address that does not answer is tried after SEED_RETRY_MS_MIN, then after twice as long, up
    to SEED_RETRY_MS_MAX, each time less up to a half at random, so that the nodes of a site that
    lost its power do not all knock at the same moment.
    """

    def __init__(self, fixed: Iterable[str], rng: Random) -> None:
        """All of `fixed` are due at once, and never forgotten; `rng` is for the spread."""
        self._rng = rng
        self._seeds: dict[str, _Seed] = {one: _Seed(True, 0) for one in fixed}

    def __contains__(self, address: str) -> bool:
        return address in self._seeds

    def __len__(self) -> int:
        return len(self._seeds)

    def learn(self, addresses: Iterable[str], now_ms: int) -> None:
        """Take in addresses that others told of; one that is known keeps its time.

        Above SEEDS_LEARNED_MAX the learned one that failed most often makes room, the oldest of
        several.
        """
        for address in addresses:
            if address in self._seeds:
                continue
            self._seeds[address] = _Seed(False, now_ms)
            learned = [one for one, seed in self._seeds.items() if not seed.fixed]
            if len(learned) > limits.SEEDS_LEARNED_MAX:
                idle = [one for one in learned if self._seeds[one].due_ms is not None]
                del self._seeds[max(idle or learned, key=lambda one: self._seeds[one].tries)]

    def next(self, now_ms: int) -> str | None:
        """An address that is due, longest first; it counts as tried.  None when none is."""
        due = [
            (seed.due_ms, address)
            for address, seed in self._seeds.items()
            if seed.due_ms is not None and seed.due_ms <= now_ms
        ]
        if not due:
            return None
        _, address = min(due, key=lambda pair: pair[0])  # The first told of several.
        self._again(self._seeds[address], now_ms)
        return address

    def next_due_ms(self) -> int | None:
        """When `next` gives something again; None when all are connected."""
        return min((s.due_ms for s in self._seeds.values() if s.due_ms is not None), default=None)

    def connected(self, address: str) -> None:
        """It answered: it is not tried until `lost`.  Unknown addresses are ignored."""
        seed = self._seeds.get(address)
        if seed is not None:
            seed.due_ms, seed.tries = None, 0

    def lost(self, address: str, now_ms: int) -> None:
        """A connected address stopped answering: it is tried again after SEED_RETRY_MS_MIN."""
        seed = self._seeds.get(address)
        if seed is not None and seed.due_ms is None:
            self._again(seed, now_ms)

    def forget(self, address: str) -> None:
        """Drop a learned address, for instance of an evicted node; a fixed one stays."""
        seed = self._seeds.get(address)
        if seed is not None and not seed.fixed:
            del self._seeds[address]

    def _again(self, seed: _Seed, now_ms: int) -> None:
        longest = limits.SEED_RETRY_MS_MAX
        whole = min(longest, limits.SEED_RETRY_MS_MIN << min(seed.tries, longest.bit_length()))
        seed.due_ms = now_ms + whole - self._rng.randrange(whole // 2 + 1)
        seed.tries += 1
