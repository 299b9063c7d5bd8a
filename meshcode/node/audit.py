"""What a node writes into its audit log: every change, every refusal, every login.

Questions that are answered are not in it, nor are calls: the history has those.  What came to
nothing is written once a minute, with how often it was asked, and of one principal only so many
kinds of it: what is asked for is the asker's own text, and who may do nothing could push the lines
of changes out of the log with names that do not exist.
"""

# ruff: noqa: ARG001  Operations share one shape.

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshcode.errors import MeshError, NotAllowed
from meshcode.ids import text_of, unix_ms
from meshcode.node.auditlog import BESIDE, TEXT_MAX, WHOLE, AuditLog
from meshcode.node.guard import NEEDS
from meshcode.node.sessions import Session
from meshcode.node.subjects import Edit, as_model, edit_of
from meshcode.node.who import Who

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

# Operations that change something at once; those of the model are written when it answers.
CHANGES = frozenset({
    "call.cancel", "call.retry", "call.recover", "drain", "node.drain", "node.leave",
    "node.countersign", "node.down", "logout", "flow.cancel", "flow.retry", "flow.stop",
})  # fmt: skip
NAME_CHARS_MAX = 220  # Of kind and name of an object, before anybody has looked at them.
# The fields that say what an operation is about, by what a right to it is on; then by operation.
_ABOUT_ON = {
    "call": ("id",), "flow": ("id",), "socket": ("name",), "log": ("socket", "call"),
    "listen": ("name",), "db": ("name",),
}  # fmt: skip
_ABOUT = {"call.recover": ("id",), "worker.stop": ("id",), "node.may": ("name",)}
_MORE_CHARS = 20  # Kept free for how many objects of what was refused are not named.
REPEATED_MS = 60_000
KINDS_MAX = 20  # Of what came to nothing, by one principal in a minute; the others are counted.
ASKERS_MAX = 1_024  # Principals whose requests are counted at once.
_OF_NO_NAMES = ("login", "logout")  # So there are few kinds of them, and each has its line.
_NOTHING_BYTES_MAX = 300  # Of one text in a line of what came to nothing, as the log writes it.


@dataclass(slots=True)
class _Nothing:
    """What one principal asked for in vain since the first of it, for a minute."""

    until_ms: int
    # After the first of it, by operation, object, outcome and way.
    more: dict[tuple[str, str | None, str, str], int] = field(default_factory=dict)
    others: int = 0  # Of kinds that got no line.


class Audit:
    """The audit log as the loop sees it."""

    def __init__(self, home: Path) -> None:
        """Go on where the log ends."""
        self.log = AuditLog(home)
        # Asked of the model, by the node's number of the request: who, via, what, on what, and
        # whether it is a dry run.
        self._asked: dict[bytes, tuple[str, str, str, str, bool]] = {}
        self._nothing: dict[str, _Nothing] = {}  # By principal.
        self._leaving: set[str] = set()  # Who has told this node to leave.
        self._trouble = ""

    def _add(self, who: str, what: str, **more: Any) -> None:
        try:
            for part in _parts(more):
                self.log.add(unix_ms(), who, what, **part)
            self._trouble = ""
        except OSError as error:
            trouble = f"the audit log cannot be written: {error.strerror or error}"
            if trouble != self._trouble:
                print(f"audit: {trouble}; the node goes on", file=sys.stderr)
            self._trouble = trouble

    def done(self, session: Session, what: str, request: bytes, fields: dict[str, Any]) -> None:
        """An operation was let through; questions are not written."""
        if what in ("model", "proc"):
            if str(fields.get("do")) not in ("list", "get", "report", "snapshot"):
                (who, via), on = _who(session.who, fields), _object(what, fields)
                dry = fields.get("dry") is True
                self._asked[request] = (who, via, _named(what, fields), on, dry)
        elif _is_change(what, str(fields.get("do"))):
            (who, via), on = _who(session.who, fields), _object(what, fields)
            if what == "node.leave":  # Until its calls have ended its command asks again and again.
                if who in self._leaving:
                    return
                self._leaving.add(who)
            # Anybody may log out, and again.
            add = self._add_once if what == "logout" else self._add
            add(who, _named(what, fields), via=via, object=on, outcome="allowed")

    def answered(self, request: bytes, good: bool, data: Any) -> None:
        """The model answered a change."""
        found = self._asked.pop(request, None)
        if found is not None:
            who, via, what, on, dry = found
            code = "" if good or not isinstance(data, dict) else str(data.get("code"))
            if good:
                if not dry:  # Which is no more than a question.
                    self._add(who, what, via=via, object=on, outcome="changed")
                return
            outcome = "denied" if code == NotAllowed.code else "refused"
            self._add_once(who, what, via=via, object=on, outcome=outcome, why=code or None)

    def login(self, user: str, from_: str, good: bool) -> None:
        """Somebody gave a password."""
        via = from_ if from_ == "local" else f"key {from_[:8]}"
        if good:
            self._add_once(user, "login", via=via, outcome="allowed")
        else:  # The name is anybody's text; attempts.py lets by so many of these in a minute.
            self._add(user, "login", via=via, outcome="denied")

    def failed(
        self, session: Session, what: str, request: bytes, fields: dict[str, Any], error: MeshError
    ) -> None:
        """An operation was refused, by this node's rules or as it is."""
        if request in self._asked:
            self.answered(request, False, error.to_data())
            return
        if not isinstance(error, NotAllowed):
            return
        right = str(error.fields.get("right") or "")
        self.denied(session.who, _named(what, fields), _object(what, fields), right)

    def denied(self, who: Who | None, what: str, object_: str, right: str) -> None:
        """Somebody may not do something."""
        name, via = _who(who, {})
        self._add_once(name, what, via=via, object=object_, outcome="denied", right=right or None)

    def _add_once(self, who: str, what: str, **more: Any) -> None:
        """What changes nothing: the same again, and what is too much, is counted for a minute."""
        now, what = unix_ms(), _cut(what)
        if "object" in more:
            more["object"] = _cut(_brief(more["object"]))
        known = self._nothing.get(who)
        if known is None or now >= known.until_ms:
            if len(self._nothing) >= ASKERS_MAX or known is not None:
                self._tell_repeated(now, everything=known is None)
            known = self._nothing[who] = _Nothing(now + REPEATED_MS)
        kind = (what, more.get("object"), more["outcome"], more["via"])
        if kind in known.more:
            known.more[kind] += 1
        elif len(known.more) >= KINDS_MAX and what not in _OF_NO_NAMES:
            known.others += 1
        else:
            known.more[kind] = 0
            self._add(who, what, **more)

    def _tell_repeated(self, now_ms: int, *, everything: bool = False) -> None:
        for who, known in list(self._nothing.items()):
            if not everything and now_ms < known.until_ms:
                continue
            del self._nothing[who]
            for (what, object_, outcome, via), more in known.more.items():
                if more:
                    self._add(who, what, via=via, object=object_, outcome=outcome, times=more)
            if known.others:
                told = f"and {known.others} others of {who} in this minute came to nothing"
                self._add(who, "audit.others", object=told, outcome="denied", times=known.others)

    def tick(self) -> None:
        """Once a second: what was written goes to the disk."""
        if self._nothing:
            self._tell_repeated(unix_ms())
        try:
            self.log.sync()
        except OSError as error:
            self._trouble = str(error)

    def close(self) -> None:
        """The node ends."""
        self._tell_repeated(unix_ms(), everything=True)
        try:
            self.log.close()
        except OSError as error:
            print(f"audit: {error}", file=sys.stderr)


def _who(who: Who | None, fields: dict[str, Any]) -> tuple[str, str]:
    """Name and way of a principal; the owner's `by` is a word of its own, no proof."""
    if who is None:
        by = fields.get("by")
        return (f"owner ({by})" if isinstance(by, str) and by else "owner"), "local"
    return who.name, "local" if who.key is None else f"key {who.key[:8]}"


def _objects(edit: Edit) -> str:
    """What a change of the model is about: the names of all its objects."""
    do, kind, name, given = edit
    names: list[str] = []
    if do == "declare" and isinstance(rows := given.get("objects"), list):
        names = [f"{row.get('kind')} {row.get('name')}" for row in rows if isinstance(row, dict)]
    elif do == "apply" and isinstance(rows := given.get("steps"), list):
        names = [" ".join(map(str, row[:3])) for row in rows if isinstance(row, list)]
    elif do not in ("apply", "declare"):
        names = [f"{kind} {name}"]
    return ", ".join(name[:NAME_CHARS_MAX] for name in names)


def _parts(more: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of an entry: what was changed is named whole, in as many as that takes.

    Of what was refused one has to do: nothing came of it, and whoever may do nothing could push
    all other lines out of the log with one request of many names.
    """
    text = more.get("object")
    if not isinstance(text, str) or len(text) <= TEXT_MAX:
        return [more]
    if more.get("outcome") != "changed":
        return [{**more, "object": _brief(text)}]
    lines = _filled(text.split(", "), TEXT_MAX)
    count = len(lines)
    return [{**more, "object": line, "part": f"{n} of {count}"} for n, line in enumerate(lines, 1)]


def _brief(text: str) -> str:
    """As many names as a line has room for, and how many more there are."""
    if len(text) <= TEXT_MAX:
        return text
    names = text.split(", ")
    line = _filled(names, TEXT_MAX - _MORE_CHARS)[0]
    rest = len(names) - len(line.split(", "))
    return line + (f" and {rest} more" if rest else "")


def _cut(text: str) -> str:
    """As much of it as takes no more room in the log than a plain text of the longest."""
    room = _NOTHING_BYTES_MAX
    if len(json.dumps(text)) - 2 <= room:
        return text
    room -= 3
    for at, char in enumerate(text):
        room -= len(json.dumps(char)) - 2
        if room < 0:
            return text[:at] + "..."
    return text


def _filled(names: list[str], chars_max: int) -> list[str]:
    """The names in lines of so many characters; one that is longer by itself has its own line."""
    lines = [names[0]]
    for name in names[1:]:
        if len(lines[-1]) + len(name) + 2 <= chars_max:
            lines[-1] += f", {name}"
        else:
            lines.append(name)
    return lines


def _is_change(what: str, do: str) -> bool:
    """Whether an operation that was let through changes something at once."""
    return what in CHANGES or do in {"db": WHOLE, "node.may": BESIDE}.get(what, ())


def _named(what: str, fields: dict[str, Any]) -> str:
    """What the log calls an operation."""
    if what == "node.may" and fields.get("do"):
        return f"node.{fields['do']}"
    if what not in ("model", "proc", "db"):
        return what
    return f"{'model' if what == 'db' else what}.{fields.get('do')}"


def _object(what: str, fields: dict[str, Any]) -> str:
    """What an operation is about: what it reads, whatever else was sent with it."""
    on = NEEDS[what].on if what in NEEDS else ""
    if on in ("model", "proc"):
        return _objects(edit_of(as_model(what, fields)))
    which = next((fields[name] for name in _ABOUT.get(what, _ABOUT_ON.get(on, ()))
                  if fields.get(name)), "")  # fmt: skip
    if isinstance(which, bytes):
        return text_of(which) if len(which) == 16 else which.hex()
    return str(which)


def tip(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """The last number and hash that this node wrote."""
    return {"number": loop.audit.log.number, "hash": loop.audit.log.hash}


def let_do(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """May this session do what a command does beside the node?  Yes, if it came to here."""
    return {}


OPERATIONS = {"audit.tip": tip, "db": let_do, "node.down": let_do, "node.may": let_do}
