"""`mesh nodes`, `node`, `ls calls`, `recover`, `salvage` when nodes of a mesh are lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.meshes import SEEN_S, items, offer, park, refused, states
from tests.live.harness import until
from tests.mesh.cluster import Cluster, Home
from tests.mesh.network import LoopbackNetwork


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

    mesh["n1"].command("add", "deployment", "-n", "proc", "-d", "burning", "-h", "n3")
    said = mesh["n1"].mesh("node", "evict", "n3", "--yes", "--reason", "burnt down").stderr
    assert "deployment burning names n3, so it has no worker afterwards: `mesh update" in said
    assert "1 open calls known here have n3 among their voters: 1 go on" in said
    assert "n3 does not answer" in said
    rows = {row["name"]: row for row in items(mesh["n2"], "nodes")}
    assert (rows["n3"]["state"], rows["n3"]["reason"]) == ("evicted", "burnt down")
    assert "evicted already" in refused(mesh["n1"], "node", "evict", "n3", "--yes", status=6)


def test_who_evicts_a_node_that_was_stopped_is_told_that_it_said_good_bye(lost):
    mesh = lost("n1", "n2")
    mesh["n2"].command("down")

    said = mesh["n1"].mesh("node", "evict", "n2", "--yes").stderr

    assert "n2 said good-bye before it went: it runs nothing" in said
    assert "it comes back by `mesh up`, and needs no eviction" in said
    assert "cannot be known" not in said


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
    until(lambda: not mesh["n4"].up, 30, "n4 hears of it and ends")
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
