"""What the model process holds between requests: the database and the snapshot last published.

Keeps one promise to the node: every snapshot it gives is newer than the one before, also when
somebody changed rows by hand, put an older copy of the file back, or deleted it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from meshcode.errors import BadRequest, ModelUnavailable, WrongState
from meshcode.model import changes, journal, snapshot
from meshcode.model.acting import as_owner
from meshcode.model.checks import shown
from meshcode.model.database import Database, set_number
from meshcode.model.delta import Key, keys_of, with_changes
from meshcode.model.equal import make_equal
from meshcode.model.fields import bad
from meshcode.model.kinds import PLURALS
from meshcode.model.policy import NOBODY, OWNER
from meshcode.model.reader import CHANGES_MAX, Reading

NEVER = (0, -1)  # No version of a database.
NUMBER_MAX = 1 << 62  # What a database column holds, with room to count on.


class Publisher:
    """Does requests on a database and says what the model is now."""

    def __init__(self, database: Database, *, owner: str) -> None:
        """Nothing is published and nothing is opened yet."""
        self.database = database
        self.owner = owner
        self.latest: dict[str, Any] | None = None  # What the node has, as far as we know.
        self.problem: ModelUnavailable | None = None  # Why the rows cannot be published.
        # What leads from the snapshot published before to `latest`; None: nobody can tell.
        self.delta: dict[str, Any] | None = None
        self._version = NEVER  # Of the database when last looked at.
        self._dropped = 0  # Lines of the journal, in units of those that are kept.

    @property
    def number(self) -> int:
        """Of the snapshot last published; 0 before the first."""
        return self.latest["number"] if self.latest else 0

    def learn(self, request: Mapping[str, Any]) -> bool:
        """The node says which snapshot it has; all that `refresh` gives from here on is newer.

        Returns:
            Whether it is as new as the one that was published last, and so the one the node has.

        Raises:
            BadRequest: there is no snapshot in the request.
        """
        told = _snapshot_of(request, "known")
        is_newest: bool = told["number"] >= self.number
        if is_newest:
            self.latest = told
            self._version = NEVER
        return is_newest

    def refresh(self, now_ms: int) -> dict[str, Any] | None:
        """Look for what others did; give the snapshot when there is a newer one.

        Rows that cannot be used set `problem` and publish nothing; changes stay possible, so that
        a command can repair them.

        Raises:
            ModelUnavailable: the database cannot be opened, read or written.
        """
        was_open = self.database.is_open
        try:
            return self._look(now_ms)
        except ModelUnavailable:
            if not was_open:
                raise
            # The tables were dropped, or the server was started anew: a new connection may do.
            return self._look(now_ms)

    def _look(self, now_ms: int) -> dict[str, Any] | None:
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
        principal = _principal_of(request)
        if request.get("do") in changes.QUESTIONS:
            with self.database.read(principal) as session:
                done = changes.apply(session, request, owner=self.owner, now_ms=now_ms)
            return done.data, None
        dry = request.get("dry", False)
        if not isinstance(dry, bool):
            raise bad(f"dry is {shown(dry)}; it must be true or false")
        with self.database.write(principal) as session:
            self._check_same_file()
            done = changes.apply(session, request, owner=self.owner, now_ms=now_ms)
            if dry:
                session.rollback()
                return done.data, None
            if not done.declared:
                return done.data, None
            set_number(session, max(snapshot.read_number(session), self.number) + 1)
            with as_owner(session):
                found = self.database.reader.read(session)
            if found.line is not None and found.line[0] // journal.LINES_KEPT != self._dropped:
                journal.drop_old(session, found.line[0])
                self._dropped = found.line[0] // journal.LINES_KEPT
        if self.problem is not None and not self._usable(found):
            return done.data, None
        self._version = self.database.version_after(found.snapshot["number"], self._version)
        return done.data, self._publish(found)

    def adopt(self, request: Mapping[str, Any], now_ms: int) -> None:
        """Make the database equal to the snapshot that the node merged with those of its peers.

        Ids, owners and times of rows that are equal already stay.  Afterwards the database has the
        number of that snapshot, and so has `latest`: nothing is published, the node knows it.

        Args:
            request: with "fields": {"snapshot", or "delta" that leads to it from the snapshot that
                the node last had from here, and "base", the number of that}.
            now_ms: Unix milliseconds.

        Raises:
            WrongState: the database is not at `base` any more; the node does not know what somebody
                changed, so nothing was overwritten.
            BadRequest: no snapshot, an object that cannot be used, or a number that is not newer.
            ModelUnavailable: the database fails, or holds a row nobody could have declared.
        """
        fields = request.get("fields")
        delta = fields.get("delta") if isinstance(fields, dict) else None
        wanted = None if delta is not None else _snapshot_of(request, "merged", whole=True)
        base = request["fields"].get("base")
        if self.problem is not None:
            raise self.problem
        with self.database.write() as session:
            self._check_same_file()
            found = snapshot.read(session)
            keys = None
            if wanted is None:
                wanted, named = _follow(found, delta)
                keys = named if len(named) <= CHANGES_MAX else None
            if found["number"] != base or found != self.latest:
                raise WrongState(
                    f"the model's database is at number {found['number']} and the merged snapshot"
                    f" {wanted['number']} was made from {shown(base)}; nothing was overwritten;"
                    " merge what is new there and ask again",
                    number=found["number"],
                    base=base,
                )
            if wanted["number"] <= found["number"]:
                raise bad(
                    f"the merged snapshot has number {wanted['number']} and the database is at"
                    f" {found['number']}; a snapshot must be newer than the one it replaces"
                )
            make_equal(session, wanted, owner=self.owner, now_ms=now_ms, keys=keys)
            set_number(session, wanted["number"])
            made = snapshot.read(session)
        self._version = self.database.version_after(made["number"], self._version)
        self.latest = made

    def _check_same_file(self) -> None:
        if self.database.opened != self._version[0]:
            # A new file may want its content back from us before anything is added to it.
            raise ModelUnavailable(
                f"the model's database {self.database.where} was replaced just now;"
                " nothing was changed; ask again"
            )

    def _publish(self, reading: Reading) -> dict[str, Any] | None:
        if self.problem is not None:
            return None
        found, before = reading.snapshot, self.latest
        if before is not None and found["number"] <= before["number"]:
            if found["number"] == before["number"]:
                self.latest = found  # They are equal; from this one the next reading leads on.
            return None
        self.latest, self.delta = found, None
        if before is not None and before is reading.before:
            numbers = {"base": before["number"], "number": found["number"]}
            self.delta = {**numbers, "changes": reading.changes()}
        return found

    def _usable(self, reading: Reading) -> bool:
        # What nobody changed since it was good is good.
        keys = reading.keys if self.problem is None else None
        try:
            snapshot.check(reading.snapshot, keys)
        except ModelUnavailable as exc:
            self.problem = exc
            return False
        self.problem = None
        return True

    def _agree(self, now_ms: int) -> Reading:
        """Read the database, and see to it that its number and content go with what is known.

        The content of the database goes before what is known; only a database that was just made
        takes its content from there.
        """
        reader = self.database.reader
        with self.database.read() as session:
            found = reader.read(session)
        if not self._usable(found) or self._fits(found.snapshot):
            return found
        reader.forget()  # Somebody changed rows by hand, or it is another database.
        with self.database.write() as session:
            found = reader.read(session)
            if self._fits(found.snapshot):
                return found
            assert self.latest is not None
            number = found.snapshot["number"]
            if number == 0 and snapshot.is_empty(found.snapshot):
                self._restore(session, now_ms)
            set_number(session, max(number, self.latest["number"]) + 1)
            return reader.read(session)

    def _restore(self, session: Session, now_ms: int) -> None:
        """Fill an empty database from what is known.  Ids, owners and times are made anew."""
        assert self.latest is not None
        try:
            make_equal(session, self.latest, owner=self.owner, now_ms=now_ms)
        except BadRequest as exc:
            found = exc.text.removesuffix("; nothing was changed")
            raise ModelUnavailable(
                "the model's database is gone and cannot be made again from the last snapshot:"
                f" {found}; the node goes on with that snapshot; put a copy of the database back"
            ) from None

    def _fits(self, found: dict[str, Any]) -> bool:
        latest = self.latest
        if latest is None or found["number"] > latest["number"]:
            return True
        same = snapshot.content(found) == snapshot.content(latest)
        return same and found["number"] == latest["number"]


def _principal_of(request: Mapping[str, Any]) -> str:
    """For whom a request is: the user that the node says, or the node itself, as the owner."""
    principal = request.get("principal", OWNER)
    if not isinstance(principal, str) or principal == NOBODY:
        raise bad(f"the principal is {shown(principal)}; it must be the name of a user")
    return principal


def _follow(found: dict[str, Any], delta: Any) -> tuple[dict[str, Any], list[Key]]:
    """The snapshot that a delta leads to, and which objects are others in it."""
    try:
        number, changes = delta["number"], delta["changes"]
        keys = keys_of(changes)
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= NUMBER_MAX:
            return with_changes(found, number, changes), keys
    except (TypeError, ValueError, KeyError):
        pass
    raise bad(f"the merged changes are {shown(delta)}; they must be those of a numbered snapshot")


def _snapshot_of(request: Mapping[str, Any], what: str, *, whole: bool = False) -> dict[str, Any]:
    """The snapshot in a request; `whole`: a kind that is not there does not count as empty."""
    fields = request.get("fields")
    given = fields.get("snapshot") if isinstance(fields, dict) else None
    number = given.get("number") if isinstance(given, dict) else None
    good = isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= NUMBER_MAX
    if not isinstance(given, dict) or not good:
        raise bad(f"the {what} snapshot is {shown(given)}; it must be one with a number")
    missing = [plural for plural in PLURALS.values() if plural not in given]
    if whole and missing:
        raise bad(f"the {what} snapshot has no {', '.join(missing)}; it must have every kind")
    told = {"number": number, **snapshot.content(given)}
    for plural in PLURALS.values():
        objects = told[plural]
        if not isinstance(objects, dict) or not all(
            isinstance(options, dict) for options in objects.values()
        ):
            raise bad(f"the {what} snapshot's {plural} are {shown(objects)}; they must be a map")
    return told
