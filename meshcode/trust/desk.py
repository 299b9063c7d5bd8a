"""What the node that invited decides about each message of a joiner; no link in here.

The desk reads and writes the invitations and the roster.  An invitation is recorded as used before
the answer leaves, and the same key is given the same answer again, so a lost answer costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from meshcode.errors import (
    BadJoin,
    InvitationExpired,
    InvitationUsed,
    MeshError,
    NameTaken,
    NodeError,
    NotAllowed,
    NotApproved,
    TooManyAttempts,
    UnknownInvitation,
)
from meshcode.limits import (
    JOIN_ADDRESSES_MAX,
    JOIN_ATTEMPTS_PER_MINUTE,
    JOIN_CONNECTIONS_PER_MINUTE,
    JOIN_MESSAGES_PER_MINUTE,
)
from meshcode.trust import admitting, handshake, signing
from meshcode.trust.handshake import Transcript
from meshcode.trust.identity import Identity
from meshcode.trust.invites import Invitation, Invites, Pending
from meshcode.trust.roster import Change, Roster
from meshcode.trust.rosterfile import RosterFile
from meshcode.trust.signing import SigningKey
from meshcode.trust.statements import Member

_MINUTE_MS = 60_000

# ("joined", node, name), ("waiting", name, code), ("refused", address, why)
News = tuple[str, Any, str]


class Desk:
    """Answers joiners, one message at a time."""

    def __init__(
        self,
        identity: Identity,
        admit_key: SigningKey,
        roster: Roster,
        file: RosterFile,
        invites: Invites,
        *,
        seeds: Callable[[], list[str]] | None = None,
        attempts_per_minute: int = JOIN_ATTEMPTS_PER_MINUTE,
    ) -> None:
        """A desk for the invitations of one home.

        Args:
            roster: the running node's own; admissions are merged into it.
            seeds: peer addresses for a joiner to try first; those of this node when not given.
        """
        self.identity = identity
        self.admit_key = admit_key
        self.roster = roster
        self.file = file
        self.invites = invites
        self.changes: list[Change] = []  # Of `roster`; the owner takes and clears them.
        self._seeds = seeds or (lambda: list(identity.advertise))
        self._nonce_key = os.urandom(32)
        self._rates = _Rates(attempts_per_minute)

    def answer(
        self, data: bytes, key: bytes, address: str, now_unix_ms: int
    ) -> tuple[bytes, list[News]]:
        """Answer one message.

        Args:
            data: the message, at most JOIN_MESSAGE_BYTES_MAX bytes.
            key: the CURVE key of the link it came by, proved by the encryption.
            address: the remote IP address.
            now_unix_ms: this node's clock; it alone decides whether an invitation is over.

        Returns:
            What to send back (b"" for silence), and what is to be told.
        """
        if not self._rates.hear(address, now_unix_ms):
            return b"", []
        news: list[News] = []
        kind = ""
        try:
            self._rates.refuse_too_many(address, now_unix_ms)
            kind, fields = handshake.read(data, "hello", "request")
            if kind == "hello":
                self._rates.count(address)
                return self._challenge(fields, key, now_unix_ms), news
            return self._request(fields, key, address, now_unix_ms, news), news
        except MeshError as error:
            if kind != "hello" and isinstance(error, BadJoin | UnknownInvitation):
                self._rates.count(address)
            news.append(("refused", address, error.text))
            return handshake.write_error(error), news
        except OSError as error:
            wrong = NodeError(
                f"node {self.identity.name} cannot write: {error.strerror}; the answer was kept"
                " back; run the same command again when that is mended"
            )
            news.append(("refused", address, wrong.text))
            return handshake.write_error(wrong), news

    def may_knock(self, address: str, now_unix_ms: int) -> bool:
        """Whether one more connection of an address is let in."""
        return self._rates.knock(address, now_unix_ms)

    def _challenge(self, fields: dict[str, Any], key: bytes, now_unix_ms: int) -> bytes:
        found = self._invitation(fields["id"], key, now_unix_ms)
        return handshake.write(
            "challenge", mesh=self.identity.mesh, kind=found.kind, name=found.name,
            approve=found.approve, nonce=self._nonce(fields["id"], key, fields["nonce"]),
        )  # fmt: skip

    def _nonce(self, id: bytes, key: bytes, nonce: bytes) -> bytes:
        """This node's nonce for one attempt: nothing has to be remembered for strangers."""
        return signing.digest(b"join nonce", id + key + nonce, key=self._nonce_key)

    def _invitation(self, id: bytes, key: bytes, now_unix_ms: int) -> Invitation:
        found = self.invites.load(id)
        if found is None:
            raise UnknownInvitation(
                f"node {self.identity.name} has no such invitation; nobody was admitted; it was"
                " made elsewhere or is long over; ask for a new one: `mesh invite`"
            )
        if found.used_key == key:
            return found  # Its answer was lost; even when it is over by now.
        if found.used_key:
            ago_s = max(0, now_unix_ms - found.used_unix_ms) // 1000
            raise InvitationUsed(
                f"the invitation was used {ago_s} s ago, and is good once; nobody was admitted;"
                " ask for a new one: `mesh invite`"
            )
        if found.is_over(now_unix_ms):
            late_s = (now_unix_ms - found.expires_unix_ms) // 1000
            raise InvitationExpired(
                f"the invitation expired {late_s} s ago by the clock of {self.identity.name};"
                " nobody was admitted; ask for a new one: `mesh invite`"
            )
        return found

    def _request(
        self, fields: dict[str, Any], key: bytes, address: str, now_unix_ms: int, news: list[News]
    ) -> bytes:
        if fields["key"] != key:
            raise BadJoin("the key of the request is not that of its link; nobody was admitted")
        found = self._invitation(fields["id"], key, now_unix_ms)
        nonce = self._nonce(fields["id"], key, fields["nonce"])
        transcript = handshake.transcript_of(fields, self.identity.public, nonce)
        handshake.check_request(fields, transcript, found.verifier)
        self.changes += self.file.refresh(self.roster)  # What commands wrote.
        self._refuse_unfit(found, transcript)
        member = _member_of(transcript)
        present = self.roster.members.get(member.node)
        if present is None:
            code = self._waits_for(found, transcript, address)
            if code:
                news.append(("waiting", transcript.name, code))
                return handshake.write("waiting", code=code)
            self._admit(found, member, now_unix_ms)
            news.append(("joined", member.node, member.name))
        elif present != member:
            raise BadJoin(
                f"the key is in the mesh as {present.name}, with other facts; nothing was changed"
            )
        return self._welcome(found, transcript)

    def _refuse_unfit(self, found: Invitation, transcript: Transcript) -> None:
        if transcript.mesh != self.identity.mesh:
            raise BadJoin(
                f"the request is for mesh {transcript.mesh.hex()[:8]}, this is mesh"
                f" {self.identity.mesh.hex()[:8]}; nobody was admitted"
            )
        if transcript.kind != found.kind:
            raise BadJoin(
                f"the request is for class {transcript.kind}, the invitation for {found.kind};"
                " nobody was admitted"
            )
        if found.name and transcript.name != found.name:
            raise BadJoin(
                f"the request is for the name {transcript.name}, the invitation for {found.name};"
                " nobody was admitted; join with that name"
            )
        node = signing.node_id(transcript.key)
        if node in self.roster.evicted:
            raise NotAllowed(
                f"this key was evicted as {self.roster.evicted[node].name}, for good; nobody was"
                " admitted; join from a fresh home, which makes new keys"
            )
        named = self.roster.by_name(transcript.name)
        if named is not None and named.node != node:
            raise NameTaken(
                f"a member called {transcript.name} is in the mesh already"
                f" ({named.node.hex()[:8]}); nobody was admitted and the invitation is still good;"
                " join again with another --name, or evict that one first",
                name=transcript.name,
            )

    def _waits_for(self, found: Invitation, transcript: Transcript, address: str) -> str:
        """The code that a person has yet to approve; "" when none has to."""
        if not found.approve or found.used_key:
            return ""
        code = transcript.code(found.verifier)
        decision = self.invites.decision(found.id, transcript.key)
        if decision is None:
            self.invites.ask(found.id, Pending(transcript.key, transcript.name, code, address))
            return code
        if not decision:
            raise NotApproved(
                f"a person at {self.identity.name} refused it; nobody was admitted; talk to them"
            )
        return ""

    def _admit(self, found: Invitation, member: Member, now_unix_ms: int) -> None:
        packed = admitting.admit(self.roster, member, self.admit_key)  # Or NotAllowed, first.
        if found.used_key != member.key:
            self.invites.use(found, member.key, now_unix_ms)
        self.file.add(packed)  # On disk first: what the roster in memory shows was kept.
        self.changes += self.roster.merge(packed)

    def _welcome(self, found: Invitation, transcript: Transcript) -> bytes:
        roster = self.roster.pack()
        seeds = self._seeds()[: handshake.SEEDS_MAX]
        root = self.identity.root_key
        mac = handshake.answer_mac(found.verifier, transcript, root, roster, seeds)
        return handshake.write("answer", root=root, roster=roster, seeds=seeds, mac=mac)


def _member_of(transcript: Transcript) -> Member:
    return Member(
        node=signing.node_id(transcript.key), name=transcript.name, kind=transcript.kind,
        key=transcript.key, sign_key=transcript.sign_key, domain=transcript.domain, version=1,
        old_key=None, old_key_until_ms=0,
    )  # fmt: skip


class _Rates:
    """How often each remote address came in the running minute; bounded."""

    def __init__(self, attempts_max: int) -> None:
        self.attempts_max = attempts_max
        self.by_address: dict[str, list[int]] = {}  # Begin of the minute, then counts of
        # attempts, messages and connections.

    def hear(self, address: str, now_unix_ms: int) -> bool:
        """Count a message; False when it deserves not even an answer."""
        found = self._minute(address, now_unix_ms)
        found[2] += 1
        return found[2] <= JOIN_MESSAGES_PER_MINUTE

    def knock(self, address: str, now_unix_ms: int) -> bool:
        """Count a connection; False when there are too many."""
        found = self._minute(address, now_unix_ms)
        found[3] += 1
        return found[3] <= max(JOIN_CONNECTIONS_PER_MINUTE, 3 * self.attempts_max)

    def _minute(self, address: str, now_unix_ms: int) -> list[int]:
        found = self.by_address.get(address)
        if found is None or not 0 <= now_unix_ms - found[0] < _MINUTE_MS:
            self.by_address.pop(address, None)
            while len(self.by_address) >= JOIN_ADDRESSES_MAX:
                del self.by_address[next(iter(self.by_address))]  # The oldest minute.
            found = self.by_address[address] = [now_unix_ms, 0, 0, 0]
        return found

    def count(self, address: str) -> None:
        """Count an attempt of an address that was just heard."""
        self.by_address[address][1] += 1

    def refuse_too_many(self, address: str, now_unix_ms: int) -> None:
        """Check the attempts of an address.

        Raises:
            TooManyAttempts: it had all of this minute.
        """
        begin, attempts, *_ = self.by_address[address]
        if attempts >= self.attempts_max:
            wait_s = (begin + _MINUTE_MS - now_unix_ms + 999) // 1000
            raise TooManyAttempts(
                f"{attempts} attempts to join came from {address} within a minute, the limit is"
                f" {self.attempts_max}; nobody was admitted; try again in {wait_s} s",
                found=attempts,
                limit=self.attempts_max,
            )
