"""Snapshots and their numbers: newer each time, whatever happens to the database."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshcode.errors import BadRequest, CallerError, ModelUnavailable
from meshcode.model import snapshot
from meshcode.model.database import Database
from meshcode.model.kinds import KINDS, PLURALS
from meshcode.model.tables import SCHEMA_VERSION


def by_hand(path, statement, *values):
    """Write to the database as somebody with another program does."""
    link = sqlite3.connect(path)
    with link:
        link.execute(statement, values)
    link.close()


def remove_database(path):
    for name in (path, f"{path}-wal", f"{path}-shm"):
        if os.path.exists(name):
            os.unlink(name)


def content(published):
    return {key: value for key, value in published.items() if key != "number"}


def test_a_database_that_is_not_there_is_made_and_kept_private(model, model_path):
    first = model.refresh()

    assert first == snapshot.EMPTY
    assert stat.S_IMODE(model_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(model_path.parent.stat().st_mode) == 0o700
    assert model.refresh() is None


def test_the_model_is_the_same_after_it_was_closed(model):
    model.shop()
    latest = model.published[-1]

    model.close()
    model.publisher.latest = None

    assert model.refresh() == latest


def test_two_processes_on_one_database_see_each_other(model):
    model.shop()
    other = model.again()
    other.ask("add", "queue", "second")

    news = model.refresh()
    model.ask("update", "queue", "second", max_length=1)

    assert news == other.published[-1]
    assert other.refresh() == model.published[-1]
    assert other.number == 6


def test_a_change_made_by_hand_gets_a_number(model):
    model.shop()
    model.by_hand("UPDATE sockets SET priority = 7")

    news = model.refresh()

    assert (news["number"], news["sockets"]["shop.clean"]["priority"]) == (5, 7)
    assert model.refresh() is None


def test_two_who_see_a_change_made_by_hand_end_with_one_number(model):
    model.shop()
    other = model.again()
    other.refresh()
    model.by_hand("UPDATE sockets SET priority = 7")

    for one in (model, other, model, other):
        one.refresh()

    assert model.number == other.number == 5


def test_a_status_written_by_another_is_no_change(model, model_path):
    model.shop()
    model.by_hand("UPDATE processors SET status = 'running'")

    assert model.refresh() is None
    assert model.number == 4


BY_HAND = [
    ("UPDATE sockets SET rate_limit = 'often'",
     "socket 'shop.clean': rate_limit is 'often'; it must be like 10/s, 60/m or 5/h, with a count"
     " from 1 to 1000000; the node goes on with the snapshot it has; repair the row in table"
     " sockets"),
    ("UPDATE queues SET max_length = -1",
     "queue 'orders': max_length is -1; it must be a whole number from 1 to 20000000 calls; the"
     " node goes on with the snapshot it has; repair the row in table queues"),
    ("UPDATE deployments SET name = '-rf'",
     "the name of a deployment is '-rf'; it must be 1 to 200 of the characters A-Z a-z 0-9 . _ :"
     " / @ - without a leading - or @; the node goes on with the snapshot it has; repair the row in"
     " table deployments"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "text"), BY_HAND)
def test_a_row_that_cannot_be_used_is_not_published(model, statement, text):
    model.shop()
    model.by_hand(statement)

    assert model.refresh() is None
    assert model.publisher.problem.text == (
        f"the database has an object that cannot be used: {text}"
    )
    assert model.number == 4


def test_a_row_that_cannot_be_used_is_repaired_by_a_command(model):
    model.shop()
    model.by_hand("UPDATE sockets SET rate_limit = 'often'")
    model.ask("add", "queue", "later")
    held_back = len(model.published)

    model.ask("update", "socket", "shop.clean", rate_limit="5/s")

    assert held_back == 5
    assert model.published[-1]["sockets"]["shop.clean"]["rate_limit"] == "5/s"
    assert "later" in model.published[-1]["queues"]
    assert model.publisher.problem is None


def test_a_row_that_cannot_be_used_is_repaired_by_hand(model, model_path):
    model.shop()
    model.by_hand("UPDATE sockets SET rate_limit = 'often'")
    model.refresh()
    model.by_hand("UPDATE sockets SET rate_limit = '5/s'")

    news = model.refresh()

    assert (news["number"], news["sockets"]["shop.clean"]["rate_limit"]) == (5, "5/s")


def test_a_database_deleted_while_open_is_made_again_from_the_last_snapshot(model, model_path):
    model.shop()
    model.ask("add", "queue", "small", overflow="dead-letter", dead_letter="shop.clean")
    model.ask("restart", None, "shop")
    before = model.published[-1]
    remove_database(model_path)

    news = model.refresh()

    assert news == {**before, "number": before["number"] + 1}
    assert news["processors"]["shop"]["restarted"] == 1
    assert model.ask("get", "queue", "small")["owner"] == "ann"


def test_a_deleted_file_whose_log_stayed_is_made_again(model, model_path):
    model.shop()
    before = model.published[-1]
    model_path.unlink()

    assert model.refresh() == {**before, "number": 5}


def test_a_deleted_folder_is_made_again(model, model_path):
    model.shop()
    before = model.published[-1]
    shutil.rmtree(model_path.parent)

    assert model.refresh() == {**before, "number": 5}


def test_a_change_right_after_the_deletion_loses_nothing(model, model_path):
    model.shop()
    remove_database(model_path)

    model.ask("add", "queue", "late")

    assert set(model.published[-1]["queues"]) == {"orders", "late"}
    assert set(model.published[-1]["sockets"]) == {"shop.clean"}


def test_a_file_replaced_between_look_and_change_is_not_changed(model, model_path):
    """Else the first change would be all that is left of the model."""
    model.shop()
    remove_database(model_path)

    with pytest.raises(ModelUnavailable) as caught:
        model.publisher.request({"do": "add", "kind": "queue", "name": "late"}, model.now_ms)

    assert caught.value.text == (
        f"the model's database sqlite:///{model_path} was replaced just now; nothing was changed;"
        " ask again"
    )
    assert content(model.refresh()) == content(model.published[-2])


def test_a_database_gone_while_nobody_looked_is_made_again_from_what_the_node_knows(
    model, model_path
):
    model.shop()
    known = model.published[-1]
    model.close()
    remove_database(model_path)
    fresh = type(model)(model_path)

    first = fresh.refresh()
    fresh.publisher.learn({"fields": {"snapshot": known}})
    second = fresh.refresh()

    assert first == snapshot.EMPTY
    assert second == {**known, "number": 5}
    fresh.close()


def test_an_older_copy_put_back_goes_before_what_the_node_knows(model, model_path):
    """The operator's file is the truth; only its number must not go back."""
    model.shop()
    model.close()
    copy = model_path.with_name("copy.db")
    shutil.copy(model_path, copy)
    model.ask("add", "queue", "after-the-copy")
    known = model.published[-1]
    model.close()
    remove_database(model_path)
    shutil.copy(copy, model_path)
    fresh = type(model)(model_path)

    fresh.refresh()
    fresh.publisher.learn({"fields": {"snapshot": known}})
    news = fresh.refresh()

    assert (news["number"], set(news["queues"])) == (6, {"orders"})
    fresh.close()


def test_an_older_copy_put_back_while_running_is_published(model, model_path):
    model.shop()
    model.close()
    copy = model_path.with_name("copy.db")
    shutil.copy(model_path, copy)
    model.ask("delete", "deployment", "shop-here")
    os.replace(copy, model_path)

    news = model.refresh()

    assert (news["number"], set(news["deployments"])) == (6, {"shop-here"})


def test_a_node_that_knows_the_same_is_told_nothing(model):
    model.shop()
    fresh = model.again()
    fresh.refresh()
    fresh.publisher.learn({"fields": {"snapshot": model.published[-1]}})

    assert fresh.refresh() is None


KNOWN = [
    (None, "the known snapshot is None; it must be one with a number"),
    ({}, "the known snapshot is None; it must be one with a number"),
    ({"snapshot": 1}, "the known snapshot is 1; it must be one with a number"),
    ({"snapshot": {"number": "1"}},
     "the known snapshot is {'number': '1'}; it must be one with a number"),
    ({"snapshot": {"number": 1 << 63}},
     "the known snapshot is {'number': 9223372036854775808}; it must be one with a number"),
    ({"snapshot": {"number": 9, "queues": 3}},
     "the known snapshot's queues are 3; they must be a map"),
    ({"snapshot": {"number": 9, "sockets": {"a": 3}}},
     "the known snapshot's sockets are {'a': 3}; they must be a map"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "text"), KNOWN)
def test_what_a_node_knows_must_be_a_snapshot(model, fields, text):
    with pytest.raises(BadRequest) as caught:
        model.publisher.learn({"fields": fields})

    assert caught.value.text == f"{text}; nothing was changed"
    assert model.number == 0


def damaged_by_text(path):
    path.write_bytes(b"This is not a database. " * 100)


def damaged_inside(path):
    data = bytearray(path.read_bytes())
    data[4096 : 4096 + 8192] = b"\xff" * 8192
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [damaged_by_text, damaged_inside])
def test_a_damaged_file_is_an_error_and_stays_as_it_is(model, model_path, damage):
    model.shop()
    model.close()
    damage(model_path)
    before = model_path.read_bytes()

    with pytest.raises(ModelUnavailable) as caught:
        model.ask("add", "queue", "q")

    assert caught.value.text.startswith(f"the model's database sqlite:///{model_path} is damaged: ")
    assert caught.value.text.endswith(
        "; the file is untouched and the node goes on with the snapshot it has; put a copy back,"
        " or move the file away and it is made again from that snapshot"
    )
    assert model_path.read_bytes() == before


def test_a_damaged_file_moved_away_is_made_again(model, model_path):
    model.shop()
    model.close()
    damaged_by_text(model_path)
    with pytest.raises(ModelUnavailable):
        model.refresh()
    model_path.rename(model_path.with_name("damaged.db"))

    assert model.refresh() == {**model.published[-2], "number": 5}


def test_a_database_of_something_else_is_left_alone(model, model_path):
    model_path.parent.mkdir()
    by_hand(model_path, "CREATE TABLE songs (name TEXT)")
    before = model_path.read_bytes()

    with pytest.raises(ModelUnavailable) as caught:
        model.refresh()

    assert caught.value.text == (
        f"sqlite:///{model_path} is a database of something else, with 1 tables and indexes and no"
        " model_state; it is untouched and the node goes on with the snapshot it has; give another"
        " path"
    )
    assert model_path.read_bytes() == before


def test_a_database_of_a_newer_meshcode_is_left_alone(model, model_path):
    model.refresh()
    model.close()
    model.by_hand(f"UPDATE model_state SET schema_version = {SCHEMA_VERSION + 1}")

    with pytest.raises(ModelUnavailable) as caught:
        model.refresh()

    assert caught.value.text == (
        f"the model's database sqlite:///{model_path} has tables of version {SCHEMA_VERSION + 1},"
        f" this meshcode reads up to {SCHEMA_VERSION}; it is untouched and the node goes on"
        " with the snapshot it has; install a newer meshcode"
    )


def test_a_folder_in_the_place_of_the_file_is_an_error(model, model_path):
    model_path.mkdir(parents=True)

    with pytest.raises(ModelUnavailable) as caught:
        model.refresh()

    assert caught.value.text == (
        f"{model_path} is not a file, so it cannot hold the model; the node goes on with the"
        " snapshot it has"
    )


ADDRESSES = [
    ("mysql://joe:secret@host/mesh",
     "the model can be kept in sqlite or postgresql, not in 'mysql'; the node goes on with the"
     " snapshot it has"),
    ("sqlite://", "the model needs a SQLite file, not a database in memory; the node goes on with"
     " the snapshot it has"),
    ("sqlite:///:memory:", "the model needs a SQLite file, not a database in memory; the node goes"
     " on with the snapshot it has"),
    ("://joe:secret@", "the address of the model's database cannot be read; the node goes on with"
     " the snapshot it has; give a path, or a URL like sqlite:////var/lib/mesh/model.db or"
     " postgresql://host/mesh"),
]  # fmt: skip


@pytest.mark.parametrize(("address", "text"), ADDRESSES)
def test_an_address_that_cannot_be_used_is_an_error_at_use(address, text):
    database = Database(address)

    with pytest.raises(ModelUnavailable) as caught, database.read():
        pass

    assert caught.value.text == text


def test_a_server_that_does_not_answer_is_an_error_without_its_password():
    database = Database("postgresql://joe:secret@127.0.0.1:1/mesh")

    with pytest.raises(ModelUnavailable) as caught, database.read():
        pass

    assert "://joe:***@127.0.0.1:1/mesh fails: " in caught.value.text
    assert "secret" not in caught.value.text
    assert caught.value.exit_status == 9  # 7 would say that no node answers.


def test_a_writer_waits_for_another_and_neither_change_is_lost(model):
    """The second write begins while the first is open, and sees it when its turn comes."""
    import threading

    model.shop()
    other = model.again()
    other.refresh()
    begun, results = threading.Event(), []

    def second():
        begun.set()
        results.append(other.ask("update", "queue", "orders", max_length=7))
        other.close()

    with model.database.write() as session:
        thread = threading.Thread(target=second)
        thread.start()
        assert begun.wait(10)
        model_state = snapshot.read_number(session)
    thread.join(10)

    assert model_state == 4
    assert results[0]["max_length"] == 7
    assert model.refresh()["number"] == 5


_NAMES = st.sampled_from(["a", "b", "c"])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.just("queue"), _NAMES, st.just({})),
        st.tuples(
            st.just("add"), st.just("processor"), _NAMES, st.just({"git": "/x", "module": "m"})
        ),
        st.tuples(
            st.just("add"), st.just("socket"), _NAMES,
            st.fixed_dictionaries({"processor": _NAMES, "queue": _NAMES, "task": st.just("f")}),
        ),
        st.tuples(
            st.just("update"), st.just("queue"), _NAMES,
            st.fixed_dictionaries(
                {}, optional={"dead_letter": st.none() | _NAMES, "max_length": st.integers(0, 3)}
            ),
        ),
        st.tuples(st.just("update"), st.just("socket"), _NAMES,
                  st.fixed_dictionaries({"queue": _NAMES})),
        st.tuples(st.just("delete"), st.sampled_from(KINDS), _NAMES, st.just({})),
        st.tuples(st.sampled_from(["stop", "start", "restart", "pause", "remove"]),
                  st.just("processor"), _NAMES, st.just({})),
    ),
    max_size=20,
)  # fmt: skip


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
def test_numbers_go_up_by_one_with_each_change_and_only_then(model, model_path, steps):
    """And what was published is what is in the database, checked, after every step."""
    model.close()
    remove_database(model_path)
    model = type(model)(model_path)
    model.refresh()
    for do, kind, name, fields in steps:
        before, count = model.published[-1], len(model.published)
        try:
            model.ask(do, kind, name, **fields)
        except CallerError as exc:
            assert "unchanged" in exc.text or "nothing was changed" in exc.text or "no " in exc.text
            assert len(model.published) == count
        after = model.published[-1]
        changed = content(after) != content(before)
        assert after["number"] == before["number"] + (len(model.published) - count)
        assert len(model.published) - count == (1 if changed else 0)
        with model.database.read() as session:
            assert snapshot.read(session) == after
        snapshot.check(after)
        assert set(after) == {"number", *PLURALS.values()}
    model.close()
