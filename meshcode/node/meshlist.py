"""Listings of the calls of a whole mesh.

    mesh.calls     a page of all calls of all nodes that answer, newest first
    mesh.ids       the ids of the first of them that this node knows, for a peer that asks
    mesh.rows      this node's knowledge of these calls, for a peer that asks
"""

# ruff: noqa: ARG001  Operations share one shape.

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshcode.errors import BadRequest, UnknownObject
from meshcode.ids import ID_BYTES
from meshcode.listing import LOST
from meshcode.nearest import nearest
from meshcode.node.choosing import FIELDS, Choice
from meshcode.node.history import Chosen, ran_on
from meshcode.node.meshcalls import (
    annotated,
    kept_row,
    mine,
    stored_call,
    stuck_of,
    together,
)
from meshcode.node.meshops import Answers, answer, ask_peers, good_data, silent_peers
from meshcode.node.meshrows import Row, slim
from meshcode.node.paging import ROWS_MAX, SCAN_MAX, Part, cursor_of, whole
from meshcode.node.sessions import Session
from meshcode.replica.instance import ENDED
from meshcode.router.records import outcome_of, read_envelope

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

IDS_TOLD_MIN = 10_000  # Of a node for one page, when it knows so many: 160 KB.
KEPT_READ_MAX = 10_000  # Kept calls looked at in the log for one listing.


# This node's knowledge.


def ids_of(loop: Loop, fields: dict[str, Any], wanted: int) -> Chosen:
    """The ids of the first `wanted` calls that this node knows, and how many it knows.

    Fields as for `History.page`; `before` and `page` are not for a mesh.  With `node`, only what a
    node of that name owns or has run is meant; what it owns only it says.
    """
    name = fields.get("node")
    chosen = loop.history.choose({**fields, "before": None}, wanted)
    if name is not None:
        own = [id for id in chosen.ids if _is_of(loop, id, name)]
        whole_list = chosen.total is not None and len(chosen.ids) == chosen.total
        return Chosen(own, len(own) if whole_list else None, chosen.reach)
    ascending = bool(fields.get("ascending"))
    kept = _beyond(_kept_ids(loop, fields), cursor_of(fields), ascending)
    total = None if chosen.total is None else chosen.total + len(kept)
    ids, reach = _in_reach({*chosen.ids, *kept}, [chosen.reach], ascending)
    return Chosen(ids[:wanted], total, ids[wanted - 1] if len(ids) > wanted else reach)


def _beyond(ids: list[bytes], start: bytes | None, ascending: bool) -> list[bytes]:
    """Those that a listing has behind `start`."""
    if start is None:
        return ids
    return [id for id in ids if (id > start if ascending else id < start)]


def _in_reach(
    ids: set[bytes], reaches: list[bytes | None], ascending: bool
) -> tuple[list[bytes], bytes | None]:
    """Ids in order, as far as all lists they come from are whole, and how far that is."""
    ends = [reach for reach in reaches if reach is not None]
    ordered = sorted(ids, reverse=not ascending)
    if not ends:
        return ordered, None
    end = min(ends) if ascending else max(ends)
    return [id for id in ordered if (id <= end if ascending else id >= end)], end


def _is_of(loop: Loop, id: bytes, name: str) -> bool:
    """Whether a call ended after the node of that name ran it, or is open and this node's own."""
    value = loop.history.done_record(id)
    if value is None:
        return name == mine(loop)
    return ran_on(read_envelope(outcome_of(value))[1]) == name


def _kept_ids(loop: Loop, fields: dict[str, Any]) -> list[bytes]:
    """Calls of other owners that are open as far as this node knows, and two-node copies; what
    waits for a person whoever owns it.
    """
    router, state = loop.router, fields.get("state")
    if state not in (None, "KEPT", *LOST):
        return []  # Only their owners know in which state they are.
    own = router.calls if state not in LOST else ()
    instances = router.replica.by_id.items()
    kept = {id: inst.sequence for id, inst in instances
            if inst.role != ENDED and id not in own}  # fmt: skip
    kept |= {id: copy.sequence for id, copy in router.copies.items() if id not in own}
    if state is not None:
        kept = {id: at for id, at in kept.items()
                if stuck_of(loop, id).get("state", "KEPT") == state}  # fmt: skip
    choice = Choice(router, {**fields, "state": None})
    if choice.is_everything:
        return list(kept)
    found = []
    for id, sequence in list(kept.items())[:KEPT_READ_MAX]:
        accepted_ms, submit = stored_call(loop, sequence)
        if choice.takes_submit(id, submit, accepted_ms):
            found.append(id)
    return found


def rows_by_id(loop: Loop, ids: list[bytes]) -> list[Row]:
    """What this node knows of these calls; those it does not know are left out."""
    found = []
    for id in ids:
        row = loop.history.row(id)
        if row is not None:
            found.append(annotated(loop, row))
        elif id in loop.router.replica.by_id or id in loop.router.copies:
            found.append(kept_row(loop, id))
    return found


def _check_node(loop: Loop, name: str) -> None:
    if loop.mesh is None:
        raise UnknownObject(
            f"there is no node {name!r}: this one is in no mesh, and all calls that it knows are"
            " its own"
        )
    roster = loop.mesh.roster
    names = [one.name for one in (*roster.members.values(), *roster.evicted.values())]
    if name not in names:
        near = nearest(name, names)
        hint = f"did you mean {near!r}?" if near else "`mesh nodes` shows who there is"
        raise UnknownObject(f"no node of this mesh is called {name!r}; {hint}")


# The operations.


def calls(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """A page of the calls of the mesh; with `here`, or without a mesh, of this node alone."""
    page(loop, fields, lambda data: answer(loop, session, request, data))


def page(loop: Loop, fields: dict[str, Any], done: Callable[[dict[str, Any]], None]) -> None:
    """Give `done` what `mesh.calls` answers.

    First every node tells the ids of its first calls, 16 bytes each, then what it knows of those
    that are on the page: so the last page can be reached, and is as quick as the first.

    Raises:
        BadRequest, UnknownObject: a field is wrong; `done` is not called.
    """
    mesh = loop.mesh
    if "node" in fields:
        _check_node(loop, str(fields["node"]))
    if mesh is None or fields.get("here"):
        found = loop.history.page(fields)
        found["calls"] = [annotated(loop, row) | {"kept_by": [mine(loop)]}
                          for row in found["calls"]]  # fmt: skip
        done(found | {"asked": [], "silent": []})
        return
    part = Part({**fields, "before": None})
    # More than is shown, so that most meshes can count what there is.
    wanted = part.wanted if fields.get("total") is False else max(part.wanted, IDS_TOLD_MIN)
    own = ids_of(loop, fields, wanted)
    asked = set(mesh.here())
    ascending = bool(fields.get("ascending"))
    share = {name: fields[name] for name in (*FIELDS, "unfinished", "ascending", "node", "total",
                                             "cursor") if name in fields}  # fmt: skip

    def have_ids(answers: Answers) -> None:
        told = [found for data in good_data(answers).values() if (found := _chosen(data))]
        shares = (own, *told)
        ids = {id for one in shares for id in one.ids}
        every, reach = _in_reach(ids, [one.reach for one in shares], ascending)
        is_whole = all(one.total is not None and one.total <= len(one.ids) for one in shares)
        known = max((one.total for one in shares if one.total is not None), default=0)
        shown = part.shown(every)
        answered = set(good_data(answers))

        def have_rows(answers: Answers) -> None:
            data = good_data(answers)
            found = together(mesh, rows_by_id(loop, shown), data, ascending=ascending)
            state = fields.get("state")  # It may have gone on since.
            done({
                "calls": [row for row in found if state in (None, row["state"])],
                "total": part.passed + len(every) if is_whole else None,
                "at_least": max(known, part.passed + len(every)), **part.told(every, reach),
                "asked": sorted(mesh.name_of(node) for node in asked),
                "silent": silent_peers(mesh, asked, answered & set(data)),
            })  # fmt: skip

        ask_peers(mesh, "mesh.rows", {"ids": b"".join(shown)}, have_rows)

    ask_peers(mesh, "mesh.ids", {**share, "wanted": wanted}, have_ids)


def _chosen(data: dict[str, Any]) -> Chosen | None:
    """What a peer said to `mesh.ids`; None when it is something else."""
    ids, total, reach = data.get("ids"), data.get("total"), data.get("reach")
    if not isinstance(ids, bytes) or len(ids) % ID_BYTES or not isinstance(total, int | None):
        return None
    if not isinstance(reach, bytes | None) or len(reach or bytes(ID_BYTES)) != ID_BYTES:
        return None
    return Chosen(_split(ids), total, reach)


def _split(ids: bytes) -> list[bytes]:
    return [ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES)]


def share_of_ids(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """This node's share of a listing: ids in its order, and how many calls it knows."""
    wanted = min(max(whole(fields, "wanted", 10), 1), SCAN_MAX + 1)
    found = ids_of(loop, fields, wanted)
    return {"ids": b"".join(found.ids), "total": found.total, "reach": found.reach}


def share_of_rows(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """What this node knows of up to ROWS_MAX calls."""
    ids = fields.get("ids")
    if not isinstance(ids, bytes) or len(ids) % ID_BYTES or len(ids) > ROWS_MAX * ID_BYTES:
        raise BadRequest(f"field 'ids' must be at most {ROWS_MAX} whole ids, one after another")
    return {"rows": list(map(slim, rows_by_id(loop, _split(ids))))}


OPERATIONS: dict[str, Callable[[Any, Session, bytes, dict[str, Any]], Any]] = {
    "mesh.calls": calls,
    "mesh.ids": share_of_ids,
    "mesh.rows": share_of_rows,
}
FOR_PEERS = ("mesh.ids", "mesh.rows")
