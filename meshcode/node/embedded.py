"""A node inside another program.

with Node(data="/var/lib/device") as node:
    node.serve("device.read", read)
    client = connect(node.address)

docs/embedding.md is the guide.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable
from typing import Any, Self

from meshcode import ahead, paths
from meshcode.errors import NodeError


def _remove(home: str, pid: int) -> None:
    """Remove a temporary folder; not in a child that was forked: there it is the parent's."""
    if os.getpid() == pid:
        paths.drop_ipc_dir(home)
        shutil.rmtree(home, ignore_errors=True)


class Node:
    """A whole node in a thread of this program.

    It offers functions of the program itself (`serve`), runs code from git as any node does, and
    can be spoken to by the `mesh` command and by clients in other processes.
    """

    def __init__(self, data: str | None = None) -> None:
        """A node that keeps everything in the folder `data`; None = a temporary one, then deleted.

        It starts with `start` or as a context manager.  The temporary folder goes at the end of the
        program, or with the `Node` that nobody has any more, when it was never stopped.
        """
        self._temporary = data is None
        self.home = paths.home(data or tempfile.mkdtemp(prefix="mesh-"))
        if self._temporary:
            weakref.finalize(self, _remove, self.home, os.getpid())
        self._thread: threading.Thread | None = None
        self._loop: Any = None
        self._error: BaseException | None = None
        self._pid = 0  # Of the process in which it was started; 0: it was not.
        self._serves = threading.Lock()
        self._served: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {}

    @property
    def address(self) -> str:
        """Where clients connect."""
        return paths.clients_address(self.home)

    def start(self) -> Self:
        """Recover and begin; returns when the node takes calls.

        Raises:
            FolderInUse: another node has the folder.
            NodeError: the folder or its log cannot be used, or this node runs already; the text
                says why.
        """
        self._check_process()
        ahead.use()  # Before anything imports the core.
        from meshcode.node import threads
        from meshcode.node.daemon import open_loop, unusable

        if self._thread is not None:
            raise NodeError("this node is already running")
        loop = open_loop(self.home)
        try:
            thread = threading.Thread(target=self._run, name="mesh-node", daemon=True)
            with self._serves:
                for name, (function, options) in self._served.items():
                    loop.hosted.serve(name, function, options)
                self._loop = loop
            threads.start(thread)
        except BaseException as error:  # No thread can be had.
            self._loop = None
            loop.close()
            if isinstance(error, threads.NoThread):
                raise unusable(self.home, error) from error
            raise
        self._thread, self._pid = thread, os.getpid()
        return self

    def _is_elsewhere(self) -> bool:
        """Whether this is a child that was forked while the node ran."""
        return self._pid not in (0, os.getpid())

    def _check_process(self) -> None:
        if self._is_elsewhere():
            raise NodeError(
                f"this node runs in process {self._pid}, from which this one, {os.getpid()}, was "
                f"forked without its thread and its log; nothing was changed: call it through "
                f"connect({self.address!r}), or make a Node with a folder of its own here"
            )

    def _run(self) -> None:
        try:
            self._loop.run()
        except BaseException as error:
            self._error = error
        finally:
            try:
                self._loop.close()
            finally:
                self._loop.hosted.close()  # Again, if it did not come to that.

    def serve(self, name: str, function: Callable[..., Any], **options: Any) -> None:
        """Offer `function` as socket `name`; once it returns a running node takes calls of it.

        Args:
            name: of the socket; it hides one of the same name in the model on this node.
            function: runs in a thread of this program, or, `async def`, on an event loop in a
                thread of its own; arguments and result are plain data.
            options: limits of the socket as in the model: concurrency, time_limit_ms, retries, ...

        Raises:
            BadRequest: a name, an option or a value that sockets cannot have, or no function;
                nothing was changed.
            NodeError: no thread can be started for it, or this is a child that was forked while the
                node ran; what was served before still is.
        """
        self._check_process()
        from meshcode.model.fields import check_served

        kept = check_served(name, function, options)
        known = None
        with self._serves:
            if self._loop is not None:
                known = self._loop.hosted.serve(name, function, kept)
            self._served[name] = (function, kept)
        if known is not None:
            known.wait()

    def stop(self) -> None:
        """Drain and end.  What was acknowledged is kept for the next start.

        In a child that was forked while the node ran this does nothing: the node is the parent's.

        Raises:
            NodeError: the node had ended by itself; the cause says why.  Or a function that it
                serves asks for this: the node waits for its end, so it would wait for the node.
        """
        if self._is_elsewhere():
            return
        if self._thread is not None:
            self._end_thread(self._thread)
        if self._temporary:
            shutil.rmtree(self.home, ignore_errors=True)
        if self._error is not None:
            error, self._error = self._error, None
            raise NodeError(f"the node ended by itself: {error}") from error

    def _end_thread(self, thread: threading.Thread) -> None:
        if thread.is_alive():
            if self._loop.hosted.is_caller():
                raise NodeError(
                    "a function that this node serves cannot stop it: the node waits for what runs,"
                    " and that would wait for the node; it goes on: let the function tell the main"
                    " thread, by a threading.Event for instance, and stop it there"
                )
            self._loop.stop()
        thread.join()
        with self._serves:
            self._thread, self._loop, self._pid = None, None, 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()
