"""The client a process uses when none is named."""

from __future__ import annotations

import os
from threading import Lock

from meshcode.client.client import Client, connect

_lock = Lock()
_client: Client | None = None


def default_client() -> Client:
    """The process-wide client, connected when it is first needed, and again in a forked child.

    Raises:
        NoNode: no node answers at the default address.
    """
    global _client
    client = _client
    if client is not None and client.session.outbox.closed is None:
        return client
    with _lock:
        if _client is None or _client.session.outbox.closed is not None:
            _client = None
            _client = connect()
        return _client


def _after_fork_in_child() -> None:
    global _client, _lock
    _client = None
    _lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
