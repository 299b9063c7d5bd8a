"""Bundles: one commit with all its files in one file, so that nodes can hand code to each other.

`python -m meshcode.worker.bundle`, one JSON object in, one JSON line out:

In:  {"op": "make", "cache", "url", "commit"}
     {"op": "take", "cache", "url", "commit", "file", "size", "sha256"}
Out: {"ok": true, "file", "size", "sha256"}, or {"ok": false, "reason", "text"}

`url` is normalised (`git.parse_remote`), `commit` a full id.  A bundle holds a commit without its
history: on both sides the commit counts as the first one (git's `shallow` file), so its size is
that of the files, and a mirror without the contents of old files can make it.

A taken commit lies in a repository of its own, beside the mirror and never mixed with it:

    <cache>/commits/<name>/<commit>.git     made aside, renamed when it is whole and checked
    <cache>/bundles/<name>/<commit>.bundle  kept to serve others, BUNDLES_KEPT at most
    <cache>/bundles/<name>/<commit>.json    {"size", "sha256"} of it, written last
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from meshcode import limits
from meshcode.aside import write as write_aside
from meshcode.digest import sha256
from meshcode.errors import MountFailed
from meshcode.worker import git
from meshcode.worker.repository import locked, name_of, store_of

REF = "refs/mesh/commit"  # The one ref of a bundle.
# Reasons of `take` that only a peer that lies, or a link that breaks bytes, can cause.
LIES = ("bad_size", "bad_digest", "bad_bundle")
READ_BYTES = 1 << 20
PART_AGE_S_MAX = 86_400  # What was begun a day ago is not finished any more.
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_OVER = (f"died of signal {signal.SIGXFSZ:d}", "File too large")  # The limit set in `main`.
# Words of git about this host, not about the bundle.
_OURS = ("No space left", "did not end within", "Permission denied", "Read-only", "Disk quota")


class BundleFailed(Exception):
    """A bundle was not made, or not taken; nothing was changed."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


def files_of(cache: str, url: str, commit: str) -> tuple[Path, Path]:
    """Where the bundle of a commit is kept, and its description."""
    assert _COMMIT.match(commit), commit
    folder = Path(cache, "bundles", name_of(url))
    return folder / f"{commit}.bundle", folder / f"{commit}.json"


def part_of(cache: str, sha256: str) -> Path:
    """Where a bundle grows while it arrives; the digest finds it again after a restart."""
    assert re.fullmatch(r"[0-9a-f]{64}", sha256), sha256
    return Path(cache, "bundles", "incoming", f"{sha256}.part")


def kept(cache: str, url: str, commit: str) -> dict[str, Any] | None:
    """The bundle kept of a commit: {"file", "size", "sha256"}, or None."""
    file, note = files_of(cache, url, commit)
    try:
        found = json.loads(note.read_text())
        if file.stat().st_size != found["size"]:
            return None
        os.utime(file)
    except (OSError, ValueError, KeyError):
        return None
    return {"file": str(file), "size": found["size"], "sha256": found["sha256"]}


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    found = sha256()
    with open(path, "rb") as file:
        while data := file.read(READ_BYTES):
            found.update(data)
    return str(found.hexdigest())


def make(cache: str, url: str, commit: str) -> dict[str, Any]:
    """Make the bundle of a commit that was mounted here, or find it.

    Returns:
        {"file", "size", "sha256"}.

    Raises:
        BundleFailed: "not_here" (no such commit, or not all its files), "too_large", "git".
    """
    store = store_of(cache, name_of(url), commit)
    if not os.path.isdir(store):
        store = os.path.join(cache, "mirrors", name_of(url) + ".git")
    file, note = files_of(cache, url, commit)
    with locked(os.path.join(cache, "locks", f"{name_of(url)}.bundle.lock")):
        found = kept(cache, url, commit)
        if found is not None:
            return found
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _aside(file.parent) as aside:
            made = aside / "bundle"
            _write_bundle(store, commit, aside, made)
            _keep(made, file, note, digest_of(made))
        prune(cache, keep=file)
    found = kept(cache, url, commit)
    if found is None:
        raise BundleFailed("git", f"the bundle of {commit[:12]} was removed while it was made")
    return found


def _write_bundle(store: str, commit: str, aside: Path, made: Path) -> None:
    """Bundle a commit from `store`, through a repository that borrows its objects."""
    objects = os.path.join(os.path.abspath(store), "objects")
    if not os.path.isdir(objects):
        raise BundleFailed("not_here", f"commit {commit[:12]} is not on this host")
    borrower = aside / "git"
    try:
        _make_shallow(borrower, commit)
        # Not a partial clone: a file it lacks is an error here, never a question to the remote.
        (borrower / "objects" / "info" / "alternates").write_text(objects + "\n")
        git.run(f"--git-dir={borrower}", "update-ref", REF, commit)
        git.run(
            # Deltas that are there are used; looking for new ones in one state gains little.
            *("-c", "pack.window=0", f"--git-dir={borrower}"),
            *("bundle", "create", "--quiet", str(made), REF),
        )
    except git.GitFailed as error:
        if any(sign in error.text for sign in _OVER):
            raise BundleFailed(
                "too_large",
                f"the files of commit {commit[:12]} need more than the"
                f" {limits.CODE_BUNDLE_BYTES_MAX} bytes that nodes hand to each other",
            ) from error
        raise BundleFailed(
            "not_here", f"commit {commit[:12]} cannot be bundled here: {error.text}"
        ) from error


def _make_shallow(folder: Path, commit: str) -> None:
    git.run("init", "--quiet", "--bare", str(folder))
    (folder / "shallow").write_text(commit + "\n")


def take(cache: str, url: str, commit: str, file: str, size: int, sha256: str) -> dict[str, Any]:
    """Check a bundle that came from a peer, and make its commit ready to be mounted.

    The file is moved to the kept bundles.  Its bytes are held against size and digest as announced;
    then git names every object anew from its content, and all of the commit must be there.

    Raises:
        BundleFailed: one of LIES, or "os" or "git" for what is wrong with this host.
    """
    path = Path(file)
    if path.stat().st_size != size:
        raise BundleFailed(
            "bad_size", f"the bundle has {path.stat().st_size} bytes, {size} were announced"
        )
    if digest_of(path) != sha256:
        raise BundleFailed(
            "bad_digest", f"the bundle does not have the digest {sha256[:12]} that was announced"
        )
    store = Path(store_of(cache, name_of(url), commit))
    if not store.is_dir():
        store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _aside(store.parent) as aside:
            _unpack(path, commit, aside / "git")
            os.rename(aside / "git", store)
    target, note = files_of(cache, url, commit)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if kept(cache, url, commit) is None:
        _keep(path, target, note, sha256)
    else:
        path.unlink()  # What is kept may be offered to others already, under its own digest.
    prune(cache, keep=target)
    return kept(cache, url, commit) or {}


def _unpack(bundle: Path, commit: str, folder: Path) -> None:
    """A repository of the bundle's one commit, every object checked."""
    here = f"--git-dir={folder}"
    try:
        _make_shallow(folder, commit)
        heads = git.run(here, "bundle", "list-heads", str(bundle)).split("\n")
        if heads != [f"{commit} {REF}", ""]:
            raise BundleFailed("bad_bundle", f"the bundle is not one of commit {commit[:12]} alone")
        git.run(here, "bundle", "verify", "--quiet", str(bundle))
        git.run(here, "bundle", "unbundle", str(bundle))
        git.run(here, "update-ref", REF, commit)
        git.run(*git.FSCK_OPTIONS, here, "fsck", "--strict", "--no-dangling")
        kind = git.run(here, "cat-file", "-t", commit).strip()
    except git.GitFailed as error:
        ours = any(sign in error.text for sign in _OURS)
        raise BundleFailed(
            "git" if ours else "bad_bundle",
            f"git refused the bundle of commit {commit[:12]}: {error.text}",
        ) from error
    if kind != "commit":
        raise BundleFailed("bad_bundle", f"{commit[:12]} of the bundle is a {kind}, no commit")


@contextmanager
def _aside(parent: Path) -> Iterator[Path]:
    """A folder to work in, on the same file system; gone afterwards."""
    folder = parent / f".aside-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keep(made: Path, file: Path, note: Path, sha256: str) -> None:
    """Move a bundle to its place; the note goes first and comes last."""
    note.unlink(missing_ok=True)
    os.replace(made, file)
    write_aside(note, json.dumps({"size": file.stat().st_size, "sha256": sha256}).encode())


def prune(cache: str, keep: Path) -> None:
    """Keep the newest bundles only, and nothing that was begun and left."""
    top = Path(cache, "bundles")
    found = [path for path in top.glob("*/*.bundle") if path != keep]
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found[limits.CODE_BUNDLES_KEPT - 1 :]:
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    horizon = time.time() - PART_AGE_S_MAX
    for path in top.glob("incoming/*.part"):
        if path.stat().st_mtime < horizon:
            path.unlink(missing_ok=True)
    for path in (*top.glob("*/.aside-*"), *Path(cache, "commits").glob("*/.aside-*")):
        if path.stat().st_mtime < horizon:  # Of a child that was killed.
            shutil.rmtree(path, ignore_errors=True)


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Do one request; every failure is an answer."""
    words = {name: request[name] for name in ("cache", "url", "commit")}
    try:
        if not _COMMIT.match(words["commit"]):
            raise BundleFailed("git", f"{words['commit']!r} is no full commit id")
        if request["op"] == "take":
            found = take(
                **words,
                file=request["file"],
                size=request["size"],
                sha256=request["sha256"],
            )
        else:
            found = make(**words)
        return {"ok": True, **found}
    except BundleFailed as error:
        return {"ok": False, "reason": error.reason, "text": error.text}
    except MountFailed as error:
        return {"ok": False, "reason": "git", "text": error.text}
    except OSError as error:
        return {"ok": False, "reason": "os", "text": f"this host could not do it: {error}"}


def main() -> int:
    """Serve one request from standard input; no file it or git writes is over the limit."""
    most = limits.CODE_BUNDLE_BYTES_MAX
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    answer = serve(json.loads(sys.stdin.buffer.read()))
    print(json.dumps(answer), flush=True)
    return 0 if answer["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
