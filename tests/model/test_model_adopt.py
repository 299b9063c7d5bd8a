"""The database becomes what the node merged with its peers, and loses no change of anybody."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from meshcode.errors import BadRequest, ModelUnavailable, WrongState
from meshcode.model import snapshot as snapshots
from meshcode.model.kinds import PLURALS, PUBLISHED

LATER_MS = 1_700_000_009_000


def adopt(model: Any, snapshot: Any, base: int) -> None:
    """Refresh and adopt, as the server does; everything that came out on the way is published."""
    model.refresh()
    request = {"do": "adopt", "fields": {"snapshot": snapshot, "base": base}}
    model.publisher.adopt(request, LATER_MS)


def changed(snapshot: dict[str, Any], number: int, **plurals: Any) -> dict[str, Any]:
    """A snapshot with other objects of some kinds; None takes an object away."""
    merged = {**snapshot, "number": number}
    for plural, objects in plurals.items():
        found = {**merged[plural], **objects}
        merged[plural] = {name: options for name, options in found.items() if options is not None}
    return merged


def queue(**options: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(PUBLISHED["queue"]) | {"labels": {}}
    return {**nothing, "type": "direct", "overflow": "reject", **options}


def rows(model: Any) -> dict[str, Any]:
    with model.database.read() as session:
        found = {}
        for table in PLURALS.values():
            query = f"SELECT name, id, owner, revision, created_ms, updated_ms FROM {table}"
            found |= {(table, row[0]): tuple(row[1:]) for row in session.execute(text(query))}
        return found


def test_rows_are_inserted_changed_and_deleted_and_the_rest_stays_as_it_is(model):
    model.shop()
    model.ask("add", "queue", "bills")
    before = rows(model)
    shop = {**model.published[-1]["sockets"]["shop.clean"], "priority": 7}
    wanted = changed(
        model.published[-1], 40, queues={"bills": None, "new": queue(max_length=3)},
        sockets={"shop.clean": shop},
    )  # fmt: skip

    adopt(model, wanted, base=5)

    with model.database.read() as session:
        assert snapshots.read(session) == wanted
    after = rows(model)
    for same in (("queues", "orders"), ("processors", "shop"), ("deployments", "shop-here")):
        assert after[same] == before[same]
    id, owner, revision, created_ms, updated_ms = after["sockets", "shop.clean"]
    assert (id, owner, revision) == (*before["sockets", "shop.clean"][:2], 2)
    assert (created_ms, updated_ms) == (model.now_ms, LATER_MS)
    assert after["queues", "new"][1:] == ("ann", 1, LATER_MS, LATER_MS)
    assert ("queues", "bills") not in after


def test_an_adopted_snapshot_is_not_published_and_the_next_change_comes_after_it(model):
    model.shop()
    adopt(model, changed(model.published[-1], 40, queues={"new": queue()}), base=4)

    assert model.refresh() is None
    assert model.number == 40
    model.ask("add", "queue", "next")
    assert model.published[-1]["number"] == 41
    assert set(model.published[-1]["queues"]) == {"orders", "new", "next"}


def test_an_edit_made_of_what_was_there_before_is_refused_by_its_revision(model):
    model.shop()
    model.ask("get", "queue", "orders")
    adopt(model, changed(model.published[-1], 9, queues={"orders": queue(max_length=5)}), base=4)

    with pytest.raises(WrongState, match="is at revision 2 and this edit is of revision 1"):
        model.ask("update", "queue", "orders", max_length=6, revision=1)

    assert model.ask("get", "queue", "orders")["max_length"] == 5


def test_objects_may_name_others_that_are_not_there(model):
    """Two nodes, one of which deleted the queue; here nobody may be worse off for it."""
    model.shop()
    adopt(model, changed(model.published[-1], 9, queues={"orders": None}), base=4)

    model.ask("add", "queue", "other")
    model.ask("update", "socket", "shop.clean", queue="other")
    model.ask("add", "socket", "second", processor="shop", task="f", queue="other")

    assert model.published[-1]["sockets"]["shop.clean"]["queue"] == "other"
    model.ask("delete", "socket", "shop.clean")
    assert set(model.published[-1]["sockets"]) == {"second"}


def test_a_command_that_came_before_is_not_overwritten(model):
    model.shop()
    merged = changed(model.published[-1], 9, queues={"new": queue()})
    model.ask("add", "queue", "late")

    with pytest.raises(WrongState) as caught:
        adopt(model, merged, base=4)

    assert caught.value.text == (
        "the model's database is at number 5 and the merged snapshot 9 was made from 4; nothing was"
        " overwritten; merge what is new there and ask again"
    )
    assert caught.value.fields == {"number": 5, "base": 4}
    with model.database.read() as session:
        assert set(snapshots.read(session)["queues"]) == {"orders", "late"}
    adopt(model, changed(model.published[-1], 10, queues={"new": queue()}), base=5)
    assert model.number == 10


def test_a_change_made_by_hand_is_not_overwritten(model):
    """It is published with a number first, and the refusal has it."""
    model.shop()
    merged = changed(model.published[-1], 9, queues={"new": queue()})
    model.by_hand("UPDATE sockets SET priority = 7")

    with pytest.raises(WrongState):
        adopt(model, merged, base=4)

    assert model.published[-1]["number"] == 5
    assert model.published[-1]["sockets"]["shop.clean"]["priority"] == 7


def test_a_change_made_by_hand_between_the_look_and_the_lock_is_not_overwritten(model):
    model.shop()
    model.refresh()
    merged = changed(model.published[-1], 9, queues={"new": queue()})
    model.by_hand("UPDATE sockets SET priority = 7")

    with pytest.raises(WrongState):
        model.publisher.adopt({"fields": {"snapshot": merged, "base": 4}}, LATER_MS)

    assert model.refresh()["sockets"]["shop.clean"]["priority"] == 7


def test_a_row_that_cannot_be_used_is_not_overwritten_either(model):
    model.shop()
    merged = changed(model.published[-1], 9, queues={"new": queue()})
    model.by_hand("UPDATE sockets SET rate_limit = 'often'")

    with pytest.raises(ModelUnavailable, match="has an object that cannot be used"):
        adopt(model, merged, base=4)

    assert model.number == 4


def test_a_database_that_was_deleted_adopts_once_it_is_made_again(model, model_path):
    model.shop()
    merged = changed(model.published[-1], 9, queues={"new": queue()})
    model_path.unlink()

    with pytest.raises(WrongState):
        adopt(model, merged, base=4)
    adopt(model, {**merged, "number": 10}, base=5)

    assert model.refresh() is None
    assert set(model.ask("get", "queue", "new")["used_by"]) == set()


EMPTY = {"number": 9, **{plural: {} for plural in PLURALS.values()}}
PROCESSOR = {"git": "/x", "module": "m", "restarted": "3"}
BAD = [
    (None, "the merged snapshot is None; it must be one with a number"),
    ({"number": -1}, "the merged snapshot is {'number': -1}; it must be one with a number"),
    ({"number": True}, "the merged snapshot is {'number': True}; it must be one with a number"),
    ({"number": 9, "queues": {}, "sockets": {}},
     "the merged snapshot has no settings, secrets, networks, schedulers, nodes, processors,"
     " overrides, deployments, plugs, repos, gates, schedules, files, flows, versions, roles,"
     " users, privileges; it must have every kind"),
    ({**EMPTY, "number": 4},
     "the merged snapshot has number 4 and the database is at 4; a snapshot must be newer than the"
     " one it replaces"),
    ({**EMPTY, "queues": 3}, "the merged snapshot's queues are 3; they must be a map"),
    ({**EMPTY, "queues": {"q": 1}},
     "the merged snapshot's queues are {'q': 1}; they must be a map"),
    ({**EMPTY, "queues": {"q": {"max_length": 0}}},
     "queue 'q': max_length is 0; it must be a whole number from 1 to 20000000 calls"),
    ({**EMPTY, "sockets": {"-rf": {}}},
     "the name of a socket is '-rf'; it must be 1 to 200 of the characters A-Z a-z 0-9 . _ : / @ -"
     " without a leading -"),
    ({**EMPTY, "processors": {"p": PROCESSOR}},
     "processor 'p': restarted is '3'; it must be a count of restarts"),
]  # fmt: skip


@pytest.mark.parametrize(("snapshot", "said"), BAD, ids=str)
def test_a_bad_snapshot_is_refused_and_changes_nothing(model, snapshot, said):
    """Also what stands before the bad object, and would have been deleted."""
    model.shop()
    before = rows(model)

    with pytest.raises(BadRequest) as caught:
        adopt(model, snapshot, base=4)

    assert caught.value.text == f"{said}; nothing was changed"
    assert rows(model) == before
    assert model.number == 4


@pytest.mark.parametrize("base", [None, "4", 3, 5, {}])
def test_another_base_is_refused(model, base):
    model.shop()

    with pytest.raises(WrongState):
        adopt(model, changed(model.published[-1], 9), base)

    assert model.number == 4
