"""What the client costs: CPU per call by steps, and whole calls through a peer process.

    pytest bench/test_client.py --benchmark-only --override-ini addopts=

The peer is the echo node of the tests: it speaks the whole protocol and does no work, so the
figures are the client's.  `test_calibration` is a plain Python loop: compare with it, not across
machines.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcode.client import Client, connect
from meshcode.client.begun import Begun
from meshcode.client.pending import Pending
from meshcode.client.session import ENDED, Session
from meshcode.wire.frame import draft, pick, seal_frame
from meshcode.wire.kinds import Kind, Outcome

ROOT = Path(__file__).resolve().parent.parent
BATCH = 512
CALLS = 20_000


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A client of an echo node of its own."""
    with tempfile.TemporaryDirectory(prefix="mc-") as folder:
        address = f"ipc://{folder}/clients.ipc"
        script = str(ROOT / "tests/client/echo_node.py")
        arguments = [sys.executable, script, address, f"{folder}/log", "8192", "echoes"]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        peer = subprocess.Popen(arguments, env=env)
        try:
            with connect(address, timeout=20) as found:
                yield found
        finally:
            peer.kill()
            peer.wait()


def test_calibration(benchmark):
    """How quick this machine is now: 10,000 turns of a loop that does nothing useful."""
    benchmark(lambda: sum(n & 7 for n in range(10_000)))


def test_prepare_512_calls(benchmark, client):
    """Arguments to drafts and handles, as `map` does it."""
    noop = client.socket("noop")
    arguments = itertools.repeat((1,))
    calls, *_ = benchmark(lambda: noop._prepare_many(client, arguments, BATCH))
    assert len(calls) == BATCH


def test_take_512_outcomes(benchmark, client):
    """One frame of outcomes from bytes to handles."""
    noop = client.socket("noop")
    calls, *_ = noop._prepare_many(client, itertools.repeat((1,)), BATCH)
    frame = seal_frame(
        [draft(Kind.OUTCOME, id=call._id, code=Outcome.DONE, body=b"\xc0") for call in calls]
    )
    session = object.__new__(Session)  # Only what the hot path of receiving needs.
    session.pending = Pending()
    session._begun = Begun(session.pending)

    def begin() -> None:
        for call in calls:
            call._code = 0
        session.pending.follow(calls)

    def take() -> None:
        session._take(frame, pick(frame, ENDED)[1])

    benchmark.pedantic(take, setup=begin, rounds=200, warmup_rounds=5)
    assert all(call.done() for call in calls)


def test_one_call_and_its_result(benchmark, client):
    """A round trip with nothing else going on: two thread switches here, one process there."""
    noop = client.socket("noop")
    benchmark(noop)


def test_submit_then_results(benchmark, client):
    """20,000 calls by `submit`, then their results."""
    noop = client.socket("noop")

    def run() -> None:
        calls = [noop.submit(1) for _ in range(CALLS)]
        for call in calls:
            call.result()

    benchmark.pedantic(run, rounds=5, warmup_rounds=1)
    benchmark.extra_info["calls"] = CALLS


def test_map(benchmark, client):
    """20,000 calls by `map`."""
    noop = client.socket("noop")

    def run() -> int:
        return sum(1 for _ in noop.map(range(CALLS)))

    assert benchmark.pedantic(run, rounds=5, warmup_rounds=1) == CALLS
    benchmark.extra_info["calls"] = CALLS
