"""Whoever waits for a call is told what keeps it from ending, and the wait ends when it should."""

from __future__ import annotations

import time

import psutil
import pytest

from meshcode.client import connect
from meshcode.errors import WaitTimeout
from meshcode.paths import clients_address


@pytest.fixture(scope="module")
def node(tmp_path_factory, repository):
    """A node whose workers the tests end; it is up again after each."""
    from tests.cli.conftest import Shell

    found = Shell(tmp_path_factory.mktemp("home"))
    try:
        found("up")
        found.offer(repository, ["rest", "die", "add"])
        yield found
    finally:
        found.end()


def kill(shell):
    """End the node of this shell at once."""
    process = psutil.Process(shell.json("status")[0]["pid"])
    process.kill()
    process.wait(10)


def running(shell):
    """The id of the one call that runs."""

    def look():
        return shell("ls", "calls", "--state", "RUNNING", "-i")[0].strip()

    return shell.wait_until(look)


def held(shell, *words):
    """The id of a call that ended its worker and waits for a person."""
    id = shell("run", "shop.die", *words, "--retries", "0", "--no-wait")[0].strip()
    shell.wait_until(lambda: shell.json("ls", "call", id)[0]["state"] == "HELD")
    return id


def test_the_doctor_counts_what_waits_for_a_person(node):
    id = held(node)
    node("add", "socket", "-n", "shop.gone", "-pn", "proc1", "-t", "add", "-q", "shop.queue1")
    node("proc", "pause", "proc1")
    parked = node("run", "shop.gone", "1", "--no-wait")[0].strip()
    try:
        node("delete", "socket", "shop.gone", "-y")
        _, out, _ = node.run(["doctor"])
        lines = out.decode().splitlines()
    finally:
        node("proc", "resume", "proc1")
        for one in (id, parked):
            node("call", "cancel", one)

    found = [line.split(None, 2)[2] for line in lines if line.startswith("WARN  calls ")]
    assert [text.partition(":")[0] for text in found] == ["1 call is HELD", "1 call is PARKED"]
    assert any("`mesh ls calls --state HELD` has them; `mesh call retry ID`" in x for x in lines)
    assert any("or its socket is no longer there" in line for line in lines)
    _, out, _ = node.run(["doctor"])
    assert b"WARN  calls " not in out


def test_a_timeout_is_kept_while_the_node_is_away(node):
    begun = time.monotonic()
    process = node.start("run", "shop.rest", "30", "--timeout", "5s")
    id = running(node)
    kill(node)
    out, err = process.communicate(timeout=60)
    took = time.monotonic() - begun
    node("up")
    node("call", "cancel", id)

    assert (process.returncode, out) == (124, "")
    assert took < 15
    assert f"mesh: call {id} is safe at the node, which is away; " in err
    assert f"mesh: call {id} has not ended within 5s; it is safe at the node, which is away" in err


def test_who_waits_is_told_that_the_node_is_away_and_gets_the_result_when_it_is_back(node):
    process = node.start("run", "shop.rest", "2")
    id = running(node)
    kill(node)
    told = process.stderr.readline()
    node("up")
    out, _ = process.communicate(timeout=60)

    assert told == (
        f"mesh: call {id} is safe at the node, which is away; this goes on when it is back;"
        " Ctrl-C stops this waiting only\n"
    )
    assert (process.returncode, out) == (0, "2\n")


def test_a_wait_for_workers_ends_with_the_truth_when_the_node_dies(node):
    id = node("run", "shop.rest", "6", "--no-wait")[0].strip()
    running(node)
    process = node.start("proc", "restart", "-n", "proc1", "--wait", "--timeout", "4s")
    assert process.stdout.readline() == "processor proc1 restarts\n"
    kill(node)
    _, err = process.communicate(timeout=60)
    node("up")
    node("call", "cancel", id)

    assert process.returncode == 124
    assert err.startswith("mesh: the node went away while the workers of processor proc1 were")
    assert "was not back after 4s; the change holds" in err


def test_a_held_call_is_no_call_that_goes_on(node):
    id = held(node)

    _, err = node("call", "get", id, "--timeout", "500ms", status=124)
    process = node.start("call", "get", id)
    told = process.stderr.readline()
    node("call", "cancel", id)
    process.communicate(timeout=20)

    why = "its worker died in 1 of 1 attempts, last: exit 3; look at"
    assert err.startswith(f"mesh: call {id} has not ended within 500ms: it is held: {why}")
    assert "goes on" not in err
    assert told.startswith(f"mesh: call {id} is held: {why}")
    assert f"`mesh call retry {id}` or `mesh call cancel {id}`" in told
    assert process.returncode == 5


def test_what_became_of_a_call_later_is_told_too(node):
    """It runs when the wait begins, and is parked or held only some seconds later."""
    process = node.start("run", "shop.die", "--retries", "2")
    lines = iter(process.stderr.readline, "")
    told = next(line for line in lines if "is held" in line)
    id = told.split()[2]
    node("call", "cancel", id)
    process.communicate(timeout=20)

    assert "its worker died in 3 of 3 attempts" in told


def test_a_step_that_holds_up_its_flow_is_named(node, tmp_path):
    document = tmp_path / "flow.yaml"
    document.write_text(
        "pipeline:\n- shop.add\n- {call: shop.die, options: {retries: 0}}\n"
    )
    id = node("run", "--flow", str(document), "1", "--no-wait")[0].strip()
    node.wait_until(lambda: "HELD" in node("flow", "show", id)[0])

    _, err = node("call", "get", id, "--timeout", "500ms", status=124)
    process = node.start("flow", "wait", id)
    told = process.stderr.readline()
    node("flow", "cancel", id)
    process.communicate(timeout=20)

    assert "; it waits for step 1: shop.die " in err
    assert "is held: its worker died in 1 of 1 attempts" in err
    assert told.startswith(f"mesh: flow {id} waits for step 1: shop.die ")
    assert f"`mesh doctor flow {id}`" in told


@pytest.fixture(scope="module")
def spread(node):
    """A fanout queue of two sockets, one of which has a plug to a socket without workers."""
    node("add", "queue", "-n", "all", "-t", "fanout")
    node("add", "queue", "-n", "after")
    for name in ("all.one", "all.two"):
        node("add", "socket", "-n", name, "-q", "all", "-pn", "proc1", "-t", "rest")
    node("add", "processor", "-n", "proc2", "-g", "/nowhere", "-m", "shop.tasks", "-br", "main")
    node("add", "socket", "-n", "late", "-q", "after", "-pn", "proc2", "-t", "add")
    node("proc", "stop", "-n", "proc2")
    for name in ("all.one", "all.two"):
        node("add", "plug", "-n", f"plug.{name}", "-s", name, "-t", "late")
    return node


def test_a_copy_that_holds_up_its_call_is_named(spread):
    spread("proc", "pause", "-n", "proc1")
    id = spread("run", "all.one", "0", "--no-wait")[0].strip()

    _, err = spread("call", "get", id, "--timeout", "500ms", status=124)
    process = spread.start("call", "get", id)
    told = process.stderr.readline()
    with connect(clients_address(spread.home)) as client, pytest.raises(WaitTimeout) as late:
        client.call(id).result(0.3)
    spread("proc", "resume", "-n", "proc1")
    out, _ = process.communicate(timeout=20)

    assert "; it waits for its copy: all." in err
    assert "cannot begin: processor proc1 is paused" in err
    assert told.startswith(f"mesh: call {id} waits for its copy: all.")
    assert "its copy at socket all." in str(late.value)
    assert "is PARKED: processor proc1 is paused" in str(late.value)
    assert (process.returncode, out) == (0, "[0, 0]\n")


def test_what_a_copy_has_caused_does_not_hold_up_its_call(spread):
    """One copy has ended, and what it calls cannot begin; the other runs."""
    with connect(clients_address(spread.home)) as client:
        call = client.socket("all.one").submit(3)
        flow = {"id": call.id, "limit": 0, "rows": True, "beside": True}
        spread.wait_until(
            lambda: "late" in [row["socket"] for row in client.ask("flow.get", **flow)["beside"]]
        )
        with pytest.raises(WaitTimeout) as late:
            call.result(0.3)
        assert call.result(30) == [3, 3]

    assert "; it is GATHERING: waits for 1 of 2 calls; it goes on" in str(late.value)
