"""Programs that the node asks one thing."""

from __future__ import annotations

import json
import select

from meshcode.node.child import Child


def ended(child: Child) -> None:
    while not child.read():
        select.select([child], [], [])


def test_a_request_of_any_size_waits_for_nobody_and_a_program_that_reads_none_just_ends():
    child = Child("meshcode.no_such_module", {"overrides": "x" * 4_000_000})
    ended(child)
    assert (child.output, child.process.returncode) == (b"", 1)


def test_a_file_of_the_working_folder_is_no_module_of_a_program(tmp_path, monkeypatch):
    """A node inside another program has that program's folder, whatever lies there."""
    (tmp_path / "json.py").write_text("raise SystemExit(5)\n")
    (tmp_path / "meshcode").mkdir()
    (tmp_path / "meshcode/__init__.py").write_text("raise SystemExit(6)\n")
    monkeypatch.chdir(tmp_path)
    request = {"op": "make", "cache": str(tmp_path), "url": "file:///nowhere", "commit": "d" * 40}
    child = Child("meshcode.worker.bundle", request)
    ended(child)
    assert json.loads(child.output)["ok"] is False


def test_a_program_reads_its_request_to_the_end(tmp_path):
    request = {"op": "make", "cache": str(tmp_path), "url": "file:///nowhere", "commit": "d" * 40}
    child = Child("meshcode.worker.bundle", {"more": "é" * 1_000_000, **request})
    ended(child)
    assert json.loads(child.output)["ok"] is False
