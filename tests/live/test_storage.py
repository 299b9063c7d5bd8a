"""A node whose disk is damaged, full or taken: what it says, and what stays true."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from meshcode import paths
from meshcode.client import Call, Client, Socket, connect
from meshcode.errors import Busy, CallerError, FolderInUse, LogDamaged, WaitTimeout
from meshcode.ids import parse_id
from meshcode.limits import DISK_STUCK
from meshcode.store.contract import DONE
from tests.live.harness import Mesh, offering, refusal, until

MIB = 1024 * 1024


def test_a_second_node_on_the_same_folder_is_refused_and_the_first_goes_on(fresh: Mesh):
    assert fresh.process is not None
    first = fresh.process.pid

    second = fresh.spawn()
    status = second.wait(20)

    assert status == FolderInUse.exit_status
    assert f"{first}" in fresh.words()
    assert "data" in fresh.words()
    assert fresh.ask("status")["pid"] == first


def offered(disk: Path, repository: Path, *tasks: str) -> AbstractContextManager[Mesh]:
    """A node with its home on that disk, and those live tasks."""
    return offering("live", repository, "live.tasks", tasks, home=disk / "home")


def test_a_damaged_record_is_told_and_all_others_are_kept(repository: Path, tmp_path: Path):
    """One bit of one outcome flips while the node is down."""
    marks = [f"mark-{n}-" + "m" * 40 for n in range(20)]
    with offered(tmp_path, repository, "echo") as mesh:
        with connect(mesh.address) as client:
            calls = [client.socket("live.tasks.echo").submit(mark) for mark in marks]
            assert [call.result(30) for call in calls] == marks
            ids = [call.id for call in calls]
        mesh.stop()
        flipped = flip_in_records(mesh, marks[7])
        assert flipped

        mesh.start()

        error = refusal(lambda: mesh.ask("call.get", id=ids[7], result=True))
        assert isinstance(error, LogDamaged), repr(error)
        assert parse_id(ids[7]).hex() in str(error)
        for id, mark in zip(ids, marks, strict=True):
            if id != ids[7]:
                assert mesh.ask("call.get", id=id, result=True)["result"] == mark
        assert mesh.ask("status")["log"]["damaged"] == [f"{DONE} {parse_id(ids[7]).hex()}"]
        listed = {row["id"] for row in mesh.ask("call.list", rows=100)["calls"]}
        assert listed == set(ids) - {ids[7]}


def flip_in_records(mesh: Mesh, text: str) -> int:
    """Flip one bit in every copy of `text` in the log's file, live page or not; how many."""
    [file] = Path(paths.data_dir(str(mesh.home))).rglob("data.mdb")
    data = bytearray(file.read_bytes())
    count, at = 0, data.find(text.encode())
    while at >= 0:
        data[at] ^= 1
        count += 1
        at = data.find(text.encode(), at + 1)
    file.write_bytes(data)
    return count


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 192 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


VALUE = "v" * 200
BUSY = (
    r"this node takes no new calls because its disk or log is nearly full: [\d,]+ bytes are free, "
    r"new calls need 30,198,988; what it accepted is safe; make room on the disk of its home, "
    r"or let it keep fewer ended calls \(`mesh add setting -n retention_bytes -v SIZE`\), "
    r"then try again"
)


def test_a_full_disk_refuses_new_calls_keeps_the_old_and_recovers(
    small_disk: Path, repository: Path
):
    """At 97 %: no new calls, but those there are end.  At 100 %: what runs still ends."""
    with offered(small_disk, repository, "echo", "nap") as mesh:
        nearly, rest = small_disk / "nearly", small_disk / "rest"
        with connect(mesh.address) as client:
            echo = client.socket("live.tasks.echo")
            mesh.ask("proc", do="pause", name="live")
            waiting = [echo.submit(VALUE) for _ in range(50)]
            for call in waiting:
                call.wait_accepted()

            fill(nearly, share=0.97)
            error = until(lambda: refused(echo, waiting), 10, "the node sees the full disk")
            assert isinstance(error, Busy)
            assert re.fullmatch(BUSY, str(error))
            mesh.ask("proc", do="resume", name="live")
            assert {call.result(30) for call in waiting} == {VALUE}

            nearly.unlink()
            late = until(lambda: accepted(echo), 10, "the node sees the room")
            running = client.socket("live.tasks.nap").submit(1.0)
            running.wait_accepted(20)
            until(lambda: mesh.ask("status")["calls"].get("running"), 10, "it runs")
            fill(rest, share=1.0)
            late += [echo.submit(VALUE * 250) for _ in range(2)]  # Less than the ballast.
            assert running.result(20) == 1.0  # Its end finds room in the ballast.
            rest.unlink()
            for call in late:
                outcome = call.result(30, propagate=False)
                assert isinstance(outcome, Busy) or set(outcome) == {"v"}, outcome
        mesh.stop()
        mesh.start()
        assert mesh.ask("status")["calls"] == {"open": 0}


def waiting_for_room(mesh: Mesh, client: Client, rest: Path) -> list[Call]:
    """Calls whose outcomes find no room on the disk, not even that of the ballast."""
    client.socket("live.tasks.nap").submit(1.0).wait_accepted(20)
    large = [client.socket("live.tasks.large").submit(15 * MIB) for _ in range(3)]
    for call in large:
        call.wait_accepted(20)
    fill(rest, share=1.0)
    until(lambda: mesh.ask("status")["log"]["full_ms"], 20, "outcomes wait for room")
    return large


def test_a_node_whose_log_waits_for_room_says_so_and_is_not_mute(
    small_disk: Path, repository: Path
):
    with offered(small_disk, repository, "echo", "large", "nap") as mesh:
        rest = small_disk / "rest"
        with connect(mesh.address) as client:
            echo = client.socket("live.tasks.echo")
            before = echo.submit(VALUE)
            assert before.result(30) == VALUE

            large = waiting_for_room(mesh, client, rest)

            assert mesh.ask("call.get", id=before.id, result=True)["result"] == VALUE
            assert isinstance(refused(echo, []), Busy)
            unsure = refusal(lambda: mesh.ask("call.get", id=large[-1].id))
            assert isinstance(unsure, Busy), unsure  # It may have ended, or not: nobody is told.
            assert "the disk of this node is full, and 'call.get' cannot" in str(unsure)
            with connect(mesh.address) as other, pytest.raises(WaitTimeout):
                other.call(large[-1].id).result(1)  # Nor is it told that it failed.
            rest.unlink()
            assert [call.result(30) for call in large] == [bytes(15 * MIB)] * 3
            until(lambda: accepted(echo), 10, "it takes calls again")
        words = mesh.words()
    assert words.count("disk full: the disk under") == words.count("disk full no more: ") == 1


def test_outcomes_that_wait_for_room_are_bounded_though_many_calls_wait(
    small_disk: Path, repository: Path
):
    """Each is kept in memory until it is recorded, so no call begins once they are many."""
    size, count = 4 * MIB, 25
    with Mesh(small_disk / "home") as mesh:
        mesh.offer("live", repository, "live.tasks", ["large"])
        mesh.ask("model", do="update", kind="socket", name="live.tasks.large",
                 fields={"concurrency": 1})  # None is staged behind another.
        mesh.wait_ready("live")
        with connect(mesh.address) as client:
            mesh.ask("proc", do="pause", name="live")
            calls = [client.socket("live.tasks.large").submit(size) for _ in range(count)]
            for call in calls:
                call.wait_accepted(20)
            fill(small_disk / "rest", share=0.97)
            mesh.ask("proc", do="resume", name="live")

            status = until(lambda: stuck(mesh), 30, "no more outcomes may wait")
            assert status["calls"]["waiting"] > 0
            assert status["log"]["full_ms"] > 0

            (small_disk / "rest").unlink()
            assert all(call.result(30) == bytes(size) for call in calls)
            until(lambda: not mesh.ask("status")["log"]["full_ms"], 10, "all is written")


def stuck(mesh: Mesh) -> dict[str, Any] | None:
    """What the node says of itself when nothing begins there any more, or None."""
    status = mesh.ask("status")
    return status if status["log"]["level"] == DISK_STUCK else None


def test_a_node_whose_log_waits_for_room_can_be_stopped(small_disk: Path, repository: Path):
    """What waits was told to nobody: it is done again."""
    with offered(small_disk, repository, "large", "nap") as mesh:
        rest = small_disk / "rest"
        with connect(mesh.address) as client:
            large = waiting_for_room(mesh, client, rest)
            mesh.stop()
            rest.unlink()
            mesh.start()
            assert [call.result(60) for call in large] == [bytes(15 * MIB)] * 3


def refused(socket: Socket, accepted_too: list[Call]) -> Exception | None:
    """Submit one more: the refusal, or None when it was taken."""
    call = socket.submit(VALUE)
    try:
        call.wait_accepted(20)
    except CallerError as error:
        return error
    accepted_too.append(call)
    return None


def accepted(socket: Socket) -> list[Call]:
    """Submit one more: it alone when it was taken, [] when it was refused."""
    call = socket.submit(VALUE)
    try:
        call.wait_accepted(20)
    except Busy:
        return []
    return [call]


def fill(file: Path, share: float) -> None:
    """Write until so much of the file system is taken."""
    disk = os.statvfs(file.parent)
    left = int(disk.f_bavail - (1 - share) * disk.f_blocks) * disk.f_frsize
    with file.open("wb", buffering=0) as out:
        while left > 0:
            try:
                left -= out.write(bytes(min(MIB, left)))
            except OSError:  # Somebody else took the rest.
                return
