"""The mesh folder on disk: made whole or not at all, its files private and durable.

While `$MESH_HOME/mesh` is made, everything is in `$MESH_HOME/.mesh.new`; one rename makes it real.
A command holds a lock on the home as long as it makes or joins a mesh.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meshcode import paths
from meshcode.errors import MeshExists, NoMesh, TrustDamaged, WrongState
from meshcode.store.filesystem import make_folder, sync_folder, write_durably

STAGING = ".mesh.new"
SELF = "self.json"
NODE_KEY = "node.key"
NEXT_KEY = "node.key.next"
ROOT_KEY = "root.key"
ADMIT_KEY = "admit.key"
ROSTER = "roster"
INVITES = "invites"
FORMAT = 1
FILE_BYTES_MAX = 64 * 1024  # Of a JSON file of ours; the longest has some 2 KiB.


def folder_of(base: str | None = None) -> Path:
    """The mesh folder of a home, there or not."""
    return Path(paths.mesh_dir(base))


def has_mesh(base: str | None = None) -> bool:
    """Whether the home belongs to a mesh."""
    return (folder_of(base) / SELF).exists()


def refuse_mesh(base: str | None = None) -> None:
    """Check that the home belongs to no mesh.

    Raises:
        MeshExists: it does, or there is a folder of that name with other things in it.
    """
    folder = folder_of(base)
    if has_mesh(base):
        found = read_json(folder / SELF)
        raise MeshExists(
            f"this home belongs to mesh {str(found.get('mesh'))[:8]} as {found.get('name')!r}"
            f" already ({folder}); nothing was changed; only its address: mesh down, then mesh up"
            " --bind tcp://IP:PORT; another mesh: use another --home, or leave that one first:"
            " evict this node on a node that admits, then move the folder away",
            folder=str(folder),
        )
    if folder.exists() and any(folder.iterdir()):
        raise MeshExists(
            f"{folder} is there and is no whole mesh folder: {SELF} is missing; nothing was"
            " changed; move it away",
            folder=str(folder),
        )


def need_mesh(base: str | None = None) -> Path:
    """The mesh folder.

    Raises:
        NoMesh: the home belongs to none.
    """
    if not has_mesh(base):
        raise NoMesh(
            f"{paths.home(base)} belongs to no mesh; make one with `mesh init`, or join one with"
            " `mesh join LINE`"
        )
    return folder_of(base)


@contextlib.contextmanager
def making(base: str | None = None) -> Iterator[Path]:
    """Hold the home while a mesh folder is made in the staging folder, whose path is given.

    A home that was not there before and is empty afterwards is taken away again.

    Raises:
        MeshExists: the home belongs to a mesh already.
        WrongState: another command is making one at this moment.
    """
    home = Path(paths.home(base))
    is_new = not home.exists()
    if not is_new:
        refuse_mesh(base)
    make_folder(home)
    handle = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WrongState(
                f"another command is making or joining a mesh in {home} at this moment; nothing"
                " was changed; wait for it"
            ) from None
        refuse_mesh(base)  # Who held the lock before may have made one.
        yield home / STAGING
    finally:
        os.close(handle)
        if is_new:
            with contextlib.suppress(OSError):  # It is not empty: then it stays.
                home.rmdir()


def begin(staging: Path) -> None:
    """Make an empty staging folder, whatever an earlier attempt left of it."""
    discard(staging)
    make_folder(staging)


def discard(staging: Path) -> None:
    """Take the staging folder away."""
    import shutil  # Late: it brings bz2 and lzma, and a node seldom needs it.

    if staging.exists():
        shutil.rmtree(staging)


def finish(staging: Path) -> None:
    """Make the staging folder the mesh folder, in one step."""
    make_folder(staging / INVITES)
    for path in staging.iterdir():  # Each is durable; now their names are.
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) != 0o600:
            path.chmod(0o600)
    sync_folder(staging)
    os.rename(staging, staging.parent / "mesh")  # Over an empty folder, or none.
    sync_folder(staging.parent)


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a private file of JSON, durably, whole or not at all."""
    text = json.dumps({"format": FORMAT, **data}, indent=2, ensure_ascii=True)
    write_durably(path, text.encode() + b"\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that `write_json` wrote.

    Raises:
        TrustDamaged: it is missing, damaged, or of a newer format.
    """
    found: Any = None
    data = read_bytes(path, FILE_BYTES_MAX)
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(data)
    if type(found) is not dict:
        raise damaged(path, "is not the JSON that was written there")
    if found.get("format") != FORMAT:
        raise damaged(path, f"has format {found.get('format')!r:.20}, this version reads {FORMAT}")
    return found


def read_bytes(path: Path, limit: int, *, private: bool = False) -> bytes:
    """The content of a file of at most `limit` bytes.

    Raises:
        TrustDamaged: it cannot be read, is larger, or is private and others may read it.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(limit + 1)
    except OSError as error:
        raise damaged(path, f"cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise damaged(path, f"has more than {limit} bytes")
    if private and mode & 0o077:
        raise damaged(
            path, f"has mode {mode:04o}, so others may have read it; expected 0600; if nobody did,"
            f" run `chmod 600 {path}`"
        )  # fmt: skip
    return data


def read_key(path: Path, *fields: str) -> list[bytes]:
    """The named secrets of a key file, 32 bytes each.

    Raises:
        TrustDamaged: the file is not private, or not whole.
    """
    read_bytes(path, FILE_BYTES_MAX, private=True)
    found = read_json(path)
    return [hex_field(path, found, field, 32) for field in fields]


def hex_field(path: Path, found: dict[str, Any], field: str, size: int) -> bytes:
    """Bytes that are written as hexadecimal digits.

    Raises:
        TrustDamaged: the field is missing or wrong.
    """
    value = found.get(field)
    try:
        data = bytes.fromhex(value) if type(value) is str else b""
    except ValueError:
        data = b""
    if len(data) != size:
        raise damaged(path, f"field {field!r} is not {2 * size} hexadecimal digits")
    return data


def damaged(path: Path, why: str) -> TrustDamaged:
    """The error about a file of the mesh folder."""
    return TrustDamaged(
        f"{path} {why}; it is left as it is; bring it back from a copy, or let this node join"
        " again from a fresh home",
        path=str(path),
    )
