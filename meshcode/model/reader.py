"""Reading the model again and again: all of it once, then what the journal says was changed.

A snapshot that comes out shares with the one before whatever is the same in both, so it costs no
more than what was changed; nobody may change one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from meshcode.model import journal, snapshot
from meshcode.model.delta import with_changes
from meshcode.model.journal import Line
from meshcode.model.kinds import PLURALS
from meshcode.model.snapshot import READER, Key

CHANGES_MAX = 1_000  # With more of them all is read: that is as quick.
NAMES_MAX = 500  # In one statement.
_READING = "mesh_reading"  # The last of a session, in its `info`.


@dataclass(frozen=True, slots=True)
class Reading:
    """What one transaction found."""

    snapshot: dict[str, Any]
    line: Line | None  # The newest of the journal.
    before: dict[str, Any] | None  # The snapshot that `keys` lead from.
    keys: frozenset[Key] | None  # All in which the two differ; None: anything.

    def changes(self) -> list[list[Any]]:
        """Kind, name and options of each of the keys; None instead of options: deleted."""
        return [
            [kind, name, self.snapshot[PLURALS[kind]].get(name)]
            for kind, name in sorted(self.keys or ())
        ]


class Reader:
    """What is known of one database from the transactions that were committed."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._known: Reading | None = None

    def forget(self) -> None:
        """Read everything next: it may be another database."""
        self._known = None

    def read(self, session: Session) -> Reading:
        """The model as the session's transaction sees it, whose principal must see all of it.

        It is known from here on when the transaction is committed, and not when it is undone.
        """
        found = self._read_on(session)
        if found is None:
            line = journal.last_line(session)
            found = Reading(snapshot.read_whole(session), line, None, None)
        session.info[_READING] = found
        return found

    def keep(self, found: Reading) -> None:
        """The transaction that found it is committed."""
        self._known = found

    def _read_on(self, session: Session) -> Reading | None:
        known = self._known
        if known is None or known.line is None:
            return None
        told = journal.lines_after(session, known.line, CHANGES_MAX)
        if told is None:
            return None
        line, keys = told
        number = snapshot.read_number(session)
        before = known.snapshot
        now: dict[Key, dict[str, Any] | None] = dict.fromkeys(keys)
        for kind in sorted({kind for kind, _name in keys}):
            names = sorted(name for one, name in keys if one == kind)
            for at in range(0, len(names), NAMES_MAX):
                rows = snapshot.read_objects(session, kind, names[at : at + NAMES_MAX])
                now.update({(kind, name): options for name, options in rows.items()})
        differ = {
            key: options
            for key, options in now.items()
            if before[PLURALS[key[0]]].get(key[1]) != options
        }
        after = before
        if differ or number != before["number"]:
            rows_of = [[kind, name, options] for (kind, name), options in differ.items()]
            after = with_changes(before, number, rows_of)
        return Reading(after, line, before, frozenset(differ))


def read_by(session: Session, reader: Reader) -> None:
    """Let a session that has just begun read with this reader."""
    session.info[READER] = reader


@event.listens_for(Session, "after_commit")
def _committed(session: Session) -> None:
    found = session.info.pop(_READING, None)
    if found is not None:
        session.info[READER].keep(found)


@event.listens_for(Session, "after_rollback")
def _undone(session: Session) -> None:
    session.info.pop(_READING, None)
