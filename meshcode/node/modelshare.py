"""The model of the whole mesh, as this node knows it: what every node declared, merged.

A map of objects that only grows: a deleted object stays as a tombstone.  Per object the edit with
the highest stamp holds (`meshcode/model/entries.py`), so it does not matter in which order, how
often, or over which peers edits come: nodes that have heard of the same edits have the same model.
There is no head node, and none is waited for.

The model's database of this node is one of its sources and one of its copies.  `base` is what the
database holds as far as the node has heard: what it publishes is compared with that, never with
the merged model, so an edit of a peer that the database does not have yet is not taken for a
deletion.  `meshcode/node/adopter.py` brings the database up to the merged model.

Pure: no link, clock, disk or thread.  docs/model.md, "Many nodes", tells it to people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshcode.errors import BadRequest, BadValue
from meshcode.limits import MODEL_BYTES_MAX, MODEL_OBJECTS_MAX, MODEL_STAMP_JUMP_MAX
from meshcode.model import ended
from meshcode.model.checks import shown
from meshcode.model.delta import with_changes
from meshcode.model.entries import (
    BUCKET_BYTES,
    BUCKETS,
    Entry,
    Key,
    after,
    bucket_of,
    make_entry,
    messages_of,
    read_entry,
)
from meshcode.model.fields import fill
from meshcode.model.kinds import FIELDS, KINDS, PLURALS
from meshcode.model.rounds import rounds
from meshcode.node.modelkeep import Kept, follow, pack_change, pack_kept, unpack_kept

DIGEST_BYTES = 16
PROBLEMS_MAX = 64  # Told of at once; the rest is counted.

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Overruled:
    """An edit that was replaced by a later one whose maker had not seen it."""

    kind: str
    name: str
    winner: bytes  # Node of the edit that holds.
    loser: bytes  # Node of the edit that was replaced.
    held: dict[str, Any] | None  # Options that hold; None: it is deleted.
    lost: dict[str, Any] | None  # Options that were replaced; None: it had been deleted.

    def text(self, name_of: Callable[[bytes], str]) -> str:
        """What happened, for the events; `name_of` gives a node's name."""
        winner, loser = name_of(self.winner), name_of(self.loser)
        head = f"{self.kind} {self.name!r} was changed on {loser} and on {winner} at once; that of"
        if self.lost is None:
            lost = "its deletion"
        elif self.held is None:
            lost = "the change; it is deleted"
        else:
            specs = FIELDS[self.kind]
            lost = ", ".join(
                f"{option} {specs[option].show(value) if option in specs else value}"
                for option, value in self.lost.items()
                if self.held.get(option) != value
            )
        again = f"`mesh get {self.kind} {self.name}` shows what holds"
        return f"{head} {winner} holds; of {loser} is lost: {lost}; {again}"


@dataclass(slots=True)
class Change:
    """What one message or one snapshot did."""

    changed: bool = False  # `snapshot()` is another one, with a higher number.
    before: dict[str, Any] | None = None  # The snapshot until now.
    changes: list[list[Any]] = field(default_factory=list)  # All that leads on from it: delta.py.
    save: bool = False  # `pack()` is another one.
    news: list[Message] = field(default_factory=list)  # What was new here: for other peers.
    replies: list[Message] = field(default_factory=list)  # For the peer that sent the message.
    overruled: list[Overruled] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # Objects that were not taken, and why.


class ModelShare:
    """All edits this node has heard of; the model they make; what its database has of it."""

    def __init__(
        self,
        node_id: bytes,
        kept: bytes | None = None,
        kept_changes: Iterable[bytes] = (),
        *,
        host: str | None = None,
        unix_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        """Go on from what `pack` gave, or with nothing.

        Args:
            node_id: 16 bytes; the stamp of edits made here.
            kept: from this node's log.
            kept_changes: what `pack_change` gave since.
            host: this node's name, which replaces `localhost` in deployments declared here.
            unix_ms: the wall clock, by which ended logins are over and need no more telling.

        Raises:
            BadValue: `kept` cannot be read.
        """
        self.node_id = node_id
        self.host = host
        self._unix_ms = unix_ms
        found = unpack_kept(kept) if kept is not None else Kept()
        for change in kept_changes:
            follow(found, change)
        self.number = found.number  # Of `snapshot()`.
        self.base_number = found.base_number  # Of what the database published last.
        self._highest = found.highest  # Number of any stamp heard of.
        self._base = found.base
        self._offered = found.offered  # What the database may have instead, newest last.
        self._offered_number = found.offered_number
        self._state: dict[Key, Entry] = {}
        self._buckets = [0] * BUCKETS
        self._digest = 0
        self._bytes = 0
        self._snapshot: dict[str, Any] | None = None
        self._refused: dict[Key, str] = {}
        # Objects of which the database may have something else than what is merged; None: unknown.
        self._uneven: set[Key] | None = None
        # Objects of which `pack` says something else than before; None: of any.
        self._touched: set[Key] | None = None
        for entry in found.state.values():
            self._put(entry)
        self._touched = set()

    # What there is.

    @property
    def digest(self) -> bytes:
        """16 bytes; two nodes with the same have heard of the same edits."""
        return self._digest.to_bytes(DIGEST_BYTES, "big")

    @property
    def behind(self) -> bool:
        """The database does not have the merged model, or not its number."""
        return self.number != self.base_number

    def snapshot(self) -> dict[str, Any]:
        """The merged model in the shape nodes use; to be read only.  Its number only goes up."""
        if self._snapshot is None:
            self._snapshot = _as_snapshot(self.number, self._state.values())
        return self._snapshot

    def base_snapshot(self) -> dict[str, Any] | None:
        """What the database published last: the `known` of its next start; None before any."""
        if not self.base_number and not self._base:
            return None
        return _as_snapshot(self.base_number, self._base.values())

    def problems(self) -> list[str]:
        """What the merged model cannot mean, in words; calls it concerns are parked."""
        snapshot = self.snapshot()
        found = [*_dangling(snapshot), *_rounds(snapshot), *self._refused.values()]
        if len(found) > PROBLEMS_MAX:
            rest = len(found) - PROBLEMS_MAX
            found = [*found[:PROBLEMS_MAX], f"and {rest} more problems of the model"]
        return found

    def pack(self) -> bytes:
        """All of it, for the log."""
        self._touched = set()
        return pack_kept(self._kept())

    def pack_change(self) -> bytes | None:
        """What is another since the last `pack` or `pack_change`; None: only `pack` can tell."""
        touched, self._touched = self._touched, set()
        return None if touched is None else pack_change(self._kept(), touched)

    def _kept(self) -> Kept:
        return Kept(
            number=self.number,
            base_number=self.base_number,
            offered_number=self._offered_number,
            highest=self._highest,
            state=self._state,
            base=self._base,
            offered=self._offered,
        )

    def _touch(self, keys: Iterable[Key]) -> None:
        if self._touched is not None:
            self._touched.update(keys)

    # The database of this node.

    def local_changed(
        self, published: Mapping[str, Any], delta: Mapping[str, Any] | None = None
    ) -> Change:
        """Take a snapshot of our model process: stamp what it changed since the one before.

        Args:
            published: newer than every snapshot given here before.
            delta: what leads to it from the one before, if that is known (`model/delta.py`).

        Returns:
            `news` for all peers, and the edits of peers that the database had not heard of and
            that these overrule.
        """
        leads_on = delta is not None and delta["base"] == self.base_number
        seen_here = self._base
        if self._offered and published["number"] >= self._offered_number:
            seen_here = self._with_offered()
        change = Change(save=True)
        edits: list[Entry] = []
        number = self._highest + 1
        self._touch(self._offered)
        if leads_on and self._uneven is not None:
            assert delta is not None
            raw = {(kind, name): options for kind, name, options in delta["changes"]}
            keys: Iterable[Key] = raw
            base = self._base
            self._touch(raw)
        else:
            leads_on, raw = False, _objects_of(published)
            keys = [*raw, *(key for key in self._known_keys() if key not in raw)]
            base = {}
            self._touched = None
        for key in keys:
            options = raw.get(key)
            fields = None if options is None else self._read_published(key, options)
            known, entry = self._find(key, fields)
            if not known:
                seen = after(seen_here.get(key), self.node_id)
                entry = make_entry(key, number, self.node_id, fields, seen)
                edits.append(entry)
            if entry is not None:
                base[key] = entry
            else:
                base.pop(key, None)
        self._base = base
        if published["number"] != self.base_number:
            self._offered = {}  # Else the database may still adopt it: it is as it was then.
        self.base_number = published["number"]
        self._take(edits, change)
        before = self._uneven if leads_on and self._uneven is not None else set()
        asked = raw if leads_on else {**dict.fromkeys(self._state), **raw}
        # By what the database says, which has `localhost` where the merged model has a name.
        uneven = {
            key
            for key, options in asked.items()
            if _fields_of(self._state.get(key)) != options
        }
        self._uneven = (before - asked.keys()) | uneven
        self._count_on(change, least=self.base_number + bool(self._uneven))
        return change

    def offer(self) -> tuple[dict[str, Any], int, list[list[Any]] | None]:
        """The merged snapshot, for the database to adopt, and the number it must be at now.

        What is offered is in `pack` from here on, and has to be on disk before the database hears
        of it: else, after a crash, what it adopted would be taken for an edit made here.

        The last value is all that leads to the snapshot from what the database has; None: nobody
        can tell.
        """
        for key, entry in self._state.items():
            if self._base.get(key) is not entry:
                before = self._offered.get(key, ())
                if entry not in before:
                    self._offered[key] = (*before, entry)
        self._touch(self._offered)
        self._offered_number = self.number
        changes = None
        if self._uneven is not None:
            changes = [[*key, _fields_of(self._state.get(key))] for key in sorted(self._uneven)]
        return self.snapshot(), self.base_number, changes

    def adopted(self) -> None:
        """The database adopted what was offered last."""
        self._touch(self._offered)
        asked = {*self._offered, *(self._uneven or ())}
        self._base, self._offered = self._with_offered(), {}
        self.base_number = self._offered_number
        if self._uneven is not None:
            self._uneven = {key for key in asked if self._is_uneven(key)}

    def _is_uneven(self, key: Key) -> bool:
        return _fields_of(self._state.get(key)) != _fields_of(self._base.get(key))

    def _with_offered(self) -> dict[Key, Entry]:
        return self._base | {key: entries[-1] for key, entries in self._offered.items()}

    def _known_keys(self) -> Iterable[Key]:
        return self._base.keys() | self._offered.keys()

    def _find(self, key: Key, fields: dict[str, Any] | None) -> tuple[bool, Entry | None]:
        """Whether what the database has is known to us, and which edit it is."""
        base = self._base.get(key)
        if fields == _fields_of(base):
            return True, base
        for entry in reversed(self._offered.get(key, ())):
            if fields == _fields_of(entry):
                return True, entry
        merged = self._state.get(key)
        return fields == _fields_of(merged), merged

    def _read_published(self, key: Key, options: dict[str, Any]) -> dict[str, Any]:
        fields = fill(key[0], options)
        if key[0] == "deployment" and fields["host"] == "localhost" and self.host:
            fields = {**fields, "host": self.host}
        return fields

    # Other nodes.

    def hello(self) -> Message:
        """What to say to a peer now and then: it asks when it has another digest."""
        return {"digest": self.digest}

    def full(self) -> list[Message]:
        """All edits, as messages."""
        return messages_of(self._state.values())

    def delta_since(self, buckets: bytes) -> list[Message]:
        """The edits that a node with those digests of its buckets may lack, as messages."""
        assert len(buckets) == BUCKETS * BUCKET_BYTES, len(buckets)
        mine = self._bucket_digests()
        differ = {
            at // BUCKET_BYTES
            for at in range(0, len(mine), BUCKET_BYTES)
            if mine[at : at + BUCKET_BYTES] != buckets[at : at + BUCKET_BYTES]
        }
        if not differ:
            return []
        return messages_of(e for e in self._state.values() if bucket_of(e.key) in differ)

    def receive(self, message: Any) -> Change:
        """Take one message of a peer: {"digest"}, {"ask", "back"} or {"objects"}.

        Raises:
            BadValue: it is none of these; nothing was changed.
        """
        if not isinstance(message, dict):
            raise BadValue(f"a message about the model is {shown(message)}; it must be a map")
        if set(message) == {"digest"}:
            return self._hear_digest(message["digest"])
        if set(message) == {"ask", "back"}:
            return self._hear_ask(message["ask"], message["back"])
        if set(message) == {"objects"}:
            return self.merge(message)
        raise BadValue(
            f"a message about the model has {shown(sorted(map(str, message)))}; it must have a"
            " digest, or ask and back, or objects; it was dropped"
        )

    def merge(self, message: Mapping[str, Any]) -> Change:
        """Take edits that a peer knows of; per object the one with the higher stamp holds.

        Objects whose options this version cannot use are left out, each with its reason.

        Raises:
            BadValue: the message is no list of objects; nothing was changed.
        """
        rows = message.get("objects")
        if not isinstance(rows, list):
            raise BadValue(f"objects of the model are {shown(rows)}; they must be a list")
        change = Change()
        entries: list[Entry] = []
        for row in rows:
            try:
                entry = read_entry(row)
            except BadRequest as exc:
                why = exc.text.removesuffix("; nothing was changed")
                self._refuse(row[0], row[1], why, change)
                continue
            if entry.number > self._highest + MODEL_STAMP_JUMP_MAX:
                raise BadValue(
                    f"{entry.kind} {entry.name!r} has number {entry.number}, the highest here is"
                    f" {self._highest} and the most it may be ahead is {MODEL_STAMP_JUMP_MAX}"
                )
            entries.append(entry)
        self._take(entries, change)
        self._count_on(change, least=0)
        return change

    def _hear_digest(self, digest: Any) -> Change:
        if not isinstance(digest, bytes) or len(digest) != DIGEST_BYTES:
            raise BadValue(f"the digest is {shown(digest)}; it must be {DIGEST_BYTES} bytes")
        if digest == self.digest:
            return Change()
        return Change(replies=[{"ask": self._bucket_digests(), "back": False}])

    def _hear_ask(self, buckets: Any, back: Any) -> Change:
        size = BUCKETS * BUCKET_BYTES
        if not isinstance(buckets, bytes) or len(buckets) != size or not isinstance(back, bool):
            raise BadValue(f"a question about the model is wrong: {size} bytes and a flag are due")
        replies = self.delta_since(buckets)
        if not back:  # It may have what we lack: one question in return, and no further.
            replies.append({"ask": self._bucket_digests(), "back": True})
        return Change(replies=replies)

    def _bucket_digests(self) -> bytes:
        low = (1 << 8 * BUCKET_BYTES) - 1
        return b"".join((mark & low).to_bytes(BUCKET_BYTES, "big") for mark in self._buckets)

    # Both.

    def _take(self, entries: Iterable[Entry], change: Change) -> None:
        news = []
        for entry in entries:
            mine = self._state.get(entry.key)
            if mine is not None and mine.order >= entry.order:
                both = self._both(mine, entry)
                news += [] if both is None else [self._hold(both, change)]
                continue
            if mine is None and entry.node != self.node_id and self._is_full(entry):
                why = (
                    f"the mesh's model has {len(self._state)} objects of {self._bytes} bytes, the"
                    f" most is {MODEL_OBJECTS_MAX} of {MODEL_BYTES_MAX}; fewer must be declared"
                )
                self._refuse(entry.kind, entry.name, why, change)
                continue
            both = None if mine is None else self._both(entry, mine)
            held, lost = _fields_of(both or entry), _fields_of(mine)
            if both is not None and held is not None and lost is not None:
                lost = {**lost, **{option: held[option] for option in ended.OPTIONS}}
            if mine is not None and held != lost and not entry.knew(mine):
                where = (entry.kind, entry.name, entry.node, mine.node)
                change.overruled.append(Overruled(*where, held, lost))
            news += [self._hold(one, change) for one in (entry, both) if one is not None]
        change.save |= bool(news)
        change.news += messages_of(news)

    def _hold(self, entry: Entry, change: Change) -> Entry:
        """It is the edit that holds from now on."""
        held = _fields_of(entry)
        if held != _fields_of(self._state.get(entry.key)):
            change.changed = True
            change.changes.append([*entry.key, held])
        self._refused.pop(entry.key, None)
        self._put(entry)
        if self._uneven is not None:
            self._uneven.add(entry.key)
        return entry

    def _both(self, later: Entry, earlier: Entry) -> Entry | None:
        """An edit of this node, with the ended logins that only an edit has which is overruled.

        None where it has none, or was seen by the one that holds, which went on from it.
        """
        if later.kind != ended.KIND or later.knew(earlier):
            return None
        held, lost = _fields_of(later), _fields_of(earlier)
        if held is None or lost is None:
            return None
        fields = held | ended.kept(lost, held, self._unix_ms())
        if fields == held:
            return None
        number = max(self._highest, later.number) + 1
        seen = after(later, self.node_id, earlier)
        return make_entry(later.key, number, self.node_id, fields, seen)

    def _put(self, entry: Entry) -> None:
        key = entry.key
        self._touch([key])
        bucket = bucket_of(key)
        before = self._state.get(key)
        if before is not None:
            self._buckets[bucket] ^= before.mark
            self._digest ^= before.mark
            self._bytes -= before.size
        self._state[key] = entry
        self._buckets[bucket] ^= entry.mark
        self._digest ^= entry.mark
        self._bytes += entry.size
        self._highest = max(self._highest, entry.number)

    def _count_on(self, change: Change, *, least: int) -> None:
        """Number the snapshot: up with every change of what it says, and at least to `least`."""
        before = self.number
        self.number = max(before + change.changed, least)
        change.changed = self.number != before
        if change.changed:
            change.before = self._snapshot
            if self._snapshot is not None:
                self._snapshot = with_changes(self._snapshot, self.number, change.changes)

    def _is_full(self, entry: Entry) -> bool:
        full = len(self._state) >= MODEL_OBJECTS_MAX
        return full or self._bytes + entry.size > MODEL_BYTES_MAX

    def _refuse(self, kind: str, name: str, why: str, change: Change) -> None:
        text = f"{kind} {name!r} of another node was not taken: {why}"
        change.refused.append(text)
        if len(self._refused) < PROBLEMS_MAX:
            self._refused[kind, name] = text


def _fields_of(entry: Entry | None) -> dict[str, Any] | None:
    if entry is None or entry.fields is None:
        return None
    return fill(entry.kind, entry.fields)


def _objects_of(snapshot: Mapping[str, Any]) -> dict[Key, dict[str, Any]]:
    return {
        (kind, name): options
        for kind in KINDS
        for name, options in snapshot[PLURALS[kind]].items()
    }


def _as_snapshot(number: int, entries: Iterable[Entry]) -> dict[str, Any]:
    snapshot: dict[str, Any] = {"number": number, **{PLURALS[kind]: {} for kind in KINDS}}
    for entry in entries:
        if entry.fields is not None:
            snapshot[PLURALS[entry.kind]][entry.name] = fill(entry.kind, entry.fields)
    return snapshot


def _dangling(snapshot: Mapping[str, Any]) -> Iterable[str]:
    for kind in KINDS:
        refers = {name: spec for name, spec in FIELDS[kind].items() if spec.refers}
        for name, fields in sorted(snapshot[PLURALS[kind]].items()):
            for option, spec in refers.items():
                target = str(spec.refers)
                for value in spec.names(fields[option]):
                    if value not in snapshot[PLURALS[target]]:
                        yield (
                            f"{kind} {name!r} names {target} {value!r}, which another node deleted"
                            f" or this one has not heard of; add the {target}, or update or delete"
                            f" the {kind}"
                        )


def _rounds(snapshot: Mapping[str, Any]) -> Iterable[str]:
    """Ways round that no command allows, since two nodes each declared a part."""
    queues, sockets = snapshot["queues"], snapshot["sockets"]
    letters = [
        (name, sockets[queue["dead_letter"]]["queue"])
        for name, queue in queues.items()
        if queue["dead_letter"] in sockets
    ]
    for way in rounds(letters):
        yield (
            f"dead letters would go round: queue {' -> '.join(way)}; give a socket of another queue"
        )
    for way in rounds((plug["source"], plug["target"]) for plug in snapshot["plugs"].values()):
        yield f"plugs would go round: {' -> '.join(way)}; delete or update one of them"
