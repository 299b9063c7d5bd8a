"""Calling sockets: values, errors, options, handles."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from meshcode import errors
from meshcode.client import Client, Socket, connect
from meshcode.ids import parse_id
from meshcode.wire.kinds import Flag
from tests.client.conftest import until


def test_calling_a_socket_waits_and_gives_the_value(client):
    assert client.socket("echo")("some text") == "some text"
    assert client.socket("noop")() is None


@pytest.mark.parametrize("operation", [None, 5, b"status"])
def test_an_operation_that_is_no_text_is_refused(client, operation):
    for ask in (client.ask, client.ask_stream):
        with pytest.raises(errors.BadRequest, match="an operation is a text like 'status', not "):
            ask(operation)
    assert client.ask("status")


@pytest.mark.parametrize(
    "value", [0, -1, 2**80, 1.5, "", "ü", b"\x00\xff", [], [1, [2]], {"a": {1: None}}, (1, "b")]
)
def test_plain_data_comes_back_as_it_went(client, value):
    assert client.socket("echo")(value) == value


def test_a_call_says_what_the_header_must_tell(client):
    """Positional count, keyword names and flags are what the router checks before acceptance."""
    call = client.socket("report").submit(1, "two", three=3)
    seen = call.result()

    assert (seen["args"], seen["kwargs"]) == ([1, "two"], {"three": 3})
    assert seen["argc"] == 2
    assert seen["options"] == {"kw": ["three"]}
    assert seen["flags"] == Flag.FRESH | Flag.KWARGS
    assert seen["id"] == seen["flow"] == parse_id(call.id)


def test_more_arguments_than_a_header_can_tell_are_sent_untold(client):
    seen = client.socket("report")(*range(300))

    assert (seen["argc"], len(seen["args"])) == (255, 300)


def test_options_travel_in_milliseconds_and_stay_with_their_copy(client):
    plain = client.socket("report")
    eta = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    wanting = plain.options(
        priority=7, delay=1.5, retries=3, retry_delay=timedelta(minutes=1), time_limit=0.25,
        expires=60, key="ann", trace="00-aa-bb-01", eta=eta,
    )  # fmt: skip

    assert wanting()["options"] == {
        "priority": 7, "delay_ms": 1500, "retries": 3, "retry_delay_ms": 60_000,
        "time_limit_ms": 250, "expires_ms": 60_000, "key": "ann", "trace": "00-aa-bb-01",
        "eta_ms": 1_893_553_445_000,
    }  # fmt: skip
    assert wanting.options(priority=1)()["options"]["priority"] == 1
    assert wanting.options(priority=1)()["options"]["delay_ms"] == 1500
    assert wanting(a=1)["options"]["kw"] == ["a"]
    assert plain()["options"] == {}


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("priority", 10, "a whole number from 0 to 9, not 10"),
        ("priority", -1, "a whole number from 0 to 9, not -1"),
        ("priority", True, "a whole number from 0 to 9, not True"),
        ("priority", "high", "a whole number from 0 to 9, not 'high'"),
        ("retries", 1.5, "a whole number from 0 to 1000000, not 1.5"),
        ("delay", -0.1, "-0.1 s is outside 0.0 to"),
        ("delay", "5s", "it is a time in seconds, not '5s'"),
        ("delay", float("nan"), "it is a time in seconds, not nan"),
        ("delay", float("inf"), "it is a time in seconds, not inf"),
        ("delay", True, "it is a time in seconds, not True"),
        ("time_limit", 0, "0 s is outside 0.001 to"),
        ("time_limit", 0.0001, "0.0001 s is outside 0.001 to"),
        ("expires", 0, "0 s is outside 0.001 to"),
        ("retry_delay", timedelta(days=31), "2678400.0 s is outside 0.0 to 2592000.0 s"),
        ("eta", datetime(2030, 1, 1), "has no time zone"),  # noqa: DTZ001  That is the point.
        ("eta", datetime(1969, 1, 1, tzinfo=UTC), "is before 1970"),
        ("eta", 5, "it is a datetime, not 5"),
        ("key", "", "a text of 1 to 200 characters"),
        ("key", "x" * 201, "a text of 1 to 200 characters"),
        ("key", 5, "a text of 1 to 200 characters, not 5"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_sent(option, value, said):
    with pytest.raises(errors.BadRequest) as caught:
        Socket("echo").options(**{option: value})

    assert said in str(caught.value)
    assert str(caught.value).startswith(f"option {option}: ")
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("name", ["", None, 5, "x" * 256])
def test_a_name_that_no_socket_can_have_is_refused(name):
    with pytest.raises(errors.BadRequest, match="socket has"):
        Socket(name)


def test_what_is_not_plain_data_is_refused_with_its_place(client):
    with pytest.raises(errors.BadData, match=r"argument 2\[\"when\"\]\[0\] is a set"):
        client.socket("echo").submit(1, {"when": [{1}]})
    with pytest.raises(errors.BadData, match="argument name"):
        client.socket("echo").submit(name=object())

    assert client.session.outbox.unacked_calls == 0


def test_too_large_arguments_are_refused_with_both_numbers(client):
    with pytest.raises(errors.TooLarge, match="16777216"):
        client.socket("echo").submit(bytes(17 * 1024 * 1024))


def test_a_builtin_exception_is_raised_again_as_itself(client):
    """`except KeyError` works across the mesh, and the worker's traceback is there to read."""
    with pytest.raises(KeyError) as caught:
        client.socket("fail")("KeyError")

    assert isinstance(caught.value, errors.RemoteError)
    assert "line 1, in fail" in caught.value.traceback_text
    assert "line 1, in fail" in caught.value.__notes__[0]
    assert caught.value.exit_status == 1


def test_an_exception_type_unknown_here_is_a_remote_error(client):
    with pytest.raises(errors.RemoteError) as caught:
        client.socket("fail")("shop.NotClean")

    assert caught.value.type_name == "shop.NotClean"
    assert not isinstance(caught.value, ValueError)


def test_a_failure_can_be_taken_as_a_value(client):
    call = client.socket("fail").submit("ValueError")

    error = call.result(propagate=False)

    assert isinstance(error, ValueError)
    assert call.exception().text == "boom"
    assert error.fields["call"] == call.id
    assert call.state == "FAILED"


def test_each_result_raises_an_error_of_its_own(client):
    """One shared exception would collect the tracebacks of all who raise it."""
    call = client.socket("fail").submit("ValueError")

    assert call.result(propagate=False) is not call.result(propagate=False)


def test_a_cancelled_call_says_so(client):
    call = client.socket("cancel").submit()

    with pytest.raises(errors.CallCancelled, match="cancelled by a test"):
        call.result()
    assert call.state == "CANCELLED"


def test_a_refusal_comes_with_the_result_and_with_the_acknowledgement(client):
    call = client.socket("refuse").submit()

    with pytest.raises(errors.QueueFull, match="its limit is 10"):
        call.result()
    with pytest.raises(errors.QueueFull):
        call.wait_accepted()
    assert (call.state, call.accepted, call.done()) == ("REFUSED", None, True)


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "forgotten"])
def test_refusals_that_nobody_asked_about_are_told_when_the_client_is_closed(client, keep):
    kept = []
    with pytest.warns(RuntimeWarning) as told, connect(client.address) as other:
        for _ in range(2):
            call = other.socket("refuse").submit()
            kept += [call] if keep else []
            del call
        other.socket("echo")(1)

    [said] = [str(one.message) for one in told]
    assert said.startswith("2 calls were refused and nobody asked what became of them")
    assert "its limit is 10" in said


def test_refusals_that_were_looked_at_are_not_told_again(client, recwarn):
    with connect(client.address) as other:
        refuse = other.socket("refuse")
        with pytest.raises(errors.QueueFull):
            refuse()
        assert isinstance(refuse.submit().exception(), errors.QueueFull)
        with pytest.raises(errors.QueueFull):
            refuse.submit().wait_accepted()

    assert [str(one.message) for one in recwarn] == []


def test_an_unknown_socket_is_refused_by_the_node(client):
    with pytest.raises(errors.UnknownSocket, match="nowhere"):
        client.socket("nowhere")()


def test_a_handle_tells_what_is_known_of_the_call(client):
    call = client.socket("later").submit(5)

    assert call.wait_accepted() == call.accepted == "local 1/1"
    assert (call.state, call.done(), call.socket) == ("ACCEPTED", False, "later")
    assert client.ask("test.release") == {"released": 1}
    assert call.result() == 5
    assert (call.state, call.done()) == ("DONE", True)
    assert repr(call) == f"<Call {call.id} later DONE>"


def test_a_handle_has_get_and_status_as_that_of_a_flow(client):
    call = client.socket("later").submit(5)
    call.wait_accepted()
    found = client.call(call.id)

    assert call.status == found.status == client.ask("call.get", id=call.id)["state"]
    with pytest.raises(errors.WaitTimeout):
        call.get(0.01)
    client.ask("test.release")
    assert call.get(10) == call.get() == found.get(timeout=10) == 5
    assert call.status == found.status == "DONE"
    assert isinstance(client.socket("fail").submit("KeyError").get(propagate=False), KeyError)
    assert client.socket("echo").submit(1).status in ("SENT", "WAITING", "RUNNING", "DONE")


def test_a_result_can_be_asked_for_again(client):
    call = client.socket("echo").submit([1])

    assert call.result() is call.result()
    assert call.exception() is None


def test_a_wait_that_ends_leaves_the_call_as_it_was(client):
    call = client.socket("later").submit("x")
    call.wait_accepted(10)

    for timeout in (0, 0.01):
        with pytest.raises(errors.WaitTimeout, match="it goes on") as caught:
            call.result(timeout)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.exit_status == 124
    assert not call._callbacks
    client.ask("test.release")

    assert call.result(10) == "x"


def test_a_call_that_is_not_acknowledged_says_so(client):
    call = client.socket("mute").submit()

    with pytest.raises(errors.WaitTimeout, match=r"was not acknowledged within 0.01 s"):
        call.wait_accepted(0.01)
    assert call.state == "SENT"


def test_many_threads_may_wait_for_one_call(client):
    call = client.socket("later").submit("x")
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(call.result())) for _ in range(8)]
    for thread in threads:
        thread.start()

    client.ask("test.release")
    for thread in threads:
        thread.join(10)

    assert found == ["x"] * 8


def test_many_threads_may_call_through_one_client(client):
    """Every result goes to the call it belongs to."""
    wrong: list[int] = []

    def work(base: int) -> None:
        echo = client.socket("echo")
        calls = [(n, echo.submit(n)) for n in range(base, base + 300)]
        wrong.extend(n for n, call in calls if call.result(20) != n)

    threads = [threading.Thread(target=work, args=(base,)) for base in range(0, 4000, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert wrong == []
    assert client.ask("test.count")["submits"] == 1200


def test_a_node_is_asked_about_a_call(client):
    call = client.socket("later").submit(1)

    assert call.info()["state"] == "RUNNING"
    assert call.events()[0]["name"] == "received"
    assert call.output() == {"stdout": "printed", "stderr": ""}
    assert call.retry(by="ann") is call
    assert call.cancel(by="ann") == {"state": "CANCELLED"}
    with pytest.raises(errors.CallCancelled, match="cancelled by ann"):
        call.result()
    with pytest.raises(errors.WrongState):
        call.cancel()


def test_a_call_is_found_again_by_another_client(client, peer):
    call = client.socket("later").submit("kept")
    call.wait_accepted()

    with connect(peer.address) as other:
        found = other.call(call.id)
        assert (found.state, found.done()) == ("UNKNOWN", False)
        assert found.wait_accepted() == "accepted"
        client.ask("test.release")
        assert found.result(10) == "kept"
        assert other.call(call.id.replace("-", "")).result(10) == "kept"
        assert other.call(parse_id(call.id)).result(10) == "kept"
        assert other.call(call.id[:20]).result(10) == "kept"


def test_a_call_that_no_node_knows_is_an_error(client):
    found = client.call("0192f3c1-0000-7000-8000-000000000000")

    with pytest.raises(errors.UnknownCall, match="knows no call 0192f3c1-0000") as caught:
        found.result(10)
    assert caught.value.exit_status == 3


def test_two_handles_of_one_call_both_learn_its_end(client):
    call = client.socket("later").submit("x")
    call.wait_accepted()
    twins = [client.call(call.id), client.call(call.id)]
    for twin in twins:
        with pytest.raises(errors.WaitTimeout):
            twin.result(0)

    client.ask("test.release")

    assert [handle.result(10) for handle in (call, *twins)] == ["x", "x", "x"]


def test_items_of_a_generator_come_in_order(client):
    assert list(client.socket("items").submit(5).items(timeout=10)) == [0, 1, 2, 3, 4]
    assert list(client.socket("items").submit(0).items(timeout=10)) == []


def test_items_of_a_task_that_is_no_generator_are_its_result(client):
    assert list(client.socket("echo").submit("one").items()) == ["one"]
    assert list(client.socket("echo").submit(["a", "b"]).items()) == ["a", "b"]


def test_items_end_with_the_error_of_the_call(client):
    with pytest.raises(ValueError, match="boom"):
        list(client.socket("fail").submit("ValueError").items())


def test_items_may_be_waited_for_only_so_long(client):
    call = client.socket("later").submit([1])

    with pytest.raises(errors.WaitTimeout):
        next(call.items(timeout=0.01))


def test_a_program_that_forgets_its_calls_keeps_nothing(client):
    """Fire and forget: the node has the calls, the client does not follow them."""
    never = client.socket("never")
    for _ in range(50):
        never.submit()
    until(lambda: not client.session.outbox.unacked_calls, "all are acknowledged")

    client.session.pending.sweep()

    assert len(client.session.pending) == 0
    assert client.ask("test.count")["open"] == 50


def test_a_closed_client_says_so(client: Client):
    call = client.socket("later").submit(1)
    call.wait_accepted()
    client.close()

    for action in (client.socket("echo").submit, lambda: client.ask("status"), call.result):
        with pytest.raises(errors.WrongState, match="the client is closed"):
            action()
    assert call.state == "LOST"
    assert client.close() is None
