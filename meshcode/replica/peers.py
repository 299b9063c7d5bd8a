"""The other nodes as agreement sees them: who is there, in which life, and who may vote."""

from __future__ import annotations

from typing import Final
from zlib import crc32

from meshcode import limits
from meshcode.replica.instance import NOBODY, Epoch

# States of a peer, as membership tells them.
KNOWN: Final = "known"  # In the roster; never heard of.
ALIVE: Final = "alive"
SUSPECT: Final = "suspect"  # Did not answer; not believed dead yet.
DEAD: Final = "dead"  # Shown to people as AWAY: it may come back after days.
LEAVING: Final = "leaving"  # Announced that it will be back in a moment.
LEFT: Final = "left"  # Went in good order.
EVICTED: Final = "evicted"  # For ever.

CORE: Final = "core"
EDGE: Final = "edge"
WITNESS: Final = "witness"


class Peer:
    """One other node."""

    __slots__ = (
        "boot", "boot_ms", "domain", "here_ms", "kind", "name", "node", "since_ms", "state",
    )  # fmt: skip

    def __init__(self, node: bytes, kind: str, domain: str, name: str) -> None:
        """A node of the roster that was not heard of yet."""
        self.node = node
        self.kind = kind
        self.domain = domain
        self.name = name
        self.state = KNOWN
        self.since_ms = 0  # When the state began.
        self.here_ms = 0  # Since when it can be expected to answer, if it can.
        self.boot = 0  # The newest life heard of; 0 = none.
        self.boot_ms = 0  # When that life was first heard of.

    @property
    def here(self) -> bool:
        """Whether it can be expected to answer."""
        return self.state in (ALIVE, SUSPECT)


class Peers:
    """All nodes of the mesh but this one."""

    def __init__(self, me: bytes, boot: int, kind: str = CORE) -> None:
        """Alone until `change` tells of others."""
        self.me = me
        self.boot = boot
        self.kind = kind
        self.by_node: dict[bytes, Peer] = {}
        self.evicted: set[bytes] = set()
        self.all_keep = kind != WITNESS  # No node is evicted, and none is a witness.
        self._others: list[tuple[bytes, ...]] | None = None
        self._only: tuple[bytes, ...] | None = None  # The voters, where there is no choice.

    def change(
        self, node: bytes, state: str, boot: int, kind: str, domain: str, name: str, now_ms: int
    ) -> Peer:
        """Take over what membership says of a node; eviction is never taken back."""
        peer = self.by_node.get(node)
        if peer is None:
            peer = self.by_node[node] = Peer(node, kind, domain, name)
            peer.since_ms = now_ms
        peer.kind, peer.domain, peer.name = kind, domain, name
        if state == EVICTED:
            self.evicted.add(node)
        if node in self.evicted:
            state = EVICTED
        if state != peer.state:
            was_here = peer.here
            peer.state = state
            peer.since_ms = now_ms
            if not was_here:
                peer.here_ms = now_ms
        if boot > peer.boot:
            peer.boot = boot
            peer.boot_ms = now_ms
        self.all_keep = self.kind != WITNESS and not self.evicted and all(
            other.kind != WITNESS for other in self.by_node.values()
        )  # fmt: skip
        self._others = self._only = None
        return peer

    def here(self) -> list[bytes]:
        """The peers that can be expected to answer."""
        return [peer.node for peer in self.by_node.values() if peer.here]

    def is_here(self, node: bytes) -> bool:
        """Whether a node can be expected to answer; this one always."""
        if node == self.me:
            return True
        peer = self.by_node.get(node)
        return peer is not None and peer.here

    def heard_ms(self, voters: tuple[bytes, ...], majority: int) -> int | None:
        """Since when a majority of the voters can be expected to answer; None = not now."""
        others = [self.by_node.get(node) for node in voters if node != self.me]
        here = sorted(peer.here_ms for peer in others if peer is not None and peer.here)
        wanted = majority - 1
        if len(here) < wanted:
            return None
        return here[wanted - 1] if wanted else 0

    def name_of(self, node: bytes) -> str:
        """What people call a node."""
        peer = self.by_node.get(node)
        if node == self.me:
            return "this node"
        return (peer.name if peer else "") or node.hex()[:12]

    def is_witness(self, node: bytes) -> bool:
        """Whether a voter keeps no calls, only votes."""
        if node == self.me:
            return self.kind == WITNESS
        peer = self.by_node.get(node)
        return peer is not None and peer.kind == WITNESS

    def abandoned_ms(self, owner: Epoch) -> int | None:
        """Since when nobody is responsible for what was promised to `owner`; None = somebody is.

        A node is responsible for every promise made to it in its present life: it knows of them
        all, and of each that was overtaken (P4).  In a later life it knows nothing of them: the
        claim may have been lost in the crash that its voters did not see.
        """
        _, node, boot = owner
        if node == NOBODY:
            return 0
        if node == self.me:
            return 0  # It does nothing for it now, or nobody would ask.
        peer = self.by_node.get(node)
        if peer is None:
            return 0
        if peer.state in (DEAD, LEFT, EVICTED):
            return peer.since_ms
        if peer.boot > boot:
            return peer.boot_ms + limits.CLAIM_QUIET_MS
        return None

    def rank(self, voters: tuple[bytes, ...], owner: bytes, first: bytes = b"") -> int:
        """How many voters stand before this one in line to take over from `owner`.

        Args:
            first: who stands before all others, if it is one of them.
        """
        before = 0
        for node in sorted(voters, key=lambda node: node != first) if first else voters:
            if node == self.me:
                return before
            if node != owner and self.is_here(node) and not self.is_witness(node):
                before += 1
        return before

    def choose_voters(self, id: bytes) -> tuple[bytes, ...]:
        """The voters of a new call of this node (P1): itself and two others, or itself alone.

        Args:
            id: the call's, which spreads calls evenly over more than three nodes.
        """
        if self._only is not None:
            return self._only
        pairs = self._others
        if pairs is None:
            pairs = self._others = self._pairs()
        if len(pairs) <= 1:
            self._only = (self.me, *pairs[0]) if pairs else (self.me,)
            return self._only
        best = max(pairs, key=lambda pair: crc32(id, crc32(b"".join(pair))))
        return (self.me, *best)

    def choose_for_child(self, id: bytes, parents: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """The voters of a child: never fewer than its parent has.

        A node that has just been started and heard one peer may end a call of three voters; its
        child must not be lost with this node alone.
        """
        voters = self.choose_voters(id)
        lost = sum(node in self.evicted for node in parents)
        return voters if len(voters) >= len(parents) or lost else parents

    def _pairs(self) -> list[tuple[bytes, ...]]:
        """The pairs of other nodes that may vote with this one."""
        able = [peer for peer in self.by_node.values() if peer.state not in (EVICTED, LEFT)]
        here = [peer for peer in able if peer.here]
        if self.kind == WITNESS or len(able) < 2 or not here:
            return []
        if len(here) == 1:  # One of three may be down, never two; a witness alone has no copy.
            away = [peer for peer in able if not peer.here and peer.boot]
            if here[0].kind == WITNESS or not away:
                return []
            rest = min(away, key=lambda peer: (peer.kind != CORE, peer.node))
            return [(here[0].node, rest.node)]
        groups: dict[int, list[Peer]] = {}
        for peer in here:
            groups.setdefault((CORE, WITNESS, EDGE).index(peer.kind), []).append(peer)
        best = [peer for group in sorted(groups) for peer in groups[group]]
        payload = [peer for peer in best if peer.kind != WITNESS]
        if not payload:
            return []
        cores = groups.get(0, [])
        pool = cores if len(cores) >= 2 else best[: max(2, len(cores) + 1)]
        if not any(peer.kind != WITNESS for peer in pool):
            pool = [payload[0], pool[0]]
        if len(pool) + 1 > limits.COPYSETS_NODES_MIN:
            pool = sorted(pool, key=lambda peer: crc32(self.me + peer.node))
            pool = pool[: 2 * limits.COPYSETS_PER_NODE]
            chosen = list(zip(pool[::2], pool[1::2], strict=False))
        else:
            chosen = [(a, b) for n, a in enumerate(pool) for b in pool[n + 1 :]]
        apart = [(a, b) for a, b in chosen if not a.domain or a.domain != b.domain]
        return sorted((a.node, b.node) for a, b in apart or chosen)
