"""`mesh doctor`: what this machine has, what it lacks, and what to do about it."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from meshcode import limits, paths
from meshcode.cli import output, plain
from meshcode.cli.doctor_check import FAIL, OK, WARN, Check
from meshcode.cli.node import size_text
from meshcode.cli.options import command, styled
from meshcode.cli.output import Style
from meshcode.cli.table import clean

EXIT = {OK: 0, WARN: 1, FAIL: 2}

PYTHON_MIN = (3, 11)
LIBZMQ_MIN = (4, 3, 5)  # Older ones lose messages of a full ROUTER and have known crashes.
GIT_MIN = (2, 25)  # Partial clones and work trees as we use them.
SYNC_MS_SLOW = 20.0  # One durable call costs at least one sync.
SYNC_MS_UNTRUE = 0.02  # No disk is that fast: it is memory, or the sync does nothing.
SYNCS = 15
FILES_WARN = 1024  # Each worker takes a few, each client one.
FILES_FAIL = 256
COMMAND_S = 10.0
HANDSHAKE_S = 2.0  # On 127.0.0.1 it takes 2 ms.
_KEEP_LESS = "mesh add setting -n retention_bytes -v SIZE"


def versions() -> dict[str, Any]:
    """The versions of what runs in this process; nothing is asked of a node."""
    import lmdb
    import zmq

    from meshcode import __version__
    from meshcode.native import TWIN

    return {
        "name": "mesh",
        "client": __version__,
        "python": platform.python_version(),
        "libzmq": zmq.zmq_version(),
        "pyzmq": zmq.pyzmq_version(),
        "lmdb": ".".join(str(part) for part in lmdb.version()),
        "framing": TWIN,
    }


def check_python() -> Check:
    """The interpreter: its version, and that asserts are on."""
    text = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < PYTHON_MIN:
        return Check("python", FAIL, text, "install Python 3.11 or newer")
    if not __debug__:
        return Check("python", FAIL, f"{text}, with -O", "run without -O: a node needs its asserts")
    return Check("python", OK, text)


def check_libzmq() -> Check:
    """The transport library."""
    try:
        import zmq
    except ImportError as error:
        return Check("libzmq", FAIL, str(error), "install pyzmq into this environment")
    text = f"{zmq.zmq_version()}, pyzmq {zmq.pyzmq_version()}"
    if zmq.zmq_version_info() < LIBZMQ_MIN:
        return Check("libzmq", FAIL, text, "upgrade pyzmq: its wheels bring libzmq 4.3.5")
    return Check("libzmq", OK, text)


def check_curve() -> Check:
    """Encryption between nodes: that it works, and that without a doorkeeper nobody gets in.

    A CURVE server lets every key in as long as nobody answers its ZAP questions, unless option 93
    (ZMQ_ZAP_ENFORCE_DOMAIN) is set and honoured.
    """
    import zmq

    if not zmq.has("curve"):
        fix = "upgrade pyzmq: its wheels bring a libzmq with CURVE"
        return Check("curve", FAIL, "this libzmq has no CURVE: no encrypted links", fix)
    try:
        opened, shut = curve_lets_in(enforce=False), curve_lets_in(enforce=True)
    except zmq.ZMQError as error:
        return Check("curve", FAIL, str(error), "upgrade pyzmq: its wheels bring libzmq 4.3.5")
    return judge_curve(opened, shut)


def judge_curve(opened: bool | None, shut: bool | None) -> Check:
    """What the two trials say: `opened` without option 93, `shut` with it; None is no answer."""
    fix = "upgrade pyzmq: its wheels bring libzmq 4.3.5"
    if shut:
        text = "option 93 is not honoured: unlisted keys get in when the doorkeeper is gone"
        return Check("curve", FAIL, text, fix)
    if opened is None or shut is None:
        text = f"no handshake on 127.0.0.1 within {HANDSHAKE_S:g} s"
        return Check("curve", WARN, text, "let programs reach ports of 127.0.0.1")
    if not opened:
        return Check("curve", FAIL, "a handshake failed that should succeed", fix)
    return Check("curve", OK, "works, and option 93 is honoured")


def curve_lets_in(*, enforce: bool) -> bool | None:
    """Whether a fresh key gets into a CURVE server on 127.0.0.1 that has no ZAP handler.

    Args:
        enforce: set option 93 on the server.

    Returns:
        How the client's handshake ended; None when it did not within HANDSHAKE_S.
    """
    import zmq
    from zmq.utils.monitor import recv_monitor_message

    public, secret = zmq.curve_keypair()
    context: zmq.Context[Any] = zmq.Context()
    try:
        server, client = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
        server.curve_server, server.curve_secretkey = 1, secret
        server.zap_domain = b"doctor"
        if enforce:
            server.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        client.curve_serverkey = public
        client.curve_publickey, client.curve_secretkey = zmq.curve_keypair()
        port = server.bind_to_random_port("tcp://127.0.0.1")
        monitor = client.get_monitor_socket(zmq.Event.ALL)
        client.connect(f"tcp://127.0.0.1:{port}")
        end = time.monotonic() + HANDSHAKE_S
        while monitor.poll(max(0, int((end - time.monotonic()) * 1000))):
            event = zmq.Event(recv_monitor_message(monitor)["event"])
            if "HANDSHAKE" in (event.name or ""):
                return event == zmq.Event.HANDSHAKE_SUCCEEDED
        return None
    finally:
        context.destroy(linger=0)


def check_lmdb() -> Check:
    """The engine of the log."""
    try:
        import lmdb
    except ImportError as error:
        return Check("lmdb", FAIL, str(error), "install lmdb into this environment")
    from meshcode.store.binding import BINDING

    through = "meshcode's own C" if BINDING == "c" else "the package lmdb"
    through += ", behind a journal" if BINDING == "c" else ""
    return Check("lmdb", OK, f"{'.'.join(map(str, lmdb.version()))} through {through}")


def check_framing() -> Check:
    """Which twin frames envelopes; the C one needs a compiler at install time."""
    from meshcode.native import TWIN

    if TWIN == "c":
        return Check("framing", OK, "compiled")
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if os.environ.get("MESHCODE_PURE", "") not in ("", "0"):
        return Check("framing", WARN, "pure Python, because MESHCODE_PURE is set", "unset it")
    has = f"a compiler is at {compiler}" if compiler else "no C compiler is installed"
    fix = "install meshcode again" if compiler else "install gcc, then meshcode again"
    return Check("framing", WARN, f"pure Python, slower; {has}", fix)


def check_core() -> Check:
    """Whether a node's core would run as machine code."""
    from meshcode import ahead

    if ahead.folder() is not None:
        return Check("core", OK, "compiled")
    left = "other source or another Python was compiled" if ahead.BUILT.is_dir() else "not compiled"
    return Check("core", OK, f"from its source, {left}; faster after: python -m meshcode.ahead")


def existing(folder: str) -> Path:
    """The folder, or its nearest ancestor that exists."""
    path = Path(folder)
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def check_home() -> Check:
    """Whether somebody else could take the place of what is in the home."""
    why = paths.folders_problem()
    if why:
        fix = "look who made it and put that right, or set MESH_HOME to a folder of yours"
        return Check("home", FAIL, f"{why}: no node starts there", fix)
    return Check("home", OK, f"{paths.home()}, which nobody else can write to")


def check_folder(folder: str) -> Check:
    """Whether the log may live there: owner, writable, a fit file system."""
    from meshcode.errors import UnfitFileSystem
    from meshcode.store.filesystem import VOLATILE, refuse_unfit

    place = existing(folder)
    if not os.access(place, os.W_OK | os.X_OK) or not place.is_dir():
        fix = "make it writable, or set MESH_HOME to a folder of yours"
        return Check("data folder", FAIL, f"{place} is not writable", fix)
    try:
        kind = refuse_unfit(place)
    except UnfitFileSystem as error:
        return Check("data folder", FAIL, str(error), "set MESH_HOME to a folder on a local disk")
    text = f"{folder} on {kind or 'an unknown file system'}"
    if kind in VOLATILE:
        return Check(
            "data folder", WARN, f"{text}: gone at power-off", "set MESH_HOME to a folder on a disk"
        )
    return Check("data folder", OK, text)


def sync_ms(folder: Path, count: int = SYNCS) -> float:
    """The median time to make 4 KiB durable in that folder, in milliseconds."""
    times = []
    sync = getattr(os, "fdatasync", os.fsync)
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(count):
            file.write(os.urandom(4096))
            file.flush()
            begun = time.perf_counter()
            sync(file.fileno())
            times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


def check_sync(folder: str) -> Check:
    """How long the disk takes to promise that data is kept."""
    place = existing(folder)
    try:
        took = sync_ms(place)
    except OSError as error:
        return Check("disk sync", FAIL, f"{place}: {error}", "see `data folder`")
    return judge_sync(took)


def judge_sync(took: float) -> Check:
    """What a sync time in milliseconds says."""
    text = f"{plain.length_of_time(took)} for 4 KiB"
    if took > SYNC_MS_SLOW:
        fix = "put MESH_HOME on an SSD: each durable call waits for one sync, batches share it"
        return Check("disk sync", WARN, text, fix)
    if took < SYNC_MS_UNTRUE:
        fix = "make sure that this disk keeps what it acknowledged when the power goes"
        return Check("disk sync", WARN, f"{text}: faster than any disk", fix)
    return Check("disk sync", OK, text)


def check_space(folder: str) -> Check:
    """Free space against the levels at which a node refuses calls."""
    usage = shutil.disk_usage(existing(folder))
    return judge_space(usage.total, usage.free, os.path.exists(os.path.join(folder, "ballast")))


def judge_space(total: int, free: int, has_ballast: bool = True) -> Check:
    """What total and free bytes of the disk say, and whether room is put by for when it is full."""
    used = 1 - free / total if total else 1.0
    text = f"{size_text(free)} free of {size_text(total)}"
    needed = min(round((1 - limits.DISK_TIGHT_RATIO) * total), limits.DISK_TIGHT_FREE_BYTES)
    fix = f"free {size_text(max(0, needed - free))} of it, or keep less: {_KEEP_LESS}"
    if used > limits.DISK_FULL_RATIO and free < limits.DISK_FULL_FREE_BYTES:
        return Check("disk space", FAIL, f"{text}: a node takes outcomes only", fix)
    if used > limits.DISK_TIGHT_RATIO and free < limits.DISK_TIGHT_FREE_BYTES:
        return Check("disk space", WARN, f"{text}: a node takes no new calls", fix)
    if not has_ballast and free < limits.BALLAST_FREE_BYTES:
        least = size_text(limits.BALLAST_FREE_BYTES)
        text += f"; no ballast for when it is full: that takes {least} free"
    return Check("disk space", OK, text)


def check_files() -> Check:
    """How many files the node has open, and may have; without one, how many it could have."""
    import resource

    import psutil

    from meshcode.cli import process
    from meshcode.node.descriptors import WANTED

    try:
        node = process.find_process(paths.home())
        if node is not None:
            return judge_files(node.rlimit(psutil.RLIMIT_NOFILE)[0], node.num_fds(), node.pid)
    except (AttributeError, psutil.Error):  # Another system, another user's, or it has ended.
        pass
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return judge_files(min(hard, WANTED) if hard >= 0 else hard)  # A node takes all it may have.


def judge_files(most: int, used: int = 0, pid: int = 0) -> Check:
    """What a limit on open files says, and how many are; -1 is no limit, pid 0 no node."""
    from meshcode.node.descriptors import reserve

    shown = "unlimited" if most < 0 else f"{most:,}"
    if pid:
        shown = f"{used:,} of {shown} in use by the node, process {pid}"
    if pid and most >= 0 and most - used < reserve(most):
        fix = "end programs that keep clients open (`mesh status` counts them), or start it with"
        return Check("open files", FAIL, f"{shown}: it lets no new clients in", f"{fix} more")
    if most < 0 or most >= FILES_WARN:
        return Check("open files", OK, shown)
    fix = "raise the hard limit of who starts the node: `ulimit -n 4096`, or LimitNOFILE=4096"
    return Check("open files", WARN if most >= FILES_FAIL else FAIL, shown, fix)


def _command(*words: str) -> str | None:
    try:
        found = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def version_in(text: str) -> tuple[int, ...]:
    """The first dotted number in a text: `git version 2.39.5` gives (2, 39, 5)."""
    import re

    found = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def check_git() -> Check:
    """The program that fetches code."""
    text = _command("git", "--version")
    if text is None:
        return Check("git", FAIL, "not found on PATH", "install git 2.25 or newer")
    if version_in(text) < GIT_MIN:
        return Check("git", FAIL, text, "upgrade git to 2.25 or newer")
    return Check("git", OK, text.removeprefix("git version "))


def check_uv() -> Check:
    """The fast builder of environments."""
    beside = Path(sys.executable).with_name("uv")
    program = str(beside) if beside.exists() else shutil.which("uv")
    text = _command(program, "--version") if program else None
    if text is None:
        detail = "not found: environments are built with venv and pip, which takes longer"
        return Check("uv", WARN, detail, "install uv: pip install uv")
    return Check("uv", OK, text.removeprefix("uv "))


def landlock_version() -> int:
    """The version of Landlock that this kernel offers, 0 for none."""
    if sys.platform != "linux":
        return 0
    # landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION); one number everywhere.
    return max(0, int(ctypes.CDLL(None, use_errno=True).syscall(444, None, 0, 1)))


def check_landlock() -> Check:
    """Whether the kernel can shut a worker out of folders."""
    found = landlock_version()
    if found:
        return Check("landlock", OK, f"version {found}")
    text = f"not offered by {platform.system()} {platform.release()}"
    return Check("landlock", WARN, text, "workers then rely on the user they run as")


def check_cpus() -> Check:
    """How many CPUs workers can be pinned to."""
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    if not usable:
        return Check("cpus", WARN, f"{total}, and no pinning here", "workers run unpinned")
    if usable < total:
        return Check("cpus", OK, f"{usable} of {total} may be used")
    return Check("cpus", OK, str(total))


def check_node() -> Check:
    """Whether a node answers, and whether it is of this version."""
    from meshcode import __version__
    from meshcode.cli.session import address, session
    from meshcode.errors import MeshError, NotAllowed

    try:
        with session(timeout=2.0) as client:
            found = dict(client.ask("status"))
    except NotAllowed as error:
        why, found_advice, advice = error.text.partition("; nothing was done; ")
        if not found_advice:  # What could answer is not asked.
            return Check("node", FAIL, why.partition("; ")[0], "see what is said of the home")
        text = f"it is up and tells nothing, so the checks that ask it are left out: {why}"
        return Check("node", WARN, text, advice or "log in with `mesh login`")
    except MeshError as error:
        first = str(error).split(";", maxsplit=1)[0]
        return Check("node", WARN, first, "start one: mesh up")
    text = f"pid {found.get('pid')}, version {found.get('version')}, {address()}"
    if found.get("version") != __version__:
        fix = f"restart it with {__version__}: mesh down, mesh up"
        return Check("node", WARN, text, fix)
    if (found.get("log") or {}).get("damaged"):
        fix = "see docs/log.md: all other records are kept; replace the disk"
        return Check("node", FAIL, f"{text}; damaged records in its log", fix)
    return Check("node", OK, text)


def check_kept() -> Iterable[Check]:
    """What the node has room for, what it keeps of ended calls, and which processors are stuck;
    nothing without a node.
    """
    from meshcode.cli.node import history_text, model_text
    from meshcode.cli.session import session
    from meshcode.errors import MeshError

    try:
        with session(timeout=2.0) as client:
            found = dict(client.ask("status"))
    except MeshError:
        return
    if problem := model_text(found.get("model_problem")):
        yield Check("model", FAIL, problem, "see docs/model.md, The database")
    if memory := found.get("memory"):
        yield judge_memory(memory)
    if history := found.get("history"):
        yield Check("history", OK, history_text(history))
    yield from judge_code(found.get("processors") or ())


def check_schedules() -> Iterable[Check]:
    """Schedules whose arguments do not fit what they call; nothing without a node."""
    from meshcode.cli.scheduled import unfit
    from meshcode.cli.session import model, session
    from meshcode.errors import MeshError

    try:
        with session(timeout=2.0) as client:
            found = list(unfit(client, model(client, "list", "schedule")))
    except MeshError:  # The node's own check has said why; or they may not be seen.
        return
    for name, text in found:
        yield Check("schedule", WARN, text, f"mesh update schedule -n {name} --help")


def check_waiting() -> Iterable[Check]:
    """Calls that wait for a person, or for what may never be there again; nothing without a node.
    """
    from meshcode.cli.session import session
    from meshcode.errors import MeshError

    counts = {}
    try:
        with session(timeout=2.0) as client:
            for state in _WAITING:
                page = client.ask("call.list", state=state, rows=1)
                counts[state] = page.get("total") or len(page["calls"])
    except MeshError:  # The node's own check has said why; or they may not be seen.
        return
    for state, (what, fix) in _WAITING.items():
        if counts[state]:
            calls = "1 call is" if counts[state] == 1 else f"{counts[state]} calls are"
            text = f"{calls} {state}: {what}"
            yield Check("calls", WARN, text, f"`mesh ls calls --state {state}` has them; {fix}")


# States that do not end by themselves: why, and what a person does about it.
_WAITING = {
    "HELD": (
        "workers died under it too often, or it cannot be read; it waits for a person",
        "`mesh call retry ID` or `mesh call cancel ID`",
    ),
    "PARKED": (
        "what runs it is stopped, paused or without workers, or its socket is no longer there",
        "`mesh ls call ID` says what it needs: start or declare that again, or `mesh call cancel`",
    ),
}


def judge_code(processors: Iterable[dict[str, Any]]) -> Iterable[Check]:
    """What is not as it should be with the node's processors and their code, by its status."""
    for row in processors:
        if row.get("problem"):
            # The lines of a traceback: a check has one.
            text = " / ".join(line.strip() for line in row["problem"].splitlines())
            fix = f"{row['cure']}; the node tries again by itself"
            yield Check("code", WARN, f"processor {row['name']}: {text}", fix)
        if knot := row.get("knot"):
            fix = "cancel one of the calls that run: mesh ls calls --state RUNNING"
            yield Check("processor", WARN, knot, fix)
        for text in row.get("warnings", ()):
            fix = f"mesh proc restart -n {row['name']} --wait"
            yield Check("code", WARN, f"processor {row['name']}: {text}", fix)


def judge_memory(memory: dict[str, Any]) -> Check:
    """Whether the node's memory is enough for more calls, of what its status says."""
    from meshcode.cli.node import memory_text

    text = memory_text(memory)
    if memory["used"] > memory["limit"]:
        fix = "let calls end, or give it more: the setting `memory`"
        return Check("memory", WARN, f"{text}, more are refused", fix)
    return Check("memory", OK, text)


def examine() -> Iterable[Check]:
    """All checks, in the order in which a person should fix them."""
    from meshcode.cli import doctor_mesh, doctor_network

    data, mesh = paths.data_dir(), Path(paths.mesh_dir())
    checks: list[Callable[[], Check]] = [
        check_python,
        check_libzmq,
        check_curve,
        check_lmdb,
        check_framing,
        check_core,
        check_home,
        lambda: check_folder(data),
        lambda: check_sync(data),
        lambda: check_space(data),
        check_files,
        check_git,
        check_uv,
        check_landlock,
        check_cpus,
        lambda: doctor_network.check_mesh_files(mesh),
        lambda: doctor_network.check_zeroconf(mesh),
        lambda: doctor_network.check_multicast(mesh),
        check_node,
    ]
    for check in checks:
        yield check()
    yield from check_kept()
    yield from check_waiting()
    yield from check_schedules()
    yield from doctor_mesh.check_deployments()
    yield from doctor_mesh.checks()


@command()
@click.argument("what", nargs=-1, metavar="[flow ID]")
@styled
def doctor(what: tuple[str, ...], style: Style) -> None:
    """Check this machine, or why a flow does not end, and say what to fix. Exit status: 0 all
    well, 1 warnings, 2 failures.

    Examples:
      mesh doctor
      mesh doctor -o json
      mesh doctor flow 0192f3c1
    """
    if what and (what[0] != "flow" or len(what) != 2):
        raise click.UsageError("give nothing, or `flow` and the id of a flow")
    found: list[Check] = []
    for check in examine() if not what else _examine_flow(what[1]):
        found.append(check)
        if style.is_text:
            _print(check)
    if not style.is_text:
        rows: list[dict[str, Any]] = [check._asdict() for check in found]
        output.show("check", rows, [], style)
    worst = max((EXIT[check.state] for check in found), default=0)
    click.get_current_context().exit(worst)


def _examine_flow(id_text: str) -> Iterable[Check]:
    from meshcode.cli import doctor_flow

    yield from doctor_flow.checks(id_text)


def _print(check: Check) -> None:
    word = output.paint(f"{check.state:<4}", sys.stdout)
    output.write(f"{word}  {check.name:<12}  {clean(check.detail)}")
    if check.fix and check.state != OK:
        output.write(f"{'':4}  {'':12}  fix: {clean(check.fix)}")
    sys.stdout.flush()
