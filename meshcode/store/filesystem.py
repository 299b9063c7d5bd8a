"""File systems: whether one can keep a log, and the few durable steps the log takes by hand."""

from __future__ import annotations

import mmap
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from meshcode.errors import UnfitFileSystem

# Kind -> why a memory-mapped log cannot live there.
TEMP_SUFFIX = ".new"  # Of the name of a file while it is written.
_NETWORK = "it is on the network: maps and locks are not kept the same on both sides"
_NO_HOLES = "it has no sparse files, and a cut of the power can break its tables"
_NO_MAPS = "it has no shared writable maps"
_KINDS = {
    _NETWORK: """
        nfs nfs4 cifs smb2 smb3 smbfs 9p virtiofs ceph glusterfs lustre gpfs afs coda ncpfs davfs
        fuse.glusterfs fuse.davfs fuse.davfs2 fuse.sshfs fuse.s3fs fuse.rclone fuse.gcsfuse
        fuse.goofys fuse.cephfs fuse.grpcfuse fuse.vmhgfs-fuse vboxsf prl_fs
    """,
    _NO_HOLES: "vfat msdos umsdos fat exfat fuse.exfat",
    _NO_MAPS: "jffs2 cramfs squashfs iso9660 romfs erofs",
}
UNFIT = {kind: why for why, kinds in _KINDS.items() for kind in kinds.split()}
VOLATILE = frozenset({"tmpfs", "ramfs", "devtmpfs"})  # Gone with the machine's power.


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the mount table."""

    point: str
    kind: str
    source: str
    options: dict[str, str]  # Of the file system; a bare option has the value "".


def _unescape(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def read_mounts(text: str) -> list[Mount]:
    """The mounts of a `/proc/self/mountinfo`, in order; lines of another shape are left out."""
    found = []
    for line in text.splitlines():
        left, dash, right = line.partition(" - ")
        head, tail = left.split(), right.split()
        if not dash or len(head) < 6 or len(tail) < 2:
            continue
        options = dict(part.partition("=")[::2] for part in (tail[2:3] or [""])[0].split(","))
        found.append(Mount(_unescape(head[4]), tail[0], _unescape(tail[1]), options))
    return found


def mount_of(folder: str, mounts: list[Mount]) -> Mount | None:
    """The mount an absolute, resolved path is on: the longest mount point above it.

    Of two mounts on one point the later one counts, for it hides the earlier.
    """
    best: Mount | None = None
    for mount in mounts:
        point = mount.point.rstrip("/")
        above = folder == point or folder.startswith(point + "/")
        if above and (best is None or len(point) >= len(best.point.rstrip("/"))):
            best = mount
    return best


def kind_of(folder: Path) -> str:
    """The kind of file system a folder is on, as the kernel names it; "" when it does not say."""
    mount = _mount(folder)
    return mount.kind if mount else ""


def _mount(folder: Path) -> Mount | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    return mount_of(str(folder.resolve()), read_mounts(text))


def refuse_unfit(folder: Path, mounts: list[Mount] | None = None) -> str:
    """Check that a log can live in `folder`; returns the kind of its file system.

    Args:
        mounts: the mount table to look in, instead of the kernel's.

    Raises:
        UnfitFileSystem: it cannot; the folder is unchanged.
    """
    mount = _mount(folder) if mounts is None else mount_of(str(folder.resolve()), mounts)
    if mount is None:
        return ""
    kind = mount.kind
    if kind == "overlay" and mounts is None:
        # Inside a container the upper folder cannot be seen; then the overlay is trusted.
        upper = mount.options.get("upperdir", "")
        if upper and os.path.isdir(upper):
            below = _mount(Path(upper))
            kind = below.kind if below and below.kind in UNFIT else kind
    if kind in UNFIT:
        raise UnfitFileSystem(
            f"{folder} is on {kind} (mounted at {mount.point}), which cannot keep a log:"
            f" {UNFIT[kind]}; nothing was written; choose a folder on a local disk"
            " (ext4, xfs, btrfs, zfs, f2fs, ubifs)",
            folder=str(folder),
            kind=kind,
            mount=mount.point,
        )
    return kind


def disk_room(folder: Path) -> tuple[int, int]:
    """Bytes free for this process, and bytes in all, of the disk under `folder`."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder (0700) and those above it, and their names durable."""
    missing = []
    step = folder
    while not step.exists():
        missing.append(step)
        step = step.parent
    for step in reversed(missing):
        step.mkdir(mode=0o700, exist_ok=True)
        sync_folder(step.parent)


def write_durably(path: Path, data: bytes) -> None:
    """Write a small file so that after a cut of the power it is there whole, or not at all."""
    write_whole(path, data)
    sync_folder(path.parent)


def write_whole(path: Path, data: bytes) -> None:
    """The same for a name that is not durable yet: that takes `sync_folder` of its folder."""
    temp = path.with_name(path.name + TEMP_SUFFIX)
    handle = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)
    os.rename(temp, path)


def write_all(handle: int, data: bytes) -> None:
    """`os.write` until all of `data` is written; a short write is not an error of the disk."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def address_space_limit() -> int:
    """How many bytes of address space this process may have (`ulimit -v`); 0: no limit."""
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return 0 if limit == resource.RLIM_INFINITY else limit


def has_address_space(size: int) -> bool:
    """Whether a map of `size` bytes would be given now.

    LMDB lets go of the old map before it asks for the new one, and has none when that fails.
    """
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True
