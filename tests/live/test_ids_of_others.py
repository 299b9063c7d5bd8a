"""An id is no secret, and no right either: what users may do with the ids of calls of others."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshcode import errors
from meshcode.client import Client, connect
from meshcode.ids import make_id, make_ids, text_of, unix_ms
from meshcode.limits import FRESH_TRUSTED_MS, ID_AHEAD_MS
from meshcode.router.ticking import tick_id
from meshcode.wire.codec import pack, pack_call
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Flag, Kind
from tests.live.harness import Mesh, offering, until
from tests.live.rawlink import RawLink, body_of, error_of
from tests.mesh.cluster import Cluster
from tests.mesh.network import LoopbackNetwork

SECRET = "correct horse battery"
SOON_S = 30.0
ECHO, SAY = "live.tasks.echo", "live.tasks.say"


class Raw:
    """A session of a user, made of the wire alone."""

    def __init__(self, address: str, login: str | None) -> None:
        self.link = RawLink(address)
        body: dict[str, Any] = {"version": 1, "session": os.urandom(16), "pid": os.getpid()}
        if login is not None:
            body["login"] = login
        self.link.send([envelope(Kind.HELLO, body=pack(body))])
        (row, data), *_ = self.link.receive(SOON_S)
        self.link.welcomed(row, data)

    def submit(self, *calls: tuple[bytes, str, object], fresh: bool = True, **options: Any) -> Any:
        """Submit calls in one frame; how the last of them was answered: a value or an error."""
        self.link.send([
            envelope(
                Kind.SUBMIT, id=id, flow=id, name=name.encode(), argc=1, body=pack_call([value]),
                flags=Flag.FRESH if fresh else 0, meta=pack(options) if options else b"",
            )
            for id, name, value in calls
        ])  # fmt: skip
        return self.told(calls[-1][0])

    def told(self, id: bytes) -> Any:
        found: list[Any] = []

        def came() -> bool:
            for row, data in self.link.receive(0.1):
                if row.id == id and row.kind == Kind.REFUSED:
                    found.append(error_of(row, data))
                elif row.id == id and row.kind == Kind.OUTCOME:
                    found.append(body_of(row, data))
            return bool(found)

        until(came, SOON_S, f"something is told of call {text_of(id)}")
        return found[0]


def model(client: Client, do: str, kind: str, name: str, **fields: object) -> object:
    return client.ask("model", do=do, kind=kind, name=name, fields=fields)


def may_run_echo(owner: Client) -> str:
    """User joe may run one socket, and no more; returns a login."""
    model(owner, "add", "user", "joe", password=SECRET)
    model(owner, "add", "privilege", "p", right="RUN_TASK", user="joe", on=f"socket:{ECHO}")
    return str(owner.ask("login", user="joe", password=SECRET)["login"])


@pytest.fixture
def session(node) -> Iterator[Callable[..., Raw]]:
    """Opens sessions of a login, or of the owner."""
    opened: list[Raw] = []

    def make(login: str | None = None) -> Raw:
        opened.append(Raw(node.address, login))
        return opened[-1]

    yield make
    for raw in opened:
        raw.link.close()


@pytest.fixture
def node(repository, monkeypatch, tmp_path) -> Iterator[Mesh]:
    monkeypatch.setenv("MESH_LOGIN_FILE", str(tmp_path / "login"))
    with offering("live", repository, "live.tasks", ["say", "echo"]) as made:
        yield made


def value_of(owner: Client, id: bytes) -> Any:
    return owner.ask("call.get", id=id, result=True).get("result")


def is_closed(told: Any) -> bool:
    return isinstance(told, errors.NotAllowed) and SAY in told.text


def test_who_knows_an_id_neither_reads_nor_replaces_what_it_may_not_see(node, session):
    with connect(node.address) as owner:
        joe = session(may_run_echo(owner))
        ended = owner.socket(SAY).submit("secret")
        value = ended.result(SOON_S)
        row = owner.ask("call.get", id=ended.id, result=True)
        later = owner.socket(SAY).options(delay=3600).submit("not yet")
        later.wait_accepted(SOON_S)
        for call in (ended, later):
            id = bytes.fromhex(call.id.replace("-", ""))
            for fresh in (False, True):
                assert is_closed(joe.submit((id, ECHO, "forged"), fresh=fresh))
            assert joe.link.ask("call.watch", ids=[id])["unknown"] == [id]
        assert owner.ask("call.get", id=ended.id, result=True) == row, "it ran once, for its owner"
        assert value == row["result"]

        own = make_id()  # What one may run is answered again, and runs once.
        assert joe.submit((own, ECHO, "first")) == "first"
        assert joe.submit((own, ECHO, "second"), fresh=False) == "first"
        assert joe.submit((own, ECHO, "third"), fresh=True) == "first"


def test_a_flow_of_a_user_is_fed_no_call_that_the_user_may_not_see(node, session):
    with connect(node.address) as owner:
        joe = session(may_run_echo(owner))
        call = owner.socket(SAY).submit("secret")
        call.result(SOON_S)
        secret = bytes.fromhex(call.id.replace("-", ""))
        step = [ECHO, 0, b"\x90", 0, None]
        plans = (
            {"steps": [[None, 0, secret, "done", None], step], "result": 1},
            {"steps": [[ECHO, 1, b"\x91\x01", None, None], [None, 0, secret, "done", None]],
             "result": 1},
            {"steps": [[ECHO, 0, b"\x90", secret, None]], "result": 0},
            {"steps": [[ECHO, 1, b"\x91\x01", None, None], ["", 0, b"\x90", [0, secret], None]],
             "result": 1},
        )  # fmt: skip
        for plan in plans:
            told = joe.submit((make_id(), "@flow", plan))
            assert is_closed(told), told
            assert "result" in session().submit((make_id(), "@flow", plan)), "the owner's may be"

        nobody_knows = {"steps": [[ECHO, 0, b"\x90", make_id(), None]], "result": 0}
        assert isinstance(joe.submit((make_id(), "@flow", nobody_knows)), errors.UnknownCall)
        own, flow = make_ids(2)  # One of the same frame, and one that has ended.
        mine = {"steps": [[ECHO, 0, b"\x90", own, None]], "result": 0}
        for calls in (((own, ECHO, 7), (flow, "@flow", mine)), ((make_id(), "@flow", mine),)):
            told = joe.submit(*calls)["result"]
            until(lambda made=told: value_of(owner, made) == 7, SOON_S, "the flow ends")


def test_a_user_takes_no_tick_of_a_schedule_away(node, session):
    with connect(node.address) as owner:
        joe = session(may_run_echo(owner))
        model(owner, "add", "schedule", "often", socket=SAY, cron="* * * * * *", args=["tick"])
        soon_ms = unix_ms() // 1000 * 1000
        ticks = [tick_id("often", soon_ms + 1000 * n) for n in range(1, 6)]
        for id in ticks:
            told = joe.submit((id, ECHO, "instead"))
            assert isinstance(told, errors.BadRequest)
            assert "schedule often's call at" in told.text

        until(lambda: all(is_known(owner, id) for id in ticks), SOON_S, "the ticks are made")
        assert {owner.ask("call.get", id=id)["socket"] for id in ticks} == {SAY}


def test_an_old_id_that_is_said_to_be_fresh_never_replaces_an_outcome(session):
    """The promise is not believed of an id that was made a while ago, whoever gives it."""
    raw = session()
    (old,) = make_ids(1, unix_ms() - 2 * FRESH_TRUSTED_MS)
    assert [raw.submit((old, ECHO, n)) for n in range(2)] == [0, 0]


def test_an_id_from_the_future_is_refused_with_both_clocks(session):
    raw = session()
    far, near = (make_ids(1, unix_ms() + ms)[0] for ms in (2 * ID_AHEAD_MS, ID_AHEAD_MS // 2))
    told = raw.submit((far, ECHO, "far"))
    assert isinstance(told, errors.BadRequest)
    assert told.text.count("UTC") == 2
    assert "60 minutes ahead" in told.text
    assert raw.submit((near, ECHO, "near")) == "near"
    assert raw.submit((make_id(), ECHO, "now")) == "now"
    (last,) = make_ids(1, (1 << 48) - 1)
    assert isinstance(raw.submit((last, ECHO, "never")), errors.BadRequest)


def test_an_option_that_the_node_does_not_know_is_refused_by_its_name(session):
    raw = session()
    told = raw.submit((make_id(), ECHO, 1), prioritty=9)
    assert isinstance(told, errors.BadRequest)
    assert "knows no option 'prioritty'; did you mean 'priority'?" in told.text
    plan = {"steps": [[ECHO, 1, b"\x91\x01", None, {"nonsense": 1}]], "result": 0}
    told = raw.submit((make_id(), "@flow", plan))
    assert "step 0 of the flow: this version of meshcode knows no option 'nonsense'" in told.text


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Homes of two nodes; the first runs, as a mesh of its own."""
    folder = Path(tempfile.mkdtemp(prefix="mi-"))
    names = ["n1", "n2"]
    with Cluster(folder, LoopbackNetwork(names), names) as made:
        made.assemble(names[:1])
        yield made
    shutil.rmtree(folder, ignore_errors=True)


def test_another_node_tells_no_more_of_an_id_than_the_one_that_knows_it(cluster):
    """What n1 alone has in its history is asked for at n2, by its id."""
    with connect(cluster["n1"].address) as owner:
        model(owner, "add", "queue", "q")
        stopped = {"git": "/nowhere", "module": "m", "requested_status": "stop"}
        model(owner, "add", "processor", "live", **stopped)
        for name in (ECHO, SAY):
            model(owner, "add", "socket", name, processor="live", task="x", queue="q")
        login = may_run_echo(owner)
        ids = make_ids(2)
        own, secret = ids
        first = Raw(cluster["n1"].address, None)
        for id, name in ((own, ECHO), (secret, SAY)):
            first.link.send([envelope(Kind.SUBMIT, id=id, name=name.encode(), body=b"\x90")])
            first.link.ask("call.cancel", id=id)  # It has ended, and n1 keeps it alone.
        first.link.close()
    cluster.join("n2", by="n1")
    with connect(cluster["n2"].address) as owner:
        until(lambda: declared(owner, "joe"), SOON_S, "n2 has heard of joe")
        until(lambda: is_known(owner, secret), SOON_S, "n2 reaches n1")
    joe, other = (Raw(cluster["n2"].address, one) for one in (login, None))
    try:
        assert other.submit((secret, SAY, 1), fresh=False)["code"] == "cancelled", "the owner's"
        assert joe.submit((own, ECHO, 1), fresh=False)["code"] == "cancelled"
        assert is_closed(joe.submit((secret, ECHO, 1), fresh=False))
        plan = {"steps": [[ECHO, 0, b"\x90", secret, None]], "result": 0}
        assert is_closed(joe.submit((make_id(), "@flow", plan)))
        assert joe.link.ask("call.watch", ids=ids)["unknown"] == [secret]
    finally:
        joe.link.close()
        other.link.close()


def is_known(client: Client, id: bytes) -> bool:
    try:
        return bool(client.ask("call.get", id=id))
    except errors.UnknownCall:
        return False


def declared(client: Client, user: str) -> bool:
    rows = client.ask("model", do="list", kind="user")
    return user in [row["name"] for row in rows]
