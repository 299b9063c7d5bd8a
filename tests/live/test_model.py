"""The model and the node: what is declared is in force at once, and without the database too."""

from __future__ import annotations

import time
from pathlib import Path

from meshcode.client import connect
from tests.live.harness import Mesh, make_repository, refusal, until

ASYNC = """
import asyncio, time

HERE = []


def nap(seconds):
    time.sleep(seconds)
    return seconds


async def meet(count):
    HERE.append(count)
    while len(HERE) < count:
        await asyncio.sleep(0.01)
    return "met"
"""


def test_a_new_socket_can_be_called_within_a_second_without_a_restart(mesh: Mesh):
    """The best of three, so that a busy machine does not matter; its workers go on."""
    took, before = [], mesh.worker_pids()
    with connect(mesh.address) as client:
        for name in ("quick.one", "quick.two", "quick.three"):
            begin = time.monotonic()
            mesh.add("socket", name, processor="live", task="echo", queue="q")
            assert client.socket(name)("now") == "now"
            took.append(time.monotonic() - begin)

    assert min(took) < 1.0
    assert mesh.worker_pids() == before
    assert "no worker" not in mesh.words()


def test_workers_are_replaced_in_peace_when_their_first_async_task_comes(
    fresh: Mesh, tmp_path: Path
):
    """How many calls a worker runs at once is settled when it comes."""
    make_repository(tmp_path / "code", {"tasks.py": ASYNC})
    fresh.offer("work", tmp_path / "code", "tasks", ["nap"])
    fresh.wait_ready("work")
    with connect(fresh.address) as client:
        [first] = fresh.ready_workers()
        running = client.socket("tasks.nap").submit(1.0)
        fresh.add("socket", "tasks.meet", processor="work", task="meet", queue="q")
        until(
            lambda: [one["id"] for one in fresh.ready_workers()] not in ([], [first["id"]]),
            30, "another worker is ready",
        )  # fmt: skip
        both = [client.socket("tasks.meet").submit(2) for _ in range(2)]

        assert [call.result(30) for call in both] == ["met", "met"]
        assert running.result(30) == 1.0
        assert running.info()["attempts"] == 1


def test_each_socket_of_a_processor_runs_its_own_function(mesh: Mesh):
    with connect(mesh.address) as client:
        assert client.socket("live.tasks.echo")("a") == "a"
        assert client.socket("live.tasks.join")("a", "b", by="-") == "a-b"
        assert client.socket("live.tasks.say")("abc") == 3


def test_a_changed_limit_is_in_force_for_calls_that_wait(mesh: Mesh):
    mesh.add("queue", "narrow", max_length=1)
    mesh.add("socket", "narrow.echo", processor="live", task="echo", queue="narrow")
    mesh.ask("proc", do="pause", name="live")
    with connect(mesh.address) as client:
        socket = client.socket("narrow.echo")
        first = socket.submit(1)
        first.wait_accepted(20)
        refusal(lambda: socket.submit(2).result(20))

        mesh.ask("model", do="update", kind="queue", name="narrow", fields={"max_length": 2})
        second = socket.submit(2)
        second.wait_accepted(20)

        mesh.ask("proc", do="resume", name="live")
        assert (first.result(20), second.result(20)) == (1, 2)


def test_a_node_boots_with_its_last_snapshot_when_the_database_is_gone(
    fresh: Mesh, repository: Path
):
    fresh.offer("live", repository, "live.tasks", ["echo"])
    fresh.wait_ready("live")
    number = fresh.ask("status")["model"]
    fresh.kill()
    for file in (fresh.home / "model").iterdir():
        file.unlink()

    fresh.start()

    with connect(fresh.address) as client:
        assert client.socket("live.tasks.echo")("still here") == "still here"
    assert fresh.ask("status")["model"] == number


def test_new_code_replaces_old_without_losing_a_call(fresh: Mesh, tmp_path: Path):
    """The commit changes under load: every call ends, each with the value of one of the two."""
    repository = tmp_path / "repository"
    old = make_repository(repository, {"one.py": "def which(n):\n    return ('old', n)\n"})
    fresh.offer("swap", repository, "one", ["which"], commit=old)
    fresh.wait_ready("swap")
    new = make_repository(repository, {"one.py": "def which(n):\n    return ('new', n)\n"})
    with connect(fresh.address) as client:
        socket = client.socket("one.which")
        before = [socket.submit(n) for n in range(200)]
        fresh.ask("model", do="update", kind="processor", name="swap", fields={"commit": new})
        after = []
        until(
            lambda: after.append(socket.submit(len(after))) or after[-1].result(20)[0] == "new",
            60,
            lambda: f"the new code answers: {fresh.processor('swap')}",
        )

        values = [call.result(20) for call in [*before, *after]]

    assert [n for _, n in values] == [*range(200), *range(len(after))]
    assert {name for name, _ in values} <= {"old", "new"}
    assert fresh.processor("swap")["commit"] == new


def test_a_listing_says_what_each_processor_does(fresh: Mesh, repository: Path):
    """What was asked for is in the database; what is, the node knows."""

    def status(name: str) -> str:
        rows = fresh.ask("model", do="list", kind="processor")
        return next(row["status"] for row in rows if row["name"] == name)

    fresh.offer("good", repository, "live.tasks", ["echo"])
    fresh.add("processor", "bad", git=repository.as_uri(), module="live.bad", branch="main")

    until(lambda: status("good") == "running", 60, "the good one runs")
    until(lambda: status("bad") == "failed", 60, "the bad one has failed")
    fresh.ask("proc", do="pause", name="good")
    assert status("good") == "paused"
    fresh.ask("proc", do="stop", name="good")
    assert status("good") == "stopped"


def test_a_database_that_cannot_be_used_is_told_until_it_can_be(fresh: Mesh):
    fresh.add("queue", "before")
    file = fresh.home / "model" / "model.db"
    whole = file.read_bytes()
    assert fresh.ask("status")["model_problem"] is None

    aside = file.with_name("aside")
    for path in file.parent.glob("model.db-*"):
        path.unlink()
    aside.write_bytes(b"no database at all" * 400)
    aside.replace(file)
    problem = until(
        lambda: fresh.ask("status")["model_problem"], 20.0, lambda: f"it is told: {fresh.words()}"
    )

    assert str(file) in problem["text"] and problem["since_ms"] > 0
    status, doctor = (fresh.mesh(word) for word in ("status", "doctor"))
    assert "model" in status.stdout and problem["text"][:40] in status.stdout
    assert doctor.returncode and "FAIL model since" in " ".join(doctor.stdout.split())
    aside.write_bytes(whole)
    aside.replace(file)
    until(
        lambda: fresh.ask("status")["model_problem"] is None, 20.0, lambda: f"back: {fresh.words()}"
    )
    words = fresh.words()
    assert "the model's database: " in words and "can be used again" in words
    fresh.add("queue", "after")
