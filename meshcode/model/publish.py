"""What the model process holds between requests: the database and the snapshot last published.

Keeps one promise to the node: every snapshot it gives is newer than the one before, also when
somebody changed rows by hand, put an older copy of the file back, or deleted it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from meshcode.errors import BadRequest, ModelUnavailable
from meshcode.model import changes, snapshot
from meshcode.model.database import Database, set_number
from meshcode.model.fields import FIELDS, KINDS, PLURALS, bad, check_new, check_object_name, shown
from meshcode.model.tables import TABLES, Queue

NUMBER_MAX = 1 << 62  # What a database column holds, with room to count on.


class Publisher:
    """Does requests on a database and says what the model is now."""

    def __init__(self, database: Database, *, owner: str) -> None:
        """Nothing is published and nothing is opened yet."""
        self.database = database
        self.owner = owner
        self.latest: dict[str, Any] | None = None  # What the node has, as far as we know.
        self.problem: ModelUnavailable | None = None  # Why the rows cannot be published.
        self._version: tuple[int, int] | None = None  # Of the database when last looked at.

    @property
    def number(self) -> int:
        """Of the snapshot last published; 0 before the first."""
        return self.latest["number"] if self.latest else 0

    def learn(self, request: Mapping[str, Any]) -> None:
        """The node says which snapshot it has; all that `refresh` gives from here on is newer.

        Raises:
            BadRequest: there is no snapshot in the request.
        """
        fields = request.get("fields")
        known = fields.get("snapshot") if isinstance(fields, dict) else None
        number = known.get("number") if isinstance(known, dict) else None
        if not isinstance(known, dict) or not isinstance(number, int) or number > NUMBER_MAX:
            raise bad(f"the known snapshot is {shown(known)}; it must be one with a number")
        told = {"number": number, **snapshot.content(known)}
        for plural in PLURALS.values():
            objects = told[plural]
            if not isinstance(objects, dict) or not all(
                isinstance(options, dict) for options in objects.values()
            ):
                raise bad(f"the known snapshot's {plural} are {shown(objects)}; they must be a map")
        if number >= self.number:
            self.latest = told
            self._version = None

    def refresh(self, now_ms: int) -> dict[str, Any] | None:
        """Look for what others did; give the snapshot when there is a newer one.

        Rows that cannot be used set `problem` and publish nothing; changes stay possible, so that
        a command can repair them.

        Raises:
            ModelUnavailable: the database cannot be opened, read or written.
        """
        version = self.database.version()
        if version == self._version:
            return None
        found = self._agree(now_ms)
        self._version = version
        return self._publish(found)

    def request(self, request: Mapping[str, Any], now_ms: int) -> tuple[Any, dict[str, Any] | None]:
        """Do one request, after `refresh`; give its answer, and the new snapshot if there is one.

        Raises:
            CallerError: the request is refused; nothing was changed.
            ModelUnavailable: the database fails; nothing was changed.
        """
        if request.get("do") in changes.QUESTIONS:
            with self.database.read() as session:
                done = changes.apply(session, request, owner=self.owner, now_ms=now_ms)
            return done.data, None
        with self.database.write() as session:
            if self._version is None or self.database.opened != self._version[0]:
                # A new file may want its content back from us before anything is added to it.
                raise ModelUnavailable(
                    f"the model's database {self.database.where} was replaced just now;"
                    " nothing was changed; ask again"
                )
            done = changes.apply(session, request, owner=self.owner, now_ms=now_ms)
            if not done.declared:
                return done.data, None
            set_number(session, max(snapshot.read_number(session), self.number) + 1)
            found = snapshot.read(session)
        if self.problem is not None and not self._usable(found):
            return done.data, None
        return done.data, self._publish(found)

    def _publish(self, found: dict[str, Any]) -> dict[str, Any] | None:
        if self.problem is not None:
            return None
        if self.latest is not None and found["number"] <= self.latest["number"]:
            return None
        self.latest = found
        return found

    def _usable(self, found: dict[str, Any]) -> bool:
        try:
            snapshot.check(found)
        except ModelUnavailable as exc:
            self.problem = exc
            return False
        self.problem = None
        return True

    def _agree(self, now_ms: int) -> dict[str, Any]:
        """Read the database, and see to it that its number and content go with what is known.

        The content of the database goes before what is known; only a database that was just made
        takes its content from there.
        """
        with self.database.read() as session:
            found = snapshot.read(session)
        if not self._usable(found) or self._fits(found):
            return found
        with self.database.write() as session:
            found = snapshot.read(session)
            if self._fits(found):
                return found
            assert self.latest is not None
            if found["number"] == 0 and snapshot.is_empty(found):
                restore(session, self.latest, owner=self.owner, now_ms=now_ms)
            set_number(session, max(found["number"], self.latest["number"]) + 1)
            return snapshot.read(session)

    def _fits(self, found: dict[str, Any]) -> bool:
        latest = self.latest
        if latest is None or found["number"] > latest["number"]:
            return True
        same = snapshot.content(found) == snapshot.content(latest)
        return same and found["number"] == latest["number"]


def restore(session: Session, known: Mapping[str, Any], *, owner: str, now_ms: int) -> None:
    """Fill an empty database from a snapshot.  Ids, owners and times are made anew.

    Raises:
        ModelUnavailable: the snapshot holds what no command of ours would have let in.
    """
    dead_letters: dict[str, str] = {}
    # A queue may name a socket, which names its queue: queues first, their dead letters last.
    for kind in KINDS:
        for name, options in known[PLURALS[kind]].items():
            kept = _kept(kind, name, options)
            row = TABLES[kind](name=name, owner=owner, created_ms=now_ms, updated_ms=now_ms)
            if kind == "queue" and kept["dead_letter"] is not None:
                dead_letters[name] = kept.pop("dead_letter")
            for field, value in kept.items():
                setattr(row, field, value)
            session.add(row)
        session.flush()
    for name, socket in dead_letters.items():
        session.execute(update(Queue).filter_by(name=name).values(dead_letter=socket))
    session.flush()


def _kept(kind: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    try:
        check_object_name(kind, name)
        kept = check_new(kind, name, {field: options.get(field) for field in FIELDS[kind]})
    except BadRequest as exc:
        raise ModelUnavailable(
            f"the model's database is gone and cannot be made again from the last snapshot:"
            f" {exc.text}; the node goes on with that snapshot; put a copy of the database back"
        ) from None
    if kind == "processor":
        kept["restarted"] = int(options.get("restarted") or 0)
    return kept
