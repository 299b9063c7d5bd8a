"""Repositories: a bare mirror per URL, and a detached worktree per commit.

A mirror holds all commits and trees but fetches file contents only for the commits that are
mounted (a blobless partial clone, where the remote can serve one; a full copy where not), so a
second commit of a repository costs a fraction of a clone.  A worktree is the exact content of one
commit and is never written to.  A remote that cannot be reached does not matter when the mirror
already has what is wanted.

    <cache>/mirrors/<name>-<hash>.git
    <cache>/trees/<name>-<hash>/<commit>
    <cache>/commits/<name>-<hash>/<commit>.git  one commit that a peer gave (`bundle.py`)
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from meshcode.digest import blake2b
from meshcode.errors import MountFailed
from meshcode.worker import git, policy
from meshcode.worker.policy import Policy

DEFAULT_BRANCH = "main"
Tell = Callable[[str, str], None]  # step, text: progress for people.


class Checkout(NamedTuple):
    """One commit on disk."""

    url: str  # Normalised, without a password.
    commit: str  # The full id.
    folder: str  # Its worktree.
    name: str  # Of the repository within the cache; also in the key of its environments.
    warning: str = ""  # Why it may be older than what is wanted.


def _silent(_step: str, _text: str) -> None:
    return


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold the lock file `path`; waits while another process holds it."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def name_of(url: str) -> str:
    """The folder name of a normalised URL: readable, then a hash of the whole."""
    short = re.sub(r"[^A-Za-z0-9._-]", "-", url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git"))
    digest = blake2b(url.removesuffix(".git").encode(), digest_size=8).hexdigest()
    return f"{short.lstrip('-.')[:40] or 'repository'}-{digest}"


def store_of(cache: str, name: str, commit: str) -> str:
    """The repository of one commit that a peer gave, whether it is there or not."""
    return os.path.join(cache, "commits", name, commit + ".git")


def _remove(folder: str) -> None:
    """Take a folder away as far as that goes."""
    import shutil  # Late: it brings bz2 and lzma, and a node never needs it.

    shutil.rmtree(folder, ignore_errors=True)


class Repository:
    """One remote repository and what this host has of it."""

    def __init__(
        self,
        url: str,
        cache: str,
        *,
        allow_file: bool = True,
        tell: Tell = _silent,
        rules: Policy | None = None,
    ) -> None:
        self.remote = git.parse_remote(url, allow_file=allow_file)
        self.rules = rules or Policy()
        self.cache = cache
        self.name = name_of(self.remote.url)
        # What `host:path` names need not be what ssh://host/path does.
        self.mirror = os.path.join(cache, "mirrors", name_of(self.remote.address) + ".git")
        self.trees = os.path.join(cache, "trees", self.name)
        self.lock = os.path.join(cache, "locks", self.name + ".git.lock")
        self.tell = tell

    def checkout(
        self,
        *,
        branch: str = "",
        commit: str = "",
        tag: str = "",
        offline: bool = False,
        held: str = "",
        running: Mapping[str, int] | None = None,
    ) -> Checkout:
        """Put the wanted commit on disk and say where.

        A tag wins over a commit, a commit over a branch; with none of them it is the branch
        `main`, or the remote's own default branch when there is no `main`.

        Args:
            offline: never ask the remote; what the mirror has must do.
            held: the full id of a commit that a peer gave for what is wanted; used without asking
                the remote.
            running: how many other nodes run each commit for that branch or tag.  What most of
                them run is taken where it is in the history of what is wanted; of equally many
                the newest there.

        Raises:
            MountFailed: step "fetch"; `reason` is one of bad_url, bad_ref, not_allowed, no_git,
                no_credential, no_repository, unreachable, no_branch, no_tag, no_commit,
                not_signed, no_files.
        """
        policy.check_url(self.remote.url, self.rules)
        if tag:
            git.check_ref(tag, "tag")
        elif commit:
            commit = git.check_commit(commit)
        elif branch:
            git.check_ref(branch, "branch")
        if not held and not offline:
            self.remote = policy.with_credential(self.remote, self.rules)
        warning = ""
        with locked(self.lock):
            if held:
                full, source = self._held(git.check_commit(held), "" if tag else commit)
            else:
                (full, trouble), source = self._find(branch, commit, tag, offline), self.mirror
                if running and (tag or not commit):
                    full = self._as_others(full, running)
                if trouble:
                    warning = f"{trouble}; using {full[:12]} from the mirror on this host"
                    self.tell("fetch", warning)
            policy.check_commit(self.remote.url, source, full, self.rules)
            folder = self._worktree(full, source)
        return Checkout(self.remote.url, full, folder, self.name, warning)

    def _find(self, branch: str, commit: str, tag: str, offline: bool) -> tuple[str, str]:
        """The full id of the commit, and why the remote could not be asked, or ""."""
        trouble = self._refresh(commit if not tag else "", offline)
        try:
            full = self._resolve(branch=branch, commit=commit, tag=tag, trouble=trouble)
        except MountFailed as error:
            if trouble and error.fields.get("reason") in ("no_branch", "no_tag", "no_commit"):
                raise self._unreachable(trouble) from error
            raise
        return full, trouble

    def _as_others(self, newest: str, running: Mapping[str, int]) -> str:
        """The commit that most others run, of those that led to the newest and are allowed.

        What did not lead there is of another history, or was taken back: no node has it from a
        peer's word.
        """
        behind = {commit: self._behind(commit, newest) for commit in running}
        good = [(running[c], -steps, c) for c, steps in behind.items() if steps is not None]
        for nodes, steps, commit in sorted(good, reverse=True):
            try:
                policy.check_commit(self.remote.url, self.mirror, commit, self.rules)
            except MountFailed as error:
                self.tell("fetch", f"not as {nodes} other nodes: {error.text}")
                continue
            self.tell("fetch", f"{commit[:12]}, as {nodes} other nodes; the newest is {-steps} on")
            return commit
        self.tell("fetch", f"{newest[:12]}, which cannot be what other nodes run")
        return newest

    def _behind(self, commit: str, newest: str) -> int | None:
        """How many commits came after one; None: it is not in the history of the newest."""
        if self._lookup(commit) != commit:
            return None
        try:
            row = self._git("rev-list", "--left-right", "--count", f"{commit}...{newest}")
        except git.GitFailed:  # It took too long: they are far apart.
            return None
        lacking, after = map(int, row.split())
        return None if lacking else after

    def _held(self, held: str, pinned: str) -> tuple[str, str]:
        """The commit that a peer gave, and the repository it is in."""
        source = store_of(self.cache, self.name, held)
        if not os.path.isdir(source):
            source = self.mirror  # Mounted here before, for another processor.
        if not held.startswith(pinned) or self._lookup(held, source) != held:
            raise MountFailed(
                f"commit {held[:12]} of {self.remote.url} did not come from a peer, or is not"
                f" the wanted {pinned or 'one'}; nothing was mounted",
                step="fetch",
                reason="no_commit",
            )
        self.tell("fetch", f"using {held[:12]} as a peer has it")
        return held, source

    # The mirror.

    def _git(
        self, *arguments: str, stdin: str = "", network: bool = False, source: str = ""
    ) -> str:
        return git.run(
            f"--git-dir={source or self.mirror}",
            *arguments,
            remote=self.remote,
            stdin=stdin,
            network=network,
        )

    def _make_mirror(self) -> None:
        _remove(self.mirror)
        os.makedirs(os.path.dirname(self.mirror), mode=0o700, exist_ok=True)
        git.run("init", "--quiet", "--bare", self.mirror)
        for key, value in (
            ("core.repositoryFormatVersion", "1"),
            ("extensions.partialClone", "origin"),
            ("remote.origin.url", self.remote.address),
            ("remote.origin.promisor", "true"),
            ("remote.origin.partialCloneFilter", "blob:none"),
        ):
            self._git("config", key, value)

    def _refresh(self, commit: str, offline: bool) -> str:
        """Bring the mirror up to date; returns why that was not possible, or ""."""
        known = os.path.exists(os.path.join(self.mirror, "mesh-fetched"))
        if known and commit and self._lookup(commit):
            return ""
        if offline:
            if known:
                return "fetching is switched off"
            raise self._unreachable("fetching is switched off")
        self.tell("fetch", f"fetching {self.remote.url}")
        if not known:
            self._make_mirror()
        try:
            self._fetch("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        except git.GitFailed as error:
            if not known:
                _remove(self.mirror)
                raise self._missing(error.text) from error
            return f"the remote could not be asked ({error.text})"
        if not known:
            with open(os.path.join(self.mirror, "mesh-fetched"), "w", encoding="ascii"):
                pass
        if len(commit) in (40, 64) and not self._lookup(commit):
            # Not on any branch or tag: many servers still hand it out when asked by id.
            try:
                self._fetch(commit)
            except git.GitFailed as error:
                self.tell("fetch", f"the remote has no commit {commit}: {error.text}")
        return ""

    def _fetch(self, *refs: str) -> None:
        prune = ["--prune"] if refs[0].startswith("+") else []
        self._git(
            *("fetch", "--quiet", "--force", "--no-write-fetch-head", *prune),
            *("--no-recurse-submodules", "--no-auto-gc", "--filter=blob:none"),
            *("--end-of-options", "origin", *refs),
            network=True,
        )
        self._check_unchecked()

    def _check_unchecked(self) -> None:
        """Check what git took as it came: all from a plain web server (the "dumb" protocol).

        What a real git server gives is checked as it arrives, and lies in packs of a promisor.

        Raises:
            MountFailed: something is wrong with it; the mirror is gone.
        """
        objects = os.path.join(self.mirror, "objects")
        packs = set(os.listdir(os.path.join(objects, "pack")))
        if all(len(name) != 2 for name in os.listdir(objects)) and all(
            name.removesuffix(".pack") + ".promisor" in packs
            for name in packs if name.endswith(".pack")
        ):  # fmt: skip
            return
        try:
            self._git(*git.FSCK_OPTIONS, "fsck", "--strict", "--no-dangling", "--no-progress")
        except git.GitFailed as error:
            _remove(self.mirror)  # Nothing of it is mounted, now or when the remote is away.
            raise MountFailed(
                f"what {self.remote.url} gave is no sound repository: {error.text}; all of it was"
                " removed again and nothing was mounted. Mend it, or serve it by a git server",
                step="fetch",
                reason="no_files",
            ) from error

    def _fetch_contents(self, commit: str) -> None:
        """Fetch what the files of the commit hold, as far as the mirror lacks it, all at once."""
        listing = ("rev-list", "--objects", "--no-walk", "--no-object-names", "--missing=print")
        rows = self._git(*listing, commit).split()
        lacking = [row[1:] for row in rows if row.startswith("?")]
        if lacking:
            self._git(
                # What is there has no part in it: nothing is said of it.
                *("-c", "fetch.negotiationAlgorithm=noop"),
                *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head"),
                *("--no-recurse-submodules", "--no-auto-gc", "--filter=blob:none"),
                *("--stdin", "origin"),
                stdin="\n".join(lacking) + "\n",
                network=True,
            )
            self._check_unchecked()

    def _lookup(self, name: str, source: str = "") -> str:
        """The full id of the commit a full ref name or hexadecimal id stands for, or ""."""
        # On standard input: whatever the name is, it cannot be an option.
        try:
            form = "--batch-check=%(objectname) %(objecttype)"
            answer = self._git("cat-file", form, stdin=f"{name}^{{commit}}\n", source=source)
        except git.GitFailed:  # Of a store that is damaged, or not there.
            return ""
        full, _, kind = answer.strip().partition(" ")
        return full if kind == "commit" else ""

    def _resolve(self, *, branch: str, commit: str, tag: str, trouble: str) -> str:
        where = self.remote.url
        if tag:
            full = self._lookup(f"refs/tags/{tag}")
            if not full:
                raise self._no("tag", tag, self._names("refs/tags/"))
            return full
        if commit:
            full = self._lookup(commit)
            if not full or not full.startswith(commit):
                raise MountFailed(
                    f"the repository {where} has no commit {commit}, or more than one that begins"
                    " so; nothing was mounted. Push the commit, or give more digits",
                    step="fetch",
                    reason="no_commit",
                )
            return full
        full = self._lookup(f"refs/heads/{branch or DEFAULT_BRANCH}")
        if not full and not branch and not trouble:
            full = self._remote_default()
        if not full:
            raise self._no("branch", branch or DEFAULT_BRANCH, self._names("refs/heads/"))
        return full

    def _remote_default(self) -> str:
        try:
            answer = self._git("ls-remote", "--symref", "origin", "HEAD", network=True)
        except git.GitFailed:
            return ""
        found = re.match(r"ref: (refs/heads/\S+)\tHEAD", answer)
        return self._lookup(found[1]) if found else ""

    def _names(self, prefix: str) -> list[str]:
        rows = self._git("for-each-ref", "--count=20", "--format=%(refname)", prefix).split()
        return [row.removeprefix(prefix) for row in rows]

    # Errors.

    def _no(self, what: str, name: str, there: list[str]) -> MountFailed:
        has = f"it has {', '.join(there)}" if there else f"it has no {what} at all"
        return MountFailed(
            f"the repository {self.remote.url} has no {what} {name!r}; {has}; nothing was mounted",
            step="fetch",
            reason=f"no_{what}",
        )

    def _unreachable(self, why: str) -> MountFailed:
        return MountFailed(
            f"the repository {self.remote.url} cannot be reached and this host has no copy of"
            f" what is wanted: {why}; nothing was mounted. It is tried again when it is asked for",
            step="fetch",
            reason="unreachable",
        )

    def _missing(self, said: str) -> MountFailed:
        if " belongs to " in said:
            return MountFailed(
                f"the repository {self.remote.url} is not read: {said}; nothing was mounted",
                step="fetch",
                reason="unreachable",
            )
        gone = ("does not appear to be a git repository", "not found", "does not exist")
        if not any(sign in said for sign in gone):
            return self._unreachable(said)
        return MountFailed(
            f"there is no repository at {self.remote.url}: {said}; nothing was mounted."
            " Check the address, and that this host may read it",
            step="fetch",
            reason="no_repository",
        )

    # Worktrees.

    def _worktree(self, commit: str, source: str) -> str:
        folder = os.path.join(self.trees, commit)
        whole = folder + ".whole"  # Made last: a folder without it is a leftover of a crash.
        if os.path.exists(whole):
            os.utime(whole)
            return folder
        os.makedirs(self.trees, mode=0o700, exist_ok=True)
        _remove(folder)
        try:
            self._git("worktree", "prune", source=source)
            if source == self.mirror:
                self._fetch_contents(commit)
            self._git(
                *("worktree", "add", "--quiet", "--force", "--detach", "--end-of-options"),
                *(folder, commit),
                source=source,
            )
        except git.GitFailed as error:
            _remove(folder)
            if source != self.mirror:  # It was whole once: the disk lost some of it.
                _remove(source)
            raise MountFailed(
                f"the files of commit {commit[:12]} of {self.remote.url} cannot be had:"
                f" {error.text}; nothing was mounted. Mount it once while the remote answers",
                step="fetch",
                reason="no_files",
            ) from error
        with open(whole, "w", encoding="ascii"):
            pass
        return folder


def clean_trees(cache: str, older_than_s: float, keep: Collection[str] = ()) -> list[str]:
    """Remove worktrees not mounted for that many seconds; returns their folders.

    Args:
        keep: folders of worktrees that running workers use.
    """
    removed = []
    horizon = time.time() - older_than_s
    top = os.path.join(cache, "trees")
    for name in sorted(os.listdir(top)) if os.path.isdir(top) else []:
        with locked(os.path.join(cache, "locks", f"{name}.git.lock")):
            for mark in sorted(os.listdir(os.path.join(top, name))):
                path = os.path.join(top, name, mark)
                folder = path.removesuffix(".whole")
                if folder == path or folder in keep or os.path.getmtime(path) >= horizon:
                    continue
                os.unlink(path)  # First the mark: what is half removed is never mounted.
                _remove(folder)
                _remove(store_of(cache, name, os.path.basename(folder)))
                removed.append(folder)
    return removed
