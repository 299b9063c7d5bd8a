"""The file that tells a worker what it is; written by its node, read by the worker alone.

It is plain data of simple kinds, so that a worker needs neither JSON nor msgpack for it.
Texts beyond ASCII are bytes in it: paths need not be UTF-8.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from meshcode.wire.codec import pack, unpack


def write(path: str, config: Mapping[str, Any]) -> None:
    """Write a worker's configuration, mode 0600; the worker removes it when it has read it.

    Fields:
        link: the ipc address of the node's workers link.
        worker, token: who it is (int), and the proof of it (hexadecimal text), both for READY.
        parent: process id of the node; a worker that finds another parent exits at once.
        processor: its name, for `sys.argv[0]`.
        module, import_path, commit: what to load, as the mount told.
        sockets: {socket: task}.
        control: path of the control page, made by the node before.
        lend: the lend folder, as the mount told.
        cpu: the CPU to run on, or None.
        limits: {"FLUSH_MS", "OUTPUT_BYTES_MAX", "ASYNC_CALLS_MAX"}, all optional.
    """
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(pack(_written(dict(config)), "a worker's configuration"))


def take(path: str) -> dict[str, Any]:
    """Read it and remove it, for it holds the token of this worker."""
    with open(path, "rb") as stream:
        found: dict[str, Any] = _read(unpack(stream.read()))
    os.unlink(path)
    return found


def _written(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _written(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_written(one) for one in value]
    if isinstance(value, str) and not value.isascii():
        return os.fsencode(value)
    return value


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _read(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_read(one) for one in value]
    return os.fsdecode(value) if isinstance(value, bytes) else value
