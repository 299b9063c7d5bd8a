"""`mesh nodes`, `node`, `ls calls`, `recover`, `salvage`, `doctor` over nodes that are one mesh."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshcode.client import connect
from meshcode.ids import parse_id
from meshcode.trust import identity
from meshcode.wire.traceparent import child_of
from tests.live.harness import make_repository, until
from tests.mesh.cluster import Cluster, Home
from tests.mesh.network import LoopbackNetwork

TASKS = '''
import time

from meshcode import Socket, current_call


def add(left, right):
    return left + right


def rest(seconds):
    time.sleep(seconds)
    return seconds


def twice(number):
    double = Socket("t.add")
    return [double(number, number), double(number, -number), current_call().traceparent]
'''.replace("time.sleep", "time." + "sleep")  # It is the task that rests, not this test.
SEEN_S = 60.0  # From a kill to a take-over: suspicion, rank and jitter, on a busy machine.


def offer(home: Home, folder: Path) -> None:
    repository = folder / "repository"
    make_repository(repository, {"t.py": TASKS})
    home.offer("proc", repository, "t", ["add", "rest", "twice"])


def cluster_of(folder: Path, names: list[str], *, kinds: dict[str, str] | None = None) -> Cluster:
    found = Cluster(folder / "mesh", LoopbackNetwork(names), names)
    found.assemble(names, kinds)
    return found


@pytest.fixture(scope="module")
def trio(tmp_path_factory) -> Iterator[Cluster]:
    """Three nodes that host the same tasks; every test leaves them up."""
    folder = tmp_path_factory.mktemp("trio")
    with cluster_of(folder, ["n1", "n2", "n3"]) as cluster:
        offer(cluster["n1"], folder)
        cluster.wait_until_ready(processor="proc")
        yield cluster


def items(home: Home, *words: str, status: int = 0) -> list[dict[str, Any]]:
    run = home.mesh(*words, "-o", "json")
    assert run.returncode == status, (words, run.returncode, run.stdout, run.stderr)
    document = json.loads(run.stdout)
    assert document["schema"] == 1
    return list(document["items"])


def states(home: Home) -> dict[str, str]:
    return {row["name"]: row["state"] for row in items(home, "nodes")}


def refused(home: Home, *words: str, status: int) -> str:
    run = home.mesh(*words)
    assert run.returncode == status, (words, run.returncode, run.stdout, run.stderr)
    return run.stderr


def park(home: Home, *words: str) -> str:
    """A call that begins in an hour; its id."""
    return home.command("run", *words, "t.add", "1", "2", "--delay", "1h", "--no-wait").strip()


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


def test_a_second_node_admits_and_outlives_the_first(lost):
    mesh = lost("n1", "n2", "n3", later=("n4",))
    root = mesh["n1"].home / "mesh" / "root.key"
    other = mesh["n1"].home / "mesh" / "admit.key"
    assert "is not in this home" in refused(mesh["n2"], "node", "admit", status=4)
    assert "the root key of this mesh is" in refused(
        mesh["n2"], "node", "admit", "--key", str(other), status=4
    )

    (item,) = items(mesh["n2"], "node", "admit", "--key", str(root))
    assert item["admits"]
    assert "admits already" in refused(mesh["n2"], "node", "admit", "--key", str(root), status=6)
    assert "a member called n3 is in the mesh" in refused(
        mesh["n2"], "invite", "--name", "n3", status=6
    )
    mesh.join("n4", by="n2")  # The node that runs lets it in, without a restart.
    mesh.evict("n4", by="n2")
    assert "was evicted from its mesh" in refused(
        mesh["n4"], "node", "admit", "--key", str(root), status=6
    )
    assert "was evicted from its mesh" in refused(mesh["n4"], "invite", status=6)
    mesh.kill("n1")

    (keys,) = items(mesh["n3"], "node", "rotate-key")
    assert keys["by"] == "n2"
    assert "only the root key can take that back" in refused(
        mesh["n2"], "node", "evict", "n1", "--yes", status=4
    )
    mesh["n2"].command("node", "evict", "n1", "--yes", "--key", str(root))
    assert states(mesh["n2"])["n1"] == "evicted"
    assert mesh["n2"].command("invite").startswith("mesh1:")


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

    text = home.command("node", "leave", "--timeout", "60s")

    assert "`mesh up` brings it back" in text
    assert states(trio["n1"])["n3"] == "left"
    assert trio["n1"].command("call", "get", id, "--timeout", "30s").strip() == "3"
    home.process = None
    trio.start("n3")
    trio.wait_until_ready(processor="proc")


# Losing nodes.


@pytest.fixture
def lost(tmp_path) -> Iterator[Any]:
    """Makes meshes whose nodes the test destroys."""
    made: list[Cluster] = []

    def make(*names: str, later: tuple[str, ...] = ()) -> Cluster:
        cluster = Cluster(tmp_path / "mesh", LoopbackNetwork([*names, *later]), [*names, *later])
        cluster.assemble(names)
        made.append(cluster)
        offer(cluster[names[0]], tmp_path)
        cluster.wait_until_ready(processor="proc")
        return cluster

    yield make
    for cluster in made:
        cluster.close()


def copies(home: Home, id: str) -> int:
    return int(items(home, "ls", "call", id)[0]["copies"])


def test_a_call_of_a_killed_node_is_shown_by_those_who_keep_it(lost):
    mesh = lost("n1", "n2", "n3")
    id = park(mesh["n3"])
    until(lambda: copies(mesh["n1"], id) == 3, 10, "three nodes have it")
    mesh.kill("n3")

    run = mesh["n1"].mesh("ls", "calls", "-u", "-o", "json")
    (row,) = json.loads(run.stdout)["items"]
    assert (row["id"], row["state"], row["node"]) == (id, "KEPT", "n3")
    assert (run.returncode, sorted(row["kept_by"])) in ((0, ["n1", "n2"]), (8, ["n1", "n2"]))
    assert "node n3 is not in this" in run.stderr

    def taken_over() -> dict[str, Any] | None:
        (row,) = items(mesh["n2"], "ls", "call", id)
        return row if row["state"] == "DELAYED" else None

    row = until(taken_over, SEEN_S, lambda: f"it is taken over: {mesh.words(['n1', 'n2'])}")
    assert row["node"] in ("n1", "n2")
    assert "taken over" in [event["name"] for event in row["events"]]
    assert states(mesh["n1"])["n3"] == "away"
    assert mesh["n1"].mesh("doctor").stdout.count("no link to n3") == 1

    said = mesh["n1"].mesh("node", "evict", "n3", "--yes", "--reason", "burnt down").stderr
    assert "1 open calls known here have n3 among their voters: 1 go on" in said
    assert "n3 does not answer" in said
    rows = {row["name"]: row for row in items(mesh["n2"], "nodes")}
    assert (rows["n3"]["state"], rows["n3"]["reason"]) == ("evicted", "burnt down")
    assert "evicted already" in refused(mesh["n1"], "node", "evict", "n3", "--yes", status=6)


def test_an_evicted_node_ends_and_says_so_when_it_is_started_again(lost):
    mesh = lost("n1", "n2")
    root = mesh["n1"].home / "mesh" / "root.key"

    said = mesh["n2"].mesh("node", "evict", "n2", "--yes", "--key", str(root)).stderr

    assert "this is the node of this home" in said and "does not answer" not in said
    assert mesh["n2"].process.wait(30) == 0
    text = refused(mesh["n2"], "up", status=6)
    assert "node n2 was evicted from its mesh on" in text and "`mesh salvage` exports" in text
    assert "FAIL  membership" in mesh["n2"].mesh("doctor").stdout
    until(lambda: states(mesh["n1"])["n2"] == "evicted", 10, "n1 heard of it")


def test_a_frozen_node_makes_an_answer_partial(lost):
    mesh = lost("n1", "n2")
    mesh.freeze("n2")

    text = refused(mesh["n1"], "nodes", status=8)

    assert "node n2 is not in this: it was asked and did not answer in time" in text
    mesh.thaw("n2")
    until(lambda: mesh["n1"].mesh("nodes").returncode == 0, SEEN_S, "n2 answers again")


def test_calls_without_a_majority_wait_for_a_person(lost):
    mesh = lost("n1", "n2", "n3")
    id = park(mesh["n2"])
    until(lambda: copies(mesh["n1"], id) == 3, 10, "three nodes have it")
    mesh.kill("n2")
    mesh.kill("n3")
    mesh["n1"].command("node", "evict", "n3", "--yes")
    said = mesh["n1"].mesh("node", "evict", "n2", "--yes").stderr
    assert "1 of them lose their majority and become ORPHAN" in said

    (row,) = until(lambda: items(mesh["n1"], "recover"), 10, "it is an orphan")
    assert (row["id"], row["kind"], row["can"]) == (id, "ORPHAN", "recover")
    assert "evicted: n2, n3" in row["reason"]
    (done,) = items(mesh["n1"], "recover", "--force", id[:13])
    assert done == {"id": id, "done": "issued again"}

    assert items(mesh["n1"], "recover") == []
    mesh["n1"].command("call", "retry", id)
    assert mesh["n1"].command("call", "get", id, "--timeout", "30s").strip() == "3"
    (row,) = items(mesh["n1"], "ls", "call", id)
    assert "recovered" in [event["name"] for event in row["events"]]


def test_the_copies_of_an_evicted_partner_go_on_when_a_person_says_so(lost):
    mesh = lost("n1", "n2")
    id = park(mesh["n2"])
    until(lambda: copies(mesh["n2"], id) == 2, 10, "n1 keeps a copy")
    mesh.kill("n2")
    said = mesh["n1"].mesh("node", "evict", "n2", "--yes").stderr
    assert "1 calls of n2 are kept here as copies" in said

    (row,) = items(mesh["n1"], "recover")
    assert (row["id"], row["kind"], row["node"]) == (id, "COPY", "n2")
    assert "say -y" in refused(mesh["n1"], "recover", "--all", status=2)
    assert [r["id"] for r in items(mesh["n1"], "recover", "--all", "--yes")] == [id]

    mesh["n1"].command("call", "retry", id)
    assert mesh["n1"].command("call", "get", id, "--timeout", "30s").strip() == "3"


def test_what_only_an_evicted_node_kept_is_salvaged(lost, tmp_path):
    mesh = lost("n1", "n2")
    mesh["n2"].command("run", "t.add", "20", "22")
    mesh.kill("n1")
    until(lambda: not mesh["n2"].ask("mesh.status")["up"], 10, "n2 is alone")
    id = park(mesh["n2"])
    assert (items(mesh["n2"], "ls", "call", id)[0]["copies"]) == 1
    assert "1 of 1 open calls are kept on this node alone" in refused(
        mesh["n2"], "node", "leave", status=2
    )
    mesh.kill("n2")
    mesh.start("n1")
    mesh["n1"].command("node", "evict", "n2", "--yes")
    left = tmp_path / "left.jsonl"

    said = mesh["n2"].mesh("salvage", "-o", str(left)).stderr
    lines = [json.loads(line) for line in left.read_text().splitlines()]
    again = mesh["n1"].command("salvage", "--submit", str(left))

    assert left.stat().st_mode & 0o777 == 0o600
    assert "1 open calls that only this log kept, 1 results" in said
    assert [line["type"] for line in lines] == ["salvage", "call", "result"]
    assert (lines[1]["id"], lines[1]["args"], lines[1]["kept"]) == (id, [1, 2], "alone")
    assert (lines[2]["state"], lines[2]["value"]) == ("DONE", 42)
    assert again == "1 calls are kept by the node of this home, 0 were refused\n"
    assert mesh["n1"].command("salvage", "--submit", str(left)) == again, "harmless twice"
    mesh["n1"].wait_ready("proc")
    mesh["n1"].command("call", "retry", id)
    assert mesh["n1"].command("call", "get", id, "--timeout", "30s").strip() == "3"
    broken = tmp_path / "broken.jsonl"
    broken.write_text(left.read_text().replace('"submit":"', '"submit":"AAAA', 1).replace(
        '"submit": "', '"submit": "AAAA', 1))  # fmt: skip
    text = refused(mesh["n1"], "salvage", "--submit", str(broken), status=2)
    assert f"line 2 of {broken} is not what `mesh salvage` writes" in text
    assert "there is no log in" in refused(mesh["n1"], "salvage", "--data", str(tmp_path), status=2)
