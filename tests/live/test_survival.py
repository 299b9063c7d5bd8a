"""What a user does while things die: waits, comes back by id, counts the outcomes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from meshcode.client import connect
from meshcode.errors import CallCancelled
from tests.live.harness import ROOT, Mesh, until

SLOW = '''
import os
import time

FILE = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def step(number, seconds=0.0):
    """Leave a line, take `seconds`, return the square."""
    os.write(FILE, f"{number}\\n".encode())
    time.sleep(seconds)
    return number * number


def die():
    os._exit(7)
'''

SUBMITTER = """
import sys
from meshcode.client import connect
client = connect(sys.argv[1])
step = client.socket("slow.step")
calls = [step.submit(n, 0.02) for n in range(int(sys.argv[2]))]
for call in calls:
    call.wait_accepted(30)
    print(call.id, flush=True)
print("all accepted", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def slow(fresh: Mesh) -> Mesh:
    """A node whose tasks leave lines in `effects`, with two workers."""
    repository = fresh.repository({"slow.py": SLOW})
    env = {"EFFECTS": str(fresh.home / "effects")}
    fresh.offer("slow", repository, "slow", ["step", "die"], env=env, workers=2)
    fresh.wait_ready("slow", 2)
    return fresh


def effects(mesh: Mesh) -> list[int]:
    """The numbers that executions left behind."""
    return [int(line) for line in (mesh.home / "effects").read_text().split()]


def test_a_client_killed_after_its_calls_were_accepted_finds_them_again_by_id(slow: Mesh):
    """The submitter dies, then a worker, then the node; another process collects everything."""
    count = 100
    submitter = subprocess.Popen(
        [sys.executable, "-c", SUBMITTER, slow.address, str(count)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=slow.env, cwd=ROOT,
    )  # fmt: skip
    assert submitter.stdout is not None
    ids = [submitter.stdout.readline().strip() for _ in range(count)]
    assert submitter.stdout.readline() == "all accepted\n"
    submitter.kill()
    submitter.wait()
    submitter.stdout.close()
    assert submitter.stdin is not None
    submitter.stdin.close()

    os.kill(slow.worker_pids()[0], signal.SIGKILL)
    slow.kill()
    slow.start()

    with connect(slow.address) as client:
        assert [client.call(id).result(60) for id in ids] == [n * n for n in range(count)]
        rows = slow.ask("call.list", rows=1000)["calls"]
    assert sorted(row["id"] for row in rows) == sorted(ids)
    assert {row["state"] for row in rows} == {"DONE"}
    assert set(effects(slow)) == set(range(count))


def test_a_client_that_waits_does_not_notice_the_node_being_killed(slow: Mesh):
    with connect(slow.address) as client:
        calls = [client.socket("slow.step").submit(n, 0.02) for n in range(100)]
        calls[0].result(30)

        slow.kill()
        slow.start()

        assert [call.result(60) for call in calls] == [n * n for n in range(100)]
    assert slow.ask("status")["done"] == 100


def test_a_call_that_kills_its_workers_is_held_with_the_evidence(slow: Mesh):
    slow.add(
        "socket", "slow.deadly", processor="slow", task="die", queue="q", retries=1,
        retry_delay_ms=10,
    )  # fmt: skip
    with connect(slow.address) as client:
        call = client.socket("slow.deadly").submit()
        call.wait_accepted(20)

        row = until(
            lambda: (r := slow.ask("call.get", id=call.id))["state"] == "HELD" and r,
            30,
            lambda: f"the call is held: {slow.ask('call.get', id=call.id)}",
        )

        assert row["attempts"] == 2
        assert row["reason"] == (
            "its worker died in 2 of 2 attempts, last: exit 7; look at its output, then "
            "`mesh call retry` or `mesh call cancel`"
        )
        call.cancel()
        assert isinstance(call.result(20, propagate=False), CallCancelled)


def test_sigterm_lets_what_runs_finish_and_keeps_what_waits(slow: Mesh):
    with connect(slow.address) as client:
        calls = [client.socket("slow.step").submit(n, 0.3) for n in range(10)]
        for call in calls:
            call.wait_accepted(20)
        until(lambda: slow.ask("status")["calls"].get("running"), 10, "a call runs")

        assert slow.stop() == 0
        before = len(effects(slow))
        slow.start()

        assert [call.result(60) for call in calls] == [n * n for n in range(10)]
    assert 0 < before < 10
    assert sorted(effects(slow)) == list(range(10))  # None ran twice.


def test_nothing_of_a_killed_node_outlives_it(slow: Mesh):
    children = slow.children()
    assert len(children) >= 2

    slow.kill()

    until(lambda: not any(child.is_running() for child in children), 10, f"{children} end")
    slow.start()
    slow.wait_ready("slow", 2)
