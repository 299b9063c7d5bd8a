"""The roster on disk: the running node and commands share it, and writing is merging.

Nobody's statements are lost when two write: under a lock each takes in what the file has, then
writes both.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from meshcode.errors import BadRoster
from meshcode.limits import ROSTER_BYTES_MAX
from meshcode.store.filesystem import write_durably
from meshcode.trust import folder
from meshcode.trust.roster import Change, Roster


class RosterFile:
    """`mesh/roster` of a home."""

    def __init__(self, base: str | None, root_key: bytes) -> None:
        """The file may be read at once; nothing is opened until then."""
        self.path = folder.folder_of(base) / folder.ROSTER
        self.root_key = root_key
        self._seen: tuple[int, int, int] | None = None

    def load(self) -> Roster:
        """The roster as it is on disk.

        Raises:
            TrustDamaged: the file is missing or damaged.
        """
        roster = Roster(self.root_key)
        self._read_into(roster)
        return roster

    def refresh(self, roster: Roster) -> list[Change]:
        """Take in what others wrote since the last look; one `stat` when nobody did.

        Raises:
            TrustDamaged: the file is missing or damaged; `roster` is unchanged.
        """
        return [] if self._stamp() == self._seen else self._read_into(roster)

    def save(self, roster: Roster) -> list[Change]:
        """Merge `roster` and the file into each other; both are then the same, and durable.

        Returns:
            What `roster` learned from the file.

        Raises:
            TrustDamaged: the file is missing or damaged; it is left as it is.
        """
        with self._locked():
            on_disk = self.load()
            changes = roster.merge(on_disk.pack())
            if on_disk.digest != roster.digest:
                write_durably(self.path, roster.pack())
                self._seen = self._stamp()
        return changes

    def add(self, packed: bytes) -> None:
        """Merge some statements into the file alone, durably.

        Raises:
            BadRoster: they do not fit; the file is unchanged.
            TrustDamaged: the file is missing or damaged; it is left as it is.
        """
        with self._locked():
            on_disk = self.load()
            if on_disk.merge(packed):
                write_durably(self.path, on_disk.pack())
                self._seen = None  # Whoever refreshes reads what is new.

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _read_into(self, roster: Roster) -> list[Change]:
        stamp = self._stamp()  # Before reading: a later write is then seen as one.
        data = folder.read_bytes(self.path, ROSTER_BYTES_MAX)
        try:
            changes = roster.merge(data)
        except BadRoster as error:
            raise folder.damaged(self.path, f"is damaged: {error}") from None
        self._seen = stamp
        return changes

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
