"""How a node starts a worker: the configuration file, the command, the environment variables.

The node's supervisor uses exactly these three; tests do too.  The thread that starts a worker must
live as long as the worker shall: Linux sends the parent-death signal when that thread ends.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from meshcode.worker.lend import bootstrap_path

_KEPT = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")


def write_config(path: str, config: Mapping[str, Any]) -> None:
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
    with os.fdopen(file, "w", encoding="utf-8") as stream:
        json.dump(dict(config), stream)


def command(python: str, lend: str, config_path: str) -> Sequence[str]:
    """The command of a worker: isolated from PYTHON* variables and the user's site packages."""
    return [python, "-I", "-X", "utf8", bootstrap_path(lend), config_path]


def environment(extra: Mapping[str, str] | None = None, node: str = "") -> dict[str, str]:
    """The whole environment of a worker: a few plain variables and the processor's own.

    Args:
        extra: the processor's `env`; wins over all others.
        node: the address for clients, so that task code can make calls.
    """
    found = {name: os.environ[name] for name in _KEPT if name in os.environ}
    found.update({name: value for name, value in os.environ.items() if name.startswith("LC_")})
    if node:
        found["MESH_NODE"] = node
        found["MESH_LOGIN_FILE"] = os.devnull  # Not the login of whoever started the node.
    if "MESHCODE_PURE" in os.environ:
        found["MESHCODE_PURE"] = os.environ["MESHCODE_PURE"]
    found.update({str(name): str(value) for name, value in (extra or {}).items()})
    return found
