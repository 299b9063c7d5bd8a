"""A file is replaced whole or not at all; what is no regular file is written into."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from meshcode import aside


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_file_is_replaced_whole_and_private_with_nothing_left_beside(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("older")
    path.chmod(0o644)
    older = path.open()

    aside.write(path, b"new", durable=True)

    with older:
        assert older.read() == "older", "who has it open goes on reading what was there"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("there", [True, False])
def test_what_ends_with_an_error_changes_nothing(tmp_path: Path, there: bool):
    path = tmp_path / "file"
    if there:
        path.write_text("older")

    with pytest.raises(ZeroDivisionError), aside.Replacing(path, encoding="utf-8") as file:
        file.write("half")
        file.flush()
        raise ZeroDivisionError

    assert names(tmp_path) == (["file"] if there else [])
    assert not there or path.read_text() == "older"


def test_a_link_stays_a_link_and_the_file_behind_it_is_replaced(tmp_path: Path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("older")
    (tmp_path / "second").symlink_to("kept/file")
    (tmp_path / "first").symlink_to(tmp_path / "second")
    (tmp_path / "nowhere").symlink_to("kept/later")

    aside.write(tmp_path / "first", b"new")
    aside.write(tmp_path / "nowhere", b"made")

    assert os.readlink(tmp_path / "first") == str(tmp_path / "second")
    assert os.readlink(tmp_path / "second") == "kept/file"
    assert (kept / "file").read_bytes() == b"new"
    assert (kept / "later").read_bytes() == b"made"
    assert names(kept) == ["file", "later"]


@pytest.mark.parametrize("by_link", [False, True])
def test_a_fifo_is_written_into_and_stays_one(tmp_path: Path, by_link: bool):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    path = fifo
    if by_link:
        path = tmp_path / "link"
        path.symlink_to("fifo")
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(fifo.read_bytes()))
    reader.start()

    aside.write(path, b"what it got", durable=True)

    reader.join()
    assert found == [b"what it got"]
    assert stat.S_ISFIFO(fifo.lstat().st_mode)
    assert path.is_symlink() == by_link


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes devices")
def test_a_device_is_written_into_and_stays_one(tmp_path: Path):
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        device.open("wb").close()
    except PermissionError:
        pytest.skip("no devices can be made, or used, in this folder")

    aside.write(device, b"gone", durable=True)

    assert stat.S_ISCHR(device.lstat().st_mode)
    assert names(tmp_path) == ["null"]


def test_a_folder_is_left_alone(tmp_path: Path):
    with pytest.raises(IsADirectoryError):
        aside.write(tmp_path, b"")

    assert names(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs the descriptors of Linux")
@pytest.mark.parametrize("to", ["a pipe", "a file"])
def test_standard_output_is_written_into_whatever_it_is(tmp_path: Path, to: str):
    code = "from meshcode import aside; aside.write('/dev/stdout', b'told')"
    path = tmp_path / "out"
    path.write_bytes(b"before ")
    if to == "a pipe":
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert run.stdout == b"told"
        return
    inode = path.stat().st_ino
    with path.open("ab") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)

    assert path.read_bytes() == b"before told"
    assert path.stat().st_ino == inode
    assert names(tmp_path) == ["out"]


def test_a_name_as_long_as_names_may_be_has_room_for_the_file_beside(tmp_path: Path):
    path = tmp_path / ("\u00e9" * 127)

    aside.write(path, b"new")

    assert names(tmp_path) == [path.name]
