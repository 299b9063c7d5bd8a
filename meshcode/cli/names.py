"""Names of objects for the completion of a shell, remembered for a moment in a file.

    $XDG_CACHE_HOME/meshcode/names/HASH.json     of one node; {kind: [Unix seconds, [names]]}, 0600

A name that was asked for within some seconds is not asked for again, and costs no connection.  Of
a node that is far (TCP) older names are given at once, and a process behind the shell asks for new
ones, so a Tab never waits for the network but the first time.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from meshcode import aside
from meshcode.cli import tab

FRESH_S = 5.0  # So long a Tab asks nobody.
STALE_S = 600.0  # So long names of a far node are given while new ones are asked for.
FIRST_S = 1.0  # The first Tab of a far node may take so long.
FILE_BYTES_MAX = 4 << 20

Ask = Callable[[str, float], list[str]]  # The kind, the longest time in seconds.


def of(kind: str, address: str, ask: Ask, *, near_s: float) -> list[str]:
    """The names of a kind, in their order; empty when they cannot be had in time.

    Args:
        kind: of object.
        address: of the node.
        ask: asks the node; may raise anything.
        near_s: the longest a node of this machine is waited for.
    """
    path = file_of(address)
    known = read(path).get(kind)
    age_s = time.time() - known[0] if known is not None else STALE_S + 1
    if known is not None and 0 <= age_s < FRESH_S:
        return known[1]
    far = address.startswith("tcp:")
    if far and known is not None and 0 <= age_s < STALE_S:
        _refresh_behind(kind)
        return known[1]
    try:
        return fetch(kind, path, ask, FIRST_S if far else near_s)
    except Exception:  # A Tab must never print a traceback into the line being typed.
        return []


def fetch(kind: str, path: Path, ask: Ask, seconds: float) -> list[str]:
    """Ask the node, and remember what it says."""
    names = ask(kind, seconds)
    write(path, {**read(path), kind: (time.time(), names)})
    return names


def forget(address: str) -> None:
    """An object came or went: the next Tab asks again."""
    tab.forget()
    try:
        file_of(address).unlink(missing_ok=True)
    except OSError:
        return  # It is a hint only, and old in seconds.


def file_of(address: str) -> Path:
    """Where the names of a node are remembered, for this user and this home."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    if not os.path.isabs(base):
        base = os.path.join(os.environ.get("HOME") or os.path.expanduser("~"), ".cache")
    who = f"{address}\0{os.environ.get('MESH_LOGIN_FILE', '')}\0{os.getuid()}"
    name = blake2b(os.fsencode(who), digest_size=12).hexdigest()
    return Path(base, "meshcode", "names", f"{name}.json")


def read(path: Path) -> dict[str, tuple[float, list[str]]]:
    """What is remembered; a file that is damaged, or of somebody else, is nothing."""
    try:
        if path.stat().st_uid != os.getuid() or path.stat().st_size > FILE_BYTES_MAX:
            return {}
        found = json.loads(path.read_bytes())
        return {
            str(kind): (float(at), [str(name) for name in names])
            for kind, (at, names) in found.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write(path: Path, known: dict[str, tuple[float, list[str]]]) -> None:
    """Remember; whole or not at all.  A folder that cannot be written to is no fault."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside.write(path, json.dumps(known).encode())
    except OSError:
        return


def _refresh_behind(kind: str) -> None:
    import subprocess  # Only far nodes need it.

    subprocess.Popen(
        # -P: a file of the folder that Tab is pressed in must not pass for a module.
        [sys.executable, "-P", "-m", "meshcode.cli.names", kind],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip


def main() -> int:
    """Ask for the names of the kinds that are arguments, however long it takes."""
    from meshcode.cli.session import CONNECT_S, address, asked_names

    where = address()
    for kind in sys.argv[1:]:
        fetch(kind, file_of(where), asked_names, CONNECT_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
