"""A node inside another program.

with Node(data="/var/lib/device") as node:
    node.serve("device.read", read)
    client = connect(node.address)

docs/embedding.md is the guide.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from typing import Any, Self

from meshcode import ahead, paths
from meshcode.errors import NodeError


class Node:
    """A whole node in a thread of this program.

    It offers functions of the program itself (`serve`), runs code from git as any node does, and
    can be spoken to by the `mesh` command and by clients in other processes.
    """

    def __init__(self, data: str | None = None) -> None:
        """A node that keeps everything in the folder `data`; None = a temporary one, then deleted.

        It starts with `start` or as a context manager.
        """
        self._temporary = data is None
        self.home = paths.home(data or tempfile.mkdtemp(prefix="mesh-"))
        self._thread: threading.Thread | None = None
        self._loop: Any = None
        self._error: BaseException | None = None
        self._served: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {}

    @property
    def address(self) -> str:
        """Where clients connect."""
        return paths.clients_address(self.home)

    def start(self) -> Self:
        """Recover and begin; returns when the node takes calls.

        Raises:
            FolderInUse: another node has the folder.
            NodeError: the log cannot be used; the text says why.
        """
        ahead.use()  # Before anything imports the core.
        from meshcode.node.daemon import open_loop

        if self._thread is not None:
            raise NodeError("this node is already running")
        self._loop = open_loop(self.home)
        for name, (function, options) in self._served.items():
            self._loop.hosted.serve(name, function, options)
        self._thread = threading.Thread(target=self._run, name="mesh-node", daemon=True)
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            self._loop.run()
        except BaseException as error:
            self._error = error
        finally:
            self._loop.close()

    def serve(self, name: str, function: Callable[..., Any], **options: Any) -> None:
        """Offer `function` as socket `name`.

        Args:
            name: of the socket; it hides one of the same name in the model on this node.
            function: runs in a thread of this program, or, `async def`, on an event loop in a
                thread of its own; arguments and result are plain data.
            options: limits of the socket as in the model: concurrency, time_limit_ms, retries, ...

        Raises:
            BadRequest: a name, an option or a value that sockets cannot have, or no function;
                nothing was changed.
        """
        from meshcode.model.fields import check_served

        kept = check_served(name, function, options)
        self._served[name] = (function, kept)
        if self._loop is not None:
            self._loop.hosted.serve(name, function, kept)

    def stop(self) -> None:
        """Drain and end.  What was acknowledged is kept for the next start.

        Raises:
            NodeError: the node had ended by itself; the cause says why.
        """
        if self._thread is not None:
            if self._thread.is_alive():
                self._loop.stop()
            self._thread.join()
            self._thread = None
            self._loop = None
        if self._temporary:
            shutil.rmtree(self.home, ignore_errors=True)
        if self._error is not None:
            error, self._error = self._error, None
            raise NodeError(f"the node ended by itself: {error}") from error

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()
