"""A node as a process: folders, pid file, signals, exit status.

    python -m meshcode.node [--home DIR]

Exit status: 0 drained or stopped; 3 the log became suspect (start it again: it verifies first);
otherwise that of the error it prints.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from pathlib import Path

import zmq

from meshcode import config, paths
from meshcode.errors import LogSuspect, MeshError, NodeError
from meshcode.node import descriptors
from meshcode.node.affinity import Affinity, Neighbours
from meshcode.node.loop import Loop

SUSPECT_STATUS = 3
GC_OBJECTS = 50_000  # New ones between two looks for cycles: about ten turns of full frames.


def open_loop(home: str | None = None) -> Loop:
    """Open the log of a home folder and make its node; `Loop.run` starts it.

    Raises:
        NodeError: the folder or its log cannot be used; nothing was changed.
    """
    if not __debug__:
        raise NodeError("a node needs its asserts: start Python without -O")
    try:
        _check_descriptors(home)
        return _open_loop(home)
    except (OSError, zmq.ZMQError, UnicodeError) as error:
        raise unusable(home, error) from error


def _open_loop(home: str | None) -> Loop:
    from meshcode.store.journaled import open_log

    base = paths.make_folders(home)
    log = open_log(paths.data_dir(base))
    gc.disable()  # Recovery makes millions of objects and no garbage.
    loop = Loop.__new__(Loop)  # Before it is made, so that what it has begun can be ended.
    try:
        paths.make_ipc_dir(base)
        loop.__init__(base, log)  # type: ignore[misc]
    except BaseException:
        _let_go(loop)
        log.close()
        raise
    finally:
        gc.enable()
    return loop


def _check_descriptors(home: str | None) -> None:
    """libzmq ends the whole process where it finds none for a thread of its own."""
    most, used = descriptors.limit(), descriptors.used()
    if most - used < descriptors.START:
        raise NodeError(
            f"no node can be started on {_shown(home)}: {used:,} of the {most:,} files that this"
            f" process may have open are in use, and a start takes {descriptors.START}; nothing was"
            " changed; close some, or raise `ulimit -n`",
            used=used, limit=most,
        )  # fmt: skip


def _let_go(loop: Loop) -> None:
    """End what a loop had begun that could not be made: nothing else would."""
    made = vars(loop)
    if (mesh := made.get("mesh")) is not None:
        mesh.close()
    if (model := made.get("model")) is not None:
        model.stop()
    for name in ("committer", "audit", "waker"):
        if name in made:
            made[name].close()
    if "context" in made:
        made["context"].destroy(linger=0)


# What to do about an error of the operating system; of others: check the folder.
_REMEDIES = {
    errno.EMFILE: "this process has too many files open: close some, or raise `ulimit -n`",
    errno.ENFILE: "this machine has too many files open: close some",
    errno.EAGAIN: "end some threads, or raise `ulimit -v` (150 MB for a node) or `ulimit -u`",
    errno.EROFS: "it is on a disk that cannot be written: name a folder on another",
    errno.ENOSPC: "its disk is full: make room, or name a folder on another",
    errno.EACCES: "this user may not write there: name a folder of your own",
    errno.EPERM: "this user may not write there: name a folder of your own",
    errno.EEXIST: "a file has its name: name a folder",
    errno.ENOTDIR: "a file has its name, or that of a folder above it: name a folder",
    errno.EADDRINUSE: "something else has the name of its link: remove that, or move the home",
}


def _shown(home: str | None) -> str:
    """The folder as it can be printed."""
    return paths.home(home).encode(errors="backslashreplace").decode()


def unusable(home: str | None, error: OSError | zmq.ZMQError | UnicodeError) -> NodeError:
    """The error of a start that the operating system refused."""
    home = _shown(home)
    encoding = sys.getfilesystemencoding()
    if isinstance(error, UnicodeError) and encoding != "utf-8":  # The name may be as good as any.
        what = f"in this locale Python writes names of files in {encoding}, which does not have it"
        do = "start it with PYTHONUTF8=1 or LC_ALL=C.UTF-8, or name a folder in plain ASCII"
    elif isinstance(error, UnicodeError):
        what, do = "its name is no text in UTF-8", "name it otherwise"
    else:
        what = str(error)
        do = _REMEDIES.get(error.errno or 0, "check it, its owner and its disk, and start again")
    return NodeError(f"no node can be started on {home}: {what}; {do}", folder=home)


def _home_in(arguments: list[str]) -> str | None:
    """The folder that the command line names."""
    match arguments:
        # What `mesh up` says: without argparse and what it loads for its help, 1 MiB.
        case ["--home", home] | ["--home", home, "--foreground"]:
            return home
    import argparse

    parser = argparse.ArgumentParser(prog="python -m meshcode.node", description=__doc__)
    parser.add_argument("--home", default=None, help="the node's folder (default: $MESH_HOME)")
    parser.add_argument("--foreground", action="store_true", help="accepted for clarity")
    found: str | None = parser.parse_args(arguments).home
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run a node in the foreground until it is told to stop."""
    home = _home_in(sys.argv[1:] if arguments is None else arguments)
    os.umask(0o077)
    descriptors.raise_limit()
    try:
        os.environ.update(config.exports(config.settings({"home": home})))
        loop = open_loop(home)
    except MeshError as error:
        print(f"mesh node: {error}", file=sys.stderr)
        return error.exit_status
    pid_file = Path(paths.pid_file(home))
    pid_file.write_text(f"{os.getpid()}\n")
    loop.install_signals()
    if hasattr(os, "sched_setaffinity"):
        loop.affinity = Affinity(Neighbours())
    gc.freeze()  # What start-up made lives as long as the node.
    gc.set_threshold(GC_OBJECTS)  # Calls make no cycles, so looking for garbage finds none of them.
    node = loop.node_id.hex()[:12]
    ready = f"node {node} boot {loop.log.boot} pid {os.getpid()} is ready"
    try:
        loop.run(opened=lambda: print(ready, flush=True))
    except LogSuspect as error:
        print(f"mesh node: {error}", file=sys.stderr, flush=True)
        os._exit(SUSPECT_STATUS)  # Nothing more may be written, not even by a clean-up.
    except MeshError as error:  # It cannot be a node of its mesh: a port is taken, it is evicted...
        print(f"mesh node: {error}", file=sys.stderr, flush=True)
        loop.close()
        return error.exit_status
    finally:
        pid_file.unlink(missing_ok=True)
    loop.close()
    print(f"node ended: {loop.stopped_by or 'stopped'}", flush=True)
    return 0
