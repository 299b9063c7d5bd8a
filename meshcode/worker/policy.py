"""What code may be mounted here: the one check that the git server's commits and a peer's pass.

Both lists come with the mount request and are off when they are not there.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from meshcode.errors import MountFailed
from meshcode.worker import git


class Policy(NamedTuple):
    """Which repositories, and whose commits."""

    allowed: tuple[str, ...] | None = None  # Normalised URLs or folders of them; None: all.
    signers: str = ""  # A file of allowed signers (ssh-keygen(1)); "": unsigned is good.


def allowed(url: str, policy: Policy) -> bool:
    """Whether the repository of a normalised URL, or a folder it lies in, is on the list."""
    if policy.allowed is None:
        return True
    plain = [entry.rstrip("/") for entry in policy.allowed]
    return any(url == entry or url.startswith(entry + "/") for entry in plain)


def signature_ok(git_dir: str, commit: str, policy: Policy) -> bool:
    """Whether the commit has an SSH signature of an allowed signer; git's status decides."""
    if not policy.signers:
        return True
    options = (
        "gpg.format=ssh",
        f"gpg.ssh.allowedSignersFile={os.path.abspath(policy.signers)}",
        "gpg.program=false",  # Keys of this user's own keyring are not on the list.
        "gpg.x509.program=false",
    )
    words = [word for option in options for word in ("-c", option)]
    try:
        git.run(*words, f"--git-dir={git_dir}", "verify-commit", commit)
    except git.GitFailed:
        return False
    return True


def check_url(url: str, policy: Policy) -> None:
    """Refuse a repository that is not on the list, before anything is fetched.

    Raises:
        MountFailed: step "fetch", reason "not_allowed".
    """
    if not allowed(url, policy):
        raise MountFailed(
            f"the repository {url} is not on this host's list of {len(policy.allowed or ())}"
            " allowed ones; nothing was mounted. Add it, or its folder, to the list",
            step="fetch",
            reason="not_allowed",
        )


def check_commit(url: str, git_dir: str, commit: str, policy: Policy) -> None:
    """Refuse a commit that no allowed signer signed, before its files are written.

    Raises:
        MountFailed: step "fetch", reason "not_signed".
    """
    if not signature_ok(git_dir, commit, policy):
        raise MountFailed(
            f"commit {commit[:12]} of {url} is not signed by anyone in {policy.signers}; nothing"
            " was mounted. Sign it with an SSH key, or add its signer to the file",
            step="fetch",
            reason="not_signed",
        )
