"""Clients that survive their node: another one of its mesh takes its place.

The echo nodes of one test share a log, as the nodes of a mesh share what they accepted.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from meshcode import connect_async, errors
from meshcode.client import Client, connect, doubts
from meshcode.client import session as session_module
from tests.client.conftest import SOON_S, Peer, until
from tests.client.echo_node import records_of

Make = Callable[..., Peer]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What the nodes of one mesh know together."""
    return tmp_path / "mesh.log"


@pytest.fixture
def make(make_peer: Make, log: Path) -> Make:
    """Makes nodes of one mesh, not started."""
    return lambda **options: make_peer(log=log, **options)


@pytest.fixture
def quick(monkeypatch):
    """A node counts as gone sooner, so that the test is short; the rule is the same."""
    monkeypatch.setattr(session_module, "QUESTION_S", 0.1)
    monkeypatch.setattr(session_module, "FAILOVER_S", 0.5)


def wait_up(*peers: Peer) -> None:
    """Wait until those that were started greet."""
    for peer in peers:
        if peer.process is not None:
            connect(peer.address, timeout=SOON_S).close()


def connected(*peers: Peer) -> Client:
    """A client of these nodes, at the first; those that were started are there."""
    wait_up(*peers)
    client = connect(",".join(peer.address for peer in peers), timeout=SOON_S)
    assert client.address == peers[0].address
    return client


def serving(client: Client, peers: list[Peer]) -> Peer:
    """The living node that greeted the client last."""

    def found() -> list[Peer]:
        alive = [peer for peer in peers if peer.process and peer.process.poll() is None]
        return [peer for peer in alive if peer.process.pid == client.node["pid"]]

    until(found, "the client is at a living node")
    return found()[0]


def accepted_order(log: Path) -> list[bytes]:
    """The ids of the ended calls in the shared log, in the order of their ends."""
    with log.open("rb") as file:
        return [call_id for ends, call_id, _ in records_of(file)[0] if ends]


def test_calls_on_their_way_are_sent_to_the_next_node_in_their_order(make, log):
    """Not acknowledged: the next node may run them, once it has asked its peers."""
    first, second = make().start(), make().start()
    with connected(first, second) as client:
        unheard = [client.socket("mute").submit(n) for n in range(50)]
        client.ask("status")  # After this the node has all of them.

        first.kill()
        later = [client.socket("echo").submit(n) for n in range(50)]

        assert [call.result(SOON_S) for call in unheard] == list(range(50))
        assert [call.result(SOON_S) for call in later] == list(range(50))
        assert client.address == second.address
        assert client.node["pid"] == second.process.pid
        counts = client.ask("test.count")
        assert counts["elsewhere"] >= 50
        assert accepted_order(log) == [call._id for call in [*unheard, *later]]


def test_a_call_that_was_never_sent_is_fresh_at_the_next_node(make):
    first, second = make().start(), make().start()
    with connected(first, second) as client:
        first.kill()
        until(lambda: client.address == second.address, "the client moves on")

        assert client.socket("echo")("x") == "x"
        counts = client.ask("test.count")
        assert (counts["elsewhere"], counts["again"]) == (0, 0)


def test_between_acknowledgement_and_outcome_the_next_node_tells_the_outcome(make):
    first, second = make().start(), make().start()
    with connected(first, second) as client:
        calls = [client.socket("later").submit(n) for n in range(2500)]
        calls[-1].wait_accepted(SOON_S)

        first.kill()
        until(lambda: client.ask("test.count")["open"] == 2500, "the second knows them")
        client.ask("test.release")

        assert [call.result(SOON_S) for call in calls] == list(range(2500))
        assert client.ask("test.count")["submits"] == 0


def test_a_call_found_by_its_id_ends_at_the_next_node_too(make):
    first, second = make().start(), make(shy=2).start()
    with connected(first, second) as client:
        call_id = client.socket("later").submit("x").id
        found = client.call(call_id)
        assert not found.done()
        client.ask("status")  # After this the node watches it.

        first.kill()
        until(lambda: client.ask("test.count")["open"] == 1, "the second has taken it over")
        client.ask("test.release")

        assert found.result(SOON_S) == "x"


def test_nothing_is_lost_or_doubled_when_node_after_node_dies_under_load(make, log):
    """4,000 calls, three nodes, a kill each quarter; the one killed before comes back each time."""
    peers = [make().start() for _ in range(3)]
    with connected(*peers) as client:
        results = client.socket("echo").map(range(4000), timeout=60)
        values: list[int] = []
        dead: Peer | None = None
        for n in range(4):
            values += [next(results) for _ in range(700)]
            if n == 3:
                break
            current = serving(client, peers)
            current.kill()
            if dead is not None:
                dead.start()
            dead = current
        values += results

    assert values == list(range(4000))
    ends = Counter(accepted_order(log))
    assert (len(ends), max(ends.values())) == (4000, 1)


def test_a_stream_goes_on_at_the_next_node_without_its_tail(make):
    first, second = make().start(), make().start()
    with connected(first, second) as client:
        stream = client.ask_stream("subscribe", tail=2)
        assert [next(stream), next(stream)] == [{"old": 0}, {"old": 1}]

        first.kill()
        until(lambda: client.ask("test.publish", events=[])["streams"] == 1, "subscribed again")
        client.ask("test.publish", events=["new"], last=True)

        assert list(stream) == ["new"]


def test_items_that_were_read_are_not_given_again(make):
    first, second = make().start(), make().start()
    with connected(first, second) as client:
        call = client.socket("items").submit(5)
        items = call.items(SOON_S)
        assert [next(items), next(items)] == [0, 1]

        first.kill()
        until(lambda: client.address == second.address, "the client moves on")

        assert list(items) == [2, 3, 4]


def test_requests_that_are_safe_are_asked_at_the_next_node_the_others_fail(make):
    first, second = make().start(), make().start()
    with connected(first, second) as client:
        caught: list[Exception] = []

        def add() -> None:
            try:
                client.ask("model", do="add", kind="queue", name="q", fields={})
            except errors.MeshError as error:
                caught.append(error)

        asking = threading.Thread(target=add)
        asking.start()
        until(lambda: client.session._requests, "the request is on its way")
        client.ask("status")
        first.kill()

        assert client.ask("status")["pid"] == second.process.pid
        asking.join(SOON_S)
        assert isinstance(caught[0], errors.NoNode)


@pytest.mark.parametrize("busy", ["with an open call", "while it submits", "idle"])
def test_a_node_that_says_nothing_any_more_is_left(make, quick, busy):
    """SIGSTOP: the connection stays and nothing comes.  An idle client notices with its next."""
    first, second = make().start(), make().start()
    with connected(first, second) as client:
        call = client.socket("later").submit("x")
        call.wait_accepted(SOON_S)
        if busy == "idle":
            client.ask("test.release")
            assert call.result(SOON_S) == "x"
        first.stop()
        if busy == "while it submits":
            more = [client.socket("echo").submit(n) for n in range(100)]
            until(lambda: client.address == second.address, "the client moves on")
            assert [one.result(SOON_S) for one in more] == list(range(100))
        elif busy == "idle":
            assert client.socket("echo")(1) == 1

        until(lambda: client.address == second.address, "the client moves on")
        if busy != "idle":
            until(lambda: client.ask("test.count")["open"] == 1, "the second has taken it over")
            client.ask("test.release")
        assert call.result(SOON_S) == "x"


def test_a_slow_answer_is_no_reason_to_leave(make, quick):
    """The node answers questions, so it lives, however long one request takes."""
    first, second = make().start(), make().start()
    with connected(first, second) as client:
        with pytest.raises(errors.WaitTimeout):
            client.ask("test.silence", timeout=1.5)

        assert client.address == first.address


def test_a_client_that_was_idle_for_long_does_not_take_that_for_silence(make, quick):
    first, second = make().start(), make().start()
    with connected(first, second) as client:
        assert client.socket("echo")(1) == 1
        idle_until = time.monotonic() + 2 * session_module.FAILOVER_S
        until(lambda: time.monotonic() > idle_until, "nobody asks anything for long")

        assert client.socket("later").submit("x").wait_accepted(SOON_S) == "local 1/1"
        assert client.ask("test.release") == {"released": 1}
        assert client.address == first.address


def test_it_stays_where_it_is_and_begins_at_the_head_when_that_fails(make):
    first, second, third = peers = [make().start() for _ in range(3)]
    with connected(*peers) as client:
        first.kill()
        assert client.ask("status")["pid"] == second.process.pid
        first.start()
        with connect(first.address, timeout=SOON_S) as other:
            other.ask("status")  # It is there again.
        assert client.ask("status")["pid"] == second.process.pid

        second.kill()
        assert client.ask("status")["pid"] == first.process.pid
        first.kill()
        assert client.ask("status")["pid"] == third.process.pid


def test_all_nodes_away_is_a_pause_not_an_end(make):
    first, second = make().start(), make().start()
    with connected(first, second) as client:
        kept = client.socket("later").submit("kept")
        kept.wait_accepted(SOON_S)
        first.kill()
        second.kill()
        call = client.socket("echo").submit("x")
        until(lambda: client.session.phase == "away", "the client notices")
        with pytest.raises(errors.NoNode) as caught:
            client.ask("status", timeout=0.3)
        for peer in (first, second):
            assert f"{peer.address}: nothing listens there" in str(caught.value)

        second.start()

        assert call.result(SOON_S) == "x"
        client.ask("test.release")
        assert kept.result(SOON_S) == "kept"


def test_a_dead_first_address_costs_no_time(make):
    first, second = make(), make().start()
    with connect(second.address, timeout=SOON_S):
        began = time.monotonic()  # The second is up.
    with connect(f"{first.address}, {second.address}", timeout=SOON_S) as client:
        assert time.monotonic() - began < session_module.FAILOVER_S
        assert client.address == second.address
        assert client.addresses == [first.address, second.address]


def test_an_error_names_every_address_and_what_was_wrong_there(make, quick, tmp_path):
    """One refuses, one is not a node, one stopped, one speaks another release."""
    stopped, other = make().start(), make(greets=False).start()
    with connect(stopped.address, timeout=SOON_S):
        stopped.stop()
    mute = socket.socket(socket.AF_UNIX)
    mute.bind(str(tmp_path / "mute"))
    mute.listen()
    addresses = [
        f"ipc://{tmp_path}/nobody", f"ipc://{tmp_path}/mute", stopped.address, other.address,
    ]  # fmt: skip

    with mute, pytest.raises(errors.NoNode, match="at any of 4 addresses") as caught:
        connect(addresses, timeout=3)

    text = str(caught.value)
    assert f"{addresses[0]}: nothing listens there; " in text
    assert f"{addresses[1]}: no connection within 0.5 s; " in text
    assert f"{addresses[2]}: no connection within 0.5 s; " in text
    assert f"{addresses[3]}: this release does not speak with yours; " in text
    assert caught.value.fields["addresses"] == addresses
    assert caught.value.exit_status == 7


def test_an_address_that_is_not_reached_yet_says_so(make, tmp_path):
    mute = socket.socket(socket.AF_UNIX)
    mute.bind(str(tmp_path / "mute"))
    mute.listen()

    with mute, pytest.raises(errors.NoNode) as caught:
        connect([f"ipc://{tmp_path}/mute", make().address], timeout=0.1)

    assert "/mute: no answer yet; " in str(caught.value)
    assert "clients.ipc: it was not tried yet" in str(caught.value)


def test_a_call_unknown_for_a_moment_is_asked_for_again(make):
    """Take-over takes time: the next node knows it with the fourth question only."""
    first, second = make().start(), make(shy=3).start()
    with connected(first, second) as client:
        call = client.socket("later").submit("x")
        call.wait_accepted(SOON_S)

        first.kill()
        until(lambda: client.ask("test.count")["open"] == 1, "the second has taken it over")
        assert not call.done()
        client.ask("test.release")

        assert call.result(SOON_S) == "x"


def test_a_call_unknown_for_too_long_is_an_error(make, monkeypatch):
    monkeypatch.setattr(doubts, "UNKNOWN_PATIENCE_S", 0.5)
    first, second = make().start(), make(shy=1_000_000).start()
    with connected(first, second) as client:
        call = client.socket("later").submit("x")
        call.wait_accepted(SOON_S)
        began = time.monotonic()

        first.kill()

        with pytest.raises(errors.UnknownCall, match=r"asked for 0\.5 s after the one before it"):
            call.result(SOON_S)
        assert time.monotonic() - began >= 0.5
        with pytest.raises(errors.UnknownCall):  # There is no patience left for others either.
            client.call(os.urandom(16)).result(SOON_S)


def test_a_node_that_was_never_left_is_believed_at_once(make):
    first, second = make().start(), make()
    with connected(first, second) as client:
        began = time.monotonic()
        with pytest.raises(errors.UnknownCall, match="it was never accepted there"):
            client.call(os.urandom(16)).result(SOON_S)
        assert time.monotonic() - began < doubts.UNKNOWN_PATIENCE_S / 2


def test_a_record_that_a_kill_tore_spoils_no_other(make, log):
    """Of the echo node itself: the other tests judge by its log."""
    first = make().start()
    with connected(first) as client:
        calls = [client.socket("echo").submit(n) for n in range(3)]
        assert [call.result(SOON_S) for call in calls] == [0, 1, 2]
        first.kill()
        whole = log.read_bytes()
        log.write_bytes(whole + whole[: len(whole) // 5])
        first.start()
        assert client.socket("echo")(3) == 3

    assert len(accepted_order(log)) == 4


def test_moving_on_leaves_no_descriptors_behind(make, monkeypatch):
    """Links of nodes that are gone are closed, not kept."""
    monkeypatch.setattr("meshcode.client.route.PAUSE_S_MAX", 0.01)
    monkeypatch.setattr("meshcode.client.route.PAUSE_S", 0.01)
    live, *dead = make().start(), make(), make()
    with connected(live, *dead) as client:
        opened: list[str] = []
        real = client.session._link.open
        client.session._link.open = lambda seed: (opened.append(seed.address), real(seed))[1]
        live.kill()
        until(lambda: len(opened) > 10, "several rounds")
        before = len(os.listdir("/proc/self/fd"))
        until(lambda: len(opened) > 100, "many rounds")

        live.start()
        until(lambda: client.session.phase == "up", "it is back")
        until(lambda: len(os.listdir("/proc/self/fd")) <= before + 10, "libzmq has closed them")
        assert len(client.session._link._poller.sockets) <= 3  # Wake-up, link, monitor.


def test_closing_during_the_pause_between_two_rounds_is_quick(make):
    first, second = make().start(), make()
    client = connected(first, second)
    first.kill()
    until(lambda: client.session._open_at < float("inf"), "the pause begins")

    began = time.monotonic()
    client.close()

    assert time.monotonic() - began < 2
    assert not client.session._thread.is_alive()


def test_asyncio_clients_fail_over_too(make):
    first, second = make().start(), make().start()
    wait_up(first, second)

    async def main() -> tuple[list[int], str, list[str]]:
        async with await connect_async([first.address, second.address], timeout=SOON_S) as client:
            kept = await client.socket("later").submit(0)
            await kept.wait_accepted(SOON_S)
            unheard = [await client.socket("mute").submit(n) for n in range(1, 20)]
            await client.ask("status")
            first.kill()
            values = [await call for call in unheard]
            await client.ask("test.release")
            return [await kept, *values], client.address, client.addresses

    values, address, addresses = asyncio.run(asyncio.wait_for(main(), SOON_S))
    assert values == list(range(20))
    assert address == second.address
    assert addresses == [first.address, second.address]


def test_asyncio_names_every_dead_address(make):
    addresses = [make().address, make().address]

    with pytest.raises(errors.NoNode) as caught:
        asyncio.run(connect_async(addresses, timeout=0.3))

    assert all(f"{address}: nothing listens there" in str(caught.value) for address in addresses)
