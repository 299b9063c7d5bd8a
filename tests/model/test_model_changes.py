"""What every request of the model does, on a real database."""

from __future__ import annotations

import pytest

from meshcode.errors import BadRequest, MeshError, ObjectExists, UnknownObject, WrongState
from meshcode.model import snapshot
from meshcode.model.kinds import FIELDS, KINDS, PLURALS

NOW_MS = 1_700_000_000_000  # What the fixture says the time is.

SHOP = {
    "queues": {
        "orders": {
            "network": None, "type": "direct", "max_length": None, "max_length_bytes": None,
            "message_ttl_ms": None, "expires_ms": None, "overflow": "reject", "dead_letter": None,
            "labels": {},
        }
    },
    "processors": {
        "shop": {
            "git": "file:///srv/shop", "module": "shop.tasks", "branch": None, "commit": None,
            "tag": None, "requirements": None, "module_path": None, "workers": 1, "retries": None,
            "recycle_calls": None, "recycle_age_ms": None, "recycle_bytes": None,
            "retry_delay_ms": None, "time_limit_ms": None, "rate_limit": None,
            "requested_status": "start", "restarted": 0, "env": {}, "password_hash": None,
            "labels": {},
        }
    },
    "sockets": {
        "shop.clean": {
            "processor": "shop", "task": "clean", "queue": "orders", "priority": None,
            "topic": None, "wait_for_all": False,
            "rate_limit": None, "concurrency": None, "key_concurrency": None, "retries": None,
            "retry_delay_ms": None, "time_limit_ms": None, "labels": {},
        }
    },
    "deployments": {
        "shop-here": {"processor": "shop", "scheduler": None, "host": "localhost", "cpus": 2},
    },
    "settings": {}, "secrets": {}, "files": {}, "flows": {}, "versions": {},
    "overrides": {},
    "networks": {}, "schedulers": {}, "nodes": {}, "plugs": {}, "repos": {}, "gates": {},
    "schedules": {},
    "roles": {}, "users": {}, "privileges": {},
}  # fmt: skip


def test_a_snapshot_is_everything_declared_as_plain_data(model):
    model.shop()

    assert model.published[-1] == {"number": 4, **SHOP}
    assert [s["number"] for s in model.published] == [0, 1, 2, 3, 4]


def test_an_object_has_an_id_an_owner_a_status_times_and_a_revision(model):
    added = model.ask("add", "queue", "orders", max_length=5)

    assert len(added.pop("id")) == 36
    assert added == {
        "kind": "queue", "name": "orders", "owner": "ann", "status": "ready",
        "requested_status": "ready", "created_ms": NOW_MS, "updated_ms": NOW_MS, "revision": 1,
        **SHOP["queues"]["orders"], "max_length": 5,
    }  # fmt: skip


def test_the_owner_is_who_asked(model):
    request = {"do": "add", "kind": "queue", "name": "q", "by": "joe"}
    model.refresh()

    data, _snapshot = model.publisher.request(request, NOW_MS)

    assert data["owner"] == "joe"


def test_get_says_who_uses_the_object(model):
    model.shop()

    found = model.ask("get", "processor", "shop")

    assert found["used_by"] == {"sockets": ["shop.clean"], "deployments": ["shop-here"]}
    assert model.ask("get", "processor", found["id"])["name"] == "shop"
    assert model.ask("get", "socket", "shop.clean")["used_by"] == {}


def test_list_gives_all_of_a_kind_by_name(model):
    for name in ("b", "a", "c"):
        model.ask("add", "queue", name)

    assert [q["name"] for q in model.ask("list", "queue")] == ["a", "b", "c"]
    assert model.ask("list", "socket") == []


def test_update_changes_what_is_given_and_counts_a_revision(model):
    model.shop()
    model.now_ms += 5

    updated = model.ask("update", "socket", "shop.clean", priority=9, rate_limit="10/s")

    assert (updated["priority"], updated["rate_limit"], updated["task"]) == (9, "10/s", "clean")
    assert (updated["revision"], updated["created_ms"], updated["updated_ms"]) == (
        2, NOW_MS, NOW_MS + 5,
    )  # fmt: skip
    assert model.published[-1]["sockets"]["shop.clean"]["priority"] == 9
    assert model.number == 5


def test_update_with_none_goes_back_to_the_default(model):
    model.shop()
    model.ask("update", "socket", "shop.clean", priority=9)
    model.ask("update", "processor", "shop", workers=7, env={"A": "1"})

    assert model.ask("update", "socket", "shop.clean", priority=None)["priority"] is None
    updated = model.ask("update", "processor", "shop", workers=None, env=None)
    assert (updated["workers"], updated["env"]) == (1, {})


def test_the_workers_of_a_processor_are_those_of_its_one_deployment(model):
    model.shop()
    model.ask("update", "processor", "shop", workers=7)
    assert model.ask("get", "deployment", "shop-here")["cpus"] == 7
    model.ask("update", "deployment", "shop-here", cpus=1)
    model.ask("update", "processor", "shop", workers=7)  # That it has 7 already is not enough.
    assert model.ask("get", "deployment", "shop-here")["cpus"] == 7

    model.ask("add", "deployment", "shop-there", processor="shop", host="there")
    text = "2 deployments, which say how many workers there are: shop-here \\(7\\), shop-there"
    with pytest.raises(WrongState, match=text):
        model.ask("update", "processor", "shop", workers=3)
    assert model.ask("get", "processor", "shop")["workers"] == 7
    model.ask("update", "processor", "shop", time_limit_ms=1_000)  # Else nothing is refused.


def test_an_update_that_changes_nothing_makes_no_snapshot(model):
    model.shop()
    published = len(model.published)

    same = model.ask("update", "socket", "shop.clean", task="clean", priority=None)

    assert (same["revision"], model.number, len(model.published)) == (1, 4, published)


def test_a_stale_edit_is_refused(model):
    model.shop()
    seen = model.ask("get", "queue", "orders")["revision"]
    model.ask("update", "queue", "orders", max_length=10, revision=seen)

    with pytest.raises(WrongState) as caught:
        model.ask("update", "queue", "orders", max_length=99, revision=seen)

    assert caught.value.text == (
        "queue 'orders' is at revision 2 and this edit is of revision 1; it is unchanged; look at"
        " it with `mesh get queue orders` and make the edit again"
    )
    assert model.ask("get", "queue", "orders")["max_length"] == 10
    with pytest.raises(WrongState):
        model.ask("delete", "queue", "orders", revision=seen)


def test_an_object_is_replaced_by_nothing_of_the_same_name(model):
    model.shop()

    with pytest.raises(ObjectExists) as caught:
        model.ask("add", "queue", "orders", max_length=3)

    assert caught.value.text == (
        "queue 'orders' exists already, made by ann; it is unchanged; choose another name, or"
        " change it with `mesh update queue -n orders`"
    )
    assert model.ask("get", "queue", "orders")["max_length"] is None


def test_exists_ok_is_for_an_equal_object(model):
    """Only what is said is compared: an option left out does not ask for its default."""
    model.shop()
    model.ask("update", "socket", "shop.clean", priority=3)
    wanted = {"processor": "shop", "task": "clean", "queue": "orders", "exists_ok": True}

    same = model.ask("add", "socket", "shop.clean", **wanted)
    with pytest.raises(ObjectExists) as caught:
        model.ask("add", "socket", "shop.clean", **wanted, priority=4)

    assert (same["priority"], same["revision"], same["existed"], model.number) == (3, 2, True, 5)
    assert caught.value.text == (
        "socket 'shop.clean' exists and has priority 3, not 4; it is unchanged; change it with"
        " `mesh update socket -n shop.clean`"
    )
    assert caught.value.fields["different"] == ["priority"]


def test_an_update_to_what_is_so_already_says_so_and_counts_no_revision(model):
    model.shop()
    number = model.number

    same = model.ask("update", "socket", "shop.clean", queue="orders")
    other = model.ask("update", "socket", "shop.clean", priority=3)

    assert (same["unchanged"], same["revision"], model.number) == (True, 1, number + 1)
    assert "unchanged" not in other and other["revision"] == 2


def test_exists_ok_adds_what_is_not_there(model):
    added = model.ask("add", "queue", "q", exists_ok=True)

    assert added["name"] == "q" and "existed" not in added


def test_delete_takes_the_object_out_of_the_snapshot(model):
    model.shop()

    gone = model.ask("delete", "deployment", "shop-here")

    assert (gone["kind"], gone["name"]) == ("deployment", "shop-here")
    assert model.published[-1]["deployments"] == {}
    assert model.number == 5


@pytest.mark.parametrize(
    ("kind", "name", "used_by"),
    [
        ("queue", "orders", "socket 'shop.clean'"),
        ("processor", "shop", "socket 'shop.clean', deployment 'shop-here'"),
        ("socket", "shop.clean", "queue 'small'"),
    ],
)
def test_what_is_used_cannot_be_deleted(model, kind, name, used_by):
    model.shop()
    model.ask("add", "queue", "small", dead_letter="shop.clean")

    with pytest.raises(WrongState) as caught:
        model.ask("delete", kind, name)

    assert caught.value.text == (
        f"{kind} {name!r} is used by {used_by}; it is unchanged; update or delete what uses it"
        " first"
    )
    assert model.ask("get", kind, name)["name"] == name


def test_many_users_are_counted(model):
    model.shop()
    for n in range(5):
        model.ask("add", "socket", f"s{n}", processor="shop", task="f", queue="orders")

    with pytest.raises(WrongState) as caught:
        model.ask("delete", "queue", "orders")

    assert "is used by socket 's0', socket 's1', socket 's2' and 3 more;" in caught.value.text


ACTIONS = [  # what it asks for now, action, what it asks for then, a snapshot?
    ("start", "start", "start", False),
    ("start", "stop", "stop", True),
    ("start", "pause", "pause", True),
    ("start", "resume", "start", False),
    ("start", "restart", "start", True),
    ("pause", "pause", "pause", False),
    ("pause", "resume", "start", True),
    ("pause", "start", "start", True),
    ("pause", "stop", "stop", True),
    ("pause", "restart", "start", True),
    ("stop", "stop", "stop", False),
    ("stop", "start", "start", True),
    ("stop", "restart", "start", True),
]


def test_an_action_changes_what_is_requested_of_a_processor(model):
    model.shop()
    for before, action, after, news in ACTIONS:
        was = model.ask("update", "processor", "shop", requested_status=before)
        number = model.number

        row = model.ask(action, None, "shop")

        assert (before, action, row["requested_status"]) == (before, action, after)
        assert row["restarted"] == was["restarted"] + (action == "restart")
        assert model.number == number + news


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_a_stopped_processor_can_neither_pause_nor_resume(model, action):
    model.shop()
    model.ask("stop", None, "shop")

    with pytest.raises(WrongState) as caught:
        model.ask(action, None, "shop")

    assert caught.value.text == (
        f"processor 'shop' is stopped, so it cannot {action}; it is unchanged; start it with"
        " `mesh proc start -n shop`"
    )


def test_remove_takes_a_processor_and_its_deployments_and_never_its_sockets(model):
    model.shop()
    with pytest.raises(WrongState) as caught:
        model.ask("remove", None, "shop")
    kept = model.ask("list", "deployment")
    model.ask("delete", "socket", "shop.clean")

    model.ask("remove", None, "shop")

    assert caught.value.text.startswith("processor 'shop' is used by socket 'shop.clean';")
    assert [d["name"] for d in kept] == ["shop-here"]
    assert model.published[-1]["processors"] == model.published[-1]["deployments"] == {}


def test_a_report_sets_the_status_and_declares_nothing(model):
    model.shop()

    model.ask("report", "processor", "shop", status="running")

    row = model.ask("get", "processor", "shop")
    assert (row["status"], row["revision"], model.number) == ("running", 1, 4)


def test_dead_letters_go_to_a_socket_of_another_queue(model):
    model.shop()
    model.ask("add", "queue", "small", overflow="dead-letter", dead_letter="shop.clean")

    assert model.published[-1]["queues"]["small"]["dead_letter"] == "shop.clean"


def test_dead_letters_never_go_round(model):
    """Two full queues must not hand a call to each other for ever."""
    model.shop()
    model.ask("add", "queue", "b", dead_letter="shop.clean")
    model.ask("add", "socket", "sb", processor="shop", task="f", queue="b")
    number = model.number

    with pytest.raises(BadRequest) as itself:
        model.ask("update", "queue", "orders", dead_letter="shop.clean")
    with pytest.raises(BadRequest) as two:
        model.ask("update", "queue", "orders", dead_letter="sb")
    with pytest.raises(BadRequest) as moved:
        model.ask("update", "socket", "shop.clean", queue="b")

    assert itself.value.text == (
        "dead letters would go round: queue orders -> orders; give a socket of another queue;"
        " nothing was changed"
    )
    assert "queue orders -> b -> orders;" in two.value.text
    assert "queue b -> b;" in moved.value.text
    assert model.number == number


CAN = (
    "list, get, snapshot, add, update, delete, report, apply, declare, start, stop, restart, pause,"
    " resume, remove"
)
REFUSED = [
    ({"do": "ad", "kind": "queue", "name": "x"}, BadRequest,
     f"the model cannot do 'ad'; did you mean 'add'?; it can: {CAN}; nothing was changed"),
    ({}, BadRequest, f"the model cannot do None; it can: {CAN}; nothing was changed"),
    ({"do": ["add"]}, BadRequest,
     f"the model cannot do ['add']; it can: {CAN}; nothing was changed"),
    ({"do": "add", "kind": "que", "name": "x"}, BadRequest,
     f"the model has no kind 'que'; did you mean 'queue'?; it has: {', '.join(KINDS)};"
     " nothing was changed"),
    ({"do": "list", "kind": ["queue"]}, BadRequest,
     f"the model has no kind ['queue']; it has: {', '.join(KINDS)}; nothing was changed"),
    ({"do": "add", "kind": "queue"}, BadRequest,
     "the queue has no name; give one; nothing was changed"),
    ({"do": "add", "kind": "queue", "name": "x", "fields": [1]}, BadRequest,
     "the fields of a request are [1]; they must be a map of options; nothing was changed"),
    ({"do": "add", "kind": "queue", "name": "x", "by": ""}, BadRequest,
     "the owner is ''; it must be text of 1 to 200 characters; nothing was changed"),
    ({"do": "add", "kind": "queue", "name": "x", "fields": {"exists_ok": 1}}, BadRequest,
     "exists_ok is 1; it must be true or false; nothing was changed"),
    ({"do": "add", "kind": "socket", "name": "x"}, BadRequest,
     "socket 'x' must have a value for processor; give one; nothing was changed"),
    ({"do": "add", "kind": "processor", "name": "x", "fields": {"module": "m"}}, BadRequest,
     "processor 'x' must have a value for git; give one; nothing was changed"),
    ({"do": "add", "kind": "socket", "name": "x",
      "fields": {"processor": "shop", "task": "f", "queue": "order"}}, UnknownObject,
     "socket 'x': no queue is named 'order'; did you mean 'orders'?; nothing was changed;"
     " add it first with `mesh add queue -n order`"),
    ({"do": "add", "kind": "deployment", "name": "x", "fields": {"processor": "zzz"}},
     UnknownObject,
     "deployment 'x': no processor is named 'zzz'; nothing was changed;"
     " add it first with `mesh add processor -n zzz`"),
    ({"do": "update", "kind": "socket", "name": "shop.clean", "fields": {"processor": "shpo"}},
     UnknownObject,
     "socket 'shop.clean': no processor is named 'shpo'; did you mean 'shop'?; nothing was"
     " changed; add it first with `mesh add processor -n shpo`"),
    ({"do": "update", "kind": "queue", "name": "orders", "fields": {"dead_letter": "zzz"}},
     UnknownObject,
     "queue 'orders': no socket is named 'zzz'; nothing was changed;"
     " add it first with `mesh add socket -n zzz`"),
    ({"do": "update", "kind": "queue", "name": "order", "fields": {"max_length": 1}},
     UnknownObject,
     "no queue is named 'order'; did you mean 'orders'?; `mesh ls queues` shows all 1"),
    ({"do": "update", "kind": "queue", "name": "orders"}, BadRequest,
     "nothing to change; give at least one of: network, type, max_length, max_length_bytes,"
     " message_ttl_ms, expires_ms, overflow, dead_letter, labels; nothing was changed"),
    ({"do": "update", "kind": "queue", "name": "orders", "fields": {"name": "q"}}, BadRequest,
     "a queue has no option 'name'; it has: network, type, max_length, max_length_bytes,"
     " message_ttl_ms, expires_ms, overflow, dead_letter, labels; nothing was changed"),
    ({"do": "update", "kind": "queue", "name": "orders", "fields": {"overflow": "dead-letter"}},
     BadRequest,
     "queue 'orders': overflow is 'dead-letter' and dead_letter names no socket; give one;"
     " nothing was changed"),
    ({"do": "update", "kind": "socket", "name": "shop.clean", "fields": {"queue": None}},
     BadRequest,
     "socket 'shop.clean' must have a value for queue; give one; nothing was changed"),
    ({"do": "update", "kind": "queue", "name": "orders",
      "fields": {"max_length": 1, "revision": "a"}}, WrongState,
     "queue 'orders' is at revision 1 and this edit is of revision 'a'; it is unchanged; look at"
     " it with `mesh get queue orders` and make the edit again"),
    ({"do": "get", "kind": "socket", "name": "shop.claen"}, UnknownObject,
     "no socket is named 'shop.claen'; did you mean 'shop.clean'?;"
     " `mesh ls sockets` shows all 1"),
    ({"do": "delete", "kind": "socket", "name": "zzz"}, UnknownObject,
     "no socket is named 'zzz'; `mesh ls sockets` shows all 1"),
    ({"do": "delete", "kind": "socket", "name": "shop.clean", "fields": {"force": True}},
     BadRequest, "this request takes no option 'force'; nothing was changed"),
    ({"do": "start", "kind": "queue", "name": "orders"}, BadRequest,
     "only a processor can start, not a queue; nothing was changed"),
    ({"do": "start", "name": "shpo"}, UnknownObject,
     "no processor is named 'shpo'; did you mean 'shop'?; `mesh ls processors` shows all 1"),
    ({"do": "stop", "name": "shop", "fields": {"now": True}}, BadRequest,
     "this request takes no option 'now'; nothing was changed"),
    ({"do": "report", "kind": "processor", "name": "shop"}, BadRequest,
     "the status is None; it must be text of 1 to 200 characters; nothing was changed"),
]  # fmt: skip


@pytest.fixture(scope="module")
def shop(open_model, tmp_path_factory):
    """One model for all requests that change nothing."""
    opened = open_model(tmp_path_factory.mktemp("shop") / "model.db")
    opened.shop()
    yield opened
    opened.close()


@pytest.mark.parametrize(("request_", "error", "text"), REFUSED)
def test_a_wrong_request_is_refused_in_words_and_changes_nothing(shop, request_, error, text):
    with pytest.raises(MeshError) as caught:
        shop.publisher.request(request_, NOW_MS)

    assert (type(caught.value), caught.value.text) == (error, text)
    with shop.database.read() as session:
        assert snapshot.read(session) == {"number": 4, **SHOP}


def test_every_option_is_a_column_and_nothing_else_is():
    """An option that nothing keeps cannot come in unseen; `test_options_read.py`: who reads it."""
    from meshcode.model.tables import TABLES, Object

    common = {c for c in vars(Object) if not c.startswith("_")} - {"metadata", "registry"}
    for kind in KINDS:
        columns = set(TABLES[kind].__table__.columns.keys())
        extra = {"restarted"} if kind == "processor" else set()
        assert columns == common | set(FIELDS[kind]) | extra
        assert TABLES[kind].__tablename__ == PLURALS[kind]


def test_the_tables_can_be_made_on_postgres():
    from sqlalchemy import create_mock_engine

    from meshcode.model.tables import Base

    made = []
    engine = create_mock_engine(
        "postgresql://",
        lambda sql, *_a, **_k: made.append(str(sql.compile(dialect=engine.dialect))),
    )
    Base.metadata.create_all(engine, checkfirst=False)

    text = "\n".join(made)
    assert text.count("CREATE TABLE") == 3 + len(KINDS)  # State, journal, alembic's.
    assert "REFERENCES" not in text


@pytest.fixture
def wired(model):
    """Three sockets, a -> b -> c, and a gate on the first edge."""
    model.shop()
    for name in "abc":
        model.ask("add", "socket", name, processor="shop", task="clean", queue="orders")
    model.ask("add", "plug", "ab", source="a", target="b")
    model.ask("add", "plug", "bc", source="b", target="c", type="ERROR", argument="text")
    model.ask("add", "gate", "ab-gate", plug="ab", mode="closed")
    return model


@pytest.mark.parametrize(
    ("do", "name", "options", "text"),
    [
        ("add", "ca", {"source": "c", "target": "a"},
         "plug 'ca' would go round: c -> a -> b -> c; give another target; nothing was changed"),
        ("add", "aa", {"source": "a", "target": "a"},
         "plug 'aa' would go round: a -> a; give another target; nothing was changed"),
        ("update", "bc", {"target": "a"},
         "plug 'bc' would go round: b -> a -> b; give another target; nothing was changed"),
    ],
)  # fmt: skip
def test_plugs_never_go_round(wired, do, name, options, text):
    before = wired.number
    with pytest.raises(BadRequest) as caught:
        wired.ask(do, "plug", name, **options)

    assert caught.value.text == text
    assert wired.number == before and set(wired.published[-1]["plugs"]) == {"ab", "bc"}


def test_two_ways_from_one_socket_to_another_are_no_round(wired):
    wired.ask("add", "plug", "ac", source="a", target="c", argument="other")

    assert set(wired.published[-1]["plugs"]) == {"ab", "bc", "ac"}


def test_a_plug_with_a_gate_and_a_socket_with_plugs_stay(wired):
    with pytest.raises(WrongState, match="plug 'ab' is used by gate 'ab-gate'"):
        wired.ask("delete", "plug", "ab")
    with pytest.raises(WrongState, match="socket 'b' is used by plug 'bc', plug 'ab'"):
        wired.ask("delete", "socket", "b")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mode": "task"}, "mode is 'task', so it names no socket to ask; give both or neither"),
        ({"mode": "open", "socket": "c"}, "mode is 'open', so it asks nobody"),
        ({"mode": "ajar"}, "mode is 'ajar'; it must be 'open' or 'closed' or 'task'"),
        ({"socket": "zzz", "mode": "task"}, "no socket is named 'zzz'"),
    ],
)
def test_a_gate_that_cannot_decide_is_refused(wired, options, text):
    before = wired.number
    with pytest.raises((BadRequest, UnknownObject)) as caught:
        wired.ask("add", "gate", "g", plug="bc", **options)

    assert text in caught.value.text and wired.number == before


def test_a_network_is_deleted_with_what_belongs_to_it(model):
    model.ask("add", "network", "net", description="the shop")
    model.ask("add", "scheduler", "even", network="net")
    model.ask("add", "node", "n1", network="net", scheduler="even", cpus=2)
    model.ask("add", "queue", "mine", network="net")
    model.ask("add", "queue", "other")

    gone = model.ask("delete", "network", "net")

    assert gone["deleted"] == ["queue mine", "node n1", "scheduler even"]
    newest = model.published[-1]
    assert newest["networks"] == newest["schedulers"] == newest["nodes"] == {}
    assert set(newest["queues"]) == {"other"}


def test_a_network_stays_whole_while_something_outside_needs_a_part(model):
    model.shop()
    model.ask("add", "network", "net")
    model.ask("add", "scheduler", "even", network="net")
    model.ask("update", "queue", "orders", network="net")
    before = model.number

    with pytest.raises(WrongState, match=r"queue 'orders' is used by socket 'shop\.clean'"):
        model.ask("delete", "network", "net")

    assert model.number == before
    assert set(model.published[-1]["schedulers"]) == {"even"}
