"""How calls of a program's own functions end badly: as those of a worker process do."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from meshcode import Node, connect, current_call
from meshcode.errors import BadResult, MeshError, RemoteError, WrongArguments
from meshcode.worker.context import CallInterrupted, DoNotRetry, Route
from tests.live.harness import until


def test_what_a_call_within_a_function_raises_is_the_functions_own():
    """It was given as that of the outer call, so a loop on WaitTimeout there never ended."""
    release = threading.Event()
    with Node() as node, connect(node.address) as client:

        def wait() -> None:
            client.socket("slow").submit().result(0.05)

        def misspell() -> None:
            client.socket("slwo")()

        def unplain() -> None:
            client.socket("one")({1})

        node.serve("one", lambda value: value)
        node.serve("slow", lambda: release.wait(20))
        for function in (wait, misspell, unplain):
            node.serve(function.__name__, function)
        for name, type_name in (
            ("wait", "WaitTimeout"), ("misspell", "UnknownSocket"), ("unplain", "BadData"),
        ):  # fmt: skip
            with pytest.raises(RemoteError, match=f"^{type_name}: ") as failure:
                client.socket(name).submit().result(20)

            assert type(failure.value) is RemoteError
            assert failure.value.type_name == type_name
            assert f"in {name}\n" in failure.value.traceback_text
        release.set()


def test_what_a_function_raises_is_tried_again_whoever_made_it():
    attempts = []
    with Node() as node, connect(node.address) as client:

        def misspell() -> None:
            attempts.append(current_call().attempt)
            client.socket("slwo")()

        def final() -> None:
            attempts.append(-current_call().attempt)
            raise DoNotRetry("never again")

        node.serve("misspell", misspell, retries=2, retry_delay_ms=1)
        node.serve("final", final, retries=2, retry_delay_ms=1)
        for name in ("misspell", "final"):
            with pytest.raises(RemoteError):
                client.socket(name).submit().result(20)

    assert attempts == [1, 2, 3, -1]


def test_an_exception_is_of_its_type_after_two_calls():
    with Node() as node, connect(node.address) as client:

        def read(name: str) -> str:
            with open(name) as file:
                return file.read()

        node.serve("read", read)
        node.serve("twice", lambda name: [client.socket("read")(name)])

        with pytest.raises(FileNotFoundError) as failure:
            client.socket("twice").submit("/no/such").result(20)

    assert isinstance(failure.value, RemoteError)
    assert failure.value.filename == "/no/such"
    assert failure.value.type_name == "FileNotFoundError"
    assert failure.value.text.startswith("FileNotFoundError: [Errno 2] No such file")
    assert "in read\n" in failure.value.traceback_text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({1}, "a set"),
        (b"x" * (17 * 1024 * 1024), "the limit is"),
        (Route(1, [5]), "the plugs that a result chooses are a list of names"),
    ],
)
def test_a_result_that_cannot_travel_is_not_tried_again(value, said):
    ran = []
    with Node() as node, connect(node.address) as client:
        node.serve("one", lambda: ran.append(1) or value, retries=5, retry_delay_ms=1)

        with pytest.raises(BadResult, match=said):
            client.socket("one").submit().result(20)

    assert ran == [1]


def test_a_result_may_choose_its_plugs():
    with Node() as node, connect(node.address) as client:
        node.serve("one", lambda: Route({"n": 1}, ["left"]))

        assert client.socket("one").submit().result(20) == {"n": 1}


def test_arguments_that_the_function_no_longer_takes_are_not_tried_again():
    """They were right for the one that was served when the call was accepted."""
    began, release = threading.Event(), threading.Event()
    with Node() as node, connect(node.address) as client:
        node.serve("one", lambda value: began.set() or release.wait(20), concurrency=1, retries=5)
        first, second = (client.socket("one").submit(1) for _ in range(2))
        second.wait_accepted(20)
        assert began.wait(20)
        node.serve("one", lambda: 1, concurrency=1, retries=5)
        release.set()

        assert first.result(20) is True
        with pytest.raises(WrongArguments, match=r"takes 0 .*; the function was not entered"):
            second.result(20)


def deaf() -> str:
    try:
        while True:
            current_call()
    except CallInterrupted:
        return "went on"


async def deaf_coroutine() -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "went on"
    return "slept"


@pytest.mark.parametrize("function", [deaf, deaf_coroutine])
def test_who_catches_the_interrupt_and_returns_has_returned(function):
    """As in a worker process: what it did is done, so its value is told."""
    with Node() as node, connect(node.address) as client:
        node.serve("limited", function, time_limit_ms=100)
        node.serve("free", function)
        assert client.socket("limited").submit().result(20) == "went on"

        call = client.socket("free").submit()
        until(lambda: client.ask("call.get", id=call.id)["state"] == "RUNNING", 20, "it runs")
        call.cancel()

        assert call.result(20) == "went on"
        assert client.ask("call.get", id=call.id)["state"] == "DONE"


def test_an_interrupt_at_any_instant_is_answered_once_and_its_thread_goes_on():
    with Node() as node, connect(node.address) as client:
        node.serve("short", time.sleep, time_limit_ms=3)
        node.serve("one", lambda: 1)
        calls = [client.socket("short").submit(0.002) for _ in range(300)]
        for number, call in enumerate(calls):
            if number % 3 == 0:
                try:
                    call.cancel()
                except MeshError as late:
                    assert late.code == "wrong_state"

        ends = {}
        for call in calls:
            try:
                end = "done" if call.result(60) is None else "wrong"
            except MeshError as error:
                end = error.code
            ends[end] = ends.get(end, 0) + 1

        assert ends.keys() <= {"done", "cancelled", "time_limit"}
        assert [client.socket("one").submit().result(20) for _ in range(16)] == [1] * 16
        assert not node._loop.hosted._running and not node._loop.hosted._asked
