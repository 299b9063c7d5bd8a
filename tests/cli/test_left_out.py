"""What a command only adds to its listing is left out, with a word, for who may not see it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from meshcode import paths
from meshcode.client import connect, pipeline

SECRET = "correct horse battery"
SEEN = "`mesh whoami` shows what you may do"


@pytest.fixture(scope="module")
def joe(shell, tmp_path_factory):
    """Logged in where two calls and two flows have ended, one of which he may see whole."""
    with connect(paths.clients_address(shell.home)) as client:
        talk, add = client.socket("shop.talk"), client.socket("shop.add")
        assert talk.submit("hello").result(30) == 5
        flows = [pipeline([talk.p("own")])(), pipeline([talk.p("mixed"), add.p(1)])()]
        assert [flow.get(30) for flow in flows] == [3, 6]
        shell.flows = [flow.id for flow in flows]
    password = tmp_path_factory.mktemp("password") / "joe"
    password.write_text(SECRET + "\n")
    shell("add", "user", "-n", "joe", "--password-file", str(password))
    for right in ("LS_QUEUES", "READ_PROCESSOR", "LS_CALLS", "LS_USERS"):
        shell("user", "add", "joe", "-p", right)
    for right in ("READ_LOG", "RUN_TASK", "LS_SOCKETS"):
        shell("add", "privilege", "-u", "joe", "-n", right, "--on", "socket:shop.talk")
    shell("login", "-n", "joe", "--password-file", str(password))
    yield shell
    os.unlink(os.path.join(shell.home, "login"))


def test_queues_are_listed_without_what_waits_in_them(joe):
    said, err = joe("ls", "queues", "-o", "json")
    row = json.loads(said)["items"][0]
    assert (row["name"], row["waiting"], row["sockets"]) == ("shop.queue1", None, None)
    assert err == (
        "mesh: left out, since you may not see it: sockets and what waits and runs there; that"
        f" needs LS_WORKERS: {SEEN}\n"
    )
    said, err = joe("ls", "queue", "shop.queue1")
    assert "shop.queue1" in said
    assert err.count("needs LS_WORKERS") == 1


def test_a_tree_has_what_may_be_seen_of_it(joe):
    said, err = joe("ls", "queue", "shop.queue1", "-g")
    assert "socket shop.talk" in said
    assert "shop.add" not in said
    assert "networks, schedulers, nodes, " in err
    assert "what waits and runs, workers; that needs LS_NETWORKS, " in err
    row = joe.json("ls", "processor", "proc1")[0]
    assert row["sockets"] == ["shop.talk"]
    assert [branch["name"] for branch in row["tree"]["below"]] == ["shop.talk"]
    assert "deployments" not in row
    joe("ls", "network", "n1", "-v", status=4)


def test_the_log_of_a_socket_is_for_who_may_hear_it(joe):
    said, err = joe("logs", "shop.talk")
    assert "hello" in said
    assert "LS_WORKERS" not in err
    joe("logs", "shop.add", status=4)


def test_flows_are_listed_and_counted_where_every_step_may_be_seen(joe):
    said, err = joe("flow", "ls", "-o", "json")
    rows = {row["id"]: row for row in json.loads(said)["items"]}
    own, mixed = (rows[id] for id in joe.flows)
    assert (own["steps"], own["done"], own["state"]) == (1, 1, "DONE")
    assert (mixed["steps"], mixed["done"], mixed["state"]) == (None, None, "DONE")
    assert f"it: steps of {mixed['id']}; that needs READ_TASK: {SEEN}" in err
    audited = Path(joe.home, "audit", "audit.jsonl").read_text()
    assert "flow.get" not in audited  # A look at a list is no attempt on what is not his.
    joe("flow", "show", mixed["id"], status=4)


def test_the_past_is_told_without_modules(joe):
    words = ("listen", "-n", "shop.talk", "--since", "1h", "--timeout", "0s")
    said, err = joe(*words)
    events = [json.loads(line) for line in said.splitlines()]
    assert {event["socket"] for event in events} == {"shop.talk"}
    assert "hello" in said or any(event["state"] == "postrun" for event in events)
    assert {event["module"] for event in events} == {None}
    assert f"left out, since you may not see it: modules; that needs LS_PROCESSORS: {SEEN}" in err


def test_jobs_are_listed_without_schedules(joe):
    said, err = joe("ls", "jobs")
    assert "nothing is to run" in said + err
    assert f"it: schedules; that needs LS_SCHEDULES: {SEEN}" in err
