"""A node that dies, comes back, forgets, lags or talks nonsense: nothing is lost or run twice."""

from __future__ import annotations

import threading
import time

import pytest

from meshcode import errors
from meshcode.client import Client, connect, requests
from meshcode.client import session as session_module
from tests.client.conftest import SOON_S, until


@pytest.fixture
def quick_silence(monkeypatch):
    """The client asks for a word sooner, so that the test is short; the rule is the same."""
    monkeypatch.setattr(session_module, "SILENCE_S", 0.1)
    monkeypatch.setattr(session_module, "RESYNC_S", 0.1)


@pytest.mark.parametrize("echoes", [True, False])
def test_calls_survive_a_node_that_is_killed_and_started_again(make_peer, echoes):
    """Acknowledged ones are watched again, the others are sent again, marked as perhaps known."""
    peer = make_peer(echoes=echoes).start()
    with connect(peer.address, timeout=SOON_S) as client:
        kept = [client.socket("later").submit(n) for n in range(20)]
        kept[-1].wait_accepted(SOON_S)
        unheard = [client.socket("mute").submit(n) for n in range(20)]
        client.ask("status")  # After this the node has all of them.

        peer.kill()
        # Sent before that is noticed, they would be lost in the dying link and sent again.
        until(lambda: client.session.phase is session_module.AWAY, "the client notices")
        meanwhile = [client.socket("echo").submit(n) for n in range(20)]
        peer.start()

        assert [call.result(SOON_S) for call in unheard] == list(range(20))
        assert [call.result(SOON_S) for call in meanwhile] == list(range(20))
        client.ask("test.release")
        assert [call.result(SOON_S) for call in kept] == list(range(20))
        counts = client.ask("test.count")
        assert (counts["again"], counts["fresh_twice"]) == (20, 0)
        assert counts["submits"] == 40


def test_outcomes_of_the_time_away_are_fetched(make_peer):
    """They ended while the client was away: the watch tells them at once."""
    peer = make_peer().start()
    with connect(peer.address, timeout=SOON_S) as client:
        calls = [client.socket("later").submit(n) for n in range(2500)]
        client.ask("test.deaf")
        client.ask("test.release")
        assert not any(call.done() for call in calls)

        peer.kill()
        peer.start()

        assert [call.result(SOON_S) for call in calls] == list(range(2500))
        assert client.ask("test.count")["submits"] == 0


def test_a_session_that_the_node_forgot_is_opened_again(client, quick_silence):
    """No connection was lost, so nothing but the answer to a question can tell."""
    call = client.socket("later").submit("x")
    call.wait_accepted()
    client.session.begin(requests.Request("test.forget", {}))

    until(lambda: client.ask("test.count")["hellos"] >= 2, "the client greets again")
    client.ask("test.release")

    assert call.result(SOON_S) == "x"


def test_a_waiting_client_notices_by_itself_that_it_was_forgotten(client, quick_silence):
    call = client.socket("later").submit("x")
    call.wait_accepted()
    client.session.begin(requests.Request("test.forget", {}))

    with connect(client.address, timeout=SOON_S) as other:
        until(lambda: other.ask("test.count")["hellos"] >= 3, "the client greets again")
        other.ask("test.release")

    assert call.result(SOON_S) == "x"


def test_dropped_outcomes_are_asked_for_when_the_node_says_so(client, quick_silence):
    client.ask("test.deaf")
    calls = [client.socket("echo").submit(n) for n in range(1500)]
    until(lambda: not client.session.outbox.unacked_calls, "all are acknowledged")
    assert not any(call.done() for call in calls)

    client.ask("test.lag")

    assert [call.result(SOON_S) for call in calls] == list(range(1500))
    assert client.ask("test.count")["submits"] == 1500


def test_outcomes_lost_in_silence_are_asked_for(client, quick_silence):
    """It must not happen; were it to, the wait would end all the same."""
    client.ask("test.deaf")
    calls = [client.socket("echo").submit(n) for n in range(1500)]

    assert [call.result(SOON_S) for call in calls] == list(range(1500))
    assert client.ask("test.count")["submits"] == 1500


def test_a_frame_the_node_could_not_read_is_sent_again(client, quick_silence):
    call = client.socket("mute").submit("x")

    client.ask("test.refuse_frame")

    assert call.result(SOON_S) == "x"
    assert client.ask("test.count")["again"] == 1


def test_calls_in_frames_the_node_never_can_read_are_given_up(client, monkeypatch):
    monkeypatch.setattr(session_module, "BAD_FRAMES_MAX", 0)
    call = client.socket("mute").submit("x")

    client.ask("test.refuse_frame")

    with pytest.raises(errors.WrongState, match="could not be read"):
        call.result(SOON_S)
    assert client.session.outbox.unacked_calls == 0


@pytest.mark.parametrize("garbage", [b"", b"MESH", b"x" * 200, b"MESH" + bytes(36)])
def test_nonsense_from_the_node_does_no_harm(client, garbage, quick_silence):
    call = client.socket("later").submit("x")
    client.session.begin(requests.Request("test.garble", {"bytes": garbage}))
    client.ask("test.release")

    assert call.result(SOON_S) == "x"
    assert client.socket("echo")(5) == 5
    assert client.session.problem != ""


def test_requests_that_are_safe_are_asked_again(make_peer):
    peer = make_peer().start()
    with connect(peer.address, timeout=SOON_S) as client:
        peer.kill()
        found: list[object] = []
        asking = threading.Thread(target=lambda: found.append(client.ask("status")))
        asking.start()
        peer.start()
        asking.join(SOON_S)

    assert found[0]["pid"] == peer.process.pid


def test_requests_that_are_not_safe_are_not_asked_again(make_peer):
    """Whether the object was added is not known: adding it twice would be an error."""
    peer = make_peer().start()
    with connect(peer.address, timeout=SOON_S) as client:
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
        peer.kill()
        asking.join(SOON_S)

    assert isinstance(caught[0], errors.NoNode)
    assert "it may have been done or not" in str(caught[0])


def test_streams_go_on_after_a_restart_without_their_tail(make_peer):
    peer = make_peer().start()
    with connect(peer.address, timeout=SOON_S) as client:
        stream = client.ask_stream("subscribe", tail=2)
        assert [next(stream), next(stream)] == [{"old": 0}, {"old": 1}]

        peer.kill()
        peer.start()
        until(
            lambda: client.ask("test.publish", events=[])["streams"] == 1, "it is subscribed again"
        )
        client.ask("test.publish", events=["new"], last=True)

        assert list(stream) == ["new"]


def test_no_node_is_an_error_that_names_the_address(make_peer):
    peer = make_peer()
    began = time.monotonic()

    with pytest.raises(
        errors.NoNode, match=r"no node answers at ipc://.* nothing listens"
    ) as caught:
        connect(peer.address, timeout=0.1)

    assert caught.value.exit_status == 7
    assert time.monotonic() - began < 5


def test_a_request_to_a_node_that_went_away_says_no_node(make_peer):
    peer = make_peer().start()
    with connect(peer.address, timeout=SOON_S) as client:
        peer.kill()
        until(lambda: client.session.phase == "away", "the client notices")
        with pytest.raises(errors.NoNode, match="no node answers"):
            client.ask("status", timeout=0.05)


def test_a_request_without_an_answer_says_so(client):
    with pytest.raises(errors.WaitTimeout, match=r"did not answer 'test.silence' within 0.05 s"):
        client.ask("test.silence", timeout=0.05)
    until(lambda: not client.session._requests, "the request is forgotten")


@pytest.mark.parametrize("address", ["nonsense", "ipc://", "http://x", "ipc:///" + "x" * 200])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(errors.BadRequest, match="cannot be connected to"):
        connect(address, timeout=0.1)


def test_closing_waits_for_acknowledgements(client):
    calls = [client.socket("echo").submit(n) for n in range(2000)]

    client.close()

    assert all(call.accepted or call.done() for call in calls)


def test_closing_says_how_many_calls_nobody_acknowledged(client):
    for n in range(3):
        client.socket("mute").submit(n)

    with pytest.raises(errors.WaitTimeout, match=r"^3 calls were not acknowledged") as caught:
        client.close(0.05)
    assert caught.value.fields["calls"] == 3


def test_leaving_a_with_for_an_error_tells_the_error(peer, capsys, monkeypatch):
    monkeypatch.setattr("meshcode.client.client.CLOSE_S", 0.05)
    monkeypatch.setattr(Client.close, "__defaults__", (0.05,))

    with pytest.raises(ZeroDivisionError), connect(peer.address) as client:
        client.socket("mute").submit()
        1 / 0

    assert "1 call was not acknowledged" in capsys.readouterr().err


def test_a_client_that_is_dropped_ends_its_thread(peer):
    client = connect(peer.address)
    thread = client.session._thread
    assert client.socket("echo")(1) == 1

    del client

    thread.join(SOON_S)
    assert not thread.is_alive()


def test_a_failure_of_the_io_thread_reaches_everyone_who_waits(client, monkeypatch):
    """A bug must not become a silent wait for ever."""
    call = client.socket("later").submit(1)
    call.wait_accepted()

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(client.session, "_receive", broken)
    with pytest.raises(errors.NodeError, match="I/O thread ended: ZeroDivisionError: a bug"):
        client.ask("status")

    with pytest.raises(errors.NodeError, match="a bug"):
        call.result(SOON_S)
    with pytest.raises(errors.NodeError, match="a bug"):
        client.socket("echo").submit(1)
