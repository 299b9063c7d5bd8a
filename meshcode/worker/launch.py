"""How a node starts a worker: the command and the environment variables.

The node's supervisor uses exactly these, and `configuration.write`; tests do too.  The thread that
starts a worker must live as long as the worker shall: Linux sends the parent-death signal when that
thread ends.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from meshcode.worker.lend import bootstrap_path

_KEPT = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")


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
