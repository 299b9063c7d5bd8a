"""Calls that a worker gives back at a real node: none that came after them passes them."""

from __future__ import annotations

from meshcode.client import connect
from tests.live.harness import Mesh

SOON_S = 60.0
ROUNDS, QUICK = 4, 1_000

TASKS = """
import hashlib
import os
import time

FILE = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def quick(number):
    time.sleep(0.0001)  # So that the answer comes before all that is staged has run.
    os.write(FILE, f"{number}\\n".encode())


def slow(stalls):
    time.sleep(0.001)
    if stalls:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 800_000)  # Hears nothing for a fifth of a second.
"""


def test_calls_that_come_back_from_behind_a_long_one_are_passed_by_none(fresh: Mesh):
    """The worker is deaf while it is asked for them, and answers when the long call is over."""
    effects = fresh.home / "effects"
    code, env = fresh.repository({"s.py": TASKS}), {"EFFECTS": str(effects)}
    fresh.offer("p", code, "s", ["quick", "slow"], env=env, workers=1)
    fresh.wait_ready("p", 1)
    with connect(fresh.address) as client:
        quick, slow = client.socket("s.quick"), client.socket("s.slow")
        for first in range(0, ROUNDS * QUICK, QUICK):
            for call in [slow.submit(False) for _ in range(40)]:  # So it is known as short again.
                call.result(SOON_S)
            fresh.ask("proc", do="pause", name="p")
            calls = [slow.submit(True), *(quick.submit(first + n) for n in range(QUICK))]
            for call in calls:
                call.wait_accepted(SOON_S)
            fresh.ask("proc", do="resume", name="p")
            for call in calls:
                call.result(SOON_S)
    used = [int(line) for line in effects.read_text().splitlines()]
    passed = [(at, number) for at, number in enumerate(used) if at != number]
    assert passed == [], "place and number of those that passed others"
