"""Starts of a node inside another program that fail: what is told, and what is left."""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path

import pytest

from meshcode import Node, connect
from meshcode.errors import FolderInUse, NodeError


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_start_that_fails_late_leaves_nothing_behind(tmp_path: Path):
    """The clients' link is bound by then, and the committer runs."""
    home = tmp_path / "home"
    node = Node(str(home))
    node.serve("one", lambda: 1)
    with node:
        pass
    link = home / "run" / "workers.ipc"
    link.unlink(missing_ok=True)
    link.mkdir()
    files, threads = descriptors(), threading.active_count()  # One of before may still be ending.

    for _ in range(3):
        with pytest.raises(NodeError, match=rf"no node can be started on {home}: .*remove that"):
            node.start()

    assert descriptors() == files and threading.active_count() <= threads
    link.rmdir()
    with node, connect(node.address) as client:
        assert client.socket("one").submit().result(20) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("file", "a file has its name: name a folder"),
        ("file/home", "a file has its name, or that of a folder above it: name a folder"),
        ("bad\udcff", r"bad\\udcff: its name is no text in UTF-8; name it otherwise"),
    ],
)
def test_a_folder_that_cannot_be_used_is_a_node_error_that_names_it(tmp_path: Path, name, said):
    (tmp_path / "file").write_text("")

    with pytest.raises(NodeError, match=rf"no node can be started on {tmp_path}/.*{said}") as told:
        Node(str(tmp_path / name)).start()

    assert not isinstance(told.value, FolderInUse)


def test_a_start_without_descriptors_is_refused_before_libzmq_ends_the_process(tmp_path: Path):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = descriptors() + 12
    node = Node(str(tmp_path / "home"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        with pytest.raises(NodeError, match=rf"of the {most:,} files .* `ulimit -n`"):
            node.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    with node:
        pass
