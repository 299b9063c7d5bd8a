"""What an entry of a peer must be before the core takes it: one function per kind.

A peer may send any bytes.  The shell leaves out what has a wrong shape (`good_of`), so the core
never meets it: an exception in there is a bug and stops the node (decision 0039).  Shapes only:
whether a node may say such a thing, and whether it is true, is for the handlers.

Of calls and outcomes many come at once, nearly all of them plain: these are looked at by columns
(`heardmany`), and one by one only where that finds something else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from meshcode import native
from meshcode.ids import ID_BYTES
from meshcode.native.layout import Fault
from meshcode.replica.instance import KEY_BYTES, MOVED_GENERATION_MAX, generation_of
from meshcode.router import given, heardmany
from meshcode.router.states import State
from meshcode.wire.kinds import Kind, Outcome

_SUBMIT: Final = int(Kind.SUBMIT)
_OUTCOME: Final = int(Kind.OUTCOME)
_MOVED: Final = int(Outcome.MOVED)
_NUMBER_MAX: Final = (1 << 32) - 1  # Boots and attempts.
# Counters of epochs: a record has room for twice as many, so a claim beyond one can be written.
_COUNTER_MAX: Final = (1 << 31) - 1
_WHOLE_MAX: Final = (1 << 63) - 1
_GROUPS_KEPT: Final = 1_024
_STATES: Final = frozenset(map(int, State))


def _is_key(value: Any) -> bool:
    return type(value) is bytes and len(value) == KEY_BYTES


def _is_id(value: Any) -> bool:
    return type(value) is bytes and len(value) == ID_BYTES


def _is_whole(value: Any, most: int = _WHOLE_MAX) -> bool:
    return type(value) is int and 0 <= value <= most


@lru_cache(_GROUPS_KEPT)
def _are_voters(data: bytes) -> bool:
    nodes = {data[at : at + ID_BYTES] for at in range(0, len(data), ID_BYTES)}
    return len(data) in (ID_BYTES, 3 * ID_BYTES) and len(nodes) * ID_BYTES == len(data)


def _is_group(value: Any) -> bool:
    return type(value) is bytes and _are_voters(value)


def _is_epoch(value: Any) -> bool:
    if type(value) is not list or len(value) != 3:
        return False
    counter, node, boot = value
    return (
        type(counter) is type(boot) is int and type(node) is bytes and len(node) == ID_BYTES
        and 0 <= counter <= _COUNTER_MAX and 0 <= boot <= _NUMBER_MAX
    )  # fmt: skip


def _is_parent(value: Any) -> bool:
    if value is None:
        return True
    return type(value) is list and len(value) == 2 and _is_key(value[0]) and _is_group(value[1])


def _is_instance(key: Any, voters: Any, boot: Any, parent: Any) -> bool:
    """What words that may come before the call itself tell of its instance."""
    return (
        _is_key(key) and _is_group(voters) and _is_whole(boot, _NUMBER_MAX) and _is_parent(parent)
    )


def is_call(data: Any, id: bytes) -> bool:
    """Whether this is the SUBMIT envelope of a call, whole, with options that can be some."""
    if type(data) is not bytes:
        return False
    try:
        row = native.check(data)
    except Fault:
        return False
    if row.kind != _SUBMIT or row.id != id:
        return False
    name = data[row.name_at : row.meta_at]
    if not (name.isascii() or _is_text(name)):
        return False
    if row.body_at == row.meta_at and name[:1] != b"@":
        return True
    return given.problem(name, data[row.meta_at : row.body_at], data) is None


def is_outcome(data: Any, id: bytes) -> bool:
    """Whether this is the OUTCOME envelope of a call, whole."""
    if type(data) is not bytes:
        return False
    try:
        row = native.check(data)
    except Fault:
        return False
    if row.kind != _OUTCOME or row.id != id or not 1 <= row.code < _MOVED:
        return False
    if row.body_at == row.name_at:
        return True
    name, meta = data[row.name_at : row.meta_at], data[row.meta_at : row.body_at]
    return given.is_ending(name, meta, data, row.body_at)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_story(value: Any) -> bool:
    if type(value) is not list:
        return False
    for row in value:
        if type(row) is not list or len(row) != 3:
            return False
        at_ms, name, text = row
        if not (_is_whole(at_ms) and type(name) is type(text) is str):
            return False
    return True


def _is_note(note: Any) -> bool:
    """What an owner says of its call (`Call.changes`)."""
    if type(note) is not dict:
        return False
    by = note.get("cancelled_by")
    return (
        type(note.get("state")) is int and note["state"] in _STATES
        and _is_whole(note.get("attempt"), _NUMBER_MAX) and _is_whole(note.get("due_ms"))
        and type(note.get("reason")) is str and _is_story(note.get("story"))
        and (by is None or type(by) is str)
    )  # fmt: skip


def _is_value(key: bytes, value: Any) -> bool:
    """An outcome with the calls that it causes (`Value`)."""
    if type(value) is not list or len(value) != 4:
        return False
    code, outcome, children, note = value
    if type(code) is not int or type(children) is not list:
        return False
    if code == _MOVED:
        return outcome == b"" and _has_moved(key, children, note)
    if not (1 <= code < _MOVED and is_outcome(outcome, key[:ID_BYTES])):
        return False
    if children and not all(map(_is_child, children)):
        return False
    return note is None or _is_history(note)


def _is_history(note: Any) -> bool:
    return (
        type(note) is dict and _is_whole(note.get("attempt", 0), _NUMBER_MAX)
        and _is_whole(note.get("started_ms", 0)) and _is_story(note.get("story", []))
    )  # fmt: skip


def _has_moved(key: bytes, children: list[Any], note: Any) -> bool:
    if len(children) != 1 or generation_of(key) > MOVED_GENERATION_MAX:
        return False
    child = children[0]
    if type(child) is not list or len(child) != 3:
        return False
    id, voters, submit = child
    if submit is not None or id != key[:ID_BYTES] or not _is_group(voters):
        return False
    if note is None:
        return True
    if type(note) is not dict or not _is_whole(note.get("accepted_ms")):
        return False
    return is_call(note.get("submit"), id)


def _is_child(child: Any) -> bool:
    if type(child) is not list or len(child) != 3:
        return False
    id, voters, submit = child
    return _is_id(id) and _is_group(voters) and is_call(submit, id)


# Agreement.


def _store(entry: list[Any]) -> bool:
    if len(entry) != 7:
        return False
    key, voters, boot, accepted_ms, parent, submit, note = entry
    return (
        _is_instance(key, voters, boot, parent) and _is_whole(accepted_ms)
        and is_call(submit, key[:ID_BYTES]) and (note is None or _is_note(note))
    )  # fmt: skip


def _are_keys(value: Any) -> bool:
    return type(value) is bytes and len(value) > 0 and len(value) % KEY_BYTES == 0


def _stored(entry: list[Any]) -> bool:
    return len(entry) == 1 and _are_keys(entry[0])


def _need(entry: list[Any]) -> bool:
    return len(entry) == 2 and _is_key(entry[0]) and type(entry[1]) is str


def _note(entry: list[Any]) -> bool:
    if len(entry) != 3:
        return False
    return _is_key(entry[0]) and _is_epoch(entry[1]) and _is_note(entry[2])


def _prepare(entry: list[Any]) -> bool:
    if len(entry) != 5:
        return False
    key, voters, boot, parent, epoch = entry
    return _is_instance(key, voters, boot, parent) and _is_epoch(epoch)


def _promise(entry: list[Any]) -> bool:
    if len(entry) != 5:
        return False
    key, epoch, accepted, note, payload = entry
    if not (_is_key(key) and _is_epoch(epoch) and type(payload) is bool):
        return False
    if not (note is None or _is_note(note)):
        return False
    if accepted is None:
        return True
    if type(accepted) is not list or len(accepted) != 2:
        return False
    return _is_epoch(accepted[0]) and _is_value(key, accepted[1])


def _overtaken(entry: list[Any]) -> bool:
    return len(entry) == 2 and _is_key(entry[0]) and _is_epoch(entry[1])


def _propose(entry: list[Any]) -> bool:
    if len(entry) != 6:
        return False
    key, voters, boot, parent, epoch, value = entry
    return (
        _is_instance(key, voters, boot, parent) and _is_epoch(epoch) and _is_value(key, value)
    )


def _agreed(entry: list[Any]) -> bool:
    return len(entry) == 2 and _are_keys(entry[0]) and _is_epoch(entry[1])


def _told(entry: list[Any]) -> bool:
    count = len(entry)
    if count not in (4, 8) or not _are_keys(entry[0]):
        return False
    phase, under, again = entry[1], entry[2], entry[3]
    if type(phase) is not int or phase not in (0, 1, 2) or type(again) is not bool:
        return False
    if not (under is None or _is_epoch(under)):
        return False
    if count == 4:
        return True
    key, voters, boot, parent, value = entry[0], entry[4], entry[5], entry[6], entry[7]
    return _is_instance(key, voters, boot, parent) and _is_value(key, value)


def _gone(entry: list[Any]) -> bool:
    return len(entry) == 1 and _is_key(entry[0])


def _parent(entry: list[Any]) -> bool:
    if len(entry) != 3:
        return False
    return _is_key(entry[0]) and _is_key(entry[1]) and _is_whole(entry[2])


def _parent_says(entry: list[Any]) -> bool:
    if len(entry) != 3:
        return False
    return _is_key(entry[0]) and _is_whole(entry[1]) and type(entry[2]) is str


def _child(entry: list[Any]) -> bool:
    return len(entry) == 2 and _is_key(entry[0]) and _is_key(entry[1])


def _child_says(entry: list[Any]) -> bool:
    return len(entry) == 3 and _child(entry[:2]) and type(entry[2]) is bool


# Work.


def _of_attempt(entry: list[Any]) -> bool:
    return len(entry) == 2 and _is_id(entry[0]) and _is_whole(entry[1], _NUMBER_MAX)


def _grant(entry: list[Any]) -> bool:
    if len(entry) != 2:
        return False
    return type(entry[0]) is str and type(entry[1]) is int


def _run(entry: list[Any]) -> bool:
    if len(entry) != 2:
        return False
    attempt, submit = entry
    if not (_is_whole(attempt, _NUMBER_MAX) and attempt and type(submit) is bytes):
        return False
    return is_call(submit, submit[ID_BYTES : 2 * ID_BYTES])


def _ran(entry: list[Any]) -> bool:
    if len(entry) != 6:
        return False
    id, attempt, code, retry, duration_us, data = entry
    if not (_is_id(id) and _is_whole(attempt, _NUMBER_MAX) and type(retry) is bool):
        return False
    if type(code) is not int or not _is_whole(duration_us):
        return False
    if not code:  # The worker died: why.
        return type(data) is str
    return 1 <= code < _MOVED and is_outcome(data, id)


def _interrupt(entry: list[Any]) -> bool:
    return len(entry) == 2 and _is_id(entry[0]) and type(entry[1]) is str


def _gave_back(entry: list[Any]) -> bool:
    return _of_attempt(entry[:2]) and (
        len(entry) == 2 or (len(entry) == 3 and type(entry[2]) is bool)
    )


def _seats(entry: list[Any]) -> bool:
    if len(entry) != 1 or type(entry[0]) is not dict:
        return False
    return all(type(name) is str and type(count) is int for name, count in entry[0].items())


def _of_id(entry: list[Any]) -> bool:
    return len(entry) == 1 and _is_id(entry[0])


def _keep(entry: list[Any]) -> bool:
    if len(entry) != 3:
        return False
    return _is_id(entry[0]) and _is_whole(entry[1]) and is_call(entry[2], entry[0])


def _drop(entry: list[Any]) -> bool:
    if len(entry) != 3 or not _is_id(entry[0]):
        return False
    id, code, outcome = entry
    if not _is_whole(code, 255):
        return False
    return outcome == b"" or (1 <= code < _MOVED and is_outcome(outcome, id))


def _outcome_is(entry: list[Any]) -> bool:
    if len(entry) != 2 or not _is_id(entry[0]):
        return False
    return entry[1] == b"" or is_outcome(entry[1], entry[0])


def _arrived(entry: list[Any]) -> bool:
    if len(entry) != 5:
        return False
    key, voters, submit, place, arrival = entry
    return (
        _is_key(key) and _is_group(voters) and is_call(submit, key[:ID_BYTES])
        and type(place) is str and _is_id(arrival)
    )  # fmt: skip


def _credit(entry: list[Any]) -> bool:
    if len(entry) != 5:
        return False
    id, attempt, told, taken, run = entry
    return (
        _of_attempt([id, attempt]) and type(told) is int and -1 <= told <= _WHOLE_MAX
        and _is_whole(taken) and _is_whole(run)
    )  # fmt: skip


def is_item(entry: list[Any]) -> bool:
    """Whether what a peer sent is an `events.NewItem`."""
    if len(entry) != 6:
        return False
    id, attempt, number, value, meta, run = entry
    return (
        _of_attempt([id, attempt]) and _is_whole(number) and type(value) is bytes
        and type(meta) is bytes and given.is_routed(meta) and _is_whole(run)
    )  # fmt: skip


SHAPES: Final[dict[int, Callable[[list[Any]], bool]]] = {
    int(Kind.STORE): _store,
    int(Kind.STORED): _stored,
    int(Kind.NEED): _need,
    int(Kind.NOTE): _note,
    int(Kind.PREPARE): _prepare,
    int(Kind.PROMISE): _promise,
    int(Kind.OVERTAKEN): _overtaken,
    int(Kind.PROPOSE): _propose,
    int(Kind.AGREED): _agreed,
    int(Kind.TOLD): _told,
    int(Kind.GONE): _gone,
    int(Kind.PARENT): _parent,
    int(Kind.PARENT_SAYS): _parent_says,
    int(Kind.CHILD): _child,
    int(Kind.CHILD_SAYS): _child_says,
    int(Kind.GRANT): _grant,
    int(Kind.RUN): _run,
    int(Kind.RAN): _ran,
    int(Kind.TAKEN): _of_attempt,
    int(Kind.INTERRUPT): _interrupt,
    int(Kind.GAVE_BACK): _gave_back,
    int(Kind.HOLDS): _of_attempt,
    int(Kind.SEATS): _seats,
    int(Kind.KEEP): _keep,
    int(Kind.KEPT): _of_id,
    int(Kind.DROP): _drop,
    int(Kind.OUTCOME_OF): _of_id,
    int(Kind.OUTCOME_IS): _outcome_is,
    int(Kind.ARRIVED): _arrived,
    int(Kind.CREDIT): _credit,
    int(Kind.ITEMS): is_item,
}


def good_of(kind: int, entries: list[list[Any]]) -> list[list[Any]]:
    """Those of the entries that the core can take; the same list where it can take all."""
    shape = SHAPES.get(kind)
    if shape is None:
        return []
    if heardmany.are_plain(kind, entries) or all(map(shape, entries)):
        return entries
    return [entry for entry in entries if shape(entry)]


__all__ = ["good_of", "is_call", "is_item", "is_outcome"]
