"""Giving code: what this node has mounted, made into bundles, read out in chunks.

Only what is mounted here is offered, and only while it is.  Between two messages nothing is held
for an asker but its place in the line for a bundle that is being made, and the offsets of a few
chunks its link did not take yet: a chunk is read from the file each time it is sent.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from meshcode import limits
from meshcode.node.codejob import Job

MAKING_MS = 3_000  # How often those who wait for a bundle hear that it is being made.

Send = Callable[[bytes, dict[str, Any]], bool]


class Held(NamedTuple):
    """Code that is mounted on this node."""

    url: str  # Normalised.
    ref: str  # What was asked for when it was mounted, as `ref_of` writes it.
    commit: str  # The full id.


class Offer(NamedTuple):
    """A bundle file that can be read."""

    file: str
    size: int
    sha256: str


Key = tuple[str, str]  # URL, commit.


def ref_of(branch: str, commit: str, tag: str) -> str:
    """What decides the commit, in one word: a tag wins over a commit over a branch."""
    if tag:
        return f"tag {tag}"
    return f"commit {commit}" if commit else f"branch {branch}".rstrip()


class Server:
    """The giving side of one node."""

    def __init__(self, send: Send, code_dir: str, held: Callable[[], list[Held]]) -> None:
        self.send = send
        self.code_dir = code_dir
        self.held = held
        self.offers: dict[Key, Offer] = {}  # The newest last.
        self.waiting: dict[Key, dict[tuple[bytes, int], None]] = {}
        self.job: Job | None = None
        self.making: Key = ("", "")
        self.owed: list[tuple[bytes, dict[str, Any], int]] = []  # Who, `read`, until_ms.
        self._told_ms = 0

    def who(self, node: bytes, message: dict[str, Any]) -> None:
        """Say which commits are mounted here of what a peer looks for."""
        commits: dict[str, None] = {}
        for held in self.held():
            if held.url == message["url"] and _fits(held, message):
                commits[held.commit] = None
        answer = list(commits)[: limits.CODE_ANSWER_COMMITS_MAX]
        self.send(node, {"op": "have", "ask": message["ask"], "commits": answer})

    def want(self, node: bytes, message: dict[str, Any], now_ms: int) -> None:
        """Offer a bundle, now or when it is made."""
        key = (message["url"], message["commit"])
        if not any((held.url, held.commit) == key for held in self.held()):
            self._sorry(node, message, "it is not mounted here")
            return
        offer = self.offers.pop(key, None)
        if offer is not None and os.path.exists(offer.file):
            self.offers[key] = offer
            self._offer(node, message["ask"], key)
            return
        mine = sum(1 for line in self.waiting.values() for peer, _ in line if peer == node)
        line = self.waiting.get(key, {})
        if (node, message["ask"]) not in line:
            full = sum(map(len, self.waiting.values())) >= limits.CODE_MAKES_WAITING_MAX
            if full or mine >= limits.CODE_MAKES_PER_PEER_MAX:
                self._sorry(node, message, "too many bundles are asked of this node")
                return
        self.waiting.setdefault(key, line)[node, message["ask"]] = None
        self._next_job(now_ms)

    def read(self, node: bytes, message: dict[str, Any], now_ms: int) -> None:
        """Send one chunk of a bundle, now or when the link takes it."""
        mine = [owed for peer, owed, _ in self.owed if peer == node]
        room = len(mine) < limits.CODE_CHUNKS_ASKED
        if room and len(self.owed) < limits.CODE_CHUNKS_OWED_MAX and message not in mine:
            self.owed.append((node, message, now_ms + limits.CODE_SILENCE_MS))
        self.flush(now_ms)

    def flush(self, now_ms: int) -> None:
        """Send what is owed, to each peer in order, as far as the links take it."""
        full: set[bytes] = set()
        rows, self.owed = self.owed, []
        for row in rows:
            node, message, until_ms = row
            if now_ms >= until_ms:
                continue  # It has asked again, or is gone.
            if node in full or not self._give(node, message):
                full.add(node)
                self.owed.append(row)

    def _give(self, node: bytes, message: dict[str, Any]) -> bool:
        """Answer one `read`; False when the link takes nothing."""
        wanted = (message["commit"], message["sha256"])
        found = [o for (_, commit), o in self.offers.items() if (commit, o.sha256) == wanted]
        if not found:
            return self._sorry(node, message, "that bundle is not here any more")
        offer, offset = found[0], message["offset"]
        if offset >= offer.size:
            return self._sorry(node, message, f"the bundle ends at {offer.size}")
        try:
            with open(offer.file, "rb", buffering=0) as file:
                data = os.pread(file.fileno(), limits.CODE_CHUNK_BYTES, offset)
        except OSError:
            data = b""
        if len(data) != min(limits.CODE_CHUNK_BYTES, offer.size - offset):
            return self._sorry(node, message, "that bundle cannot be read any more")
        answer = {"op": "chunk", "ask": message["ask"], "commit": message["commit"]}
        return self.send(node, answer | {"offset": offset, "data": data})

    def tick(self, now_ms: int) -> None:
        """Tell those who wait, and end a job that takes too long."""
        if self.job is None:
            return
        if now_ms >= self.job.until_ms:
            self.job.end()
            self._made({"ok": False, "text": "making it took too long"}, now_ms)
        elif now_ms >= self._told_ms + MAKING_MS:
            self._told_ms = now_ms
            for (_, commit), line in self.waiting.items():
                for node, ask in line:
                    self.send(node, {"op": "making", "ask": ask, "commit": commit})

    def hear(self, now_ms: int) -> None:
        """Read what the job says."""
        answer = self.job.read() if self.job is not None else None
        if answer is not None:
            self._made(answer, now_ms)

    def close(self) -> None:
        """End the job."""
        if self.job is not None:
            self.job.end()
            self.job = None

    def _next_job(self, now_ms: int) -> None:
        while self.job is None and self.waiting:
            self.making = url, commit = next(iter(self.waiting))
            self._told_ms = now_ms
            request = {"op": "make", "cache": self.code_dir, "url": url, "commit": commit}
            try:
                self.job = Job(request, now_ms)
            except OSError as error:  # They ask again, or another node.
                self._answer({"text": f"nothing can be started here now: {error}"})

    def _made(self, answer: dict[str, Any], now_ms: int) -> None:
        self.job = None
        self._answer(answer)
        self._next_job(now_ms)

    def _answer(self, answer: dict[str, Any]) -> None:
        """Tell those who wait for what was made, or was not."""
        key = self.making
        line = self.waiting.pop(key, {})
        if answer.get("ok"):
            self.offers[key] = Offer(answer["file"], answer["size"], answer["sha256"])
            while len(self.offers) > limits.CODE_BUNDLES_KEPT:
                del self.offers[next(iter(self.offers))]
        for node, ask in line:
            if key in self.offers:
                self._offer(node, ask, key)
            else:
                self._sorry(node, {"ask": ask, "commit": key[1]}, answer["text"])

    def _offer(self, node: bytes, ask: int, key: Key) -> None:
        offer = self.offers[key]
        message = {"op": "bundle", "ask": ask, "commit": key[1]}
        self.send(node, message | {"size": offer.size, "sha256": offer.sha256})

    def _sorry(self, node: bytes, message: dict[str, Any], why: str) -> bool:
        plain = "".join(c if c.isprintable() else " " for c in why)[:500]
        answer = {"op": "sorry", "ask": message["ask"], "commit": message["commit"], "why": plain}
        return self.send(node, answer)


def _fits(held: Held, message: dict[str, Any]) -> bool:
    """Whether mounted code is what is looked for; a commit is itself, whoever asked for it."""
    if message["commit"] and not message["tag"]:
        return held.commit.startswith(message["commit"])
    return held.ref == ref_of(message["branch"], message["commit"], message["tag"])
