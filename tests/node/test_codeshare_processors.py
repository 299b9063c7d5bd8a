"""Processors of two nodes without the git server: the second mounts what the first has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.live.harness import until
from tests.node.code_hosts import MOUNT_S, Host, model, run
from tests.worker.conftest import Repo


def test_a_processor_is_mounted_from_a_peer_when_its_server_is_gone(
    hosts: Callable[[str], Host], tmp_path: Path
):
    """Then its model pins a commit that nobody has: the old code keeps running."""
    repo = Repo(tmp_path / "repo")
    head = repo.commit({"m.py": "def f(x): return x\n"})
    url = f"file://{repo.folder}"
    a, b = hosts("a"), hosts("b")
    a.processors.apply(model(url))
    run([a], lambda: a.processors.commits)
    assert a.processors.held()[0][:2] == (url, "branch")
    repo.folder.rename(tmp_path / "gone")

    b.processors.apply(model(url))
    run([a, b], lambda: b.processors.commits)

    assert b.processors.commits == {"p": head}
    assert list(b.processors.by_name["p"].mount["tasks"]) == ["f"]
    assert b.saved["p"]["mount"]["url"] == url
    first = next(text for text in b.said if "could not be mounted (fetch)" in text)
    assert f"there is no repository at {url}" in first
    assert f"its git server cannot be reached; waiting for commit {head[:12]} from node a" in b.said
    assert b.said[-1] == "its workers are starting"
    assert b.crew.by_id, "a worker was started"

    b.processors.apply(model(url, commit="d" * 40))
    told = "none of 1 other nodes has commit " + "d" * 40 + " mounted"
    run([a, b], lambda: told in b.said[-1])
    assert b.said[-1].endswith(f"the code of commit {head[:12]} keeps running")
    assert b.processors.status_of("p") == "failed"
    assert b.processors.commits == {"p": head}


def test_a_failed_build_asks_no_peer(hosts: Callable[[str], Host], tmp_path: Path):
    """The commit came; what is wrong with it a peer cannot mend."""
    repo = Repo(tmp_path / "repo")
    repo.commit({"m.py": "def f(x): return x\n"})
    a, b = hosts("a"), hosts("b")
    b.processors.apply(model(str(repo.folder), module_path="nowhere"))

    run([a, b], lambda: b.processors.status_of("p") == "failed")

    assert "could not be mounted (environment)" in b.said[-1]
    assert not b.share.searches and not b.share.busy("p")


def test_what_is_stopped_meanwhile_is_not_looked_for(hosts: Callable[[str], Host], tmp_path: Path):
    url = f"file://{tmp_path}/none"
    a, b = hosts("a"), hosts("b")
    b.processors.apply(model(url))
    until(lambda: b.turn() or b.share.busy("p"), MOUNT_S, "a search")
    assert b.processors.status_of("p") == "building"
    assert a.inbox

    b.processors.apply(model(url, requested_status="stop"))
    b.turn()

    assert not b.share.busy("p")
    assert b.processors.status_of("p") == "stopped"
