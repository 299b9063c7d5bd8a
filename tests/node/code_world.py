"""Nodes that exchange code over a pipe in memory: real git, real children, a clock of its own."""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meshcode.node.codeothers import Others
from meshcode.node.codeserve import Held, ref_of
from meshcode.node.codeshare import CodeShare
from meshcode.wire.codec import pack, unpack
from meshcode.worker.repository import Checkout, Repository
from tests.worker.conftest import Repo

CHILD_SECONDS_MAX = 30
ROUNDS_MAX = 20_000
CHUNK = 16 * 1024  # Small, so that a small repository takes many.


def node_id(name: str) -> bytes:
    """The id of the node `name`."""
    return name.encode().ljust(16, b".")


class Member:
    """One node's part in it."""

    def __init__(self, world: World, name: str, cache: Path) -> None:
        self.world = world
        self.id = node_id(name)
        self.cache = cache
        self.held: list[Held] = []
        self.ready: list[tuple[str, str]] = []
        self.told: dict[str, list[str]] = {}
        self.runs: dict[tuple[str, str], str] = {}  # By processor and digest of its code: commits.
        self.answered = 0  # How often a question about these was over.
        self.share = CodeShare(
            self._send,
            self.peers,
            cache,
            others=Others(
                self._send, lambda _processor: self.peers(),
                lambda *what: self.runs.get(what, ""), self._answered,
            ),
            held=lambda: self.held,
            ready=lambda name, commit, _now_ms: self.ready.append((name, commit)),
            tell=lambda name, text: self.told.setdefault(name, []).append(text),
            label=lambda node: node.rstrip(b".").decode(),
        )

    def _send(self, to: bytes, message: dict[str, Any]) -> bool:
        return self.world.send(self.id, to, message)

    def _answered(self, _now_ms: int) -> None:
        self.answered += 1

    def peers(self) -> list[bytes]:
        """The other nodes that are alive."""
        return [other for other in self.world.by_id if other != self.id]

    def mount(self, url: str, *, held: str = "", ref: str = "", **wanted: str) -> Checkout:
        """Mount here, from the server or what a peer gave; others may have it from now on."""
        found = Repository(url, str(self.cache)).checkout(held=held, **wanted)
        words = (wanted.get("branch", ""), wanted.get("commit", ""), wanted.get("tag", ""))
        self.held.append(Held(found.url, ref or ref_of(*words), found.commit))
        return found

    def want(self, url: str, name: str = "p", **wanted: str) -> bool:
        """Begin a search, as after a mount that failed."""
        fields = {"name": name, "git": url, **wanted}
        return self.share.wanted(fields, "its code could not be mounted", self.world.now_ms)

    def hear_say(self, node: Member, **message: Any) -> str:
        """Take one message that `node` sends by hand."""
        return self.share.received(node.id, message, self.world.now_ms)

    @property
    def last(self) -> str:
        """The newest sentence about the processor `p`."""
        return self.told["p"][-1]


class World:
    """All nodes, what is under way between them, and who tampers with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_ms = 1_000
        self.by_id: dict[bytes, Member] = {}  # The alive ones.
        self.queue: deque[tuple[bytes, bytes, bytes]] = deque()
        self.sent: list[tuple[str, str, dict[str, Any]]] = []  # From, to, message.
        # (from, message) -> what arrives instead; None: it is lost.
        self.tamper: Callable[[str, dict[str, Any]], dict[str, Any] | None] = lambda _, m: m
        # (from, message) -> whether the link takes nothing now.
        self.refuses: Callable[[str, dict[str, Any]], bool] = lambda _, m: False

    def node(self, name: str) -> Member:
        """A new node, or one that restarts with what is on its disk."""
        made = Member(self, name, self.folder / "nodes" / name)
        self.by_id[made.id] = made
        return made

    def kill(self, member: Member) -> None:
        """It is gone, with what it had sent."""
        self.by_id.pop(member.id, None)
        self.queue = deque(row for row in self.queue if row[0] != member.id)

    def send(self, source: bytes, to: bytes, message: dict[str, Any]) -> bool:
        """Put a message on its way; through the codec, as on the wire."""
        names = [node.rstrip(b".").decode() for node in (source, to)]
        if to not in self.by_id or source not in self.by_id or self.refuses(names[0], message):
            return False
        self.sent.append((names[0], names[1], message))
        arrives = self.tamper(names[0], dict(message))
        if arrives is not None:
            self.queue.append((source, to, pack(arrives)))
        return True

    def words(self, source: str, to: str, op: str) -> list[dict[str, Any]]:
        """What one node said to another, of one kind."""
        return [m for a, b, m in self.sent if (a, b) == (source, to) and m["op"] == op]

    def run(self, done: Callable[[], Any]) -> None:
        """Go on until `done`; time passes only when nothing else happens."""
        for _ in range(ROUNDS_MAX):
            if done():
                return
            if self.queue:
                source, to, data = self.queue.popleft()
                member = self.by_id.get(to)
                if member is not None:
                    member.share.received(source, unpack(data), self.now_ms)
                continue
            owners = {
                fd: member for member in self.by_id.values()
                for fd in member.share.descriptors()
            }  # fmt: skip
            if owners:
                ready = select.select(list(owners), [], [], CHILD_SECONDS_MAX)[0]
                assert ready, "a child says nothing"
                for member in {owners[fd].id: owners[fd] for fd in ready}.values():
                    member.share.hear(self.now_ms)
                continue
            self.now_ms += 500
            for member in list(self.by_id.values()):
                member.share.tick(self.now_ms)
        told = {member.id: member.told for member in self.by_id.values()}
        raise AssertionError(f"not after {ROUNDS_MAX} rounds; told: {told}")

    def close(self) -> None:
        """End all children."""
        for member in self.by_id.values():
            member.share.close()


def fill(repo: Repo, text: str = "1") -> str:
    """A commit of 192 kB, in a bundle of six chunks and three quarters.

    Never near the end of a chunk: a peer that adds a byte would then be asked for one chunk
    more, and be sorry, which is no proof of a lie.
    """
    return repo.commit({"m.py": text, "data": os.urandom(96_000).hex()})


def gone(repo: Repo) -> str:
    """The git server goes away; returns the address that everybody still has."""
    url = f"file://{repo.folder}"
    repo.folder.rename(repo.folder.with_name("gone"))
    return url


def content(member: Member, url: str, commit: str) -> str:
    """What the module of a commit holds that a peer gave."""
    return Path(member.mount(url, held=commit).folder, "m.py").read_text()


def settled(member: Member) -> bool:
    """Whether it looks for nothing any more."""
    return not member.share.searches
