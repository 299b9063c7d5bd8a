"""Commits from peers, for when the git server cannot be reached.

`wanted` begins a search: every alive peer is asked which commit it has mounted of what is looked
for; the commit that most of them have is fetched from one after the other (`codepull`), checked in
a child process, and `ready` is called.  Giving is `codeserve`, the words are `codewords`.

No links and no clock: messages are plain dicts for `send`, and `received`, `tick` and `hear` bring
the time.  Nothing here waits; file and git work that can take long runs in children.

A peer that lied about a commit is not asked for it again.  Whether a *branch* stands at a commit
only the git server knows: without it the peers' majority decides; a pinned commit needs no trust.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshcode import limits
from meshcode.errors import MountFailed
from meshcode.node import codewords
from meshcode.node.codeothers import Others
from meshcode.node.codepull import Pull
from meshcode.node.codeserve import Held, Send, Server, ref_of
from meshcode.worker import bundle
from meshcode.worker.git import parse_remote
from meshcode.worker.repository import name_of, store_of

STEP_MS = 500  # How often a search looks at the time.
FLUSH_MS = 20  # How soon a link that was full is tried again.
# Reasons of a failed fetch for which a peer may help.
REASONS = ("unreachable", "no_repository", "no_files")
_SERVER = "its git server cannot be reached"


@dataclass(slots=True)
class Search:
    """One repository and ref that is looked for."""

    number: int
    url: str
    branch: str
    commit: str  # Pinned, perhaps short; "" when a branch or tag decides.
    tag: str
    since_ms: int
    reasons: dict[str, str] = field(default_factory=dict)  # Processor -> why its mount failed.
    asked_ms: int = 0
    asked: set[bytes] = field(default_factory=set)
    answers: dict[bytes, list[str]] = field(default_factory=dict)  # In the order they came.
    tried: set[bytes] = field(default_factory=set)
    troubles: list[str] = field(default_factory=list)
    pull: Pull | None = None  # None while peers are asked.
    said: str = ""

    @property
    def ref(self) -> str:
        """What decides the commit."""
        return ref_of(self.branch, self.commit, self.tag)


class CodeShare:
    """The exchange of code between this node and its peers."""

    def __init__(
        self,
        send: Send,
        peers: Callable[[], list[bytes]],
        code_dir: str | Path,
        *,
        held: Callable[[], list[Held]],
        ready: Callable[[str, str, int], None],
        tell: Callable[[str, str], None],
        others: Others,
        label: Callable[[bytes], str] = lambda node: node.hex()[:8],
    ) -> None:
        """Nothing is begun.

        Args:
            send: hands a message to a peer; False when it could not be, which is no failure.
            peers: the alive ones, now.
            code_dir: the cache of `worker.mount`.
            held: what is mounted here, and so may be given.
            ready: called with processor, commit and now_ms when a mount with `held` will do.
            tell: called with processor and a sentence for people, when it changes.
            others: asks what they run before anything is fetched; its words come here, too.
            label: a peer as people call it.
        """
        self.others = others
        self.send = send
        self.peers = peers
        self.code_dir = str(code_dir)
        self.ready = ready
        self.tell = tell
        self.label = label
        self.server = Server(send, self.code_dir, held)
        self.searches: dict[int, Search] = {}
        self.liars: dict[tuple[bytes, str], None] = {}  # The oldest first.
        self._number = 0
        self._next_ms = 0
        self._flushed_ms = 0

    # What the node calls.

    @staticmethod
    def helps(result: dict[str, Any]) -> bool:
        """Whether a mount failed so that a peer may help; `result` is its last line."""
        return result.get("step") == "fetch" and result.get("reason") in REASONS

    def wanted(self, fields: dict[str, Any], reason: str, now_ms: int) -> bool:
        """Look for the code of a processor whose mount failed in its fetch.

        Args:
            fields: of the processor: name, git, branch, commit, tag.
            reason: the failure, for people; it is shown again when no peer can help.

        Returns:
            Whether it is looked for; `ready` may have been called already.
        """
        try:
            url = parse_remote(str(fields.get("git") or "")).url
        except MountFailed:
            return False
        branch, commit, tag = (str(fields.get(key) or "") for key in ("branch", "commit", "tag"))
        name, commit = str(fields["name"]), "" if tag else commit.lower()
        if len(url) > codewords.URL_CHARACTERS_MAX:
            return False
        if self._is_here(url, commit):
            self.ready(name, commit, now_ms)
            return True
        key = (url, ref_of(branch, commit, tag))
        found = next((s for s in self.searches.values() if (s.url, s.ref) == key), None)
        if found is None:
            if len(self.searches) >= limits.CODE_SEARCHES_MAX:
                return False
            self._number += 1
            found = Search(self._number, url, branch, commit, tag, now_ms)
            self.searches[found.number] = found
        found.reasons[name] = reason
        found.said = ""
        self._step(found, now_ms)
        return True

    def busy(self, name: str) -> bool:
        """Whether code for a processor is looked for or fetched."""
        return any(name in search.reasons for search in self.searches.values())

    def forget(self, name: str) -> None:
        """A processor does not want it any more."""
        for search in list(self.searches.values()):
            if search.reasons.pop(name, None) is not None and not search.reasons:
                self._end(search)

    def received(self, node: bytes, message: Any, now_ms: int) -> str:
        """Take a message of a peer; returns why it was dropped or what was wrong, or ""."""
        wrong = codewords.fault(message)
        if wrong:
            return wrong
        word = message["op"]
        if word == "who":
            self.server.who(node, message)
        elif word == "want":
            self.server.want(node, message, now_ms)
        elif word == "read":
            self.server.read(node, message, now_ms)
        elif word == "runs":
            self.others.answer(node, message)
        elif word == "running":
            return self.others.heard(node, message, now_ms)
        else:
            search = self.searches.get(message["ask"])
            if search is None:
                return f"{word} to a question that is over"
            if word == "have":
                return self._have(search, node, message["commits"], now_ms)
            return self._from_source(search, node, message, now_ms)
        return ""

    def tick(self, now_ms: int) -> None:
        """Do what only time brings."""
        self.server.flush(now_ms)
        self._flushed_ms = now_ms
        if now_ms < self._next_ms:
            return
        self._next_ms = now_ms + STEP_MS
        self.server.tick(now_ms)
        self.others.tick(now_ms)
        for search in list(self.searches.values()):
            if search.number in self.searches:
                self._step(search, now_ms)

    def next_due_ms(self) -> int | None:
        """When `tick` has something to do."""
        if self.server.owed:
            return self._flushed_ms + FLUSH_MS
        is_busy = self.searches or self.server.job is not None or self.others.is_busy()
        return self._next_ms if is_busy else None

    def descriptors(self) -> set[int]:
        """Descriptors to watch; `hear` when one is readable."""
        jobs = [search.pull.job for search in self.searches.values() if search.pull is not None]
        return {job.fileno() for job in (*jobs, self.server.job) if job is not None}

    def hear(self, now_ms: int) -> None:
        """Read what the children say."""
        self.server.hear(now_ms)
        for search in list(self.searches.values()):
            pull = search.pull
            answer = pull.job.read() if pull is not None and pull.job is not None else None
            if answer is not None:
                self._taken(search, answer, now_ms)

    def close(self) -> None:
        """End all children; parts of bundles stay for the next time."""
        self.server.close()
        for search in list(self.searches.values()):
            self._end(search)

    # Asking.

    def _step(self, search: Search, now_ms: int) -> None:
        pull = search.pull
        if pull is None:
            self._ask(search, now_ms)
            over = now_ms >= search.since_ms + limits.CODE_ASK_MS
            if over or (search.asked and search.asked <= search.answers.keys()):
                self._choose(search, now_ms)
            else:
                self._say(search, f"asking {len(search.asked)} nodes for {search.ref}")
        elif pull.stage == "idle":
            self._choose(search, now_ms)
        else:
            why = pull.late(now_ms)
            if not why and pull.stage != "taking" and pull.source not in self.peers():
                why = "it is gone"
            if why:
                self._leave(search, why, now_ms)
            else:
                pull.again(now_ms)
                self._show(search)

    def _ask(self, search: Search, now_ms: int) -> None:
        """Ask every peer once, those who did not answer again."""
        if search.asked and now_ms < search.asked_ms + STEP_MS:
            return
        search.asked_ms = now_ms
        message = {
            "op": "who", "ask": search.number, "url": search.url, "branch": search.branch,
            "commit": search.commit, "tag": search.tag,
        }  # fmt: skip
        for node in self.peers()[: limits.CODE_PEERS_ASKED_MAX]:
            if node not in search.answers and self.send(node, message):
                search.asked.add(node)

    def _have(self, search: Search, node: bytes, commits: list[str], now_ms: int) -> str:
        if node not in search.asked or search.pull is not None:
            return "have that was not asked for, or too late"
        search.answers[node] = commits
        self._step(search, now_ms)
        return ""

    def _votes(self, search: Search) -> dict[str, list[bytes]]:
        """Commit -> the peers that say they have it, liars left out."""
        votes: dict[str, list[bytes]] = {}
        for node, commits in search.answers.items():
            for commit in dict.fromkeys(commits):
                if commit.startswith(search.commit) and (node, commit) not in self.liars:
                    votes.setdefault(commit, []).append(node)
        return votes

    def _choose(self, search: Search, now_ms: int) -> None:
        """Settle for a commit and turn to a peer that has it."""
        votes = self._votes(search)
        if not votes:
            self._give_up(search, self._nobody(search))
            return
        if search.commit and len(votes) > 1:
            self._give_up(search, f"peers have {len(votes)} commits that begin {search.commit}")
            return
        commit = max(votes, key=lambda found: (len(votes[found]), found))
        if self._is_here(search.url, commit):
            self._ready(search, commit, now_ms)
            return
        alive = self.peers()
        sources = [node for node in votes[commit] if node in alive and node not in search.tried]
        if not sources:
            self._give_up(search, f"no node could give commit {commit[:12]}")
            return
        if search.pull is None or search.pull.commit != commit:
            search.pull = Pull(self.send, self.code_dir, search.number, search.url, commit)
        active = [
            other.pull for other in self.searches.values()
            if other.pull is not None and other.pull.stage != "idle"
        ]  # fmt: skip
        same = any((pull.url, pull.commit) == (search.url, commit) for pull in active)
        if same or len(active) >= limits.CODE_PULLS_MAX:
            self._say(search, f"commit {commit[:12]} waits for other code that is fetched")
            return
        search.pull.begin(sources[0], now_ms)
        self._show(search)

    # Fetching.

    def _from_source(
        self, search: Search, node: bytes, message: dict[str, Any], now_ms: int
    ) -> str:
        pull, word = search.pull, message["op"]
        if pull is None or node != pull.source or message["commit"] != pull.commit:
            return f"{word} from a node that was not asked for it"
        lie = ""
        try:
            if word == "making":
                pull.making(now_ms)
            elif word == "sorry":
                if pull.stage in ("making", "pulling"):
                    self._leave(search, f"it says {message['why']!r}", now_ms)
                return ""
            elif word == "bundle":
                lie = pull.offered(message["size"], message["sha256"], now_ms)
            else:
                lie = pull.chunk(message["offset"], message["data"], now_ms)
            if pull.stage == "whole":
                pull.take(now_ms)
        except OSError as error:
            self._give_up(search, f"this host cannot keep the bundle: {error}")
            return ""
        if lie:
            self._lied(search, lie, now_ms)
        return lie

    def _taken(self, search: Search, answer: dict[str, Any], now_ms: int) -> None:
        pull = search.pull
        assert pull is not None
        pull.job = None
        if answer.get("ok"):
            self._ready(search, pull.commit, now_ms)
        elif answer.get("reason") not in bundle.LIES:
            self._give_up(search, f"commit {pull.commit[:12]} came, but {answer.get('text')}")
        elif answer["reason"] == "bad_bundle" or pull.is_certain():
            self._lied(search, answer["text"], now_ms)
        else:  # Several gave parts of it, and one of them is wrong: all of it from one.
            pull.drop()
            pull.begin(pull.source, now_ms)

    def _lied(self, search: Search, why: str, now_ms: int) -> None:
        pull = search.pull
        assert pull is not None
        self.liars[pull.source, pull.commit] = None
        while len(self.liars) > limits.CODE_LIARS_MAX:
            del self.liars[next(iter(self.liars))]
        if pull.stage == "taking" or pull.is_certain():
            pull.drop()
        self._leave(search, why, now_ms)

    def _leave(self, search: Search, why: str, now_ms: int) -> None:
        """Turn away from a peer, to the next."""
        pull = search.pull
        assert pull is not None
        search.tried.add(pull.source)
        search.troubles.append(f"node {self.label(pull.source)}: {why}")
        pull.leave()
        self._choose(search, now_ms)

    # Ends.

    def _is_here(self, url: str, commit: str) -> bool:
        if re.fullmatch(r"[0-9a-f]{40}", commit) is None:
            return False
        name = name_of(url)
        tree = os.path.join(self.code_dir, "trees", name, commit + ".whole")
        return os.path.exists(tree) or os.path.isdir(store_of(self.code_dir, name, commit))

    def _ready(self, search: Search, commit: str, now_ms: int) -> None:
        names = list(search.reasons)
        self._end(search)
        for name in names:
            self.ready(name, commit, now_ms)
        for other in list(self.searches.values()):  # One of them may have waited for this.
            if other.pull is not None and other.pull.stage == "idle":
                self._choose(other, now_ms)

    def _give_up(self, search: Search, why: str) -> None:
        self._end(search)
        more = "".join(f"; {trouble}" for trouble in search.troubles[-3:])
        for name, reason in search.reasons.items():
            self.tell(name, f"{reason}; {why}{more}")

    def _end(self, search: Search) -> None:
        self.searches.pop(search.number, None)
        if search.pull is not None:
            search.pull.leave()

    # Words.

    def _nobody(self, search: Search) -> str:
        if not search.asked:
            return "no other node can be asked"
        return f"none of {len(search.asked)} other nodes has {search.ref} mounted"

    def _show(self, search: Search) -> None:
        pull = search.pull
        assert pull is not None
        what = f"commit {pull.commit[:12]} from node {self.label(pull.source)}"
        if pull.stage == "making":
            self._say(search, f"waiting for {what}")
        elif pull.stage == "taking":
            self._say(search, f"checking {what}")
        else:
            done, whole = (round(part / (1 << 20), 1) for part in (pull.have, pull.size))
            self._say(search, f"fetching {what}, {done:g}/{whole:g} MiB")

    def _say(self, search: Search, text: str) -> None:
        if text != search.said:
            search.said = text
            for name in search.reasons:
                self.tell(name, f"{_SERVER}; {text}")
