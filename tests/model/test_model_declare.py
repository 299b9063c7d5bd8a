"""Many objects found or added in one request, on a real database: all or none."""

from __future__ import annotations

import pytest

from meshcode.errors import BadRequest, NotAllowed, ObjectExists, UnknownObject
from meshcode.model.declare import THERE
from meshcode.model.snapshot import shown

SECRET = "correct horse"


def of(kind, name, there="refuse", new=None, by=None, **options):
    row = {"kind": kind, "name": name, "options": options, "there": there}
    return row | ({"new": new} if new else {}) | ({"by": by} if by else {})


SHOP = [
    of("socket", "clean", processor="shop", task="clean", queue="orders"),
    of("processor", "shop", git="/srv/shop", module="shop"),
    of("queue", "orders", overflow="dead-letter", dead_letter="keep"),
    of("socket", "keep", processor="shop", task="keep", queue="lost"),
    of("queue", "lost"),
    of("plug", "p", source="clean", target="keep"),
    of("gate", "g", plug="p", mode="closed"),
    of("network", "n"),
    of("scheduler", "sch", network="n"),
    of("node", "here", network="n"),
    of("deployment", "d", processor="shop"),
    of("schedule", "clean", socket="clean", interval_ms=5_000, new={"args": [1]}),
]


def declare(model, *objects, **request):
    model.refresh()
    asked = {"do": "declare", "fields": {"objects": list(objects)}, **request}
    data, snapshot = model.publisher.request(asked, model.now_ms)
    if snapshot is not None:
        model.published.append(snapshot)
    return data


def test_objects_in_any_order_are_one_change(model):
    assert declare(model, *SHOP) == {"added": 12, "changed": 0, "kept": [], "existed": []}

    assert (model.number, model.ask("get", "queue", "orders")["dead_letter"]) == (1, "keep")
    assert model.ask("get", "schedule", "clean")["args"] == [1]
    assert model.ask("snapshot") == shown(model.published[-1])
    row = model.ask("get", "processor", "shop")
    assert (row["owner"], row["revision"], row["created_ms"]) == ("ann", 1, model.now_ms)


def test_again_it_changes_nothing(model):
    declare(model, *SHOP)
    model.ask("update", "schedule", "clean", args=[2])

    assert declare(model, *SHOP) == {
        "added": 0, "changed": 0, "kept": [], "existed": list(range(len(SHOP))),
    }  # fmt: skip
    assert model.ask("get", "schedule", "clean")["args"] == [2]  # `new` is of what is added.


@pytest.mark.parametrize(
    ("objects", "at", "error", "text"),
    [
        ([of("queue", "q"), of("socket", "x", processor="no", task="t", queue="q")], 1,
         UnknownObject, "socket 'x': no processor is named 'no'; nothing was changed; add it first"
         " with `mesh add processor -n no`"),
        ([of("queue", "q"), of("socket", "kep")], 1, UnknownObject,
         "no socket is named 'kep'; did you mean 'keep'?; `mesh ls sockets` shows all 2; to add it,"
         " give processor and task and queue too; nothing was changed"),
        ([of("queue", "q"), of("queue", "orders", max_length=3)], 1, ObjectExists,
         "queue 'orders' exists and has max_length None, not 3; it is unchanged; change it with"
         " `mesh update queue -n orders`"),
        ([of("queue", "q"), of("queue", "q", max_length=3)], 1, ObjectExists,
         "queue 'q' exists and has max_length None, not 3; it is unchanged; change it with"
         " `mesh update queue -n q`"),
        ([of("queue", "q"), of("plug", "back", source="keep", target="clean")], 1, BadRequest,
         "plugs would go round: clean -> keep -> clean; give one of them another target; nothing"
         " was changed"),
        ([of("queue", "q"), of("queue", "lost", "change", dead_letter="clean",
                               overflow="dead-letter")], 1, BadRequest,
         "dead letters would go round: queue lost -> orders -> lost; give a socket of another"
         " queue; nothing was changed"),
        ([of("queue", "q"), of("gate", "g", "change", mode="task")], 1, BadRequest,
         "gate 'g': mode is 'task', so it names no socket to ask; give both or neither; nothing was"
         " changed"),
        ([of("queue", "q"), of("queue", "r", colour="red")], 1, BadRequest, None),
        ([of("queue", "q"), of("queue", "r", max_length=0)], 1, BadRequest, None),
        ([of("queue", "q"), of("node", "here", "fill", network="other")], 1, ObjectExists,
         "node 'here' exists and has network 'n', not 'other'; it is unchanged; change it with"
         " `mesh update node -n here`"),
        ([of("queue", "q"), of("file", "f")], 1, BadRequest, None),
        ([of("queue", "q"), of("queue", "r", "perhaps")], 1, BadRequest, None),
        ([of("queue", "q"), {**of("queue", "r"), "extra": 1}], 1, BadRequest, None),
        ([of("queue", "q"), of("processor", "shop", "change", password_hash="x")], 1, BadRequest,
         "a processor has no option 'password_hash'; give a password; nothing was changed"),
        ([of("queue", "q"), of("processor", "shop", "change", password="short")], None, BadRequest,
         "the password has 5 characters; it must have 8 to 1024; nothing was changed"),
        ([], None, BadRequest, None),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_whole(model, objects, at, error, text):
    declare(model, *SHOP)
    before = model.ask("snapshot")

    with pytest.raises(error) as caught:
        declare(model, *objects)

    assert caught.value.fields.get("at") == at
    assert text in (None, caught.value.text)
    assert "nothing was changed" in caught.value.text or "it is unchanged" in caught.value.text
    assert model.ask("snapshot") == before
    assert model.number == 1


@pytest.mark.parametrize(
    ("there", "host", "after"),
    [
        ("change", "b", ("b", 3)), ("keep", "b", ("a", 1)), ("leave", "b", ("a", 3)),
        ("leave", "a", ("a", 3)), ("fill", "a", ("a", 3)), ("refuse", "b", None),
        ("fill", "b", None),
    ],
)  # fmt: skip
def test_what_becomes_of_an_object_that_is_there(model, there, host, after):
    """Its host was given, its CPUs are as they are by themselves."""
    declare(model, *SHOP, of("deployment", "d", "change", host="a"))
    wanted = of("deployment", "d", there, host=host, cpus=3)

    if after is None:
        with pytest.raises(ObjectExists, match="has host 'a', not 'b'"):
            declare(model, wanted)
        after = ("a", 1)
    else:
        done = declare(model, wanted)
        kept = {"keep": [{
            "at": 0, "text": "deployment 'd' exists and has host 'a', not 'b'; it is unchanged;"
            " change it with `mesh update deployment -n d`",
        }]}.get(there, [])  # fmt: skip
        changed = int(after != ("a", 1))
        assert done == {"added": 0, "changed": changed, "kept": kept, "existed": []}
    found = model.ask("get", "deployment", "d")
    assert (found["host"], found["cpus"]) == after
    assert set(THERE) == {"refuse", "new", "change", "keep", "fill", "leave"}


def test_an_object_has_the_owner_that_was_said_of_it(model):
    declare(model, of("queue", "q1", by="joe"), of("queue", "q2"), by="eve")

    owners = [model.ask("get", "queue", name)["owner"] for name in ("q1", "q2")]
    assert owners == ["joe", "eve"]


def test_a_password_is_hashed_and_the_same_again_is_the_same(model):
    objects = [*SHOP, of("processor", "shop", "change", password=SECRET)]
    declare(model, *objects)
    assert model.ask("get", "processor", "shop")["password"] is True

    assert declare(model, of("processor", "shop", password=SECRET))["changed"] == 0
    with pytest.raises(ObjectExists, match="has password_hash a secret, not a secret"):
        declare(model, of("processor", "shop", password=SECRET + "x"))
    assert SECRET not in str(model.published)


def test_a_locked_processor_is_not_changed_in_a_class(model):
    declare(model, *SHOP, of("processor", "shop", "change", password=SECRET))
    before = model.ask("snapshot")

    with pytest.raises(NotAllowed, match="'shop' has a password and none was given") as caught:
        declare(model, of("queue", "q"), of("processor", "shop", "change", workers=2))

    assert caught.value.fields["at"] == 1
    assert model.ask("snapshot") == before
    declare(model, of("processor", "shop", "change", workers=2), admin=True)
    assert model.ask("get", "processor", "shop")["workers"] == 2


def test_dry_it_is_checked_and_undone(model):
    assert declare(model, *SHOP, dry=True)["added"] == 12
    assert model.ask("list", "queue") == []


@pytest.mark.parametrize("options", [{"host": "h", "cpus": 2}, {"host": "other"}])
def test_what_must_be_new_is_refused_also_when_it_is_equal(model, options):
    model.shop()
    rows = [of("deployment", "mine", "new", processor="shop", **options)]
    done = model.ask("declare", objects=[of("queue", "q", "new"), *rows])
    number = model.number

    with pytest.raises(ObjectExists) as caught:
        model.ask("declare", objects=[of("queue", "more"), *rows])

    assert done == {"added": 2, "changed": 0, "kept": [], "existed": []}
    assert caught.value.text == (
        "deployment 'mine' exists already; it is unchanged; choose another name, or change it with"
        " `mesh update deployment -n mine`"
    )
    assert (caught.value.fields["at"], model.number) == (1, number)
