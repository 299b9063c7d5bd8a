"""What a user learns of calls that it may not see, by their ids: nothing."""

from __future__ import annotations

import os
from typing import Any

from meshcode.client import connect
from meshcode.ids import make_ids, parse_id
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Flag, Kind
from tests.live.harness import Mesh, until
from tests.live.rawlink import RawLink, body_of
from tests.live.test_live_users import SECRET, SOON_S, keep, model, no_other_login, two

__all__ = ["no_other_login", "two"]  # Fixtures.
HIDDEN = "what only the bank may know"


def link_of(address: str, login: str) -> RawLink:
    """A session that shows a login."""
    link = RawLink(address)
    body = {"version": 1, "session": os.urandom(16), "pid": os.getpid(), "login": login}
    link.send([envelope(Kind.HELLO, body=pack(body))])
    (row, data), *_ = link.receive(SOON_S)
    link.welcomed(row, data)
    return link


def come(link: RawLink, kind: Kind, id: bytes) -> object:
    """The body of the first row of a kind and id that comes; all others are looked at."""
    found: list[object] = []

    def look() -> bool:
        for row, data in link.receive(0.1):
            assert HIDDEN.encode() not in data
            if (row.kind, row.id) == (kind, id):
                found.append(body_of(row, data))
        return bool(found)

    until(look, SOON_S, f"{kind!r} of {id.hex()} comes")
    return found[0]


def ends(link: RawLink, ids: list[bytes]) -> dict[bytes, tuple[Kind, Any]]:
    """What became of each of these calls: how it ended, or why it was refused."""
    found: dict[bytes, tuple[Kind, Any]] = {}

    def look() -> bool:
        for row, data in link.receive(0.1):
            assert HIDDEN.encode() not in data
            if row.kind in (Kind.OUTCOME, Kind.REFUSED):
                found[row.id] = Kind(row.kind), body_of(row, data)
        return found.keys() >= set(ids)

    until(look, SOON_S, lambda: f"only {len(found)} of {len(ids)} have ended")
    return {id: found[id] for id in ids}


def fresh_call(id: bytes, value: str) -> bytes:
    """A call that is said to be new."""
    name, body = b"live.tasks.echo", pack([value])
    return envelope(
        Kind.SUBMIT, id=id, flow=id, name=name, body=body, argc=1, flags=int(Flag.FRESH)
    )


def people(owner, node: Mesh, repository) -> str:
    """Two sockets of one task; joe, who may call one of them and read nothing of the other."""
    node.offer("live", repository, "live.tasks", ["echo"])
    owner.ask("model", do="add", kind="socket", name="bank", fields={
        "processor": "live", "task": "echo", "queue": "q",
    })  # fmt: skip
    node.wait_ready("live")
    model(owner, "add", "user", "joe", password=SECRET)
    for at, right in enumerate(("RUN_TASK", "READ_TASK")):
        on = "socket:live.tasks.echo"
        model(owner, "add", "privilege", f"p{at}", right=right, user="joe", on=on)
    model(owner, "add", "privilege", "p9", right="LS_CALLS", user="joe")
    return str(owner.ask("login", user="joe", password=SECRET)["login"])


def test_an_id_gives_no_result_that_its_reader_may_not_see(repository):
    """A listing and what is heard have ids, so they are no secret."""
    with Mesh() as node, connect(node.address) as owner:
        login = people(owner, node, repository)
        secret, mine = owner.socket("bank").submit(HIDDEN), owner.socket("live.tasks.echo")
        own = mine.submit("joe's")
        assert (secret.result(SOON_S), own.result(SOON_S)) == (HIDDEN, "joe's")
        theirs, ours = parse_id(secret.id), parse_id(own.id)
        link = link_of(node.address, login)

        assert link.ask("call.watch", ids=[theirs, ours]) == {"unknown": [theirs]}
        assert come(link, Kind.OUTCOME, ours) == "joe's"
        for flags in (0, int(Flag.FRESH)):  # One that was sent again, or is said to be new.
            for id, name in ((theirs, b"live.tasks.echo"), (theirs, b"@flow")):
                sent = envelope(
                    Kind.SUBMIT, id=id, flow=id, name=name, body=pack(["x"]), flags=flags
                )
                link.send([sent])
        told = come(link, Kind.REFUSED, theirs)
        assert "this is the id of an earlier call" in told["text"]
        assert "user joe may not READ_TASK or RUN_TASK" in told["text"]

        # And while it is open.
        model(owner, "update", "processor", "live", requested_status="pause")
        call = owner.socket("bank").submit(HIDDEN)
        call.wait_accepted(SOON_S)
        waiting = parse_id(call.id)
        assert link.ask("call.watch", ids=[waiting]) == {"unknown": [waiting]}

        # Nor does a frame of new calls hide it.
        new = make_ids(3)
        model(owner, "update", "processor", "live", requested_status="start")
        link.send([fresh_call(id, "joe's") for id in [*new[:2], theirs, waiting, new[2]]])
        assert call.result(SOON_S) == HIDDEN
        told = ends(link, [*new, theirs, waiting])
        assert [told.pop(id) for id in new] == [(Kind.OUTCOME, "joe's")] * 3
        for kind, problem in told.values():
            assert kind == Kind.REFUSED
            assert "this is the id of an earlier call" in problem["text"]
        link.close()
        keep(login)
        with connect(node.address) as joe:
            assert joe.call(own.id).result(SOON_S) == "joe's"


def test_nor_does_another_node_tell_it(two, repository):
    with connect(two["n1"].address) as owner, connect(two["n2"].address) as other:
        login = people(owner, two["n1"], repository)
        secret = owner.socket("bank").submit(HIDDEN)
        own = owner.socket("live.tasks.echo").submit("joe's")
        assert (secret.result(SOON_S), own.result(SOON_S)) == (HIDDEN, "joe's")
        until(lambda: other.ask("model", do="list", kind="privilege"), SOON_S, "n2 knows joe")
        theirs, ours = parse_id(secret.id), parse_id(own.id)
        link = link_of(two["n2"].address, login)

        assert link.ask("call.watch", ids=[theirs, ours]) == {"unknown": [theirs]}
        assert come(link, Kind.OUTCOME, ours) == "joe's"
        link.close()
