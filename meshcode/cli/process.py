"""The node as a process: start it, wait until it answers, wait until it is gone.

A process is ended only when it is proved to be the node of this home: it just answered on the
home's own link with this process id, or the pid file names it and its start time agrees.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import meshcode
from meshcode import config, paths
from meshcode.cli.session import listens
from meshcode.errors import MeshError, NodeError, NotAllowed, WaitTimeout

if TYPE_CHECKING:
    import psutil

START_S = 15.0  # From the start of a process to its first answer; a long log takes time to read.
LOOK_S = 0.02  # Between two looks at whether a starting node answers yet.
PID_SLACK_S = 2.0  # A pid file may be this much older or newer than the process it names.


def node_command(home: str) -> list[str]:
    """The command that runs the node of a home in the foreground."""
    return [sys.executable, "-m", "meshcode.node", "--home", home, "--foreground"]


def node_environment(home: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the node's process gets: this environment, with its home, and able to find meshcode."""
    settings = config.settings()
    if settings.get("home").value != home:  # What belongs to the usual home is not for this one.
        settings = config.settings({"home": home})
    found = {**os.environ, **config.exports(settings), "MESH_HOME": home}
    source = os.path.dirname(os.path.dirname(os.path.abspath(meshcode.__file__)))
    if os.path.basename(source) not in ("site-packages", "dist-packages"):
        known = found.get("PYTHONPATH")
        found["PYTHONPATH"] = f"{source}{os.pathsep}{known}" if known else source
    found.update(more or {})
    found.pop("MESH_NODE", None)  # The address of some node; never what this one should bind.
    return found


def spawn_node(
    home: str, log: IO[bytes], *, follow_parent: bool = False, more: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start the node of `home` in a session of its own, its output into `log`.

    Args:
        follow_parent: the kernel ends the node when this process dies, however it dies.
        more: further environment variables.
    """
    follow = follow_parent and sys.platform == "linux"
    return subprocess.Popen(
        node_command(home),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
        env=node_environment(home, more),
        start_new_session=True,
        # One system call between fork and exec; this process has no other thread yet.
        preexec_fn=_die_with_parent if follow else None,  # noqa: PLW1509
    )


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def open_log(home: str) -> IO[bytes]:
    """The node's log file, opened to append, readable by its owner only; folders are made.

    Raises:
        NodeError: a folder or the file cannot be made; the text says which.
    """
    try:
        paths.make_folders(home)
        handle = os.open(paths.log_file(home), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise NodeError(
            f"{error.filename or home} cannot be made or written: {error.strerror}; give a node"
            " another folder with --home or MESH_HOME"
        ) from None
    return os.fdopen(handle, "ab", buffering=0)


def ask_status(home: str, *, timeout: float) -> dict[str, Any] | None:
    """The status of the node of `home`, or None when nothing answers there."""
    address = paths.clients_address(home)
    if not listens(address):
        return None
    from meshcode.client import connect

    try:
        with connect(address, timeout=timeout) as client:
            try:
                return dict(client.ask("status"))
            except NotAllowed:  # A user is logged in here; who greets is up.
                said = client.node
                return {name: said[name] for name in ("pid", "boot", "version")} | {"home": home}
    except (WaitTimeout, MeshError) as error:
        if isinstance(error, WaitTimeout) or error.code == "no_node":
            return None
        raise


def wait_until_answers(
    home: str, process: subprocess.Popen[bytes], *, timeout: float = START_S
) -> dict[str, Any]:
    """Wait until the node of `home` answers; returns its status.

    Raises:
        NodeError: the process ended instead; the text has the end of its log.
        WaitTimeout: it runs and does not answer within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        code = process.poll()
        left = deadline - time.monotonic()
        found = ask_status(home, timeout=max(0.2, min(left, 2.0)))
        if found is not None and (found.get("pid") == process.pid or code is not None):
            return found
        if code is not None:
            lines = "\n".join(f"  {line}" for line in log_tail(home))
            raise NodeError(
                f"the node ended with status {code} before it answered; the end of"
                f" {paths.log_file(home)}:\n{lines or '  (nothing)'}",
                status=code,
            )
        if left <= 0:
            raise WaitTimeout(
                f"process {process.pid} runs and does not answer within {timeout:.3g} s at"
                f" {paths.clients_address(home)}; see {paths.log_file(home)}"
            )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_S)


def log_tail(home: str, lines: int = 12) -> list[str]:
    """The last lines of the node's log."""
    try:
        with open(paths.log_file(home), "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 16_384))
            return file.read().decode("utf-8", "replace").splitlines()[-lines:]
    except OSError:
        return []


def find_process(home: str) -> psutil.Process | None:
    """The process of a node that does not answer, proved by its pid file; None when there is none.

    The file was written by that process after its start, so a process that started later than the
    file was written is another one that got the same number.
    """
    file = Path(paths.pid_file(home))
    try:
        number = int(file.read_text().split()[0])
        written = file.stat().st_mtime
    except (OSError, ValueError, IndexError):
        return None
    import psutil  # Only where it is wanted: it takes a while.

    try:
        process = psutil.Process(number)
        if process.create_time() > written + PID_SLACK_S or process.status() == "zombie":
            return None
        command = process.cmdline()
    except (OSError, psutil.Error):
        return None
    return process if any("meshcode" in word for word in command) else None


def silence(home: str, pid: int) -> str:
    """What is said of a process that is a home's node and does not answer."""
    from meshcode.node.descriptors import aside

    link = paths.clients_address(home).removeprefix("ipc://")
    if os.path.exists(aside(link)):
        return (
            f"process {pid} of {home} is up and lets no new clients in: it has too many open files;"
            f" end programs that keep clients open; see {paths.log_file(home)} and `mesh doctor`"
        )
    return (
        f"process {pid} of {home} is up and does not answer; it hangs, is stopped, or has much to"
        f" do; see {paths.log_file(home)}; `mesh down` tells it to stop, `mesh down --now` at once"
    )


def prove(home: str, pid: int, boot: Any) -> psutil.Process | None:
    """A handle of the process `pid` that cannot come to mean another one, if it still is the node.

    The handle is taken first and the node asked after, so the number cannot have been reused.
    """
    import psutil

    try:
        process = psutil.Process(pid)
    except psutil.Error:
        return None
    again = ask_status(home, timeout=2.0)
    if again is None or (again.get("pid"), again.get("boot")) != (pid, boot):
        return None
    return process


def wait_gone(process: psutil.Process, timeout: float) -> bool:
    """Wait until the process has ended; False when it has not within `timeout` seconds."""
    import psutil

    deadline = time.monotonic() + timeout
    while process.is_running():
        with contextlib.suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE:  # Its own parent has not looked yet.
                return True
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(min(left, 0.1))
    return True
