"""Invitations as the node that made them keeps them: one small file each in `mesh/invites`.

    ID            the invitation; never the secret, only its hash, which is also the key of the MACs
    ID.pending    who asks to join and waits for a person; written by the node
    ID.approved   the key that a person let in; written by `mesh invite --approve`

Each file has one writer at a time, and is written durably and whole.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from meshcode.errors import TooLarge, TrustDamaged
from meshcode.limits import INVITE_TTL_MS_MAX, INVITES_MAX
from meshcode.store.filesystem import make_folder, sync_folder
from meshcode.trust import folder, signing
from meshcode.trust import line as lines
from meshcode.trust.statements import KINDS, is_name

_KEEP_EXPIRED_MS = 24 * 3600 * 1000  # So that a late joiner is told why.


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a node remembers of an invitation."""

    id: bytes
    verifier: bytes  # 32 bytes: the hash of the secret.
    kind: str
    name: str  # The only name it is good for; "" when the joiner may choose.
    approve: bool  # Whether a person must let the joiner in.
    made_unix_ms: int
    expires_unix_ms: int
    used_key: bytes = b""  # The CURVE key that used it.
    used_unix_ms: int = 0

    def is_over(self, now_unix_ms: int) -> bool:
        """Whether its time is over by this node's clock."""
        return now_unix_ms >= self.expires_unix_ms


@dataclass(frozen=True, slots=True)
class Pending:
    """Somebody who showed the secret and waits for a person."""

    key: bytes
    name: str
    code: str  # What the joiner's terminal shows.
    address: str


def verifier_of(secret: bytes) -> bytes:
    """The hash of a secret; all that the node keeps of it."""
    return signing.digest(b"invite verifier", secret, size=32)


class Invites:
    """The invitations of one home."""

    def __init__(self, base: str | None = None) -> None:
        """Nothing is read until it is asked for."""
        self.folder = folder.folder_of(base) / folder.INVITES

    def make(
        self, *, kind: str, name: str = "", ttl_ms: int, approve: bool = False, now_unix_ms: int
    ) -> tuple[Invitation, bytes]:
        """Make an invitation; the secret is in no file and is given once, here.

        Raises:
            TooLarge: INVITES_MAX are there already; nothing was written.
        """
        assert kind in KINDS, kind
        assert not name or is_name(name), name
        assert 0 < ttl_ms <= INVITE_TTL_MS_MAX, ttl_ms
        make_folder(self.folder)
        self.prune(now_unix_ms)
        count = sum(1 for _ in self._files())
        if count >= INVITES_MAX:
            raise TooLarge(
                f"{count} invitations are open, the limit is {INVITES_MAX}; none was made; wait"
                f" until some are over, or delete their files in {self.folder}",
                found=count,
                limit=INVITES_MAX,
            )
        secret = os.urandom(lines.SECRET_BYTES)
        found = Invitation(
            id=os.urandom(lines.ID_BYTES), verifier=verifier_of(secret), kind=kind, name=name,
            approve=approve, made_unix_ms=now_unix_ms, expires_unix_ms=now_unix_ms + ttl_ms,
        )  # fmt: skip
        self._write(found)
        return found, secret

    def load(self, id: bytes) -> Invitation | None:
        """The invitation of that id; None when there is none.

        Raises:
            TrustDamaged: its file is damaged.
        """
        path = self._path(id)
        return _read(path, id) if path.exists() else None

    def use(self, invitation: Invitation, key: bytes, now_unix_ms: int) -> None:
        """Record, durably, that a key has used it: from here on no other can."""
        self._write(replace(invitation, used_key=key, used_unix_ms=now_unix_ms))

    def open_until(self, now_unix_ms: int) -> int:
        """When the last invitation is over, in Unix milliseconds; 0 when all are.

        Used ones count until then, so that a joiner whose answer was lost can ask again.
        """
        ends = [0]
        for path in self._files():
            with contextlib.suppress(TrustDamaged):
                found = _read(path, b"")
                if not found.is_over(now_unix_ms):
                    ends.append(found.expires_unix_ms)
        return max(ends)

    def prune(self, now_unix_ms: int) -> None:
        """Delete what has been over for a day, with what belongs to it."""
        for path in list(self._files()):
            with contextlib.suppress(TrustDamaged):
                if _read(path, b"").expires_unix_ms + _KEEP_EXPIRED_MS < now_unix_ms:
                    for name in (path.name, path.name + ".pending", path.name + ".approved"):
                        (self.folder / name).unlink(missing_ok=True)
        if self.folder.exists():
            sync_folder(self.folder)

    # A person in between.

    def ask(self, id: bytes, pending: Pending) -> None:
        """Show a person who wants to join; the last one who asked is shown."""
        if self.pending(id) != pending:
            folder.write_json(self._path(id, ".pending"), {
                "key": pending.key.hex(), "name": pending.name, "code": pending.code,
                "address": pending.address,
            })  # fmt: skip

    def pending(self, id: bytes) -> Pending | None:
        """Who waits for a person; None when nobody does."""
        path = self._path(id, ".pending")
        if not path.exists():
            return None
        found = folder.read_json(path)
        texts = [found.get(name) for name in ("name", "code", "address")]
        if not all(type(text) is str for text in texts):
            raise folder.damaged(path, "holds a wrong field")
        return Pending(folder.hex_field(path, found, "key", 32), *map(str, texts))

    def decide(self, id: bytes, key: bytes, *, approved: bool) -> None:
        """Record, durably, what a person said about a key."""
        folder.write_json(
            self._path(id, ".approved"), {"key": key.hex(), "approved": approved}
        )

    def decision(self, id: bytes, key: bytes) -> bool | None:
        """What a person said about a key; None when nothing yet."""
        path = self._path(id, ".approved")
        if not path.exists():
            return None
        found = folder.read_json(path)
        if folder.hex_field(path, found, "key", 32) != key:
            return None
        return found.get("approved") is True

    # Files.

    def _path(self, id: bytes, more: str = "") -> Path:
        return self.folder / (lines.id_text(id) + more)

    def _files(self) -> Iterator[Path]:
        if self.folder.exists():
            for path in sorted(self.folder.iterdir()):
                if path.suffix == "":
                    yield path

    def _write(self, found: Invitation) -> None:
        folder.write_json(self._path(found.id), {
            "id": found.id.hex(), "verifier": found.verifier.hex(), "class": found.kind,
            "name": found.name, "approve": found.approve, "made_unix_ms": found.made_unix_ms,
            "expires_unix_ms": found.expires_unix_ms, "used_key": found.used_key.hex(),
            "used_unix_ms": found.used_unix_ms,
        })  # fmt: skip


def _read(path: Path, id: bytes) -> Invitation:
    found = folder.read_json(path)
    used_key = folder.hex_field(path, found, "used_key", 32) if found.get("used_key") else b""
    numbers = [_number(path, found, f"{f}_unix_ms") for f in ("made", "expires", "used")]
    name = found.get("name")
    if found.get("class") not in KINDS or not (name == "" or is_name(name)):
        raise folder.damaged(path, "holds a wrong class or name")
    if type(found.get("approve")) is not bool:
        raise folder.damaged(path, "field 'approve' is neither true nor false")
    its_id = folder.hex_field(path, found, "id", lines.ID_BYTES)
    if id and its_id != id:
        raise folder.damaged(path, "is of another invitation")
    return Invitation(
        id=its_id, verifier=folder.hex_field(path, found, "verifier", 32),
        kind=str(found["class"]), name=str(name), approve=bool(found["approve"]),
        made_unix_ms=numbers[0], expires_unix_ms=numbers[1], used_key=used_key,
        used_unix_ms=numbers[2],
    )  # fmt: skip


def _number(path: Path, found: dict[str, Any], field: str) -> int:
    value = found.get(field)
    if type(value) is not int or value < 0:
        raise folder.damaged(path, f"field {field!r} is no time")
    return value
