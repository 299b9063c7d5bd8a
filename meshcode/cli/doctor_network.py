"""What `mesh doctor` says about being one of many nodes: key files, mDNS, multicast."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from meshcode.cli.doctor_check import FAIL, OK, WARN, Check

# Of a whole mesh folder; keys that admit and the root key are on few nodes, see docs/joining.md.
NEEDED = ("self.json", "node.key", "roster")
SHOWN_MAX = 3
SEEDS = "give nodes seeds: `mesh join` takes them from the invitation"


def check_mesh_files(folder: Path) -> Check:
    """Whether the mesh folder is whole, and for its owner's eyes only."""
    if not folder.exists():
        return Check("mesh files", OK, "none: this home is a single node; see `mesh init`")
    try:
        missing = [name for name in NEEDED if not (folder / name).is_file()]
        open_to_others = list(exposed(folder))
        strangers = list(owned_by_others(folder))
    except OSError as error:
        fix = "run this as the user that the node runs as"
        return Check("mesh files", FAIL, f"{folder}: {error.strerror}", fix)
    if missing:
        text = f"{folder} lacks {', '.join(missing)}"
        return Check("mesh files", FAIL, text, "bring it back from a copy, or join from a new home")
    if open_to_others:
        fix = f"chmod -R go= {folder}; if somebody may have read the keys, give this node new ones"
        return Check("mesh files", FAIL, f"open to others: {shown(open_to_others)}", fix)
    if strangers:
        fix = f"chown -R USER {folder}, with the user that the node runs as"
        return Check("mesh files", WARN, f"owned by another user: {shown(strangers)}", fix)
    return Check("mesh files", OK, f"{folder}, private")


def everything(folder: Path) -> Iterator[Path]:
    """The folder and all in it.

    Raises:
        OSError: a folder cannot be read.
    """
    yield folder
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.is_symlink():
            yield from everything(inner)
        else:
            yield inner


def exposed(folder: Path) -> Iterator[str]:
    """What anybody but the owner may read or write: mode and path."""
    for path in everything(folder):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            yield f"{mode:04o} {path}"


def owned_by_others(folder: Path) -> Iterator[str]:
    """What belongs neither to this user nor to the owner of the home."""
    mine = {os.geteuid(), folder.parent.stat().st_uid}
    for path in everything(folder):
        if path.stat().st_uid not in mine:
            yield str(path)


def shown(found: list[str]) -> str:
    """The first few, and how many more."""
    more = f" and {len(found) - SHOWN_MAX} more" if len(found) > SHOWN_MAX else ""
    return ", ".join(found[:SHOWN_MAX]) + more


def check_zeroconf(folder: Path) -> Check:
    """The optional library with which nodes find each other on a local network."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return Check("mdns", OK, f"zeroconf {version('zeroconf')}")
    except PackageNotFoundError:
        text = "zeroconf is not installed: nodes are found by seeds alone"
        state = WARN if folder.exists() else OK  # A single node looks for nobody.
        return Check("mdns", state, text, "pip install zeroconf, or use seeds")


def check_multicast(folder: Path) -> Check:
    """Whether this host lets multicast out and in, on the interfaces a node would use."""
    from meshcode.node.discovery import choose_interfaces, local_interfaces, multicast_check

    try:
        chosen = choose_interfaces(local_interfaces())
        found = multicast_check(chosen)
    except OSError as error:
        check = Check("multicast", WARN, f"blocked: {error}", SEEDS)
    else:
        check = judge_multicast(found, only_loopback=all(one.loopback for one in chosen))
    return check if folder.exists() else check._replace(state=OK)  # A single node needs none.


def judge_multicast(found: dict[str, str], *, only_loopback: bool) -> Check:
    """What the results by interface say to a node of a mesh: "ok", or "blocked: why"."""
    well = [name for name, result in found.items() if result == "ok"]
    parts = [f"ok on {', '.join(well)}"] if well else []
    parts += [
        f"{result.replace('blocked:', f'blocked on {name}:')}; nodes there then need seeds"
        for name, result in found.items()
        if result != "ok"
    ]
    if not found or only_loopback:
        parts.append("no network with other hosts: nodes there need seeds")
        fix = "connect a network, or name its interface if it is a tunnel or a bridge"
        return Check("multicast", WARN, "; ".join(parts), fix)
    if len(well) < len(found):
        fix = f"let UDP port 5353 of 224.0.0.251 through the firewall, or {SEEDS}"
        return Check("multicast", WARN, "; ".join(parts), fix)
    # A switch or an access point may still keep it from others: that shows in `mesh nodes` alone.
    return Check("multicast", OK, f"{parts[0]}, as far as one host can tell")
