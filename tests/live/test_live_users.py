"""Users of real nodes: on the local link, and over TCP in a mesh of two."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from meshcode import errors, paths
from meshcode.client import Client, connect
from meshcode.client.api import Network, Node, Queue, Scheduler
from meshcode.node import auditlog
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind
from tests.live.harness import Mesh, offering, until
from tests.live.rawlink import RawLink, body_of
from tests.mesh.cluster import Cluster
from tests.mesh.network import PORT, LoopbackNetwork
from tests.node.test_clientport_nodes import enters, list_keys, told

SECRET = "correct horse battery"
SOON_S = 30.0
STOPPED = {"git": "/nowhere", "module": "m", "requested_status": "stop"}


@pytest.fixture(autouse=True)
def no_other_login(monkeypatch, tmp_path):
    """This machine's own home, keys and login are no part of a test."""
    monkeypatch.setenv("MESH_HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("MESH_LOGIN_FILE", str(tmp_path / "login"))
    for name in ("MESH_NODE", "MESH_CLIENT_KEY", "MESH_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


def keep(text: str) -> None:
    """The login of the clients that connect from here on."""
    path = Path(os.environ["MESH_LOGIN_FILE"])
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_text(text)


def model(client: Client, do: str, kind: str, name: str, **fields: object) -> object:
    return client.ask("model", do=do, kind=kind, name=name, fields=fields)


def shop(owner: Client) -> None:
    """Two processors that do not run, a socket of each, and joe, who may call one of them."""
    model(owner, "add", "queue", "q")
    for name in ("shop", "bank"):
        model(owner, "add", "processor", name, **STOPPED)
        model(owner, "add", "socket", f"{name}.do", processor=name, task="do", queue="q")
    model(owner, "add", "user", "joe", password=SECRET)
    model(owner, "add", "privilege", "p1", right="RUN_TASK", user="joe", on="processor:shop")
    model(owner, "add", "privilege", "p2", right="LS_SOCKETS", user="joe", on="processor:shop")


def test_a_login_on_the_local_link_takes_rights_and_gives_none():
    with Mesh() as node, connect(node.address) as owner:
        shop(owner)
        assert owner.ask("whoami")["who"] == "owner"
        with pytest.raises(errors.NotAllowed, match="no enabled user joe with this password"):
            owner.ask("login", user="joe", password="wrong horse")
        keep(owner.ask("login", user="joe", password=SECRET)["login"])

        with connect(node.address) as joe:
            told = joe.ask("whoami")
            assert (told["who"], told["user"]) == ("user", "joe")
            assert joe.socket("shop.do").submit(1).wait_accepted(SOON_S) == "local 1/1"
            with pytest.raises(errors.NotAllowed, match=r"may not RUN_TASK on socket 'bank\.do'"):
                joe.socket("bank.do").submit(1).wait_accepted(SOON_S)
            with pytest.raises(errors.NotAllowed, match="ADD_QUEUE on queue 'x'"):
                model(joe, "add", "queue", "x")
            rows = joe.ask("model", do="list", kind="socket")
            assert [row["name"] for row in rows] == ["shop.do"]
            with pytest.raises(errors.BadRequest):
                owner.ask("model", do="verify", kind="user", name="joe", fields={"password": "x"})

            model(owner, "add", "privilege", "p3", right="ALL", user="joe", revoked=True)
            with pytest.raises(errors.NotAllowed, match="it is revoked"):
                joe.socket("shop.do").submit(1).wait_accepted(SOON_S)
            model(owner, "delete", "privilege", "p3")
            joe.socket("shop.do").submit(1).wait_accepted(SOON_S)
            model(owner, "update", "user", "joe", password=SECRET + "!")
            with pytest.raises(errors.NotAllowed, match="password of joe is another since"):
                joe.socket("shop.do").submit(1).wait_accepted(SOON_S)
        with connect(node.address) as nobody:
            assert nobody.ask("whoami")["who"] == "nobody"
            with pytest.raises(errors.NotAllowed, match="forget the login with `mesh logout`"):
                nobody.ask("status")

        login = owner.ask("login", user="joe", password=SECRET + "!")["login"]
        keep(login)
        with connect(node.address) as joe:
            joe.ask("logout")
            assert joe.ask("whoami")["who"] == "nobody"
        node.stop()
        node.start()
        with connect(node.address) as joe:  # Also after a restart.
            assert joe.ask("whoami")["reason"] == "the login of joe was ended: `mesh login`"
    assert node.process is None


def test_an_object_is_found_by_who_may_read_it_and_added_by_who_may_add_it():
    with Mesh() as node, connect(node.address) as owner:
        for kind in (Queue, Network, Scheduler, Node):
            kind("there", client=owner)
        model(owner, "add", "user", "joe", password=SECRET)
        rights = ("READ_QUEUE", "READ_NETWORK", "READ_SCHEDULER", "READ_NODE")
        for right in rights:
            model(owner, "add", "privilege", right, right=right, user="joe")
        keep(owner.ask("login", user="joe", password=SECRET)["login"])

        with connect(node.address) as joe:
            for kind in (Queue, Network, Scheduler, Node):
                assert kind("there", client=joe) == kind("there", client=owner)
                with pytest.raises(errors.NotAllowed, match=f"ADD_{kind.kind.upper()} on"):
                    kind("new", client=joe)
            model(owner, "delete", "privilege", "READ_QUEUE")
            model(owner, "add", "privilege", "add", right="ADD_QUEUE", user="joe")
            assert Queue("new", client=joe).name == "new"


def test_what_tasks_print_is_told_to_who_may_hear_it_whatever_else_is_sent(repository):
    live = offering("live", repository, "live.tasks", ["say", "echo"])
    with live as node, connect(node.address) as owner:
        secret, mine = owner.socket("live.tasks.say"), owner.socket("live.tasks.echo")
        printed, own = secret.submit("the code"), mine.submit(1)
        assert (printed.result(SOON_S), own.result(SOON_S)) == (8, 1)
        model(owner, "add", "user", "joe", password=SECRET)
        for at, right in enumerate(("READ_LOG", "READ_TASK")):
            on = "socket:live.tasks.echo"
            model(owner, "add", "privilege", f"p{at}", right=right, user="joe", on=on)
        keep(owner.ask("login", user="joe", password=SECRET)["login"])

        with connect(node.address) as joe:
            for fields in (
                {"socket": secret.name},
                {"socket": secret.name, "name": mine.name},
                {"call": printed.id},
                {"call": printed.id, "id": own.id, "name": mine.name},
            ):
                with pytest.raises(errors.NotAllowed, match=r"on socket 'live\.tasks\.say'"):
                    next(joe.ask_stream("subscribe", channel="log", tail=100, **fields))


def test_a_processor_is_stopped_by_who_may_stop_it_whatever_kind_is_said():
    with Mesh() as node, connect(node.address) as owner:
        shop(owner)
        for at, on in enumerate(("processor:shop", "socket:bank")):
            model(owner, "add", "privilege", f"s{at}", right="STOP_PROCESSOR", user="joe", on=on)
        keep(owner.ask("login", user="joe", password=SECRET)["login"])

        with connect(node.address) as joe:
            for kind in ("processor", "socket", "queue"):
                with pytest.raises(errors.NotAllowed, match="STOP_PROCESSOR on processor 'bank'"):
                    joe.ask("proc", do="stop", name="bank", kind=kind)
            assert joe.ask("proc", do="stop", name="shop", kind="socket")["name"] == "shop"


def test_nobody_becomes_another_user_by_its_id():
    with Mesh() as node, connect(node.address) as owner:
        shop(owner)
        model(owner, "add", "role", "admin")
        model(owner, "add", "user", "root", password=SECRET, roles=["admin"])
        model(owner, "add", "privilege", "all", right="ALL", user="root")
        for right in ("READ", "UPDATE"):
            model(owner, "add", "privilege", f"p{right}", right=right, user="joe")
        keep(owner.ask("login", user="joe", password=SECRET)["login"])

        with connect(node.address) as joe:
            with pytest.raises(errors.NotAllowed, match="would hand out ALL"):
                model(joe, "update", "user", "root", password=SECRET + "!")
            ids = {
                row["name"]: row["id"] for kind in ("user", "privilege")
                for row in joe.ask("model", do="list", kind=kind)
            }  # fmt: skip
            with pytest.raises(errors.UnknownObject, match="by name, not by id"):
                model(joe, "update", "user", ids["root"], password=SECRET + "!")
            with pytest.raises(errors.UnknownObject, match="by name, not by id"):
                model(joe, "update", "privilege", ids["all"], user="joe")
        keep(owner.ask("login", user="root", password=SECRET)["login"])  # It is the old one.


def answers_to(link: RawLink, *asked: tuple[str, dict[str, object]]) -> list[object]:
    """The answers to requests of one frame that all have the same id, as they come."""
    id = os.urandom(16)
    link.send([
        envelope(Kind.ASK, id=id, name=operation.encode(), body=pack(fields))
        for operation, fields in asked
    ])  # fmt: skip
    found: list[object] = []

    def came() -> bool:
        for row, data in link.receive(0.1):
            if row.kind == Kind.ANSWER:
                assert row.id == id
                found.append(body_of(row, data))
        return len(found) == len(asked)

    until(came, SOON_S, lambda: f"{len(asked)} answers, these came: {found}")
    return found


def test_requests_of_one_id_are_kept_apart():
    """A client chooses ids: what a node remembers of a request must not depend on them."""
    with Mesh() as node, connect(node.address) as owner:
        shop(owner)
        model(owner, "add", "privilege", "p3", right="UPDATE_SOCKET", user="joe", on="processor:*")
        login = owner.ask("login", user="joe", password=SECRET)["login"]
        joe, other = RawLink(node.address), RawLink(node.address)
        for link in (joe, other):
            body = {"version": 1, "session": os.urandom(16), "pid": os.getpid(), "login": login}
            link.send([envelope(Kind.HELLO, body=pack(body))])
            (row, data), *_ = link.receive(SOON_S)
            link.welcomed(row, data)

        listing = {"do": "list", "kind": "socket"}
        told = answers_to(joe, ("model", listing), ("nonsense", {}), ("model", listing))
        rows = [[row["name"] for row in one] for one in told if isinstance(one, list)]
        assert rows == [["shop.do"], ["shop.do"]]

        change = {"do": "update", "kind": "socket", "name": "shop.do", "fields": {"retries": 7}}
        told = answers_to(joe, ("model", change), ("model", {"do": "add"}), ("nonsense", {}))
        assert [one for one in told if one.get("retries") == 7] != []
        lines = [json.loads(data) for _, _, data in auditlog.read(node.home / auditlog.FOLDER)]
        (line,) = [line for line in lines if line["what"] == "model.update"]
        assert (line["who"], line["object"]) == ("joe", "socket shop.do")
        assert line["outcome"] == "changed"

        id = os.urandom(16)  # Nor is one client's request that of another one.
        for link in (joe, other):
            link.send([envelope(Kind.ASK, id=id, name=b"model", body=pack(listing))])
        for link in (joe, other):
            (row, data), *_ = link.receive(SOON_S)
            assert (row.id, [one["name"] for one in body_of(row, data)]) == (id, ["shop.do"])
        joe.close()
        other.close()


def test_a_client_ends_no_subscription_but_its_own():
    with Mesh() as node, node_links(node, 2) as (first, second):
        id = os.urandom(16)
        for link in (first, second):
            for name, fields in (("subscribe", {"channel": "model"}), ("listen", {})):
                body = pack(fields)
                link.send([envelope(Kind.ASK, id=id, name=name.encode(), body=body)])
        assert second.ask("unsubscribe", id=id) == {}
        second.unread.clear()
        node.add("queue", "q")

        def heard(link: RawLink) -> bool:
            rows = [body_of(*one) for one in link.receive(0.1) if one[0].kind == Kind.EVENT]
            return any(row.get("changes") == [["queue", "q", "added"]] for row in rows)

        until(lambda: heard(first), SOON_S, "the first client hears of the queue")
        assert second.ask("status")["clients"] >= 2
        assert not heard(second)


@contextmanager
def node_links(node: Mesh, count: int) -> Iterator[list[RawLink]]:
    """So many sessions of one node."""
    links = [node.link() for _ in range(count)]
    yield links
    for link in links:
        link.close()


def test_a_user_acts_by_labels_and_the_database_knows_for_whom():
    with Mesh() as node, connect(node.address) as owner:
        shop(owner)
        model(owner, "update", "processor", "bank", labels={"env": "test"})
        for at, right in enumerate(("RUN_TASK", "READ", "UPDATE", "DELETE")):
            on = "label:env=test"
            model(owner, "add", "privilege", f"t{at}", right=right, user="joe", on=on)
        model(owner, "add", "privilege", "t9", right="ADD_SOCKET", user="joe", on="label:env=test")
        keep(owner.ask("login", user="joe", password=SECRET)["login"])

        with connect(node.address) as joe:
            joe.socket("bank.do").submit(1).wait_accepted(SOON_S)
            rows = joe.ask("model", do="list", kind="socket")
            assert [row["name"] for row in rows] == ["bank.do", "shop.do"]
            rows = joe.ask("model", do="list", kind="processor")
            assert [row["name"] for row in rows] == ["bank"]
            # The queue it names is hidden from joe, and is there.
            made = model(joe, "add", "socket", "bank.new", processor="bank", task="x", queue="q")
            assert made["owner"] == "joe"
            assert model(joe, "update", "socket", "bank.do", priority=3)["priority"] == 3
            with pytest.raises(errors.NotAllowed, match=r"ADD_SOCKET on socket 'shop\.new'"):
                model(joe, "add", "socket", "shop.new", processor="shop", task="x", queue="q")
            with pytest.raises(errors.NotAllowed, match=r"UPDATE_SOCKET on socket 'bank\.do'"):
                model(joe, "update", "socket", "bank.do", processor="shop")
            denied = {"right": "RUN_TASK", "user": "joe", "on": "label:env=prod", "revoked": True}
            model(owner, "add", "privilege", "s1", **denied)
            model(owner, "add", "privilege", "s2", right="UPDATE_SOCKET", user="joe")
            model(owner, "update", "socket", "shop.do", labels={"env": "prod"})
            with pytest.raises(errors.NotAllowed, match="would hand out RUN_TASK"):
                model(joe, "update", "socket", "shop.do", labels={})
            model(joe, "delete", "socket", "bank.new")

            model(owner, "update", "processor", "bank", labels={})
            with pytest.raises(errors.NotAllowed, match=r"may not RUN_TASK on socket 'bank\.do'"):
                joe.socket("bank.do").submit(1).wait_accepted(SOON_S)


def test_nothing_of_a_password_or_login_is_on_the_disk_of_the_node_but_a_hash():
    with Mesh() as node, connect(node.address) as owner:
        model(owner, "add", "user", "joe", password=SECRET)
        login = owner.ask("login", user="joe", password=SECRET)["login"]
        with pytest.raises(errors.NotAllowed):
            owner.ask("login", user="joe", password=SECRET[::-1])
        for _ in range(4):
            with pytest.raises(errors.NotAllowed):
                owner.ask("login", user="joe", password="wrong horse")
        with pytest.raises(errors.Busy, match="5 passwords were wrong in the last minute"):
            owner.ask("login", user="joe", password=SECRET)
        node.stop()
        wanted = [SECRET.encode(), SECRET[::-1].encode(), login.encode()]
        held = b"".join(p.read_bytes() for p in node.home.rglob("*") if p.is_file())
        assert [text for text in wanted if text in held] == []
        assert b"$argon2id$" in held


def test_of_passwords_that_are_sent_at_once_no_more_are_looked_at_than_one_by_one():
    with Mesh() as node, connect(node.address) as owner:
        model(owner, "add", "user", "joe", password=SECRET)
        link = node.link()
        tried = [f"wrong horse {number}" for number in range(100)] + [SECRET]
        asked = [("login", {"user": "joe", "password": password}) for password in tried]
        codes = Counter(one.get("code") for one in answers_to(link, *asked))
        link.close()

        assert codes == {"not_allowed": 5, "busy": 96}
        with pytest.raises(errors.Busy, match="5 passwords were wrong in the last minute"):
            owner.ask("login", user="joe", password=SECRET)


@pytest.fixture
def two() -> Iterator[Cluster]:
    """Two nodes of one mesh, running."""
    folder = Path(tempfile.mkdtemp(prefix="mu-"))
    names = ["n1", "n2"]
    with Cluster(folder, LoopbackNetwork(names), names) as made:
        made.assemble(names)
        yield made
    shutil.rmtree(folder, ignore_errors=True)


def far(cluster: Cluster, name: str) -> str:
    """Where clients elsewhere reach a node."""
    at = f"tcp://{cluster.network.hosts[name]}:{PORT + 2}"
    other = cluster["n2" if name == "n1" else "n1"]
    rows = until(lambda: [r for r in told(other) if r["address"] == at], SOON_S, at)
    return f"{at}?key={rows[0]['key']}"


def history(cluster: Cluster, call: str) -> str:
    """All that its node tells of a call."""
    with connect(cluster["n1"].address) as owner:
        return repr(owner.ask("call.get", id=call, result=True))


def test_users_over_tcp_with_every_node_deciding_by_itself(two):
    pairs = {name: zmq.curve_keypair() for name in ("ann", "joe")}
    addresses = {name: far(two, name) for name in ("n1", "n2")}
    for name in addresses:
        list_keys(two[name], *(f"{pair[0].decode()} {who}" for who, pair in pairs.items()))

    def enter(node: str, who: str) -> Client:
        got_in = until(
            lambda: enters([addresses[node]], pairs[who]), SOON_S, f"{who} enters {node}", every=0.1
        )
        assert isinstance(got_in, Client)
        return got_in

    with enter("n1", "joe") as joe:  # Nobody is declared: no ceremony.
        assert joe.ask("whoami")["who"] == "anybody"
        assert joe.ask("status")["state"] == "ready"
        with connect(two["n1"].address) as owner:
            shop(owner)
            key = pairs["ann"][0].decode()
            model(owner, "add", "user", "ann", keys=[key])
            model(owner, "add", "privilege", "p4", right="CANCEL_TASK", user="ann")
        with pytest.raises(errors.NotAllowed, match="it is not logged in"):
            joe.ask("status")
        login = joe.ask("login", user="joe", password=SECRET)["login"]

    with connect(two["n1"].address) as owner:
        call = owner.socket("shop.do").submit("kept")
        call.wait_accepted(SOON_S)
    with enter("n1", "ann") as ann:
        assert ann.ask("whoami")["user"] == "ann"
        with pytest.raises(errors.NotAllowed, match="user ann may not RUN_TASK"):
            ann.socket("shop.do").submit(1).wait_accepted(SOON_S)
    with enter("n2", "ann") as ann:  # The call is known to n1, its owner; n2 asks it for ann.
        until(lambda: ann.ask("whoami")["user"] == "ann", SOON_S, "n2 has heard of ann")
        with pytest.raises(errors.NotAllowed, match="user ann may not RUN_TASK"):
            ann.ask("call.retry", id=call.id)
        assert ann.ask("call.cancel", id=call.id, by="somebody else")
        story = history(two, call.id)
        assert "by ann" in story and "somebody else" not in story

    two.kill("n1")  # Who saw the password is gone; n2 knows its signature.
    keep(login)
    with enter("n2", "joe") as joe:
        assert joe.ask("whoami")["user"] == "joe"
        joe.socket("shop.do").submit(1).wait_accepted(SOON_S)
        with pytest.raises(errors.NotAllowed, match=r"may not RUN_TASK on socket 'bank\.do'"):
            joe.socket("bank.do").submit(1).wait_accepted(SOON_S)
        with connect(two["n2"].address) as nobody:  # joe's login, shown on the local link.
            assert nobody.ask("whoami")["user"] == "joe"
        os.unlink(os.environ["MESH_LOGIN_FILE"])
        with connect(two["n2"].address) as owner:
            model(owner, "update", "user", "joe", enabled=False)
        with pytest.raises(errors.NotAllowed, match="user joe is disabled"):
            joe.socket("shop.do").submit(1).wait_accepted(SOON_S)
    assert paths.home() not in str(two.folder)


def test_a_login_that_was_ended_on_one_node_holds_on_no_other(two):
    """One copy of it, shown to both nodes; another login of the same user stays."""
    with connect(two["n1"].address) as owner:
        shop(owner)
        first, second = (owner.ask("login", user="joe", password=SECRET)["login"] for _ in "ab")

    def who(node: str) -> object:
        with connect(two[node].address) as found:
            return found.ask("whoami")

    keep(first)
    until(lambda: who("n2")["user"] == "joe", SOON_S, "n2 has heard of joe", every=0.1)
    with connect(two["n2"].address) as open_since, connect(two["n1"].address) as joe:
        assert open_since.ask("whoami")["user"] == "joe"
        joe.ask("logout")
        assert who("n1")["user"] is None
        until(lambda: who("n2")["user"] is None, SOON_S, "n2 has heard of it", every=0.1)
        assert who("n2")["reason"] == "the login of joe was ended: `mesh login`"
        assert open_since.ask("whoami")["user"] is None
    keep(second)
    assert who("n1")["user"] == who("n2")["user"] == "joe"
