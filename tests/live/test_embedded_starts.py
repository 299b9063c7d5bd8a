"""Starts of a node inside another program that fail: what is told, and what is left."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from meshcode import Node, connect
from meshcode.errors import FolderInUse, NodeError
from tests.live.harness import ROOT


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


@pytest.mark.parametrize("name", ["t\u00e9st", "t\udcc3\udca9st"])
def test_a_locale_in_which_a_good_name_cannot_be_written_is_blamed_itself(tmp_path: Path, name):
    start = "import sys; from meshcode import Node; Node(ascii_home).start()"
    code = start.replace("ascii_home", ascii(str(tmp_path / name)))
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **plain}, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip

    said = run.stderr.splitlines()[-1]
    assert f"NodeError: no node can be started on {tmp_path}/t\\" in said
    assert "in this locale Python writes names of files in ascii, which does not have it" in said
    assert "start it with PYTHONUTF8=1 or LC_ALL=C.UTF-8" in said


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
