"""Row-level security: one table of cases for SQLite and for Postgres, and Postgres without us.

On Postgres with a role that owns the tables and is held by its policies: neither superuser nor
BYPASSRLS.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, cast, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from meshcode.errors import BadRequest, NotAllowed, ObjectExists, UnknownObject, WrongState
from meshcode.model import policy, snapshot
from meshcode.model.acting import as_owner
from meshcode.model.database import Database
from meshcode.model.kinds import KINDS
from meshcode.model.policy import DOINGS, NOBODY, OWNER, RIGHTS_FOR
from meshcode.model.publish import Publisher
from meshcode.model.rightnames import CONTAINED_IN
from meshcode.model.rights import Rights
from meshcode.model.tables import TABLES, Queue, Socket
from tests.model.postgres import URL_VARIABLE, engine_of
from tests.model.rows import NOW, OBJECTS, fill


@pytest.fixture
def rows(request: pytest.FixtureRequest, backend: str) -> Iterator[Database]:
    """An open database whose policies hold us."""
    name = "app_url" if backend == "postgres" else "model_path_of_rows"
    database = Database(str(request.getfixturevalue(name)))
    yield database
    database.close()


@pytest.fixture
def model_path_of_rows(tmp_path):
    return tmp_path / "model.db"


@pytest.fixture
def plain(app_url: str) -> Iterator[Engine]:
    """Another program's way in, of the same role."""
    Database(app_url).bypassing()  # Opens it, so that there are tables.
    with engine_of(app_url, principal=NOBODY) as engine:
        yield engine


def seen(session: Session, kind: str) -> list[str]:
    return list(session.scalars(select(TABLES[kind].name).order_by(TABLES[kind].name)))


def queue(name: str = "new", owner: str = "joe", **more: Any) -> Queue:
    return Queue(name=name, owner=owner, type="direct", overflow="reject", labels={}, **NOW, **more)


ALL_SOCKETS = ["bank.pay", "lost", "shop.sell", "shop.try"]
SEEN = [
    # joe's roles, privileges (right, on, revoked, role), kind, what joe sees
    ((), [], "queue", ["free"]),
    ((), [], "socket", ["bank.pay"]),
    ((), [], "network", []),
    ((), [], "user", ["joe"]),
    ((), [("READ_QUEUE", None)], "queue", ["free", "q", "q_x"]),
    ((), [("LS_QUEUES", None)], "queue", ["free", "q", "q_x"]),
    ((), [("UPDATE_QUEUE", None)], "queue", ["free", "q", "q_x"]),
    ((), [("ADD_QUEUE", None)], "queue", ["free"]),
    ((), [("RUN_TASK", None)], "socket", ["bank.pay"]),
    ((), [("READ_SOCKET", None)], "queue", ["free"]),
    ((), [("READ", None)], "socket", ALL_SOCKETS),
    ((), [("ALL", None)], "socket", ALL_SOCKETS),
    (("admin",), [], "socket", ALL_SOCKETS),
    (("dev",), [("READ", None, False, "dev")], "socket", ALL_SOCKETS),
    ((), [("READ", None, False, "dev")], "socket", ["bank.pay"]),
    ((), [("READ", "processor:shop")], "socket", ["bank.pay", "shop.sell", "shop.try"]),
    ((), [("READ", "processor:s*")], "deployment", ["d"]),
    ((), [("READ", "processor:S*")], "deployment", []),
    ((), [("READ", "processor:gone")], "socket", ["bank.pay", "lost"]),
    ((), [("READ", "socket:*.s?ll")], "socket", ["bank.pay", "shop.sell"]),
    ((), [("READ", "queue:q_x")], "queue", ["free", "q_x"]),
    ((), [("READ", "queue:?")], "queue", ["free", "q"]),
    ((), [("READ", "queue:q*")], "socket", ["bank.pay", "shop.sell", "shop.try"]),
    ((), [("READ", "network:n1")], "socket", ["bank.pay", "shop.sell"]),
    ((), [("READ", "label:team=red")], "socket", ["bank.pay", "shop.try"]),
    ((), [("READ", "label:env=prod")], "socket", ["bank.pay", "shop.sell", "shop.try"]),
    ((), [("READ", "label:env=p*")], "processor", ["bank", "shop"]),
    ((), [("READ", "label:zone=eu")], "queue", ["free", "q"]),
    ((), [("READ", "label:zone=eu")], "socket", ["bank.pay", "shop.sell"]),
    ((), [("READ", "label:zone=e")], "queue", ["free"]),
    # What is revoked is hidden, whoever gave it and whose it is; by each right on its own.
    (("admin",), [("ALL", None, True)], "queue", []),
    (("admin",), [("READ", None, True)], "queue", ["free", "q", "q_x"]),
    ((), [("READ", None), ("READ", "label:env=prod", True)], "socket", ["bank.pay", "lost"]),
    ((), [("ALL", "processor:bank", True)], "socket", []),
    (("admin",), [("ALL", "label:zone=eu", True)], "socket", ["bank.pay", "lost", "shop.try"]),
    (("dev",), [("READ", None), ("ALL", None, True, "dev")], "socket", []),
]


def test_the_same_rows_are_hidden_on_both(rows, backend):
    wrong = []
    for roles, privileges, kind, expected in SEEN:
        fill(rows, roles, privileges)
        with rows.read("joe") as session:
            found = seen(session, kind)
        if found != expected:
            wrong.append((roles, privileges, kind, found, expected))
        with rows.read() as session:
            assert len(seen(session, "socket")) == 4

    assert wrong == []


def test_who_is_disabled_gone_or_nobody_sees_nothing(rows, backend):
    fill(rows, ("admin",), [("ALL", None)], enabled=False)
    for principal in ("joe", "nobody-of-that-name", NOBODY):
        with rows.read(principal) as session:
            assert [seen(session, kind) for kind in KINDS] == [[] for _ in KINDS], principal


WRITES = [
    # privileges, what is done, kind, name, whether
    ([], "UPDATE", "queue", "q", False),
    ([], "UPDATE", "queue", "free", True),
    ([], "DELETE", "queue", "free", True),
    ([("READ", None)], "UPDATE", "queue", "q", False),
    ([("UPDATE_QUEUE", None)], "UPDATE", "queue", "q", True),
    ([("UPDATE_QUEUE", None)], "DELETE", "queue", "q", False),
    ([("DELETE_QUEUE", "queue:q")], "DELETE", "queue", "q", True),
    ([("DELETE_QUEUE", "queue:q")], "DELETE", "queue", "q_x", False),
    ([("UPDATE", "label:zone=eu")], "UPDATE", "socket", "shop.sell", True),
    ([("UPDATE", "label:zone=eu")], "UPDATE", "socket", "shop.try", False),
    ([("UPDATE_QUEUE", None, True)], "UPDATE", "queue", "free", False),
    ([("UPDATE_QUEUE", None, True)], "DELETE", "queue", "free", True),
    ([("STOP_PROCESSOR", None)], "UPDATE", "processor", "shop", True),
    ([], "UPDATE", "user", "joe", True),
    ([], "UPDATE", "user", "ann", False),
    ([], "DELETE", "user", "joe", False),
]


class Undone(Exception):
    """Nothing of it is to stay."""


def test_the_same_rows_can_be_written_on_both(rows, backend):
    wrong = []
    for privileges, doing, kind, name, expected in WRITES:
        fill(rows, (), privileges)
        try:
            with rows.write("joe") as session:
                row = session.scalars(select(TABLES[kind]).filter_by(name=name)).one_or_none()
                good = row is not None
                if row is not None and doing == "UPDATE":
                    row.status = "other"
                elif row is not None:
                    session.delete(row)
                session.flush()
                raise Undone
        except NotAllowed as error:
            assert f"user joe may not {doing}_{kind.upper()}" in error.text
            good = False
        except Undone:
            pass
        if good != expected:
            wrong.append((privileges, doing, kind, name, good))

    assert wrong == []


def test_rows_are_made_in_ones_own_name_and_with_the_right_to_make_them_there(rows, backend):
    def made(owner: str, **more: Any) -> bool:
        try:
            with rows.write("joe") as session:
                session.add(queue(owner=owner, **more))
                session.flush()
                raise Undone
        except NotAllowed:
            return False
        except Undone:
            return True

    fill(rows)
    assert not made("joe")
    fill(rows, (), [("ADD_QUEUE", "network:n1")])
    assert made("joe", network="n1")
    assert not made("joe") and not made("ann", network="n1")
    fill(rows, (), [("ADD_QUEUE", None)])
    assert [made("joe"), made("ann")] == [True, False]


def test_nothing_is_moved_to_where_one_may_not_write(rows, backend):
    fill(rows, (), [("UPDATE_SOCKET", "processor:shop"), ("ALL", "processor:bank", True)])

    with pytest.raises(NotAllowed), rows.write("joe") as session:
        session.scalars(select(Socket).filter_by(name="shop.sell")).one().processor = "bank"

    with rows.read() as session:
        found = session.scalars(select(Socket.processor).filter_by(name="shop.sell")).one()
    assert found == "shop"


def test_a_session_works_for_its_principal_again_after_a_look_as_the_owner(rows, backend):
    fill(rows)
    with rows.write("joe") as session:
        with as_owner(session):
            assert seen(session, "queue") == ["free", "q", "q_x"]
        assert seen(session, "queue") == ["free"]
        with pytest.raises(Undone), as_owner(session):
            raise Undone
        assert seen(session, "queue") == ["free"]
        assert session.scalars(select(func.count()).select_from(Socket)).one() == 1
        session.add(queue())
        with pytest.raises(NotAllowed), as_owner(session):
            pass  # What joe added is written as joe, not as the owner.
        session.rollback()


def test_a_request_for_a_user_is_done_on_what_the_user_may_see(rows):
    """As the model process is asked by the node, after the node's own check."""
    fill(rows, (), [("UPDATE_SOCKET", "socket:shop.sell"), ("READ", "processor:shop"),
                    ("ADD_SOCKET", None)])  # fmt: skip
    publisher = Publisher(rows, owner="mesh")

    def ask(do: str, kind: str, name: str | None = None, **fields: Any) -> Any:
        publisher.refresh(1)
        request = {"do": do, "kind": kind, "name": name, "fields": fields, "by": "joe"}
        return publisher.request({**request, "principal": "joe"}, 1)[0]

    assert [row["name"] for row in ask("list", "queue")] == ["free"]
    assert ask("get", "queue", "free")["used_by"] == {"sockets": ["bank.pay"]}
    with pytest.raises(UnknownObject, match=r"no queue is named 'q'; .* shows all 1"):
        ask("get", "queue", "q")
    assert ask("update", "socket", "shop.sell", queue="q_x")["queue"] == "q_x"  # Which is hidden.
    with pytest.raises(NotAllowed, match=r"UPDATE_SOCKET on socket 'shop\.try', which is ann's"):
        ask("update", "socket", "shop.try", priority=1)
    with pytest.raises(UnknownObject, match="no queue is named 'gone'"):
        ask("update", "socket", "shop.sell", queue="gone")
    with pytest.raises(WrongState, match=r"used by socket 'bank\.pay'"):
        ask("delete", "queue", "free")
    for more in ({}, {"exists_ok": True}):  # It is hidden, and what it is like stays so.
        with pytest.raises(ObjectExists, match="made by mesh; it is unchanged") as caught:
            ask("add", "socket", "lost", processor="shop", task="t", queue="q", **more)
        assert caught.value.fields["different"] == []
    assert ask("add", "socket", "mine", processor="shop", task="t", queue="q")["owner"] == "joe"
    assert ask("delete", "socket", "mine")["name"] == "mine"
    with pytest.raises(BadRequest, match="the principal is ''"):
        publisher.request({"do": "list", "kind": "queue", "principal": ""}, 1)
    with rows.read() as session:
        found = session.execute(select(Socket.name, Socket.queue, Socket.priority)).all()
    assert sorted(found) == [
        ("bank.pay", "free", None), ("lost", "nowhere", None), ("shop.sell", "q_x", None),
        ("shop.try", "q_x", None),
    ]  # fmt: skip
    assert publisher.latest is not None and len(publisher.latest["queues"]) == 3


def test_many_objects_for_a_user_are_its_own_and_what_is_hidden_stays_hidden(rows):
    fill(rows, (), [("ADD_QUEUE", "queue:mine*"), ("UPDATE_QUEUE", "queue:mine*")])
    publisher = Publisher(rows, owner="mesh")
    publisher.refresh(1)

    def declare(*objects: dict[str, Any]) -> Any:
        request = {"do": "declare", "fields": {"objects": list(objects)}, "by": "joe"}
        return publisher.request({**request, "principal": "joe"}, 1)[0]

    def of(kind: str, name: str, **more: Any) -> dict[str, Any]:
        return {"kind": kind, "name": name, **more}

    forged = of("queue", "mine1", by="root")
    filled = of("queue", "mine1", there="fill", options={"max_length": 4})
    assert declare(forged, filled, of("queue", "free")) == {
        "added": 1, "changed": 0, "kept": [], "existed": [2],
    }  # fmt: skip
    number = publisher.number
    new = of("queue", "mine2")
    with pytest.raises(ObjectExists, match="'q' exists already, made by ann") as caught:
        declare(new, of("queue", "q", options={"type": "topic"}, there="change"))
    assert (caught.value.fields["at"], caught.value.fields["different"]) == (1, [])
    with pytest.raises(NotAllowed, match="may not ADD_QUEUE on queue 'other'"):
        declare(new, of("queue", "other"))
    with pytest.raises(UnknownObject, match=r"no socket is named 'shop.sel'; nothing") as caught:
        declare(new, of("queue", "mine3", options={"dead_letter": "shop.sel"}))
    assert caught.value.fields["at"] == 1
    assert publisher.number == number
    with rows.read() as session:
        found = session.execute(select(Queue.name, Queue.owner, Queue.max_length)).all()
    assert ("mine1", "joe", 4) in [tuple(row) for row in found]
    assert len(found) == 4


def test_what_goes_with_a_deleted_user_goes_though_its_deleter_may_not_see_it(rows):
    fill(rows, (), [("DELETE_USER", None)])
    with rows.write() as session:
        session.execute(update(TABLES["privilege"]).values(user="ann"))
        given = {"right": "DELETE_USER", "user": "joe", "revoked": False, **NOW}
        session.add(TABLES["privilege"](name="mine", owner="mesh", **given))
    request = {"do": "delete", "kind": "user", "name": "ann", "principal": "joe"}
    publisher = Publisher(rows, owner="mesh")
    publisher.refresh(1)

    assert publisher.request(request, 1)[0]["deleted"] == ["privilege p0"]
    assert publisher.latest is not None and list(publisher.latest["privileges"]) == ["mine"]


def test_statements_past_the_rows_of_the_model_are_refused_for_a_user(rows, backend):
    fill(rows)
    for statement in (text("SELECT name FROM queues"), select(TABLES["queue"].__table__.c.name)):
        if backend == "sqlite":
            with pytest.raises(NotAllowed), rows.read("joe") as session:
                session.execute(statement)
        else:  # There the server does it.
            with rows.read("joe") as session:
                assert session.execute(statement).scalars().all() == ["free"]


# Postgres alone, without a line of ours between it and the statement.


def become(link: Connection, principal: str) -> None:
    link.execute(text("SELECT set_config('mesh.principal', :p, true)"), {"p": principal})


def test_every_table_with_an_owner_has_all_its_policies_and_is_forced(plain):
    with plain.connect() as link:
        owned = link.execute(text(
            "SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity FROM pg_class c"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'owner'"
            " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace"
        )).all()  # fmt: skip
        policies = link.execute(text(
            "SELECT tablename, cmd, permissive, roles::text, qual, with_check FROM pg_policies"
            " WHERE schemaname = 'public'"
        )).all()  # fmt: skip

    assert {name for name, _, _ in owned} == {table.__tablename__ for table in TABLES.values()}
    assert [row for row in owned if not (row[1] and row[2])] == []
    assert sorted((table, cmd) for table, cmd, *_ in policies) == sorted(
        (name, cmd) for name, _, _ in owned for cmd in DOINGS
    )
    for table, cmd, permissive, roles, using, check in policies:
        assert (permissive, roles) == ("PERMISSIVE", "{public}"), table
        assert (using is not None) == (cmd != "INSERT"), (table, cmd)
        assert (check is not None) == (cmd in ("INSERT", "UPDATE")), (table, cmd)
        for rule in filter(None, (using, check)):
            assert f"'{cmd}'::text" in rule and "mesh_grants()" in rule and "mesh_may(" in rule


def test_the_role_of_these_tests_is_held_and_a_superuser_is_named(app_url, url):
    assert Database(app_url).bypassing() is None
    if os.environ.get(URL_VARIABLE) is None:
        assert Database(url).bypassing() == "mesh"


def test_making_a_database_warns_of_a_role_that_no_policy_holds(app_url, url):
    def init(address: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "meshcode.cli", "db", "init"]
        return subprocess.run(
            command, env={**os.environ, "MESH_MODEL": address}, capture_output=True, text=True,
            check=True,
        )  # fmt: skip

    held, warned = init(app_url), init(url)

    assert held.stderr == "" and "privileges" in held.stdout
    assert "privileges" in warned.stdout
    if os.environ.get(URL_VARIABLE) is None:
        assert "warning: role mesh is a superuser or has BYPASSRLS" in warned.stderr


def test_without_a_principal_nothing_is_seen_and_nothing_written(app_url, plain):
    fill(Database(app_url), ("admin",), [("ALL", None)])
    with plain.connect() as link:
        for kind in KINDS:
            table = TABLES[kind].__tablename__
            assert link.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0
        assert link.execute(text("UPDATE queues SET status = 'x'")).rowcount == 0
        assert link.execute(text("DELETE FROM queues")).rowcount == 0
        with pytest.raises(ProgrammingError, match="violates row-level security"):
            link.execute(text(INSERT))


INSERT = (
    "INSERT INTO queues (id, name, owner, status, requested_status, created_ms, updated_ms,"
    " revision, type, overflow) VALUES ('i', 'new', 'joe', 'r', 'r', 1, 1, 1, 'direct', 'reject')"
)


def test_the_principal_ends_with_its_transaction(app_url, plain):
    fill(Database(app_url))
    with plain.connect() as link:
        become(link, "joe")
        assert link.execute(text("SELECT name FROM queues")).scalars().all() == ["free"]
        link.commit()
        assert link.execute(text("SELECT name FROM queues")).scalars().all() == []


def test_the_server_itself_refuses_what_the_table_refuses(app_url, plain):
    database = Database(app_url)
    wrong = []
    for privileges, doing, kind, name, expected in WRITES:
        fill(database, (), privileges)
        table = TABLES[kind].__tablename__
        verb = f"DELETE FROM {table}" if doing == "DELETE" else f"UPDATE {table} SET status = 'x'"
        with plain.connect() as link:
            become(link, "joe")
            done = link.execute(text(f"{verb} WHERE name = :name"), {"name": name}).rowcount
            setting = link.execute(text("SELECT current_setting('mesh.principal')")).scalar_one()
        assert setting == "joe"
        if bool(done) != expected:
            wrong.append((privileges, doing, kind, name, done))
    assert wrong == []
    fill(database)
    with plain.connect() as link:
        become(link, "joe")
        with pytest.raises(ProgrammingError, match="violates row-level security"):
            link.execute(text(INSERT))
    fill(database, (), [("ADD_QUEUE", None)])
    with plain.connect() as link:
        become(link, "joe")
        assert link.execute(text(INSERT)).rowcount == 1
        with pytest.raises(ProgrammingError, match="violates row-level security"):
            link.execute(text(INSERT.replace("'i', 'new', 'joe'", "'j', 'more', 'ann'")))


def test_a_refusal_of_the_server_is_not_an_absent_database(app_url):
    database = Database(app_url)
    fill(database)
    with pytest.raises(NotAllowed, match="row-level security"), database.write("joe") as session:
        session.connection().execute(text(INSERT))
    with database.read() as session:
        assert seen(session, "queue") == ["free", "q", "q_x"]


RIGHTS = sorted({name for r in RIGHTS_FOR.values() for right in r for name in CONTAINED_IN[right]})
SCOPES = [
    None, None, "processor:shop", "processor:*", "queue:q?x", "queue:q*", "network:n1",
    "label:env=prod", "label:env=*", "label:team=r?d", "label:zone=eu", "socket:*.*", "user:a*",
    "privilege:p0", "role:dev",
]  # fmt: skip


def test_sql_and_python_say_the_same_of_any_privileges(app_url, plain):
    """Every doing to every row, under privileges that nobody thought of."""
    database, dice = Database(app_url), random.Random(5)
    compared = allowed = 0
    for _ in range(25):
        roles = tuple(dice.sample(["dev", "admin"], dice.choice([0, 0, 1, 2])))
        given = [
            (dice.choice(RIGHTS), dice.choice(SCOPES), dice.random() < 0.25,
             *(["dev"] if dice.random() < 0.3 else []))
            for _ in range(dice.randint(0, 12))
        ]  # fmt: skip
        fill(database, roles, given)
        with database.read() as session:
            rights = Rights(snapshot.read(session))
        with plain.connect() as link:
            for kind, name, owner, _ in OBJECTS:
                become(link, OWNER)
                query = f"SELECT to_jsonb(t) FROM {TABLES[kind].__tablename__} t WHERE name = :n"
                item = link.execute(text(query), {"n": name}).scalar_one()
                become(link, "joe")
                for doing in DOINGS:
                    wanted = [sorted(CONTAINED_IN[r]) for r in RIGHTS_FOR[kind, doing]]
                    query = select(func.mesh_may(
                        func.mesh_grants(), doing, _json(wanted), kind,
                        _json(item),
                    ))  # fmt: skip
                    found = link.execute(query).scalar_one()
                    row = {"name": name, "owner": owner}
                    expected = policy.may(rights, "joe", doing, kind, row)
                    assert found == expected, (roles, given, doing, kind, name)
                    compared += 1
                    allowed += found
    assert compared == 25 * len(OBJECTS) * 4
    assert 0.2 < allowed / compared < 0.8  # Else it compares too little.


def _json(value: Any) -> Any:
    return cast(value, JSONB)
