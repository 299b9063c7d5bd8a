"""`mesh doctor`: what each figure means, and that the report ends with the worst of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from meshcode.cli import doctor, doctor_network, main

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


def test_a_disk_without_room_is_told_with_what_to_do():
    found = doctor.judge_space(1000 << 20, 100 << 20)

    assert found.detail == "100.0 MiB free of 1000.0 MiB: a node takes no new calls"
    assert found.fix == (
        "free 50.0 MiB of it, or keep less: mesh add setting -n retention_bytes -v SIZE"
    )


@pytest.mark.parametrize(
    ("free", "has_ballast", "said"), [(127, False, True), (127, True, False), (128, False, False)]
)
def test_a_disk_too_small_for_a_ballast_is_told(free: int, has_ballast: bool, said: bool):
    found = doctor.judge_space(200 << 20, free << 20, has_ballast)

    assert found.state == doctor.OK
    assert ("; no ballast for when it is full: that takes 128.0 MiB free" in found.detail) == said


@pytest.mark.parametrize(("used", "state"), [(64 << 20, doctor.OK), (65 << 20, doctor.WARN)])
def test_a_node_over_its_memory_is_told_with_both_numbers(used: int, state: str):
    found = doctor.judge_memory({"used": used, "limit": 64 << 20, "calls_max": 1_000})

    assert found.state == state
    assert f"{used >> 20}.0 MiB used of at most 64.0 MiB; enough for 1,000" in found.detail
    assert ("memory" in found.fix) == (state == doctor.WARN)


@pytest.mark.parametrize(
    ("most", "used", "pid", "state", "shown"),
    [
        (-1, 0, 0, "OK", "unlimited"),
        (65_536, 0, 0, "OK", "65,536"),
        (512, 0, 0, "WARN", "512"),
        (128, 0, 0, "FAIL", "128"),
        (4_096, 60, 7, "OK", "60 of 4,096 in use by the node, process 7"),
        (4_096, 3_000, 7, "FAIL", "3,000 of 4,096 in use by the node, process 7: it lets no new"),
        (-1, 3_000, 7, "OK", "3,000 of unlimited in use by the node, process 7"),
    ],
)
def test_open_files_are_judged(most, used, pid, state, shown):
    found = doctor.judge_files(most, used, pid)

    assert found.state == state
    assert found.detail.startswith(shown)
    assert bool(found.fix) == (state != "OK")


def test_a_version_is_found_in_what_programs_say():
    assert doctor.version_in("git version 2.39.5") == (2, 39, 5)
    assert doctor.version_in("git version 2.39.5 (Apple Git-154)") == (2, 39, 5)
    assert doctor.version_in("no number") == ()


def test_a_home_that_others_may_write_to_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    assert doctor.check_home().state == "OK"
    tmp_path.chmod(0o777)
    found = doctor.check_home()
    assert found.state == "FAIL"
    assert f"{tmp_path} can be written to by others (its mode is 777; `chmod go-w" in found.detail


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
        "python", "libzmq", "curve", "lmdb", "framing", "core", "home", "data folder",
        "disk sync", "disk space", "open files", "git", "uv", "landlock", "cpus", "mesh files",
        "mdns", "multicast", "node",
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


def test_curve_without_option_93_lets_anybody_in_and_with_it_nobody():
    """Real handshakes: the first is the trap that the second closes."""
    assert doctor.curve_lets_in(enforce=False) is True
    assert doctor.curve_lets_in(enforce=True) is False
    assert doctor.check_curve().state == "OK"


@pytest.mark.parametrize(
    ("opened", "shut", "state", "says"),
    [
        (True, False, "OK", "works, and option 93 is honoured"),
        (True, True, "FAIL", "option 93 is not honoured"),
        (None, True, "FAIL", "option 93 is not honoured"),
        (False, False, "FAIL", "a handshake failed"),
        (None, False, "WARN", "no handshake on 127.0.0.1"),
        (True, None, "WARN", "no handshake on 127.0.0.1"),
    ],
)
def test_curve_is_judged(opened, shut, state, says):
    found = doctor.judge_curve(opened, shut)

    assert (found.state, says in found.detail) == (state, True)


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    """A mesh folder as `mesh init` leaves it, as far as modes go."""
    folder = tmp_path / "mesh"
    for one in (folder, folder / "invites"):
        one.mkdir(mode=0o700)
    for name in ("self.json", "node.key", "roster", "invites/12ab"):
        (folder / name).touch(mode=0o600)
    return folder


def test_private_mesh_files_are_well(mesh):
    assert doctor_network.check_mesh_files(mesh)[:3] == ("mesh files", "OK", f"{mesh}, private")


def test_a_home_without_a_mesh_is_well(tmp_path):
    found = doctor_network.check_mesh_files(tmp_path / "mesh")

    assert found.state == "OK"
    assert found.detail == "none: this home is a single node; see `mesh init`"


@pytest.mark.parametrize(
    ("name", "mode", "shown"),
    [
        ("node.key", 0o640, "0640"),
        ("node.key", 0o604, "0604"),
        ("roster", 0o620, "0620"),
        ("invites/12ab", 0o644, "0644"),
        ("invites", 0o750, "0750"),
        (".", 0o711, "0711"),
    ],
)
def test_mesh_files_open_to_others_fail_and_the_fix_helps(mesh, name, mode, shown):
    (mesh / name).chmod(mode)

    found = doctor_network.check_mesh_files(mesh)

    assert (found.state, found.detail) == ("FAIL", f"open to others: {shown} {mesh / name}")
    subprocess.run(found.fix.split(";")[0].split(), check=True)
    assert doctor_network.check_mesh_files(mesh).state == "OK"


def test_many_open_files_are_counted(mesh):
    for number in range(10):
        (mesh / f"invites/{number}").touch(mode=0o600)
        (mesh / f"invites/{number}").chmod(0o644)

    assert doctor_network.check_mesh_files(mesh).detail.endswith(" and 7 more")


@pytest.mark.parametrize("name", ["self.json", "node.key", "roster"])
def test_half_a_mesh_fails(mesh, name):
    (mesh / name).unlink()

    found = doctor_network.check_mesh_files(mesh)

    assert (found.state, found.detail) == ("FAIL", f"{mesh} lacks {name}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_mesh_files_of_another_user_are_said(mesh):
    os.chown(mesh / "node.key", 12_345, -1)

    found = doctor_network.check_mesh_files(mesh)

    assert (found.state, found.detail) == ("WARN", f"owned by another user: {mesh / 'node.key'}")


@pytest.mark.parametrize(
    ("found", "only_loopback", "state", "detail"),
    [
        ({"eth0": "ok"}, False, "OK", "ok on eth0, as far as one host can tell"),
        (
            {"eth0": "ok", "wlan0": "blocked: Operation not permitted"}, False, "WARN",
            "ok on eth0; blocked on wlan0: Operation not permitted; nodes there then need seeds",
        ),
        (
            {"wlan0": "blocked: x"}, False, "WARN",
            "blocked on wlan0: x; nodes there then need seeds",
        ),
        (
            {"lo": "ok"}, True, "WARN",
            "ok on lo; no network with other hosts: nodes there need seeds",
        ),
        ({}, True, "WARN", "no network with other hosts: nodes there need seeds"),
    ],
)  # fmt: skip
def test_multicast_is_judged(found, only_loopback, state, detail):
    check = doctor_network.judge_multicast(found, only_loopback=only_loopback)

    assert (check.state, check.detail) == (state, detail)
    assert (check.fix == "") == (state == "OK")


def test_what_only_a_mesh_needs_does_not_trouble_a_single_node(tmp_path):
    assert doctor_network.check_multicast(tmp_path / "mesh").state == "OK"
    assert doctor_network.check_zeroconf(tmp_path / "mesh").state == "OK"


def test_a_mesh_without_zeroconf_is_warned(tmp_path):
    """An interpreter that no longer sees what is installed."""
    code = (
        "import sys; from pathlib import Path; from meshcode.cli import doctor_network as d\n"
        "sys.path[:] = [one for one in sys.path if 'site-packages' not in one]\n"
        f"print(*d.check_zeroconf(Path({str(tmp_path)!r})), sep='|')"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()

    assert found == (
        "mdns|WARN|zeroconf is not installed: nodes are found by seeds alone"
        "|pip install zeroconf, or use seeds"
    )
