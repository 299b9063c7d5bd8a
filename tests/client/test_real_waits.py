"""What a wait that ends before its call says of it, with a real node."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest

from meshcode import connect, connect_async, errors, pipeline
from meshcode.client import Client, aiowaits, lateness
from tests.live.harness import Mesh, offering, until

TASKS = '''
import os
import time


def echo(*values):
    return list(values)


def die(*values):
    os._exit(7)


def wait(seconds):
    time.sleep(seconds)
'''
WAIT_S = 60.0


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """A node that offers TASKS."""
    with offering("p", {"late.py": TASKS}, "late", ["echo", "die", "wait"]) as node:
        yield node


@pytest.fixture
def client(mesh: Mesh) -> Iterator[Client]:
    """A client of it."""
    found = connect(mesh.address, timeout=WAIT_S)
    yield found
    found.close(0)


@pytest.fixture
def held(client: Client) -> Iterator[str]:
    """The id of a call that waits for a person."""
    call = client.socket("late.die").options(retries=0).submit()
    until(lambda: call.status == "HELD", WAIT_S, lambda: call.status)
    yield call.id
    call.cancel()


def test_a_call_that_is_held_is_not_said_to_go_on(client, held, mesh):
    with pytest.raises(errors.WaitTimeout, match="is HELD and stands until a person") as late:
        client.call(held).result(timeout=1)
    assert late.value.fields["state"] == "HELD"
    assert "goes on" not in str(late.value)
    assert "retry() tries it again" in str(late.value)

    async def main():
        async with await connect_async(mesh.address) as found:
            await (await found.call(held)).result(timeout=1)

    with pytest.raises(errors.WaitTimeout, match="is HELD and stands"):
        asyncio.run(main())


def test_a_flow_that_a_held_step_stops_says_so(client):
    echo, die = client.socket("late.echo"), client.socket("late.die").options(retries=0)
    flow = client.submit(pipeline(echo.p(1), die.p(), echo.p()))
    flow.wait_accepted(WAIT_S)
    until(lambda: flow.progress().held, WAIT_S, lambda: str(flow.progress()))

    assert flow.status == "HELD"
    assert flow.progress() == (1, 0, 0, 0, 1, 3, 1)
    with pytest.raises(errors.WaitTimeout, match=r"step 1 \(late\.die, call .*\) is HELD"):
        flow.result(timeout=1)
    flow.cancel()


def test_a_call_that_runs_goes_on(client):
    call = client.socket("late.wait").submit(WAIT_S)
    until(lambda: call.status == "RUNNING", WAIT_S, lambda: call.status)

    with pytest.raises(errors.WaitTimeout, match=r"within 1.0 s; it is RUNNING; it goes on"):
        call.result(timeout=timedelta(seconds=1))
    with pytest.raises(errors.WaitTimeout, match=r"within 0 s; it goes on"):
        call.result(timeout=0)
    call.cancel()


def test_a_thousand_waits_that_end_at_once_do_not_all_ask(mesh, monkeypatch):
    monkeypatch.setattr(aiowaits, "LOOKS_MAX", 1)

    async def main():
        async with await connect_async(mesh.address) as found:
            slow = found.socket("late.echo").options(delay=WAIT_S)
            calls = [await slow.submit(n) for n in range(1000)]
            await calls[-1].wait_accepted(WAIT_S)
            waits = [call.result(timeout=0.2) for call in calls]
            ends = await asyncio.gather(*waits, return_exceptions=True)
            for call in calls:
                await call.cancel()
            return ends

    ends = asyncio.run(main())
    assert {type(end) for end in ends} == {errors.WaitTimeout}
    assert 1 <= sum(end.fields["state"] == "DELAYED" for end in ends) < 1000


def test_waiting_without_an_end_for_a_held_call_warns_the_log(held, mesh):
    """And says nothing on stderr where nobody set up logging."""
    program = (
        "import logging, threading\n"
        "from meshcode.client import connect, lateness\n"
        "lateness.LOOK_S = 0.05\n"
        "told = threading.Event()\n"
        "logging.getLogger('meshcode').addFilter(lambda record: not print(record.getMessage()))\n"
        "logging.getLogger('meshcode').addFilter(lambda record: told.set() or True)\n"
        f"call = connect({mesh.address!r}).call({held!r})\n"
        "threading.Thread(target=call.exception, daemon=True).start()\n"
        "assert told.wait(20)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], env=mesh.env, capture_output=True, text=True,
        timeout=WAIT_S, check=False,
    )  # fmt: skip

    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.count("is HELD and stands until a person acts") == 1


def test_a_node_that_is_away_has_the_call_or_has_not(client, mesh):
    safe = client.socket("late.echo").options(delay=2).submit("safe")
    safe.wait_accepted(WAIT_S)
    mesh.kill()
    try:
        until(lambda: not client.is_linked, WAIT_S, "the link is down")
        with pytest.raises(errors.WaitTimeout, match="which has it, is away: it goes on when"):
            safe.result(timeout=0.05)
        here = client.socket("late.echo").submit("here")
        with pytest.raises(errors.WaitTimeout, match="in this program only") as late:
            here.result(timeout=0.05)
        assert "from anywhere" not in str(late.value)
        assert late.value.fields["state"] == "SENT"
    finally:
        mesh.start()

    assert [here.result(WAIT_S), safe.result(WAIT_S)] == [["here"], ["safe"]]


def test_a_timeout_is_seconds_or_a_timedelta(client):
    call = client.socket("late.echo").submit(1)
    for wait in (call.result, call.exception, call.wait_accepted):
        wait(timedelta(seconds=WAIT_S))
    other = client.socket("late.wait").submit(WAIT_S)
    for wait in (other.result, other.wait_accepted, lambda t: next(other.items(t))):
        with pytest.raises(TypeError, match="timeout is seconds, a timedelta or None, not '5s'"):
            wait("5s")
    other.cancel()
    assert list(client.socket("late.echo").map([1, 2], timeout=timedelta(minutes=1))) == [[1], [2]]
    assert lateness.ASK_S <= 1
