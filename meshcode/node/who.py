"""Who a session is: the owner, a user, anybody while nobody is declared, or nobody.

The owner is whoever reaches the private folder of the local link, without a login.  Everybody else
has a `Who` beside the session.  It is worked out anew when the model's users change and when a
login is over, so nobody keeps a right for longer than this node knows that it is gone.
"""

from __future__ import annotations

from meshcode.errors import BadValue
from meshcode.model.rights import Rights
from meshcode.trust.tokens import SKEW_MS, Token, read, stamp_of

NEVER_MS = 1 << 62


class Who:
    """The principal of a session that is not simply the owner's."""

    __slots__ = ("free", "key", "may", "member", "reason", "rights", "token", "until_ms", "user")

    def __init__(self, key: str | None, *, member: bool = False, login: object = None) -> None:
        """Nothing is worked out yet.

        Args:
            key: that the connection proved, in Z85; None on the local link.
            member: it is the key of a member of the mesh.
            login: what the client sent as its login; None: nothing.
        """
        self.key = key
        self.member = member
        self.token: Token | None = None
        self.reason = ""  # Why it is nobody.
        if login is not None:
            try:
                self.token = read(login)
            except BadValue as error:
                self.reason = error.text
        self.rights: Rights | None = None  # What it was worked out from.
        self.until_ms = NEVER_MS  # Unix milliseconds: then it is another.
        self.user: str | None = None
        self.free = False  # It may do everything: the owner of a member, or nobody is declared.
        self.may: dict[str, bool] = {}  # Sockets it may call, as far as it was asked.

    @property
    def name(self) -> str:
        """For owners of objects, and the audit log."""
        if self.user is not None:
            return self.user
        return f"key {self.key[:8]}..." if self.key else "nobody"

    def become(self, rights: Rights) -> None:
        """Nobody, until something says otherwise."""
        self.rights, self.user, self.free = rights, None, False
        self.until_ms = NEVER_MS
        self.may.clear()


def token_problem(
    token: Token, rights: Rights, signer: bytes | None, mesh: bytes, now_ms: int
) -> str:
    """Why a login does not hold here and now; empty when it does.

    Args:
        signer: the key of the node that it names; None when that is no member (any more).
        mesh: of this node; empty without one.
        now_ms: Unix milliseconds.
    """
    if token.mesh != mesh or signer is None or not token.is_signed_by(signer):
        return "the login was not made by a node of this mesh"
    if now_ms >= token.until_ms:
        return f"the login of {token.user} ended {(now_ms - token.until_ms) // 1000} s ago"
    if token.at_ms > now_ms + SKEW_MS:
        ahead = (token.at_ms - now_ms) // 1000
        return f"the login is {ahead} s from the future; compare the clocks: `mesh doctor`"
    fields = rights.users.get(token.user)
    if fields is None:
        return f"there is no user {token.user} any more, as far as this node knows"
    if not rights.is_here(token.user):
        return f"user {token.user} is disabled"
    if token.stamp != stamp_of(fields["password_hash"]):
        return f"the password of {token.user} is another since"
    if token.digest().hex() in (fields.get("ended") or {}):
        return f"the login of {token.user} was ended: `mesh login`"
    if token.at_ms <= (fields["signed_out_ms"] or 0):
        return f"all logins of {token.user} were ended since"
    return ""
