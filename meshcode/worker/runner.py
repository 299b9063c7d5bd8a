"""A worker process: it loads one module of one commit and runs calls of its functions.

Started by `bootstrap.py` with a configuration (see `launch.py`).  It ties itself to the node,
connects its link, imports the module with output captured, says READY and enters the loop of
`loop.py`.  It ends with status 0 after STOP, 3 when its code cannot be loaded, and by SIGKILL
together with its node.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from meshcode.errors import MeshError, MountFailed
from meshcode.limits import ASYNC_CALLS_MAX, FLUSH_MS, OUTPUT_BYTES_MAX
from meshcode.wire.codec import pack
from meshcode.wire.frame import draft
from meshcode.wire.kinds import Kind
from meshcode.worker import isolation, override, report
from meshcode.worker.context import threads_inherit
from meshcode.worker.control import ControlPage
from meshcode.worker.link import Link
from meshcode.worker.loop import Worker, resident_bytes
from meshcode.worker.outbox import Outbox
from meshcode.worker.output import STDERR, STDOUT, CallStream

EXIT_NOT_LOADED = 3
NAMES_MAX = 50  # Functions named in an error.


def find_function(module: Any, task: str) -> Callable[..., Any] | None:
    """The function a task names; dots reach into classes and sub-objects."""
    found = module
    for part in task.split("."):
        found = getattr(found, part, None)
    return found if callable(found) else None


def load_module(config: dict[str, Any]) -> Any:
    """Import the module the configuration names, from its import path.

    Raises:
        MountFailed: it cannot be imported; the text ends with the traceback.
    """
    sys.path[:0] = config["import_path"]
    name = config["module"]
    try:
        module = importlib.import_module(name)
        override.apply(module, config.get("overrides") or {})
        return module
    except BaseException as error:  # SystemExit at import is a failed import too.
        raise MountFailed(
            f"the module {name!r} cannot be imported: {report.exception_text(error)}",
            step="import",
            traceback=report.traceback_text(error),
        ) from error


def no_such_function(module: Any, task: str) -> str:
    """What to tell about a task that the module does not have: the functions it does have."""
    there = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and getattr(value, "__module__", None) == module.__name__
    ]
    listed = ", ".join(there[:NAMES_MAX]) or "none"
    return f"the module {module.__name__!r} has no function {task!r}; its functions are: {listed}"


def _absent(module: Any, task: str, config: dict[str, Any]) -> str:
    """The same, with the commit that was looked at, and how a newer one is fetched."""
    at = str(config.get("commit") or "")[:12]
    commit = f"; the commit that runs here is {at}" if at else ""
    newer = f"`mesh proc restart -n {config['processor']}` fetches a newer one, if none is pinned"
    return f"{no_such_function(module, task)}{commit}; {newer}"


def _ready(config: dict[str, Any], worker: Worker | None, error: MeshError | None) -> bytes:
    sockets = sorted(name.decode() for name in worker.targets) if worker else []
    body = {
        "worker": config["worker"],
        "token": config["token"],
        "pid": os.getpid(),
        "commit": config.get("commit", ""),
        "sockets": sockets,
        "slots": worker.slots if worker else 0,
        "cpu": config.get("cpu"),
        "resident": resident_bytes(),
    }
    if error is not None:
        body["error"] = error.to_data()
    return draft(int(Kind.READY), code=0 if error is None else 1, body=pack(body))


def prepare(config: dict[str, Any]) -> None:
    """Tie the process down, before any code of the repository is loaded."""
    isolation.own_group()
    isolation.tie_to_parent(config.get("parent"))
    isolation.drop_privileges()
    config["cpu"] = isolation.pin(config.get("cpu"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the node, which sends STOP.


def run(config: dict[str, Any]) -> int:
    """Load, say READY, run calls until STOP.  Returns the exit status."""
    name = f"{config['processor']}/{config['worker']}"
    who = {"worker": name, "commit": config.get("commit", "")}
    if config.get("node"):
        who["node"] = config["node"]
    report.who[0] = pack(who)
    limits = config.get("limits") or {}
    page = ControlPage.open(config["control"])
    page.set_pid(os.getpid())
    link = Link(config["link"], config["lend"])
    outbox = Outbox(
        link.send,
        flush_ms=limits.get("FLUSH_MS", FLUSH_MS),
        output_bytes_max=limits.get("OUTPUT_BYTES_MAX", OUTPUT_BYTES_MAX),
    )
    sys.stdout = CallStream(outbox.capture, STDOUT)
    sys.stderr = CallStream(outbox.capture, STDERR)
    threads_inherit()  # Before there is task code.
    module: Any = None

    def load(sockets: dict[str, str]) -> dict[str, Callable[..., Any]]:
        found = {name: find_function(module, task) for name, task in sockets.items()}
        worker.absent = {
            name.encode(): _absent(module, sockets[name], config)
            for name, function in found.items()
            if function is None
        }
        return {name: function for name, function in found.items() if function is not None}

    calls_max = limits.get("ASYNC_CALLS_MAX", ASYNC_CALLS_MAX)
    worker = Worker(page, outbox, link.receive, load, calls_max)
    worker.ready = lambda: _ready(config, worker, None)
    worker.wake_main = link.wake
    try:
        module = load_module(config)
    except MountFailed as error:
        outbox.drafts.append(_ready(config, None, error))
        outbox.flush()
        link.close()
        return EXIT_NOT_LOADED
    worker.setup(config["sockets"], config.get("streams", ()))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The module may have changed these two.
    signal.signal(signal.SIGUSR1, worker.handle_signal)
    # What is loaded by now stays: no collection needs to look at it again.
    gc.collect()
    gc.freeze()
    page.set_resident(resident_bytes())
    outbox.start()
    outbox.drafts.append(worker.ready())
    _loop(worker, outbox, link)
    worker.stop()
    link.close()
    return 0


def _loop(worker: Worker, outbox: Outbox, link: Link) -> None:
    while not worker.stopping or worker.is_streaming:
        # First send, then look: a send may use up the telling that something has arrived.
        outbox.flush()
        worker.drain()
        staged = worker.staged and not worker.stopping
        if staged:
            worker.run_staged()
        stream = worker.streams.next()
        if stream is not None:
            worker.streams.run(stream)
        elif not staged and (not worker.stopping or worker.is_streaming):
            link.wait()


def main(config: dict[str, Any]) -> int:
    """Run a worker process with this configuration."""
    prepare(config)
    return run(config)
