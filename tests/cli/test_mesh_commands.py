"""`mesh nodes`, `node`, `ls calls`, `recover`, `salvage`, `doctor` over nodes that are one mesh."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from meshcode.client import connect
from meshcode.ids import parse_id
from meshcode.trust import identity
from meshcode.wire.traceparent import child_of
from tests.cli.meshes import cluster_of, items, offer, park, refused, states
from tests.live.harness import until
from tests.mesh.cluster import Cluster, Home


@pytest.fixture(scope="module")
def trio(tmp_path_factory) -> Iterator[Cluster]:
    """Three nodes that host the same tasks; every test leaves them up."""
    folder = tmp_path_factory.mktemp("trio")
    with cluster_of(folder, ["n1", "n2", "n3"]) as cluster:
        offer(cluster["n1"], folder)
        cluster.wait_until_ready(processor="proc")
        yield cluster


# Looking.


def test_nodes_shows_everybody_and_marks_the_one_that_was_asked(trio: Cluster):
    def measured() -> list[dict[str, Any]] | None:
        rows = items(trio["n2"], "nodes")
        return rows if all(row["rtt_ms"] for row in rows[1:]) else None

    rows = until(measured, 20, "n2 has probed the others")
    text = trio["n2"].command("ls", "nodes")

    assert [row["name"] for row in rows] == ["n2", "n1", "n3"]
    assert [row["this"] for row in rows] == [True, False, False]
    assert {row["state"] for row in rows} == {"alive"}
    assert all(row["boot"] == 1 and "." in row["version"] and row["workers"] >= 1 for row in rows)
    assert all(row["address"] for row in rows)
    assert all(len(row["node"]) == 32 and row["class"] == "core" for row in rows)
    assert "| * | n2" in text and "Round Trip" in text
    assert trio["n2"].command("nodes", "-q").split() == ["n2", "n1", "n3"]


def test_logs_say_that_other_nodes_have_more(trio: Cluster):
    run = trio["n1"].mesh("logs", "t.add")

    assert run.returncode == 0 and "the mesh has 2 other nodes" in run.stderr
    assert "mesh listen" in run.stderr


def test_another_node_of_the_mesh_is_asked_by_its_name(trio: Cluster):
    """The hint said `--node ADDRESS`, and no command tells a node's address for clients."""
    hint = trio["n1"].mesh("ls", "queues").stderr
    assert "of this node, n1; the 2 others tell theirs: `mesh --node NAME ...`" in hint

    def asked() -> str:
        return trio["n1"].mesh("--node", "n2", "status", "-o", "json").stdout

    said = json.loads(until(asked, 20, "n1 has heard where n2 takes clients"))["items"][0]
    assert said["name"] == "n2"
    run = trio["n1"].mesh("--node", "n22", "ls", "queues")
    assert run.returncode == 3
    assert f"no node 'n22' has told the node of {trio['n1'].home} where" in run.stderr
    assert "it knows n2, n3; nothing was asked" in run.stderr


def test_a_call_is_listed_by_every_node_with_owner_and_copies(trio: Cluster):
    assert trio["n1"].command("run", "t.add", "20", "22").strip() == "42"
    id = park(trio["n1"])

    def listed() -> list[dict[str, Any]]:
        return items(trio["n3"], "ls", "calls", "--state", "DELAYED")

    (row,) = until(listed, 10, "n3 lists the call")
    assert (row["id"], row["node"], row["state"]) == (id, "n1", "DELAYED")
    until(lambda: listed()[0]["copies"] == 3, 10, lambda: f"three copies: {listed()}")
    assert (listed()[0]["copies_of"], sorted(row["voters"])) == (3, ["n1", "n2", "n3"])
    ended = items(trio["n3"], "ls", "calls", "--state", "DONE")[0]
    assert ended["socket"] == "t.add"
    kept = items(trio["n3"], "ls", "calls", "--here")
    assert id not in [r["id"] for r in kept], "open calls are in the memory of their owner"
    shown = trio["n3"].command("ls", "call", id)
    assert "kept: 3 of 3 copies" in shown and "owner: n1" in shown
    assert trio["n2"].command("call", "cancel", id).startswith(f"call {id} cancelled")
    gone = items(trio["n2"], "ls", "call", id)[0]
    assert gone["state"] == "CANCELLED"


def pids(home: Home) -> set[int]:
    return {row["pid"] for row in home.ask("status")["workers"]}


def test_workers_are_listed_of_all_nodes_and_trees_have_those_of_their_node(trio: Cluster):
    """Asked at n1: what n1 runs is below n1 alone."""
    of = {name: pids(trio[name]) for name in ("n1", "n2", "n3")}
    n1 = trio["n1"]
    n1.command("add", "network", "-n", "nn")
    n1.command("add", "node", "-n", "n3", "--network", "nn")
    try:
        rows = items(n1, "ls", "workers")
        trees = {name: n1.command("ls", "node", name, "-t", "--ascii") for name in of}
        network = n1.command("ls", "network", "nn", "-v", "--ascii")
        graph = n1.command("ls", "processor", "proc", "-g", "--ascii")
        stats = [n1.mesh("ls", what) for what in ("stats", "cpus", "queues")]
    finally:
        n1.command("delete", "node", "n3", "-y")
        n1.command("delete", "network", "nn", "-y")

    assert {name: {row["pid"] for row in rows if row["node"] == name} for name in of} == of
    assert "| Node" in n1.command("ls", "workers")
    for name, tree in trees.items():  # n1 and n2 are not declared, which a node need not be.
        assert tree.startswith(f"node {name}\n"), tree
        assert shown_pids(tree) == of[name], (name, tree)
    assert shown_pids(network) == of["n3"], network
    assert shown_pids(graph) == of["n1"] | of["n2"] | of["n3"], graph
    assert all(f"pid {pid} on n2" in graph for pid in of["n2"])
    for run in stats:
        assert "of this node, n1; the 2 others tell theirs" in run.stderr


def shown_pids(tree: str) -> set[int]:
    return {int(number) for number in re.findall(r"pid (\d+)", tree)}


def test_a_flow_is_shown_as_a_tree_from_any_node(trio: Cluster):
    id = trio["n1"].command("run", "t.add", "1", "2", "--no-wait").strip()
    trio["n1"].command("call", "get", id, "--timeout", "30s")
    again = trio["n2"].command("call", "retry", id).split()[1]
    trio["n2"].command("call", "get", again, "--timeout", "30s")

    rows = json.loads(trio["n3"].mesh("ls", "call", id, "--tree", "-o", "json").stdout)["items"]
    text = trio["n3"].command("ls", "call", id, "--tree")
    (forward,) = items(trio["n1"], "ls", "call", again, "--tree")
    drawn = trio["n2"].command("ls", "call", again, "--graph", "--ascii").splitlines()

    assert [(row["depth"], row["id"]) for row in rows] == [(0, id), (1, again)]
    assert {row["flow"] for row in rows} == {id}
    assert f"| {id} " in text and f"|   {again} " in text
    assert forward["id"] == again
    assert drawn == [f"* t.add (DONE, {id})", f"* t.add (DONE, {again})"]


def test_calls_made_by_a_task_are_below_it_on_every_node_and_once(trio: Cluster):
    """The worker is a process of its own; its calls go to the node that it works for."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with connect(trio["n1"].address) as client:
        call = client.socket("t.twice").options(trace=trace).submit(21)
        double, none, handed = call.result(timeout=60)

    trees = [items(trio[name], "ls", "call", call.id, "--tree") for name in ("n1", "n2", "n3")]
    drawn = trio["n2"].command("ls", "call", trees[0][1]["id"], "-g", "--ascii").splitlines()

    assert (double, none) == (42, 0)
    assert handed == child_of(trace, parse_id(call.id), 1)
    for tree in trees:
        assert [(row["depth"], row["socket"]) for row in tree] == [
            (0, "t.twice"), (1, "t.add"), (1, "t.add"),
        ]  # fmt: skip
        assert {row["flow"] for row in tree} == {call.id}
        assert [row["trace"] for row in tree] == [trace, handed, handed]
    assert [line.split(" (")[0] for line in drawn] == ["* t.twice", "+-.", "| * t.add", "* t.add"]


def test_watching_prints_a_line_for_each_change(trio: Cluster):
    home = trio["n1"]
    watch = subprocess.Popen(
        [home.python, "-m", "meshcode.cli", "nodes", "-w", "-o", "jsonl"], env=home.env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert watch.stdout is not None
    first = [json.loads(watch.stdout.readline()) for _ in range(3)]
    trio.restart("n3")
    changed = json.loads(watch.stdout.readline())
    watch.send_signal(signal.SIGINT)
    watch.communicate(timeout=20)

    assert [(row["change"], row["name"]) for row in first] == [
        ("added", "n1"), ("added", "n2"), ("added", "n3"),
    ]  # fmt: skip
    assert (changed["change"], changed["this"]) == ("changed", False)
    assert changed["name"] == "n3" and changed["at_ms"] > first[0]["at_ms"]
    assert watch.returncode == 130
    trio.wait_until_ready(processor="proc")


def test_pages_of_the_mesh_follow_each_other(trio: Cluster):
    ids = [park(trio[name]) for name in ("n1", "n2", "n3", "n1", "n2")]

    first = items(trio["n2"], "ls", "calls", "-u", "-r", "2")
    second = items(trio["n2"], "ls", "calls", "-u", "-r", "2", "-p", "2")
    oldest = items(trio["n3"], "ls", "calls", "-u", "-a")
    last = trio["n1"].command("ls", "calls", "-u", "-r", "2", "-p", "3").splitlines()
    own = items(trio["n3"], "ls", "calls", "-u", "--node", "n2")
    too_far = refused(trio["n2"], "ls", "calls", "-r", "1000", "-p", "201", status=2)

    assert [row["id"] for row in first + second] == sorted(ids, reverse=True)[:4]
    assert [row["id"] for row in oldest] == sorted(ids)
    assert [row["row"] for row in second] == [3, 4]
    assert last[-1] == "Page 3 of 3 of 5 total records" and min(ids) in last[3] and len(last) == 6
    assert [row["id"] for row in own] == [ids[4], ids[1]]
    assert "ends at row 201000, pages reach to row 200000" in too_far
    for id in ids:
        trio["n1"].command("call", "cancel", id)


def test_status_and_doctor_say_how_the_mesh_is(trio: Cluster):
    (status,) = items(trio["n1"], "status")
    text = trio["n1"].command("status")
    doctor = json.loads(trio["n1"].mesh("doctor", "-o", "json").stdout)
    checks = {row["name"]: row for row in doctor["items"]}

    mesh = status["mesh"]
    assert (mesh["up"], mesh["known"], mesh["states"]) == (2, 2, {"alive": 2})
    assert mesh["keeper_alive"] and mesh["problems"] == []
    assert "peers      2 of 2 linked, 2 alive" in text
    assert checks["peers"]["state"] == "OK" and "2 of 2" in checks["peers"]["detail"]
    assert checks["clocks"]["state"] == "OK"
    assert checks["roster"]["state"] == "OK" and "3" in checks["roster"]["detail"]
    assert checks["doorkeeper"]["state"] == "OK"


def test_names_of_nodes_are_completed(trio: Cluster):
    home = trio["n1"]
    env = {"_MESH_COMPLETE": "bash_complete", "COMP_WORDS": "mesh node evict n", "COMP_CWORD": "3"}

    run = subprocess.run(
        [home.python, "-m", "meshcode.cli"], env={**home.env, **env}, capture_output=True,
        text=True, timeout=30, check=False,
    )  # fmt: skip

    assert {line.partition(",")[2] for line in run.stdout.split()} == {"n1", "n2", "n3"}


def test_wait_returns_when_every_node_that_is_there_knows_the_change(trio: Cluster):
    def known(name: str) -> Any:
        return items(trio[name], "get", "processor", "proc")[0]["retries"]

    trio["n1"].command("update", "processor", "proc", "-r", "7", "--wait", "--timeout", "60s")
    assert [known(name) for name in trio.members] == [7, 7, 7]

    trio.freeze("n2")
    try:
        run = trio["n1"].mesh("update", "processor", "proc", "-r", "8", "--wait",
                              "--timeout", "2s")  # fmt: skip
    finally:
        trio.thaw("n2")
    assert run.returncode == 124
    assert "n2 had not heard of the change after 2s; it holds on this node" in run.stderr
    until(lambda: known("n2") == 8, 30, "n2 takes it over when it goes on")


# What is refused.


@pytest.mark.parametrize(
    ("words", "status", "match"),
    [
        (["node", "evict", "n33", "--yes"], 3, "no node is called 'n33'"),
        (["node", "evict", "n33", "--yes"], 3, "did you mean 'n3'?"),
        (["node", "evict", "n3"], 2, "evict n3"),
        (["node", "evict", "n3", "--yes", "--key", "missing"], 2, "missing"),
        (["node", "leave", "--for", "61s"], 2, "at most 60000 ms, this is 61000 ms"),
        (["node", "rotate-key", "--draft", "a", "--sign", "b"], 2, "does not exist"),
        (["node", "drian"], 2, "did you mean drain?"),
        (["recover", "--force", "0192f3c1"], 3, "waits to be issued again"),
        (["nodes", "-w", "-o", "json"], 2, "--watch prints table, wide, jsonl, name, not json"),
        (["salvage", "--data", "."], 6, "is open in process"),
        (["ls", "call", "0192f3c1"], 3, "of any node that answered"),
        (["ls", "calls", "-n", "n33"], 3, "called 'n33'; did you mean 'n3'?"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    trio: Cluster, words: list[str], status: int, match: str
):
    before = trio["n1"].ask("mesh.status")["roster"]

    assert match in refused(trio["n1"], *words, status=status)
    assert trio["n1"].ask("mesh.status")["roster"] == before
    assert set(states(trio["n1"]).values()) == {"alive"}


def test_a_node_that_does_not_admit_cannot_evict(trio: Cluster):
    text = refused(trio["n2"], "node", "evict", "n3", "--yes", status=4)

    assert "neither mesh/admit.key nor mesh/root.key" in text and "nobody was evicted" in text


def test_a_user_who_may_not_is_refused_before_anybody_is_evicted(trio: Cluster):
    home, before = trio["n1"], trio["n1"].ask("mesh.status")["roster"]
    (home.home / "secret").write_text("correct horse battery\n")
    secret = ("--password-file", str(home.home / "secret"))
    home.command("add", "user", "-n", "joe", "-e", "joe@example.org", *secret)
    home.command("login", "-n", "joe", *secret)
    try:
        text = refused(home, "node", "evict", "n3", "--yes", status=4)
    finally:
        home.command("logout")

    assert "user joe may not ADMIN_NODE" in text
    assert "not up" not in text
    assert home.ask("mesh.status")["roster"] == before
    assert states(home)["n3"] == "alive"


def test_a_logout_that_nobody_could_remember_ends_every_login_and_says_so(trio: Cluster):
    home = trio["n1"]
    (home.home / "secret").write_text("correct horse battery\n")
    secret = ("--password-file", str(home.home / "secret"))
    home.command("add", "user", "-n", "eve", "-e", "eve@example.org", *secret)
    ended = {f"{number:032x}": 1 << 52 for number in range(64)}
    change = {"do": "update", "kind": "user", "name": "eve", "fields": {"ended": ended}}
    home.ask("model", **change)
    shown = home.command("ls", "user", "eve")
    assert "64 logins" in shown and "00000" not in shown
    home.command("login", "-n", "eve", *secret)

    run = home.mesh("logout")

    assert (run.returncode, run.stdout) == (0, "eve is logged out everywhere\n")
    assert "no more ended logins can be remembered, so all of eve were ended" in run.stderr
    found = home.ask("model", do="get", kind="user", name="eve")
    assert found["signed_out_ms"] is not None and found["ended"] == ended


# Keys.


def test_new_keys_are_signed_by_a_peer_and_used_after_a_restart(trio: Cluster):
    home = trio["n2"]
    old = identity.load(str(home.home))

    (item,) = items(home, "node", "rotate-key")

    new = identity.load(str(home.home))
    assert (item["by"], item["key"]) == ("n1", new.public.hex())
    assert new.public != old.public and new.node == old.node
    assert item["old_key_until_ms"] > 0
    assert new.secret.hex() not in json.dumps(item)
    assert not (home.home / "mesh" / "node.key.next").exists()
    trio.restart("n2")
    trio.wait_until_ready(processor="proc")

    def seen() -> tuple[int, bool]:
        rows = {row["name"]: row for row in items(trio["n1"], "nodes")}
        return rows["n2"]["boot"], bool(rows["n2"]["link"])

    until(lambda: seen() == (2, True), 20.0, lambda: f"n1 is linked to n2 again: {seen()}")
    assert "it has another key" not in trio.words(["n1"]), "the old key was good until then"
    assert home.command("run", "t.add", "1", "2").strip() == "3"


def test_new_keys_can_be_signed_by_hand(trio: Cluster):
    home = trio["n3"]
    draft = home.home / "draft"

    said = home.command("node", "rotate-key", "--draft", str(draft))
    again = home.home / "again"
    home.command("node", "rotate-key", "--draft", str(again))
    trio["n1"].command("node", "rotate-key", "--sign", str(draft))
    (item,) = items(home, "node", "rotate-key", "--finish", f"{draft}.signed")

    assert "mesh node rotate-key --sign" in said
    assert again.read_bytes() == draft.read_bytes(), "one change of keys at a time"
    assert identity.load(str(home.home)).public.hex() == item["key"]
    assert not (home.home / "mesh" / "node.key.draft").exists()
    trio.restart("n3")
    trio.wait_until_ready(processor="proc")


# Going and coming.


def test_a_drained_node_takes_no_calls_and_the_others_do(trio: Cluster):
    (item,) = items(trio["n3"], "node", "drain")
    assert item["state"] == "draining"
    until(lambda: states(trio["n1"])["n3"] == "draining", 10, "n1 sees n3 draining")

    assert "draining" in refused(trio["n3"], "run", "t.add", "1", "2", status=9)
    assert trio["n1"].command("run", "t.add", "1", "2").strip() == "3"
    trio.restart("n3")
    trio.wait_until_ready(processor="proc")


def test_a_node_that_leaves_for_a_moment_is_not_missed(trio: Cluster):
    (item,) = items(trio["n3"], "node", "leave", "--for", "50s")

    assert (item["state"], item["for_ms"]) == ("leaving", 50_000)
    assert states(trio["n1"])["n3"] == "leaving"
    trio["n3"].process = None
    trio.start("n3")
    trio.wait_until_ready(processor="proc")


def test_leaving_waits_for_what_runs_and_the_others_know(trio: Cluster):
    home = trio["n3"]
    id = home.command("run", "t.rest", "3", "--no-wait").strip()
    until(lambda: items(home, "ls", "call", id)[0]["state"] == "RUNNING", 10, "it runs")

    before = [row["what"] for row in items(home, "audit", "show", "-n", "1000")].count("node.leave")
    text = home.command("node", "leave", "--timeout", "60s")

    assert "`mesh up` brings it back" in text
    told = [row["what"] for row in items(home, "audit", "show", "-n", "1000")]
    assert told[-1] == "node.leave" and told.count("node.leave") == 1 + before
    assert states(trio["n1"])["n3"] == "left"
    assert trio["n1"].command("call", "get", id, "--timeout", "30s").strip() == "3"
    home.process = None
    trio.start("n3")
    trio.wait_until_ready(processor="proc")
