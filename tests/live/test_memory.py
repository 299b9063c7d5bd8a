"""A node whose memory is enough for so many calls: it says so, keeps them, and takes more later."""

from __future__ import annotations

from pathlib import Path

from meshcode.client import connect
from meshcode.errors import Busy, CallerError
from meshcode.limits import MEMORY_BYTES_MIN
from tests.live.harness import Mesh, until

MIB = 1024 * 1024
FRAME = 2_000
CALLS_MAX = 400_000  # Many more than fit.


class Small(Mesh):
    """A node that may take the least memory a node can be given."""

    memory = str(MEMORY_BYTES_MIN)

    @property
    def env(self) -> dict[str, str]:
        """As of any node, with the setting."""
        return {**super().env, "MESH_MEMORY": self.memory}


def test_what_is_too_many_for_the_memory_is_refused_and_what_was_accepted_ends(
    repository: Path, tmp_path: Path
):
    with Small(tmp_path / "home") as mesh:
        mesh.offer("live", repository, "live.tasks", ["echo"])
        mesh.wait_ready("live")
        mesh.ask("proc", do="pause", name="live")
        with connect(mesh.address) as client:
            echo = client.socket("live.tasks.echo")
            taken, error = [], None
            while error is None and len(taken) < CALLS_MAX:
                frame = [echo.submit(number) for number in range(FRAME)]
                for call in frame:
                    try:
                        call.wait_accepted(20)
                        taken.append(call)
                    except CallerError as refusal:
                        error = error or refusal

            assert isinstance(error, Busy), (len(taken), error)
            assert "(the setting `memory`)" in str(error)
            memory = mesh.ask("status")["memory"]
            assert memory["limit"] == MEMORY_BYTES_MIN
            assert memory["used"] < 2 * MEMORY_BYTES_MIN, memory
            assert mesh.ask("status")["calls"]["open"] == len(taken)

            mesh.ask("proc", do="resume", name="live")
            assert all(isinstance(call.result(60), int) for call in taken)
            until(lambda: not mesh.ask("status")["calls"]["open"], 10, "all have ended")
            assert echo.submit(7).result(20) == 7


def test_less_memory_than_a_node_needs_is_refused_at_its_start(tmp_path: Path):
    mesh = Small(tmp_path / "home")
    mesh.memory = "10MB"
    process = mesh.spawn()
    assert process.wait(20) == CallerError.exit_status
    assert "memory is '10MB', 10000000 bytes; a node needs 67108864 at least" in mesh.words()
