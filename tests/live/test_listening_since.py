"""Listening from a time on: what is kept first, each thing once, then what happens."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from meshcode import errors
from meshcode.client import connect, connect_async, listen
from tests.live.harness import heard_until, until

SOON_S = 20.0


@pytest.fixture(scope="module")
def client(mesh):
    """A client of the node of this module."""
    with connect(mesh.address) as found:
        found.socket("live.tasks.echo")(0)  # Its worker is warm.
        yield found


@pytest.fixture
def begin(client):
    """A time after all calls of the tests before."""
    before = datetime.now(UTC)
    until(lambda: datetime.now(UTC) > before + timedelta(milliseconds=2), SOON_S, "some time")
    return datetime.now(UTC)


def told(events, count):
    """Call and state of so many events, each with its time in order."""
    found = [next(events) for _ in range(count)]
    assert [e["ms"] for e in found] == sorted(e["ms"] for e in found)
    return [(e["call"], e["state"]) for e in found]


STATES = ("received", "running", "postrun")


def test_what_happened_is_told_before_what_happens_and_nothing_twice(client, begin):
    echo = client.socket("live.tasks.echo")
    old = [echo.submit(n) for n in range(3)]
    assert [call.result(SOON_S) for call in old] == [0, 1, 2]

    with client.listen("live.tasks.echo", since=begin) as events:
        assert sorted(told(events, 9)) == sorted((c.id, s) for c in old for s in STATES)
        new = echo.submit(3)
        assert new.result(SOON_S) == 3
        live = [next(events) for _ in range(3)]

    assert [(e["call"], e["state"]) for e in live] == [(new.id, s) for s in STATES]
    assert not any("past" in e for e in live)


def test_a_past_event_has_the_fields_of_one_that_is_heard(client, begin):
    join = client.socket("live.tasks.join")
    with client.listen("live.tasks.join") as live:
        call = join.submit("a", "b", by="-")
        assert call.result(SOON_S) == "a-b"
        heard = [next(live) for _ in range(3)]

    with client.listen("q.live", since=begin) as events:
        past = [next(events) for _ in range(3)]

    for now, then in zip(heard, past, strict=True):
        assert then.pop("past") is True
        if now["state"] == "running":  # Kept is when it began, not when the worker was given it.
            assert 0 <= then.pop("ms") - now.pop("ms") < SOON_S * 1000
            assert then.pop("date") >= now.pop("date")
        if now["state"] == "received":  # Live it is 0 or 1, as quick as the node was.
            assert then.pop("attempt") == 1 and now.pop("attempt") in (0, 1)
        assert then == now


def test_errors_and_large_results_are_told_as_they_are_live(client, begin):
    client.socket("live.tasks.boom").submit("no").exception(SOON_S)
    client.socket("live.tasks.echo").submit("x" * 100_000).result(SOON_S)
    client.socket("live.tasks.large").submit(100_000).result(SOON_S)

    with client.listen("live", since=begin) as events:
        ends = [e for e in (next(events) for _ in range(9)) if e["state"] == "postrun"]

    boom, long, large = sorted(ends, key=lambda e: e["call"])
    assert (boom["error"], boom["type"], boom["outcome"]) == (True, "ValueError", "FAILED")
    assert boom["traceback"].startswith("Traceback")
    assert (long["result_bytes"], long["result_text"]) == (100_005, "x" * 16_384)
    assert large["result_bytes"] == 100_005 and "result" not in large


def test_lines_that_were_printed_are_told(client, begin):
    call = client.socket("live.tasks.say").submit("one\ntwo")
    assert call.result(SOON_S) == 7

    with client.listen("live.*", "log", since=begin) as events:
        past = [next(events) for _ in range(4)]
        new = client.socket("live.tasks.say").submit("three")
        lines = heard_until(events, lambda e: e["stream"] == "stderr", "a new line")

    assert [(e["stream"], e["text"]) for e in past] == [
        ("stdout", "one"), ("stdout", "two"), ("stderr", "ONE"), ("stderr", "TWO"),
    ]  # fmt: skip
    assert {e["call"] for e in past} == {call.id} and {e["attempt"] for e in past} == {1}
    assert [(e["call"], e["text"]) for e in lines] == [(new.id, "three"), (new.id, "THREE")]


def test_calls_that_run_while_one_begins_to_listen_are_told_once_each(client, begin):
    echo = client.socket("live.tasks.echo")
    calls = [echo.submit(n) for n in range(300)]
    with client.listen("live.tasks.echo", since=begin) as events:
        calls += [echo.submit(n) for n in range(300)]
        last = echo.submit("last")
        found = heard_until(
            events, lambda e: e["call"] == last.id and e["state"] == "postrun", "the last"
        )
    ends = [e["call"] for e in found if e["state"] in ("received", "postrun")]

    assert sorted(ends) == sorted([*(c.id for c in calls), last.id] * 2)


def test_more_than_a_page_is_read_in_order(client, begin):
    echo = client.socket("live.tasks.echo")
    assert list(echo.map(range(450))) == list(range(450))

    with client.listen("live", since=begin) as events:
        found = [call for call, state in told(events, 3 * 450) if state == "postrun"]

    assert len(set(found)) == 450


@pytest.mark.parametrize("ago", [3600, timedelta(hours=1)])
def test_a_number_is_seconds_ago(client, ago):
    call = client.socket("live.tasks.join").submit("a", "b")
    call.result(SOON_S)

    with client.listen("live.tasks.join", since=ago) as events:
        heard = heard_until(events, lambda e: e["call"] == call.id, "the call")
    assert heard[-1]["past"] is True


def test_a_later_time_has_no_past(client):
    later = datetime.now(UTC) + timedelta(hours=1)
    with client.listen("live.tasks.echo", since=later) as events:
        assert not events.wait(0) and not events.has_next()


def test_with_asyncio_too(mesh, client, begin):
    call = client.socket("live.tasks.echo").submit("async")
    call.result(SOON_S)

    async def hear():
        async with await connect_async(mesh.address) as other:
            found = []
            async for event in await other.listen("live.tasks.echo", since=begin):
                found.append(event)
                if len(found) == 3:
                    new = await other.socket("live.tasks.echo").submit("now")
                if len(found) == 6:
                    break
        return new.id, found

    id, found = asyncio.run(hear())
    assert [e["call"] for e in found] == [call.id] * 3 + [id] * 3


@pytest.mark.parametrize("channel", ["state", "queue", "stats"])
def test_of_a_channel_that_keeps_nothing_it_is_said_so(mesh, client, channel):
    with pytest.raises(errors.BadRequest, match=f"nothing of the channel '{channel}' is kept"):
        client.listen(channel=channel, since=60)
    run = mesh.mesh("listen", "-c", channel, "--since", "1m")
    assert run.returncode == 2
    assert "only of task and log; nothing is listened to; leave" in run.stderr


@pytest.mark.parametrize(
    ("since", "said"),
    [
        (-1, "how many seconds ago, not -1"),
        (True, "how many seconds ago, not True"),
        ("1h", "how many seconds ago, not '1h'"),
        (float("nan"), "how many seconds ago, not nan"),
        (datetime(2026, 1, 1), "2026-01-01 00:00:00 has no time zone"),  # noqa: DTZ001
    ],
)
def test_what_is_no_time_is_refused(client, since, said):
    with pytest.raises(errors.BadRequest, match=said):
        client.listen("live", since=since)


def test_the_command_tells_what_happened_and_ends(mesh, client, begin):
    client.socket("live.tasks.echo").submit(5).result(SOON_S)

    run = mesh.mesh("listen", "-n", "live.tasks.echo", "--since", begin.isoformat(),
                    "--timeout", "0s")  # fmt: skip

    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0
    assert [row["state"] for row in rows] == list(STATES)
    assert rows[2]["result"] == 5
    assert mesh.mesh("listen", "-n", "live.none", "--since", "1h").returncode == 3
    assert mesh.mesh("listen", "--since", "soon").returncode == 2


def test_with_the_client_of_the_process(mesh, client, begin, monkeypatch):
    monkeypatch.setenv("MESH_NODE", mesh.address)
    call = client.socket("live.tasks.echo").submit("x")
    call.result(SOON_S)
    with listen("live.tasks.echo", since=begin) as events:
        assert told(events, 3)[0][0] == call.id


HEARER = '''
from meshcode.client import listen


def heard(socket, count):
    """What is kept of calls of a socket, as a task is told it."""
    with listen(socket, since=60) as events:
        return [[event["call"], event["state"]] for event in (next(events) for _ in range(count))]


def echo(value):
    return value
'''


def test_a_task_hears_what_is_kept_as_anybody_does(fresh):
    """It has only what its worker was lent of the client."""
    code = fresh.repository({"hearer.py": HEARER})
    fresh.offer("hearer", code, "hearer", ["heard", "echo"])
    fresh.wait_ready("hearer")
    with connect(fresh.address) as client:
        old = client.socket("hearer.echo").submit(1)
        assert old.result(SOON_S) == 1

        found = client.socket("hearer.heard").submit("hearer.echo", 3).result(SOON_S)

    assert found == [[old.id, state] for state in STATES]
