"""A member gone bad sends anything to real nodes: none of them ends, and people are told once."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import until
from tests.mesh.cluster import Cluster, Home
from tests.mesh.network import LoopbackNetwork

NAMES = ["n1", "n2"]


class Rogue(Home):
    """A home whose node is `tests/mesh/rogue.py`."""

    def spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        self.home.mkdir(parents=True, exist_ok=True)
        words = [self.python, "-m", "tests.mesh.rogue", "--home", str(self.home), *arguments]
        with self.said.open("ab") as out:
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.env,
                cwd=self.home, start_new_session=True,
            )  # fmt: skip


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two nodes of one mesh; the second is bad."""
    folder = Path(tempfile.mkdtemp(prefix="mr-"))
    network = LoopbackNetwork(NAMES)
    with Cluster(folder, network, NAMES) as made:
        made.homes["n2"] = Rogue(folder / "n2", "n2", network)
        made.assemble(NAMES)
        yield made
    shutil.rmtree(folder, ignore_errors=True)


def test_no_word_of_a_member_ends_a_node(cluster: Cluster):
    good, bad = cluster["n1"], cluster["n2"]
    until(lambda: "has said all" in bad.words(), 20, bad.words)

    counts = until(
        lambda: len(found := good.ask("mesh.status")["not_used"]) > 25 and found, 20, good.words
    )

    assert good.process is not None
    assert good.process.poll() is None, good.words()
    assert good.ask("status")["state"] == "ready"
    assert not [what for what in counts if "internal error" in what], good.words()
    said = good.said.read_text(errors="replace")
    assert said.count("from n2: ") == 1, said
    assert "Traceback" not in said
    assert "not taken" in good.mesh("doctor").stdout
