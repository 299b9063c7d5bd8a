"""What a trace of system calls is read as."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.peers.peer import Unavailable
from bench.peers.syncs import Check, Count, Tally, Trace, tally

LINES = """\
101 openat(AT_FDCWD</>, "/d/a"..., O_RDWR|O_CREAT|O_DSYNC|O_CLOEXEC, 0600) = 7</d/a>
101 openat(AT_FDCWD</>, "/d/b"..., O_RDWR) = 8</d/b>
101 pwrite64(7</d/a>, ""..., 144, 4096)   = 144
101 pwrite64(8</d/b>, ""..., 8192, 0)     = 8192
102 fdatasync(8</d/b> <unfinished ...>
101 write(3<UNIX-STREAM:[1->2]>, ""..., 90) = 90
102 <... fdatasync resumed>)              = 0
103 pwrite64(8</d/b>, ""..., 512, 0 <unfinished ...>
101 fsync(8</d/b>)                        = 0
103 <... pwrite64 resumed>)               = 500
101 msync(0x7f0000000000, 4096, MS_ASYNC) = 0
101 msync(0x7f0000000000, 4096, MS_SYNC)  = 0
101 sync_file_range(8</d/b>, 0, 4096, SYNC_FILE_RANGE_WRITE) = 0
101 pwritev2(8</d/b>, [{iov_base=""..., iov_len=5}], 1, 0, RWF_DSYNC) = 5
101 write(9</elsewhere/log>, ""..., 70) = 70
101 +++ exited with 0 +++
""".splitlines()


def test_each_sync_is_counted_once_and_by_name():
    found = tally(LINES, "/d")

    assert found.calls == {
        "write O_DSYNC": 2, "fdatasync": 1, "fsync": 1, "msync": 1, "sync_file_range": 1,
    }  # fmt: skip
    assert found.strong == 5


def test_bytes_are_those_written_to_the_folder():
    assert tally(LINES, "/d").written == 144 + 8192 + 500 + 5
    assert tally(LINES, "/elsewhere").written == 70
    assert tally(LINES, "/nowhere").written == 0


def test_a_file_that_was_open_before_counts_when_it_is_told_of():
    line = ["5 pwrite64(4</d/data.mdb>, \"\"..., 48, 0) = 48"]

    assert tally(line, "/d").calls == {}
    assert tally(line, "/d", ["4</d/data.mdb>"]).calls == {"write O_DSYNC": 1}
    assert tally(line, "/d", ["5</d/data.mdb>"]).calls == {}, "another descriptor of that file"


@pytest.mark.parametrize(
    ("calls", "synced"),
    [
        ({"fdatasync": 100}, True),
        ({"fdatasync": 50, "fsync": 50}, True),
        ({"fdatasync": 97}, False),
        ({"sync_file_range": 100}, False),
        ({}, False),
    ],
)
def test_synced_means_at_least_once_for_each_submit(calls: dict[str, int], synced: bool):
    assert Check(Count(100, 1.0, Tally(calls))).synced is synced


def test_nothing_counted_is_not_synced():
    assert not Check(note="no strace").synced


def test_a_real_process_is_counted(tmp_path: Path):
    """It writes and syncs three times, one of them on a file opened O_DSYNC before the trace."""
    code = f"""
import os, sys
plain = os.open({str(tmp_path / "plain")!r}, os.O_CREAT | os.O_WRONLY)
synced = os.open({str(tmp_path / "synced")!r}, os.O_CREAT | os.O_WRONLY | os.O_DSYNC)
print("open", flush=True)
sys.stdin.readline()
os.write(plain, bytes(10)); os.fsync(plain); os.write(plain, bytes(20)); os.fdatasync(plain)
os.write(synced, bytes(30))
print("done", flush=True)
sys.stdin.readline()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "open\n"
        try:
            trace = Trace([process.pid], tmp_path)
        except Unavailable as reason:
            process.kill()
            pytest.skip(str(reason))
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        found = trace.stop()
        process.stdin.write("end\n")

    assert found.calls == {"fsync": 1, "fdatasync": 1, "write O_DSYNC": 1}
    assert found.written == 60
