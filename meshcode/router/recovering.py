"""What the rules leave to a person: calls whose voters' majority, or whose only home, is evicted.

Such a call may have run, and may even have been recorded, where nobody can look any more.  So it is
issued again only when a person says so, under its own id and with the event told in its story.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshcode import errors
from meshcode.ids import text_of
from meshcode.replica.instance import ENDED, Value, generation_of, make_key, reissued_key
from meshcode.router import events, replicated
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.records import custody_header, read_envelope, sequence_key
from meshcode.wire.kinds import Outcome

if TYPE_CHECKING:
    from meshcode.router.core import Router


def sequences(r: Router) -> dict[bytes, int]:
    """Calls that wait for a person here, and where their records are."""
    found = {inst.id: inst.sequence for inst in r.replica.orphans() if inst.payload}
    evicted = r.replica.peers.evicted
    found |= {c.id: c.sequence for c in r.copies.values() if c.home in evicted}
    return found


def on_recover(r: Router, event: events.RecoverAsked, now_ms: int, out: Effects) -> None:
    """Issue one such call again, here."""
    id = event.submit[16:32]
    if sequences(r).get(id) != event.sequence or id in r.calls:
        error = errors.WrongState(
            f"call {text_of(id)} does not wait for a person here; nothing was changed"
        )
        out.answers.append((event.client, event.request, False, error.to_data()))
        return
    generation = 0
    copy = r.copies.pop(id, None)
    inst = r.replica.by_sequence.get(event.sequence)
    if inst is not None:  # Its open record becomes that of the new instance; the old one is over.
        again = reissued_key(inst.key)
        generation = 0 if again is None else generation_of(again)
        r.replica.unrest(inst)
        r.replica.forget(inst, out)
        inst.role = ENDED
        inst.value = Value(int(Outcome.MOVED), b"")
    name, options = read_envelope(event.submit)
    line = r.lines.get(name) or r.line_of_removed(name)
    number = r.next_sequence
    r.next_sequence += 1
    call = Call(id, number, line, event.submit, len(event.submit), options, 0, event.accepted_ms)
    voters = r.replica.peers.choose_voters(id)
    old = sequence_key(event.sequence)
    out.records += [("open", old, None), ("state", old, None)]
    head = custody_header(r.node, r.boot, voters, event.accepted_ms, generation)
    out.records.append(("open", sequence_key(number), head + event.submit))
    r.keep(call, whole=True)
    call.note(now_ms, "recovered", f"by {event.by}: its voters were lost; it may have run before")
    for client in r.watchers.pop(id, ()):
        r.watch(call, client)
    if len(voters) > 1:
        line.count_in(call)
        replicated.begin(r, call, voters, now_ms, out, key=make_key(id, r.node, generation))
    else:
        r.restore(call, None, now_ms, out, why="")
        r.narrow[id] = None
    done = "recovered from a copy" if copy is not None else "issued again"
    out.answers.append((event.client, event.request, True, {"id": text_of(id), "done": done}))


__all__ = ["sequences", "on_recover"]
