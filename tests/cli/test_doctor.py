"""`mesh doctor`: what each figure means, and that the report ends with the worst of them."""

from __future__ import annotations

import json
import os
import sys

import pytest

from meshcode.cli import doctor, main

GIB = 1024**3


@pytest.mark.parametrize(
    ("took", "state", "detail"),
    [
        (0.01, "WARN", "10us for 4 KiB: faster than any disk"),
        (0.172, "OK", "172us for 4 KiB"),
        (20.0, "OK", "20ms for 4 KiB"),
        (20.1, "WARN", "20.1ms for 4 KiB"),
    ],
)
def test_a_sync_time_is_judged(took, state, detail):
    found = doctor.judge_sync(took)

    assert (found.state, found.detail) == (state, detail)
    assert (found.fix == "") == (state == "OK")


@pytest.mark.parametrize(
    ("total", "free", "state"),
    [
        (100 * GIB, 50 * GIB, "OK"),
        (100 * GIB, 10 * GIB, "OK"),  # A large disk with 10 GiB left is not tight.
        (20 * GIB, 2 * GIB, "WARN"),
        (20 * GIB, GIB // 2, "FAIL"),
        (0, 0, "FAIL"),
    ],
)
def test_free_space_is_judged_as_a_node_would(total, free, state):
    assert doctor.judge_space(total, free).state == state


@pytest.mark.parametrize(
    ("soft", "hard", "state", "fix"),
    [
        (-1, -1, "OK", ""),
        (65_536, 65_536, "OK", ""),
        (512, 524_288, "WARN", "ulimit -n 4096"),
        (128, 1_024, "FAIL", "ulimit -n 1024"),
    ],
)
def test_open_files_are_judged(soft, hard, state, fix):
    found = doctor.judge_files(soft, hard)

    assert (found.state, found.fix) == (state, fix)


def test_a_version_is_found_in_what_programs_say():
    assert doctor.version_in("git version 2.39.5") == (2, 39, 5)
    assert doctor.version_in("git version 2.39.5 (Apple Git-154)") == (2, 39, 5)
    assert doctor.version_in("no number") == ()


def test_a_folder_that_is_not_there_yet_is_judged_by_its_parent(tmp_path):
    assert doctor.existing(str(tmp_path / "a" / "b")) == tmp_path
    assert doctor.check_folder(str(tmp_path / "a" / "b")).state in ("OK", "WARN")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_fails(tmp_path):
    tmp_path.chmod(0o500)

    assert doctor.check_folder(str(tmp_path)).state == "FAIL"


def test_a_file_in_the_way_fails(tmp_path):
    (tmp_path / "home").write_text("")

    found = doctor.check_folder(str(tmp_path / "home" / "data"))

    assert (found.state, found.detail) == ("FAIL", f"{tmp_path / 'home'} is not writable")


def test_python_with_asserts_off_fails(monkeypatch):
    import subprocess

    code = "from meshcode.cli import doctor; print(doctor.check_python().state)"
    found = subprocess.run(
        [sys.executable, "-O", "-c", code], check=True, capture_output=True, text=True
    )

    assert found.stdout == "FAIL\n"
    assert doctor.check_python().state == "OK"


def test_the_report_ends_with_the_worst_state(tmp_path, monkeypatch, capsys):
    """Nothing answers in an empty home, so there is one warning at least."""
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.delenv("MESH_NODE", raising=False)

    status = main(["doctor", "-o", "json"])

    report = json.loads(capsys.readouterr().out)
    states = {item["name"]: item["state"] for item in report["items"]}
    assert (report["kind"], report["schema"]) == ("check", 1)
    assert states["node"] == "WARN"
    assert list(states) == [
        "python", "libzmq", "lmdb", "framing", "data folder", "disk sync", "disk space",
        "open files", "git", "uv", "landlock", "cpus", "node",
    ]  # fmt: skip
    assert status == max({"OK": 0, "WARN": 1, "FAIL": 2}[state] for state in states.values())
    assert all(item["fix"] for item in report["items"] if item["state"] != "OK")


def test_the_report_for_people_names_the_fix(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.delenv("MESH_NODE", raising=False)

    main(["doctor"])

    lines = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(lines) if "  node  " in line)
    assert lines[at].startswith("WARN  node          no node answers at ipc://")
    assert lines[at + 1].strip() == "fix: start one: mesh up"
