"""Real model processes of two nodes, kept level with one merged model; killed, changed by hand."""

from __future__ import annotations

import json
import os
import select
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshcode.model.client import ModelProcess
from meshcode.node.adopter import Adopter
from meshcode.node.modelshare import ModelShare
from meshcode.node.series import Series
from meshcode.store.memory_log import MemoryDisk, MemoryLog
from tests.live.harness import until

WAIT_S = 20.0
A, B = b"a" * 16, b"b" * 16


class Node:
    """A share, a model process and what is between them, with a log that outlives it."""

    def __init__(self, node: bytes, path: Path, log: MemoryLog | None = None) -> None:
        self.path = path
        self.log = MemoryLog(MemoryDisk()) if log is None else log
        kept = Series(b"share")
        self.share = ModelShare(node, *kept.read(self.log))
        self.process = ModelProcess(str(path), known=self.share.base_snapshot())
        self.adopter = Adopter(self.share, self.process, kept)
        self.peers: list[Node] = []
        self.answers: dict[bytes, dict[str, Any]] = {}
        self.last_id = 0

    def save(self) -> None:
        """Write to the log what is new, and let it be on disk."""
        while (record := self.adopter.record()) is not None:
            self.log.stage(record[1])
            self.log.sync()
            for answer in self.adopter.synced(record[0]):
                self.answers[answer["id"]] = answer

    def post(self, do: str, kind: str, name: str, **fields: Any) -> bytes:
        self.last_id += 1
        request_id = struct.pack("<IQI", self.last_id, 0, 0)
        request = {"id": request_id, "do": do, "kind": kind, "name": name, "fields": fields}
        self.adopter.request(request)
        self.save()
        return request_id

    def work(self) -> None:
        """One round of the node's loop."""
        select.select([self.process.fileno()], [], [], 0.1)
        for message in self.process.receive():
            change = self.adopter.hear(message)
            self.save()
            for news in change.news if change else []:
                for peer in self.peers:
                    peer.hear(news)
            if message.get("id"):
                self.answers[message["id"]] = message
        self.adopter.level()
        self.save()

    def hear(self, message: dict[str, Any]) -> None:
        self.adopter.changed(self.share.receive(message))
        self.save()

    def until(self, done: Callable[[], Any]) -> None:
        end = time.monotonic() + WAIT_S
        while not done():
            assert time.monotonic() < end, (self.answers, self.share.snapshot())
            self.work()

    def ask(self, do: str, kind: str, name: str, **fields: Any) -> Any:
        request_id = self.post(do, kind, name, **fields)
        self.until(lambda: request_id in self.answers)
        answer = self.answers[request_id]
        assert answer["ok"], answer
        return answer["data"]

    def names(self, kind: str) -> set[str]:
        """What the database says; the process is not asked."""
        link = sqlite3.connect(self.path)
        try:
            return {row[0] for row in link.execute(f"SELECT name FROM {kind}")}
        finally:
            link.close()

    def by_hand(self, statement: str) -> None:
        link = sqlite3.connect(self.path)
        with link:
            link.execute(statement)
        link.close()


def admin(verb: str, path: Path, *words: object) -> None:
    """What `mesh db` does, beside the node."""
    command = [sys.executable, "-m", "meshcode.model.admin", verb, *map(str, words)]
    environment = {**os.environ, "MESH_MODEL": str(path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "ok" in json.loads(done.stdout), done.stdout


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    made: list[Node] = []

    def make_one(node: bytes, log: MemoryLog | None = None) -> Node:
        made.append(Node(node, tmp_path / node[:1].decode() / "model.db", log))
        return made[-1]

    yield make_one
    for one in made:
        one.process.stop()


@pytest.fixture
def nodes(make) -> tuple[Node, Node]:
    ann, bob = make(A), make(B)
    ann.peers, bob.peers = [bob], [ann]
    return ann, bob


def test_what_a_peer_declares_holds_without_a_model_process(nodes):
    ann, bob = nodes
    ann.ask("add", "queue", "orders")

    assert set(bob.share.snapshot()["queues"]) == {"orders"}
    assert bob.process.pid is None
    assert not bob.path.exists()


def test_the_database_is_level_before_a_request_is_done_on_it(nodes):
    """So a socket of a queue that a peer made a moment ago can be added."""
    ann, bob = nodes
    ann.ask("add", "queue", "orders")
    ann.ask("add", "processor", "shop", git="/srv/shop", module="shop")

    added = bob.ask("add", "socket", "shop.clean", processor="shop", task="f", queue="orders")

    assert added["name"] == "shop.clean"
    assert bob.names("queues") == {"orders"}
    assert set(ann.share.snapshot()["sockets"]) == {"shop.clean"}
    assert ann.share.digest == bob.share.digest


def test_a_process_that_runs_is_kept_level(nodes):
    ann, bob = nodes
    bob.ask("add", "queue", "mine")
    ann.ask("add", "queue", "orders")

    bob.until(lambda: not bob.share.behind)

    assert bob.names("queues") == {"mine", "orders"}
    ann.ask("delete", "queue", "mine")
    bob.until(lambda: not bob.share.behind)
    assert bob.names("queues") == {"orders"}
    assert bob.process.number == bob.share.number


def test_a_change_made_by_hand_at_the_same_time_is_merged(nodes):
    ann, bob = nodes
    bob.ask("add", "queue", "mine")
    bob.by_hand("UPDATE queues SET max_length = 7")
    ann.ask("add", "queue", "orders")

    bob.until(lambda: not bob.share.behind and bob.names("queues") == {"mine", "orders"})
    bob.until(lambda: bob.share.snapshot()["queues"]["mine"]["max_length"] == 7)

    assert ann.share.snapshot()["queues"]["mine"]["max_length"] == 7
    assert ann.share.digest == bob.share.digest


def test_a_database_that_was_dropped_empties_the_mesh_and_one_restored_fills_it(nodes, tmp_path):
    ann, bob = nodes
    bob.ask("add", "queue", "mine")
    ann.ask("add", "queue", "orders")
    bob.until(lambda: bob.names("queues") == {"mine", "orders"})
    admin("backup", bob.path, "--file", tmp_path / "copy")

    admin("drop", bob.path)
    bob.until(lambda: not ann.share.snapshot()["queues"])
    ann.until(lambda: ann.names("queues") == set())
    ann.ask("add", "queue", "new")
    bob.until(lambda: bob.names("queues") == {"new"})
    admin("restore", bob.path, "--file", tmp_path / "copy", "--replace")
    bob.until(lambda: set(ann.share.snapshot()["queues"]) == {"mine", "orders"})

    assert ann.share.digest == bob.share.digest


def test_a_change_made_by_hand_while_no_process_ran_is_merged(make, nodes):
    ann, bob = nodes
    bob.ask("add", "queue", "mine")
    bob.process.stop()
    bob.by_hand("UPDATE queues SET max_length = 7")
    again = make(B, bob.log)
    ann.peers, again.peers = [again], [ann]
    ann.ask("add", "queue", "orders")

    again.ask("get", "queue", "mine")
    again.until(lambda: not again.share.behind)

    assert again.names("queues") == {"mine", "orders"}
    assert ann.share.snapshot()["queues"]["mine"]["max_length"] == 7


def test_killed_at_any_moment_of_an_adoption_nothing_is_lost_or_made_up(nodes):
    """The answer may be lost before or after the commit: what is stamped is what people did."""
    ann, bob = nodes
    bob.ask("add", "queue", "mine")
    for n in range(8):
        bob.ask("get", "queue", "mine")
        killed = bob.process.pid
        ann.ask("add", "queue", f"q{n}")  # And bob's process is told to adopt it.
        select.select([], [], [], 0.003 * n)  # Another moment each time.
        os.kill(killed, signal.SIGKILL)
        bob.until(lambda killed=killed: bob.process.pid != killed)

    bob.ask("add", "queue", "last")
    bob.until(lambda: not bob.share.behind)

    assert bob.names("queues") == {"mine", "last", *(f"q{n}" for n in range(8))}
    assert bob.share.digest == ann.share.digest
    rows = [row for message in bob.share.full() for row in message["objects"]]
    assert {name for _kind, name, _number, node, *_ in rows if node == B} == {"mine", "last"}


def test_a_node_that_dies_after_its_database_adopted_makes_nothing_up(make, nodes):
    """Its log has the offer, its process committed, and nobody heard the answer."""
    ann, bob = nodes
    bob.ask("add", "queue", "mine")
    ann.ask("add", "queue", "orders")
    until(lambda: bob.names("queues") == {"mine", "orders"}, WAIT_S, "it commits")  # Unheard.
    bob.process.stop()
    again = make(B, bob.log)
    ann.peers, again.peers = [again], [ann]
    ann.ask("update", "queue", "orders", max_length=2)

    again.ask("get", "queue", "orders")
    again.until(lambda: not again.share.behind)

    assert again.share.snapshot()["queues"]["orders"]["max_length"] == 2
    assert again.share.digest == ann.share.digest


def test_a_deleted_database_is_made_again_as_the_mesh_has_it(make, nodes):
    ann, bob = nodes
    bob.ask("add", "queue", "mine")
    ann.ask("add", "queue", "orders")
    bob.process.stop()
    for path in bob.path.parent.iterdir():
        path.unlink()
    again = make(B, bob.log)

    again.ask("get", "queue", "mine")
    again.until(lambda: not again.share.behind)

    assert again.names("queues") == {"mine", "orders"}
    assert again.share.digest == ann.share.digest


def test_a_database_that_fails_holds_up_nothing_but_its_own_requests(nodes):
    ann, bob = nodes
    bob.path.parent.mkdir(parents=True)
    bob.path.write_bytes(b"no database" * 1000)
    ann.ask("add", "queue", "orders")

    request_id = bob.post("add", "queue", "mine")
    bob.until(lambda: request_id in bob.answers)

    assert bob.answers[request_id]["error"]["code"] == "model_unavailable"
    assert set(bob.share.snapshot()["queues"]) == {"orders"}
    bob.path.unlink()
    assert bob.ask("add", "queue", "mine")["name"] == "mine"
    bob.until(lambda: not bob.share.behind)
    assert set(ann.share.snapshot()["queues"]) == {"orders", "mine"}


def test_a_client_cannot_make_the_database_adopt_anything(nodes):
    ann, _bob = nodes
    ann.ask("add", "queue", "orders")

    request_id = ann.post("adopt", "queue", "x", snapshot={"number": 9}, base=1)
    ann.until(lambda: request_id in ann.answers)

    assert "the model cannot do 'adopt'" in ann.answers[request_id]["error"]["text"]
    assert ann.names("queues") == {"orders"}
