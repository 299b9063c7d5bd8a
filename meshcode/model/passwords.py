"""Passwords: argon2id, hashed and looked at in the model process only.

A client sends the password itself, over its private or encrypted link; the node passes it on and
keeps nothing of it.  What is kept is the hash, in an option that no listing shows.
"""

from __future__ import annotations

from typing import Any

from meshcode.errors import BadRequest

LENGTH_MIN = 8
LENGTH_MAX = 1_024  # Characters; hashing is not to be fed megabytes.
# OWASP's second choice: 19 MiB and 2 rounds, about 25 ms; a small device can pay it.
MEMORY_KIB = 19 * 1024
ROUNDS = 2
LANES = 1

_dummy: list[str] = []  # A hash that nobody's password has; made at first need.


def hashed(password: Any) -> str:
    """The hash to keep.

    Raises:
        BadRequest: it is no password, or too short or too long; it is not shown.
    """
    if not isinstance(password, str) or not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        has = f"has {len(password)} characters" if isinstance(password, str) else "is no text"
        raise BadRequest(
            f"the password {has}; it must have {LENGTH_MIN} to {LENGTH_MAX}; nothing was changed",
            field="password",
        )
    try:
        return str(_hasher().hash(password))
    except UnicodeEncodeError:
        text = "the password is not Unicode text; nothing was changed"
        raise BadRequest(text, field="password") from None


def fits(kept: str | None, password: Any) -> bool:
    """Whether this is the password of a hash; takes as long when there is none."""
    from argon2.exceptions import InvalidHashError, VerificationError

    if not isinstance(password, str) or len(password) > LENGTH_MAX:
        return False
    if kept is None and not _dummy:
        _dummy.append(hashed("nobody has this one"))
    try:
        return bool(_hasher().verify(kept or _dummy[0], password)) and kept is not None
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False


def _hasher() -> Any:
    from argon2 import PasswordHasher  # Most model processes never need it.

    return PasswordHasher(time_cost=ROUNDS, memory_cost=MEMORY_KIB, parallelism=LANES)
