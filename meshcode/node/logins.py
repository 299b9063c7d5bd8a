"""Logging in and out: passwords go to the model process, tokens to the client, neither is kept.

A login is `{"user", "password", "for_ms"}`; the model process says whether the password fits, and
this node signs a token.  Of a token that was ended by itself only a hash is kept, until it is over.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshcode.errors import BadRequest, NotAllowed, WrongState
from meshcode.ids import unix_ms
from meshcode.model import usercheck
from meshcode.node.attempts import Attempt, Attempts
from meshcode.node.who import Who, token_problem
from meshcode.router.effects import Effects
from meshcode.store.contract import META
from meshcode.trust import tokens
from meshcode.trust.identity import read_signing_key, write_signing_key
from meshcode.trust.signing import SigningKey, make_key
from meshcode.wire.codec import pack, unpack

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

KEY_FILE = "login.key"  # Of a node without a mesh, in its home.
ENDED_KEY = b"logins ended"  # Of table META.
ENDED_MAX = 10_000
ENDED_MAX_TOLD = usercheck.ENDED_MAX  # To all nodes, by the model.


class Logins:
    """The logins that this node makes and checks."""

    def __init__(self, loop: Loop) -> None:
        """Take over what was ended before."""
        self._loop = loop
        kept = loop.log.get(META, ENDED_KEY)
        self._ended: dict[bytes, int] = unpack(kept) if kept else {}
        self._key: SigningKey | None = None
        self._asked: dict[bytes, tuple[int, Attempt]] = {}  # By number: for how long.
        self.attempts = Attempts()

    def problem(self, token: tokens.Token, who: Who) -> str:
        """Why a login does not hold; empty when it does."""
        assert who.rights is not None
        if token.digest() in self._ended:
            return f"the login of {token.user} was ended: `mesh login`"
        mesh = self._loop.mesh
        signer: bytes | None = None
        if mesh is None:
            if token.node == self._loop.node_id:
                signer = self._signing_key().public
        elif token.node not in mesh.roster.evicted:
            member = mesh.roster.members.get(token.node)
            signer = member.sign_key if member else None
        return token_problem(token, who.rights, signer, self._mesh_id(), unix_ms())

    def _mesh_id(self) -> bytes:
        return b"" if self._loop.mesh is None else self._loop.mesh.identity.mesh

    def _signing_key(self) -> SigningKey:
        if self._loop.identity is not None:
            return self._loop.identity.sign
        if self._key is None:
            path = Path(self._loop.home) / KEY_FILE
            if not path.exists():
                write_signing_key(path, make_key(), "signs the logins of this node; keep it 0600")
            self._key = read_signing_key(path)
        return self._key

    def ask(self, client: int, request: bytes, fields: dict[str, Any], from_: str) -> None:
        """Let the model process look at a password; the answer comes by `answered`.

        Raises:
            BadRequest: no user or no password.
            Busy: see `Attempts.begin`.
        """
        user, password = fields.get("user"), fields.get("password")
        for_ms = fields.get("for_ms") or tokens.FOR_MS
        if not isinstance(user, str) or not isinstance(password, str) or not 0 < len(user) <= 200:
            raise BadRequest("a login needs a user and a password, both text")
        if not isinstance(for_ms, int) or not 1_000 <= for_ms <= tokens.FOR_MS_MAX:
            raise BadRequest(
                f"a login is for 1 s to {tokens.FOR_MS_MAX // 86_400_000} days, this asks for"
                f" {for_ms!r:.20} ms"
            )
        attempt = self.attempts.begin(user, from_)
        self._asked[request] = (for_ms, attempt)
        question = {"do": "verify", "kind": "user", "name": user}
        try:
            self._loop.ask_model(client, request, {**question, "fields": {"password": password}})
        except BaseException:
            del self._asked[request]
            self.attempts.end(attempt, wrong=False)
            raise

    def is_login(self, request: bytes) -> bool:
        """Whether the model's answer to this request is for a login."""
        return request in self._asked

    def answered(
        self, client: int, request: bytes, good: bool, data: Any
    ) -> tuple[int, bytes, bool, Any]:
        """The answer to the client that wants to log in: the token, or the error."""
        for_ms, attempt = self._asked.pop(request)
        good, data = self._answer(attempt, for_ms, good=good, data=data)
        self._loop.audit.login(*attempt.whose, good)
        return client, request, good, data

    def _answer(
        self, attempt: Attempt, for_ms: int, *, good: bool, data: Any
    ) -> tuple[bool, Any]:
        user = attempt.whose[0]
        fields = self._loop.guard.rights.users.get(user)
        if not good:
            self.attempts.end(attempt, wrong=False)
            return False, data
        if data is not True or fields is None:
            self.attempts.end(attempt, wrong=True)
            text = (
                f"no login: there is no enabled user {user} with this password; nothing else is"
                " said of it on purpose; who has UPDATE_USER can set another password"
            )
            return False, NotAllowed(text).to_data()
        self.attempts.forgive(attempt)
        now, signed_out = unix_ms(), fields.get("signed_out_ms") or 0
        # A node whose clock is ahead may have ended all of them; a login is made after that.
        at = max(now, signed_out + 1)
        if at > now + tokens.SKEW_MS:
            return False, WrongState(
                f"no login: the password is right, but all logins of {user} from before"
                f" {signed_out} are void (signed_out_ms, Unix milliseconds), and here it is {now};"
                " nothing was made that would not hold; compare the clocks: `mesh doctor`; who has"
                " UPDATE_USER can give the user an earlier signed_out_ms"
            ).to_data()
        text = tokens.make(
            self._signing_key(), id=os.urandom(tokens.ID_BYTES), mesh=self._mesh_id(),
            node=self._loop.node_id, user=user, stamp=tokens.stamp_of(fields["password_hash"]),
            at_ms=at, until_ms=now + for_ms,
        )  # fmt: skip
        return True, {"user": user, "login": text, "until_unix_ms": now + for_ms}

    def ended_of(self, token: tokens.Token) -> dict[str, int] | None:
        """The logins of its user that were ended one by one, with this one; over ones left out.

        None: they are more than the model keeps, and none of them may be left out.
        """
        fields = self._loop.guard.rights.users.get(token.user) or {}
        known = {**(fields.get("ended") or {}), token.digest().hex(): token.until_ms}
        now = unix_ms()
        live = {name: until for name, until in known.items() if until > now}
        return live if len(live) <= ENDED_MAX_TOLD else None

    def end(self, token: tokens.Token) -> bool:
        """This login holds no more on this node; False: too many are kept, and it still holds."""
        now, digest = unix_ms(), token.digest()
        ended = {one: until for one, until in self._ended.items() if until > now}
        if digest not in ended and len(ended) >= ENDED_MAX:
            return False
        self._ended = {**ended, digest: token.until_ms}
        self._loop.turns.add(Effects(records=[(META, ENDED_KEY, pack(self._ended))]))
        return True
