"""Listening at a real node: each channel, names, rights, slow readers, and the command."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import os
import re
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from meshcode import Node, errors, pipeline
from meshcode.client import connect, connect_async
from meshcode.ids import parse_id
from meshcode.wire.kinds import Kind
from tests.live.harness import Mesh, heard_until, until
from tests.live.rawlink import RawLink

SOON_S = 20.0
SECRET = "correct horse battery"


@pytest.fixture(scope="module")
def client(mesh):
    """A client of the node of this module."""
    with connect(mesh.address) as found:
        found.socket("live.tasks.echo")(0)  # Its worker is warm.
        yield found


def ended(call_id):
    return lambda event: event.get("call") == call_id and event.get("state") == "postrun"


def test_a_call_is_heard_from_its_coming_to_its_result(client):
    with client.listen("live.tasks.join") as events:
        call = client.socket("live.tasks.join").submit("a", "b", by="-")
        assert call.result(SOON_S) == "a-b"
        heard = heard_until(events, ended(call.id), "the result is heard")

    assert [event["state"] for event in heard] == ["received", "running", "postrun"]
    for event in heard:
        assert event["call"] == event["flow"] == call.id
        names = [event[key] for key in ("socket", "queue", "processor", "room", "task", "module")]
        assert names == ["live.tasks.join", "q", "live", "q.live", "join", "live.tasks"]
        assert event["node"] and event["date"].endswith("Z")
    last = heard[-1]
    assert (last["result"], last["error"], last["outcome"]) == ("a-b", False, "DONE")
    assert 0 <= last["duration"] < SOON_S
    assert last["worker"].startswith("live/")
    assert len(last["commit"]) == 40


def test_a_step_is_heard_received_once_like_a_call(client):
    """The twin, on one node, of the test of that name in a mesh."""
    echo = client.socket("live.tasks.echo")
    with client.listen("live.tasks.echo") as events:
        flow = pipeline(echo.p(1), echo.p())()
        assert flow.get(SOON_S) == 1
        last = flow.steps[-1].id
        heard = heard_until(events, ended(last), "the last result is heard")
    told = [(event["call"], event["state"]) for event in heard]
    assert sorted(told) == sorted(
        (step.id, state) for step in flow.steps for state in ("received", "running", "postrun")
    )


def test_an_error_is_heard_with_its_traceback(client):
    with client.listen("live") as events:
        call = client.socket("live.tasks.boom").submit("no")
        with pytest.raises(ValueError, match="no"):
            call.result(SOON_S)
        last = heard_until(events, ended(call.id), "the error is heard")[-1]

    assert (last["error"], last["outcome"], last["type"]) == (True, "FAILED", "ValueError")
    assert last["message"] == "ValueError: no"
    assert "raise ValueError(text)" in last["traceback"]
    assert "result" not in last


@pytest.mark.parametrize("name", ["live", "q", "q.live", "live.tasks.echo", "live.*.ech?", None])
def test_a_name_is_that_of_a_socket_processor_or_queue_or_a_pattern(client, name):
    large, echo = client.socket("live.tasks.large"), client.socket("live.tasks.echo")
    with client.listen(name) as events:
        large(0)
        heard = heard_until(events, ended(after(echo)), "echo is heard")

    only_echo = name is not None and "ech" in name
    both = {large.name, echo.name}
    assert {event["socket"] for event in heard} == ({echo.name} if only_echo else both)


def after(socket):
    """The id of a call that has ended."""
    call = socket.submit(0)
    call.result(SOON_S)
    return call.id


@pytest.mark.parametrize(
    ("name", "channel", "error", "text"),
    [
        ("liv", "task", errors.UnknownObject, r"named 'liv'.*did you mean 'live'\?"),
        ("zzzz", "log", errors.UnknownObject, "see `mesh ls sockets`"),
        ("live", "stats", errors.BadRequest, "counts whole nodes; leave out the name 'live'"),
        ("live", "nonsense", errors.BadRequest, "no channel 'nonsense'; listen to task, log, "),
        (7, "task", errors.BadRequest, "a name to listen to is text, this is 7"),
    ],
)
def test_what_cannot_be_listened_to_is_refused_at_once(client, name, channel, error, text):
    with pytest.raises(error, match=text):
        client.listen(name, channel)


def test_results_too_large_to_tell_are_cut(client):
    with client.listen("live") as events:
        text = client.socket("live.tasks.echo").submit("é" * 20_000)
        data = client.socket("live.tasks.large").submit(20_000)
        heard = heard_until(events, ended(text.id), "text")
        heard += heard_until(events, ended(data.id), "bytes")

    by_call = {event["call"]: event for event in heard if event["state"] == "postrun"}
    assert by_call[text.id]["result_text"] == "é" * 8_192  # 16 KiB.
    assert by_call[text.id]["result_bytes"] > 40_000
    assert by_call[data.id]["result_bytes"] > 20_000
    assert "result_text" not in by_call[data.id]
    assert not any("result" in event for event in by_call.values())


def test_what_a_call_prints_is_heard_in_whole_lines(client):
    with client.listen("live.tasks.say", "log") as events:
        call = client.socket("live.tasks.say").submit("one\ntwo")
        heard = heard_until(events, lambda event: event["text"] == "TWO", "the last line")

    said = {s: [e["text"] for e in heard if e["stream"] == s] for s in ("stdout", "stderr")}
    assert said == {"stdout": ["one", "two"], "stderr": ["ONE", "TWO"]}
    assert {(e["call"], e["state"], e["attempt"], e["task"]) for e in heard} == {
        (call.id, "output", 1, "say")
    }


def test_objects_that_change_are_heard_with_what_they_are_and_no_secret(client, mesh):
    with client.listen("u*", "state") as events:
        mesh.add("queue", "other")  # Is not of this name.
        mesh.add("user", "ulla", password=SECRET)
        mesh.ask("model", do="delete", kind="user", name="ulla")
        heard = heard_until(events, lambda event: event["change"] == "deleted", "it is deleted")

    assert [(e["kind"], e["name"], e["change"]) for e in heard] == [
        ("user", "ulla", "added"), ("user", "ulla", "deleted"),
    ]  # fmt: skip
    assert heard[0]["object"]["enabled"] is True
    assert "hash" not in repr(heard)


def test_workers_and_processors_are_heard_as_they_come_and_go(client, mesh):
    first = mesh.ready_workers("live")[0]["id"]
    with client.listen("live", "state") as events:
        mesh.ask("worker.stop", id=first)
        heard = heard_until(
            events,
            lambda e: e["kind"] == "worker" and e["status"] == "ready" and e["name"] != str(first),
            "a fresh worker is ready",
        )

    changes = [(e["change"], e["status"]) for e in heard if e["name"] == str(first)]
    assert changes[-1] == ("deleted", "gone")
    assert set(changes[:-1]) <= {("changed", "leaving")}  # Looks are 50 ms apart.
    assert {"worker", "processor"} == {event["kind"] for event in heard}
    mesh.wait_ready("live")


def test_queues_and_figures_are_told_while_somebody_listens(client, mesh):
    mesh.add("processor", "off", git="/nowhere", module="m", requested_status="stop")
    mesh.add("socket", "off.do", processor="off", task="do", queue="q")
    with client.listen("off", "queue") as queue, client.listen(channel="stats") as stats:
        begun = next(stats)
        calls = [client.socket("off.do").submit(n) for n in range(3)]
        row = heard_until(queue, lambda e: e["sockets"][0]["waiting"] == 3, "three wait")[-1]
        good, bad = client.socket("live.tasks.echo"), client.socket("live.tasks.boom")
        good(1)
        with pytest.raises(ValueError, match="x"):
            bad("x")
        failed = begun["tasks_failure"]
        told = heard_until(stats, lambda e: e["tasks_failure"] > failed, "figures")[-1]
        for call in calls:
            call.cancel()

    assert row["queues"][0]["waiting"] == 3
    assert [one["socket"] for one in row["sockets"]] == ["off.do"]
    assert "stop" in row["sockets"][0]["parked"]
    assert told["tasks_success"] > begun["tasks_success"]
    assert (told["nodes"], told["agents"], told["processors_stopped"]) == (1, 1, 1)
    assert told["calls_waiting"] == 3
    assert told["cpus_total"] == len(os.sched_getaffinity(0))


def test_after_the_end_of_a_subscription_nothing_comes(mesh):
    link = mesh.link()
    try:
        told = link.ask("listen", channel="queue")
        link.ask("unsubscribe", id=parse_id(told["listening"]))
        link.unread.clear()
        with connect(mesh.address) as other, other.listen(channel="queue") as theirs:
            heard_until(theirs, lambda _: True, "figures")
            heard_until(theirs, lambda _: True, "figures of the next second")
        link.ask("status")
        assert [row for row, _ in link.unread if row.kind == Kind.EVENT] == []
    finally:
        link.close()


def test_the_same_is_heard_in_asyncio_and_a_listening_is_an_async_iterator(mesh):
    async def hear():
        async with await connect_async(mesh.address) as client:
            events = await client.listen("live.tasks.echo")
            call = await client.socket("live.tasks.echo").submit(5)
            found = []
            async for event in events:
                found.append(event)
                if event["state"] == "postrun":
                    break
            with pytest.raises(errors.UnknownObject, match="did you mean 'live'"):
                await client.listen("lives")
            return call.id, found

    call, heard = asyncio.run(asyncio.wait_for(hear(), SOON_S))
    assert [(e["call"], e["state"]) for e in heard] == [
        (call, "received"), (call, "running"), (call, "postrun"),
    ]  # fmt: skip
    assert heard[-1]["result"] == 5


def test_closing_a_listening_ends_whoever_reads_it(client, mesh):
    events = client.listen("live.tasks.echo")
    assert repr(events) == "<Listening task live.tasks.echo open>"
    reader = threading.Thread(target=lambda: list(events))
    reader.start()
    events.close()
    reader.join(SOON_S)
    assert not reader.is_alive()
    assert repr(events) == "<Listening task live.tasks.echo ended>"
    with pytest.raises(TypeError, match=r"what listens belongs to .* call listen\(\) there"):
        copy.deepcopy(events)  # As pickle does.

    async def hear() -> list[object]:
        async with await connect_async(mesh.address) as found:
            heard = await found.listen("live.tasks.echo")
            task = asyncio.create_task(read(heard))
            await asyncio.sleep(0)
            heard.close()
            return await task

    async def read(heard) -> list[object]:
        return [event async for event in heard]

    assert asyncio.run(asyncio.wait_for(hear(), SOON_S)) == []


# Slow readers.


def test_a_reader_that_does_not_read_loses_events_and_no_call_and_is_told_how_many(client):
    """Every event is heard or counted: three for each call, more when a call is staged anew."""
    count = 6_000
    with client.listen("live.tasks.echo") as events:
        calls = [client.socket("live.tasks.echo").submit(n) for n in range(count)]
        assert [call.result(SOON_S) for call in calls] == list(range(count))
        heard = lost = 0
        while heard + lost < 3 * count:
            assert events.wait(SOON_S), (heard, lost)
            event = next(events)
            if event["channel"] == "lost":
                lost += event["count"]
            else:
                heard += 1

    assert lost > 0


def test_a_process_that_stands_still_costs_the_node_a_bounded_memory_and_no_call(client, mesh):
    text = "x" * 10_000  # The events of 2,000 calls are 20 MB: more than the node keeps for one.
    count = 2_000
    with listener(mesh, "-n", "live.tasks.echo") as process:
        process.send_signal(signal.SIGSTOP)
        calls = [client.socket("live.tasks.echo").submit(text) for _ in range(count)]
        assert all(call.result(SOON_S) == text for call in calls)
        process.send_signal(signal.SIGCONT)
        heard = lost = 0
        while heard + lost < 3 * count:
            event = json.loads(process.stdout.readline())
            if event["channel"] == "lost":
                assert event["node"]  # It was the node that did not tell.
                lost += event["count"]
            else:
                heard += 1

    assert lost > 0


# The command.


@contextlib.contextmanager
def listener(mesh, *words):
    """`mesh listen WORDS`, once it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "meshcode.cli", "listen", *words], env=mesh.env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=mesh.home,
    )  # fmt: skip
    try:
        line = process.stderr.readline()
        assert line.startswith("listening to "), line + process.stderr.read()
        yield process
    finally:
        process.kill()
        process.communicate()


def end_of(process):
    """Its status, what it printed, and what it said after the line that it listens.

    `communicate` does not see what was read ahead together with that line, and would lose it.
    """
    status = process.wait(SOON_S)
    return status, process.stdout.read(), process.stderr.read()


def test_the_command_prints_a_line_an_event_and_ends_after_so_many(client, mesh):
    with listener(mesh, "-n", "q.live", "--count", "3") as process:
        client.socket("live.tasks.join")("a", "b")
        status, out, err = end_of(process)

    assert (status, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["state"] for line in lines] == ["received", "running", "postrun"]
    assert lines[-1]["result"] == "ab"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--timeout", "100ms"], 0, ""),
        (["--timeout", "100ms", "--count", "2"], 124, "mesh: 0 of 2 events came within 100ms\n"),
    ],
)
def test_the_command_ends_in_time(mesh, words, status, said):
    with listener(mesh, "-n", "live.tasks.join", *words) as process:
        assert end_of(process) == (status, "", said)


def test_the_command_says_when_it_hears_nothing_and_when_it_hears_again():
    with Mesh() as node, listener(node, "-c", "state", "--count", "1") as process:
        node.kill()
        assert "the link to the node is lost; nothing is heard" in process.stderr.readline()
        node.start()
        assert "a node answers again" in process.stderr.readline()
        node.add("queue", "heard")
        status, out, err = end_of(process)

    assert (status, err) == (0, "")
    assert json.loads(out)["name"] == "heard"


def test_the_command_ends_quietly_with_ctrl_c(mesh):
    with listener(mesh) as process:
        process.send_signal(signal.SIGINT)
        assert end_of(process) == (130, "", "")


def test_the_command_ends_quietly_when_its_reader_is_gone(client, mesh):
    with listener(mesh, "-n", "live.tasks.join") as process:
        process.stdout.close()
        client.socket("live.tasks.join")("a", "b")
        assert process.wait(SOON_S) == 141
        assert process.stderr.read() == ""


def test_the_command_refuses_a_name_there_is_not(mesh):
    done = command(mesh, "-n", "lives")

    assert done.returncode == 3
    assert "did you mean 'live'?" in done.stderr


def command(mesh, *words):
    return subprocess.run(
        [sys.executable, "-m", "meshcode.cli", "listen", *words], env=mesh.env, text=True,
        capture_output=True, cwd=mesh.home, timeout=SOON_S, check=False,
    )  # fmt: skip


def test_an_adaptor_gets_each_event_and_what_it_raises_is_told_at_the_end(client, mesh):
    (mesh.home / "keepers.py").write_text(
        "class Keeper:\n"
        "    def put(self, event):\n"
        "        if event['state'] == 'running':\n"
        "            raise ValueError('not this one')\n"
        "        open('kept.txt', 'a').write(event['state'] + chr(10))\n"
    )
    words = ["-n", "live.tasks.join", "--count", "3", "--adaptor", "keepers.Keeper.put"]
    with listener(mesh, *words) as process:
        client.socket("live.tasks.join")("a", "b")
        status, out, err = end_of(process)

    assert (status, out) == (1, "")
    assert (mesh.home / "kept.txt").read_text() == "received\npostrun\n"
    assert "the adaptor raised for call " in err
    assert "ValueError: not this one" in err
    assert "the adaptor raised for 1 of 3 events" in err


def test_an_adaptor_writes_graphs_as_lines_of_a_time_series(client, mesh):
    env = {**mesh.env, "MESH_INFLUX_FILE": str(mesh.home / "lines.txt")}
    mesh_with = SimpleNamespace(env=env, home=mesh.home)
    graph = {"name": "heat", "value": 21.5, "tag": {"name": "room", "value": "2 b"}}
    words = ["-n", "live.tasks.echo", "--count", "3", "-a", "meshcode.client.adaptors.Influx.put"]
    with listener(mesh_with, *words) as process:
        client.socket("live.tasks.echo")({"message": "warm", "graph": graph})
        assert process.wait(SOON_S) == 0

    line = (mesh.home / "lines.txt").read_text()
    node = client.node["node"].hex()
    tags = rf"node={node},processor=live,room=2\\ b,socket=live\.tasks\.echo"
    assert re.fullmatch(rf"heat,{tags} value=21\.5 \d{{19}}\n", line), line


# The node goes away.


def test_a_listener_listens_again_after_a_restart_of_the_node_with_what_it_had_asked():
    with Mesh() as node, connect(node.address) as client:
        node.add("queue", "q")
        node.add("processor", "p", git="/nowhere", module="m", requested_status="stop")
        for name in ("p.a", "p.b"):
            node.add("socket", name, processor="p", task="do", queue="q")
        with client.listen("p.a") as events:
            node.stop()
            node.start()
            heard = []
            while not heard:  # It is not told when it listens again.
                for name in ("p.b", "p.a"):
                    client.socket(name).submit(1).wait_accepted(SOON_S)
                while events.wait(0.1):
                    heard.append(next(events))

    assert {(event["state"], event["socket"]) for event in heard} == {("received", "p.a")}


@pytest.mark.parametrize("operation", ["subscribe", "listen"])
def test_no_events_are_made_any_more_for_one_that_went_without_a_word(tmp_path, operation):
    with Node(str(tmp_path / "node")) as node, connect(node.address) as client:
        node.serve("a.b", int)
        router = node._loop.router
        link = RawLink(node.address)
        link.open()
        link.ask(operation, channel="task")
        assert router.listening
        link.close()

        def forgotten():
            client.socket("a.b")(1)  # The node sees that nobody is there when it tells of this.
            return not router.listening

        until(forgotten, SOON_S, "no events are made")


# Rights.


def test_who_may_not_read_the_log_of_a_socket_hears_nothing_of_it(tmp_path, monkeypatch):
    stopped = {"git": "/nowhere", "module": "m", "requested_status": "stop"}
    with Mesh() as node, connect(node.address) as owner:
        node.add("queue", "q")
        for name in ("shop", "bank"):
            node.add("processor", name, **stopped)
            node.add("socket", f"{name}.do", processor=name, task="do", queue="q")
        node.add("user", "joe", password=SECRET)
        login = tmp_path / "login"
        login.touch(0o600)
        login.write_text(owner.ask("login", user="joe", password=SECRET)["login"])
        monkeypatch.setenv("MESH_LOGIN_FILE", str(login))
        with connect(node.address) as joe:
            with pytest.raises(errors.NotAllowed, match="joe may not READ_LOG: nobody gave it"):
                joe.listen()
            node.add("privilege", "p1", right="READ_LOG", user="joe", on="processor:shop")
            for name in ("bank", "bank.do"):
                with pytest.raises(errors.NotAllowed, match=r"READ_LOG on socket 'bank\.do'"):
                    joe.listen(name)
            with pytest.raises(errors.NotAllowed, match="LS_WORKERS"):
                joe.listen(channel="stats")

            with joe.listen("q") as calls, joe.listen(channel="queue") as queue:
                with joe.listen(channel="state") as state:
                    only_shop(node, owner, calls, queue, state)
                bank = owner.socket("bank.do").submit(2)
                node.ask("model", do="delete", kind="privilege", name="p1")
                shop = owner.socket("shop.do").submit(2)
                shop.cancel()
                assert bank.wait_accepted(SOON_S)
                joe.ask("whoami")  # Its answer comes after whatever it may have been told.
                assert not calls.has_next()


def only_shop(node, owner, calls, queue, state):
    for name in ("bank.do", "shop.do"):
        owner.socket(name).submit("secret").cancel()
    heard = heard_until(calls, lambda e: e["state"] == "postrun", "the end of a call")
    assert {event["socket"] for event in heard} == {"shop.do"}
    assert heard[-1]["outcome"] == "CANCELLED"
    assert "message" not in heard[-1]  # That is for who has READ_TASK.
    assert {row["socket"] for row in next(queue)["sockets"]} == {"shop.do"}
    node.ask("model", do="update", kind="socket", name="bank.do", fields={"priority": 3})
    node.ask("model", do="update", kind="socket", name="shop.do", fields={"priority": 3})
    changes = heard_until(state, lambda e: e["kind"] == "socket", "a change")
    assert {event["name"] for event in changes} <= {"shop", "shop.do"}
    assert "object" not in changes[-1]  # That is for who has READ_SOCKET.

    node.add("privilege", "p2", right="READ_TASK", user="joe", on="processor:shop")
    owner.socket("shop.do").submit("secret").cancel()
    heard = heard_until(calls, lambda e: e["state"] == "postrun", "the end of a call")
    assert "cancelled" in heard[-1]["message"]
