"""The real model process, asked through pipes as a node asks it, killed and deceived."""

from __future__ import annotations

import os
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshcode.errors import Busy
from meshcode.model import client as client_module
from meshcode.model.client import ModelProcess
from meshcode.model.pipe import MessageReader, pack_message
from meshcode.model.snapshot import EMPTY
from tests.model.asking import WAIT_S, Asker


@pytest.fixture
def start(model_path) -> Iterator[Callable[..., Asker]]:
    started: list[ModelProcess] = []

    def start_one(**options: Any) -> Asker:
        started.append(ModelProcess(str(model_path), **options))
        return Asker(started[-1])

    yield start_one
    for process in started:
        process.stop()


def test_the_snapshot_comes_unasked_at_the_start(start):
    asker = start()

    asker.process.start()
    asker.until(asker.snapshots)

    assert asker.seen[0]["number"] == asker.seen[0]["snapshot"]["number"] == 0
    assert "id" not in asker.seen[0]


def test_an_answer_to_a_change_has_the_new_snapshot(start):
    """And whoever wants to be called with each message is."""
    called: list[dict[str, Any]] = []
    asker = start(on_message=called.append)
    asker.shop()

    answer = asker.seen[-1]

    assert answer["data"]["task"] == "clean"
    assert answer["number"] == answer["snapshot"]["number"] == 3
    assert answer["snapshot"]["sockets"]["shop.clean"]["queue"] == "orders"
    assert asker.process.number == 3
    assert [q["name"] for q in asker.ask("list", "queue")] == ["orders"]
    assert asker.process.pending == 0
    assert called == asker.seen


def test_answers_come_in_the_order_of_the_requests_and_in_bulk(start):
    """More than a pipe holds goes both ways, without the node ever waiting for a write."""
    asker = start()
    ids = [asker.post("add", "queue", f"q{n}", exists_ok=True) for n in range(60)]
    ids += [asker.post("list", "queue") for _ in range(60)]
    ids += [asker.post("add", "processor", "p" * 200, env={"A": "x" * 15_000}) for _ in range(20)]

    asker.answer(ids[-1])

    assert [m["id"] for m in asker.seen if m.get("id")] == ids
    assert [s["number"] for s in asker.snapshots()] == list(range(len(asker.snapshots())))
    assert len(asker.answer(ids[100])["data"]) == 60


BAD_REQUESTS = [
    ({"id": b"x"}, "bad_request"),
    ({"id": b"x", "do": 7}, "bad_request"),
    ({"id": b"x", "do": {"a": 1}, "kind": [], "name": {}}, "bad_request"),
    ({"id": b"x", "do": "add", "kind": "queue", "name": ["x"]}, "bad_request"),
    ({"id": b"x", "do": "add", "kind": "queue", "name": "x", "fields": {"type": {}}},
     "bad_request"),
    ({"id": b"x", "do": "add", "kind": "queue", "name": "x", "by": b"\xff"}, "bad_request"),
    ({"id": b"x", "do": "known", "fields": {"snapshot": {"number": 9}}}, "bad_request"),
    ({"id": b"x", "do": "get", "kind": "queue", "name": "x"}, "unknown_object"),
]  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[Asker]:
    """One process for all that changes nothing."""
    process = ModelProcess(str(tmp_path_factory.mktemp("shared") / "model.db"))
    yield Asker(process)
    process.stop()


@pytest.mark.parametrize(("request_", "code"), BAD_REQUESTS)
def test_a_bad_request_is_answered_and_ends_nothing(shared, request_, code):
    shared.ask("list", "queue")
    pid = shared.process.pid
    shared.seen.clear()

    shared.process.request(request_)
    answer = shared.answer(b"x")
    last = shared.answer(shared.post("list", "queue"))

    assert (answer["ok"], answer["error"]["code"]) == (False, code)
    assert (shared.process.pid, last["number"]) == (pid, 0)


def test_killed_without_requests_it_is_started_again_by_itself(start, model_path):
    """Else nobody would see the changes that others make from then on."""
    asker = start()
    asker.shop()
    pid = asker.process.pid
    os.kill(pid, signal.SIGKILL)
    asker.until(lambda: asker.process.pid not in (pid, None))
    link = sqlite3.connect(model_path)
    with link:
        link.execute("UPDATE sockets SET priority = 8")
    link.close()

    asker.until(lambda: asker.snapshots()[-1]["number"] == 4)

    assert asker.snapshots()[-1]["sockets"]["shop.clean"]["priority"] == 8


def test_killed_in_the_middle_of_requests_each_is_answered_and_none_is_half_done(start):
    asker = start()
    asker.ask("add", "queue", "first")
    ids = {f"q{n}": asker.post("add", "queue", f"q{n}") for n in range(40)}
    asker.answer(ids["q3"])
    os.kill(asker.process.pid, signal.SIGKILL)

    answers = {name: asker.answer(request_id) for name, request_id in ids.items()}

    kept = {q["name"] for q in asker.ask("list", "queue")}
    for name, answer in answers.items():
        if answer["ok"]:
            assert name in kept
        else:
            assert answer["error"]["code"] == "model_unavailable"
            assert answer["error"]["text"] == (
                f"the model process ended with signal 9 before it answered 'add queue {name}'; a"
                " change was made whole or not at all, and the node goes on with the snapshot it"
                " has; look with `mesh ls` and ask again if need be"
            )
    assert not all(answer["ok"] for answer in answers.values())
    numbers = [s["number"] for s in asker.snapshots()]
    assert numbers == sorted(set(numbers))
    assert set(asker.snapshots()[-1]["queues"]) == kept


def test_a_process_that_hangs_is_killed_and_its_requests_are_answered(start):
    asker = start(answer_s=2.0)
    asker.process.start()
    asker.until(asker.snapshots)
    stopped = asker.process.pid
    os.kill(stopped, signal.SIGSTOP)

    answer = asker.answer(asker.post("add", "queue", "q"))

    assert answer["error"]["text"].startswith(
        "the model process did not answer within 2 s and was killed before it answered"
        " 'add queue q';"
    )
    asker.until(lambda: asker.process.pid not in (stopped, None))
    assert asker.process.pending == 0


@pytest.fixture
def lingering(tmp_path, monkeypatch) -> None:
    """What is started in place of the model process closes its output and does not end."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec >&-\nexec sleep 1000\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))


def test_a_process_that_closes_its_output_and_stays_holds_up_nobody(
    start, lingering, monkeypatch
):
    """The node asks for what came in its own thread, and goes on meanwhile."""
    monkeypatch.setattr(client_module, "STOP_S", 1_000.0)
    asker = start()
    id = asker.post("list", "queue")
    asker.until(lambda: asker.process._kill_at_s)
    assert asker.process.receive() == []
    assert asker.process.pid is not None

    os.kill(asker.process.pid, signal.SIGKILL)

    assert "ended with signal 9 before it answered" in asker.answer(id)["error"]["text"]
    assert asker.process.pid is None


def test_a_process_that_closes_its_output_and_stays_is_killed_in_the_end(
    start, lingering, monkeypatch
):
    monkeypatch.setattr(client_module, "STOP_S", 0.05)
    asker = start()

    answer = asker.answer(asker.post("list", "queue"))

    assert answer["error"]["code"] == "model_unavailable"
    assert "ended with signal 9 before it answered" in answer["error"]["text"]


def test_too_many_requests_without_an_answer_are_refused(start, monkeypatch):
    monkeypatch.setattr(client_module, "PENDING_MAX", 2)
    asker = start()
    asker.post("list", "queue")
    asker.post("list", "queue")

    with pytest.raises(Busy) as caught:
        asker.post("list", "queue")

    assert caught.value.text == (
        "2 requests wait for the model process, the most is 2; nothing was changed; try again later"
    )


def test_nobody_asking_it_ends_and_a_request_starts_it_again(start):
    asker = start(idle_s=0.2)
    asker.ask("add", "queue", "q")
    descriptor = asker.process.fileno()
    asker.until(lambda: asker.process.pid is None)

    assert [q["name"] for q in asker.ask("list", "queue")] == ["q"]
    assert asker.process.fileno() == descriptor


def test_requests_that_meet_its_idle_end_are_done_by_the_next_one(start):
    """Each is written when the process is about to leave; none may be answered by an error."""
    asker = start(idle_s=0.001)
    for n in range(2):
        assert asker.ask("add", "queue", f"q{n}")["name"] == f"q{n}"

    assert len(asker.ask("list", "queue")) == 2


def test_a_change_by_another_process_comes_unasked(start):
    first, second = start(), start()
    first.shop()
    second.process.start()
    second.until(second.snapshots)

    changed = time.monotonic()
    first.ask("update", "socket", "shop.clean", priority=9)
    second.until(lambda: second.snapshots()[-1]["number"] == 4)

    assert second.snapshots()[-1] == first.snapshots()[-1]
    assert time.monotonic() - changed < 5.0


def test_two_nodes_changing_at_once_lose_nothing(start):
    first, second = start(), start()
    ids = [
        (asker, asker.post("add", "queue", f"{who}{n}"))
        for n in range(20)
        for who, asker in (("a", first), ("b", second))
    ]

    assert all(asker.answer(request_id)["ok"] for asker, request_id in ids)

    for asker in (first, second):
        asker.until(lambda asker=asker: asker.process.number == 40)
        assert len(asker.snapshots()[-1]["queues"]) == 40
        numbers = [s["number"] for s in asker.snapshots()]
        assert numbers == sorted(set(numbers))


def test_a_database_deleted_while_it_runs_is_made_again(start, model_path):
    asker = start()
    asker.shop()
    before = asker.snapshots()[-1]
    model_path.unlink()

    asker.until(lambda: asker.process.number == 4)

    assert asker.snapshots()[-1] == {**before, "number": 4}
    assert model_path.exists()
    assert [s["name"] for s in asker.ask("list", "socket")] == ["shop.clean"]


def test_a_database_gone_while_the_node_was_down_is_made_again_from_its_snapshot(start, model_path):
    asker = start()
    asker.shop()
    known = asker.snapshots()[-1]
    asker.process.stop()
    for path in model_path.parent.iterdir():
        path.unlink()

    booted = start(known=known)
    booted.ask("list", "queue")
    again = start(known=booted.snapshots()[-1])
    again.ask("list", "queue")

    assert booted.snapshots() == [{**known, "number": 4}]
    assert again.snapshots() == []


def test_a_damaged_database_is_told_once_and_answered_each_time(start, model_path):
    model_path.parent.mkdir()
    model_path.write_bytes(b"no database" * 1000)
    asker = start()

    answers = [asker.answer(asker.post("add", "queue", "q")) for _ in range(3)]

    assert {a["error"]["code"] for a in answers} == {"model_unavailable"}
    assert [m["error"]["code"] for m in asker.seen if "id" not in m] == ["model_unavailable"]
    assert model_path.read_bytes() == b"no database" * 1000
    model_path.unlink()
    assert asker.ask("add", "queue", "q")["name"] == "q"


def test_an_address_that_cannot_be_used_is_answered(tmp_path):
    process = ModelProcess("mysql://joe:secret@host/mesh")
    asker = Asker(process)

    answer = asker.answer(asker.post("list", "queue"))
    process.stop()

    assert "not in 'mysql'" in answer["error"]["text"]
    assert process.pid is None


def test_it_ends_when_its_node_is_gone(model_path):
    """The end of its input is all the notice it gets when a node is killed."""
    command = [sys.executable, "-m", "meshcode.model.server", "--db", str(model_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    first = list(MessageReader().feed(os.read(process.stdout.fileno(), 65536)))
    process.send_signal(signal.SIGINT)  # Ctrl-C goes to the whole terminal; only the node acts.
    process.stdin.write(pack_message({"id": b"1", "do": "list", "kind": "queue"}))
    process.stdin.close()

    rest = list(MessageReader().feed(process.stdout.read()))

    assert process.wait(WAIT_S) == 0
    assert first[0]["number"] == 0
    assert rest[0] == {"id": b"1", "ok": True, "data": [], "number": 0}
    process.stdout.close()


def test_bytes_that_are_no_messages_are_told_or_end_it(model_path):
    command = [sys.executable, "-m", "meshcode.model.server", "--db", str(model_path)]
    bad = struct.pack("<I", 2) + b"\xc1\xc1" + struct.pack("<I", 0xFFFFFFFF)

    found = subprocess.run(command, input=bad, capture_output=True, timeout=WAIT_S, check=False)

    messages = list(MessageReader().feed(found.stdout))
    assert [m.get("error", {}).get("code") for m in messages] == [None, "bad_value"]
    assert found.returncode == 1
    assert b"says it has 4294967295 bytes" in found.stderr


def test_the_node_side_never_imports_sqlalchemy():
    script = (
        "import sys, meshcode.model.client;"
        "print([m for m in sys.modules if m.split('.')[0] in ('sqlalchemy', 'psycopg2')])"
    )

    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)

    assert found.stdout == b"[]\n"


def test_a_change_comes_as_what_was_changed_and_the_node_has_it_whole(start):
    asker = start()
    asker.shop()
    before = asker.snapshots()[-1]

    asker.ask("update", "queue", "orders", max_length=5)

    message = asker.seen[-1]
    changed = message["snapshot"]["queues"]["orders"]
    assert message["delta"]["changes"] == [["queue", "orders", changed]]
    assert message["before"] is before and changed["max_length"] == 5
    assert message["snapshot"]["sockets"] is before["sockets"]


def test_a_change_that_leads_on_from_another_snapshot_starts_the_process_anew(start):
    """It cannot come to that on a pipe; if it does, the node asks for all of it."""
    asker = start()
    asker.shop()
    pid = asker.process.pid
    asker.process._known = {**EMPTY, "number": 99}

    answer = asker.answer(asker.post("update", "queue", "orders", max_length=5))
    asker.until(lambda: asker.process.number > 99)

    assert answer["error"]["code"] == "model_unavailable"
    assert "went on from snapshot 3 and the node has 99; it was killed" in answer["error"]["text"]
    assert asker.process.pid not in (pid, None)
    assert asker.snapshots()[-1]["queues"]["orders"]["max_length"] == 5  # It had been made.
