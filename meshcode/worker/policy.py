"""What code may be mounted: the one check that the git server's commits and a peer's pass.

The rules are objects of the model (kind `repo`), so they hold on every node of a mesh.  A rule is
about one repository or a folder of them, named by host and path: over whichever protocol, port or
user somebody tries to reach it, it is the same place.  Many servers do not tell capitals from small
letters: what forbids or asks for signers is said of all spellings, what allows of its own only.

- One `deny` that covers a repository refuses it, whatever else is said.
- As soon as there is one `allow`, what none of them covers is refused.
- Who must have signed its commits, and with which credential it is fetched, is said by the rule
  that names it most closely.

With no rules everything is allowed.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from meshcode.errors import MountFailed
from meshcode.worker import git
from meshcode.worker.private import read_source

AT_HOME = "home"  # Kind of a credential that names a file which the node never gives away.
REFUSED = ("not_allowed", "not_signed")  # Reasons for which code that runs already must stop.


class Rule(NamedTuple):
    """One rule of the model."""

    name: str
    place: str  # As `place_of` gives it.
    access: str = ""  # allow, deny, or nothing said.
    signers: str = ""  # Lines of ssh-keygen's allowed_signers; "": nothing said.
    credential: str = ""  # secret:NAME, env:NAME, file:PATH or key:PATH, on the host that fetches.


class Policy(NamedTuple):
    """All rules."""

    rules: tuple[Rule, ...] = ()


@cache
def place_of(url: str) -> str:
    """Host and path of a repository: one name for all ways to it.

    Raises:
        MountFailed: step "fetch", reason "bad_url".
    """
    parts = urlsplit(git.parse_remote(url).url)
    path = posixpath.normpath("/" + unquote(parts.path).strip("/"))
    return f"{(parts.hostname or '').lower()}{path.removesuffix('.git')}"


def read(rows: Iterable[Mapping[str, Any]]) -> Policy:
    """The rules in a mount request: objects of kind `repo`, each with its name.

    Raises:
        MountFailed: a rule that cannot be read; nothing may be mounted then.
    """
    rules = []
    for row in rows:
        try:
            place = place_of(str(row["url"]))
        except MountFailed as error:
            raise MountFailed(
                f"the rule {row.get('name')!r} for repositories cannot be read: {error.text};"
                " update or delete it: mesh ls repos",
                step="fetch",
                reason="not_allowed",
            ) from None
        text = {field: str(row.get(field) or "") for field in ("access", "signers", "credential")}
        rules.append(Rule(str(row["name"]), place, **text))
    return Policy(tuple(rules))


def _folded(place: str) -> str:
    return place.casefold().removesuffix(".git")


def _as_it_is(place: str) -> str:
    return place


def covering(
    url: str, policy: Policy, spelled: Callable[[str], str] = _as_it_is
) -> list[Rule]:
    """The rules about a repository, the one that names it most closely first.

    `spelled`: what of a place is compared.
    """
    place = spelled(place_of(url))
    found = [
        rule
        for rule in policy.rules
        if place == spelled(rule.place)
        or place.startswith(spelled(rule.place).rstrip("/") + "/")
    ]
    return sorted(found, key=lambda rule: (-len(rule.place), rule.name))


def refusal(url: str, policy: Policy) -> str:
    """Why a repository may not be mounted; empty when it may."""
    found = covering(url, policy)
    denied = [rule.name for rule in covering(url, policy, _folded) if rule.access == "deny"]
    if denied:
        return f"the repository {url} is denied by the rule {denied[0]!r}"
    lists = [rule for rule in policy.rules if rule.access == "allow"]
    if lists and not any(rule.access == "allow" for rule in found):
        return f"the repository {url} is on none of the {len(lists)} rules that allow one"
    return ""


def signers_of(url: str, policy: Policy) -> Rule | None:
    """The rule that says who must have signed the commits of a repository."""
    return next((rule for rule in covering(url, policy, _folded) if rule.signers), None)


def check_url(url: str, policy: Policy) -> None:
    """Refuse a repository before anything is fetched.

    Raises:
        MountFailed: step "fetch", reason "not_allowed".
    """
    why = refusal(url, policy)
    if why:
        raise MountFailed(
            f"{why}; nothing was mounted. `mesh ls repos` shows the rules",
            step="fetch",
            reason="not_allowed",
        )


def check_commit(url: str, git_dir: str, commit: str, policy: Policy) -> None:
    """Refuse a commit that no allowed signer signed, before its files are written.

    Raises:
        MountFailed: step "fetch", reason "not_signed".
    """
    rule = signers_of(url, policy)
    if rule is not None and not _is_signed(git_dir, commit, rule.signers):
        raise MountFailed(
            f"commit {commit[:12]} of {url} is not signed by any of the"
            f" {len(rule.signers.splitlines())} signers of the rule {rule.name!r}; nothing was"
            " mounted. Sign it with an SSH key, or add its signer to the rule",
            step="fetch",
            reason="not_signed",
        )


def _is_signed(git_dir: str, commit: str, signers: str) -> bool:
    """Whether the commit has an SSH signature of one of them; git's status decides."""
    import tempfile  # Late: it brings shutil with bz2 and lzma.

    with tempfile.NamedTemporaryFile("w", prefix="signers-") as file:
        file.write(signers.rstrip("\n") + "\n")
        file.flush()
        options = (
            "gpg.format=ssh",
            f"gpg.ssh.allowedSignersFile={file.name}",
            "gpg.program=false",  # Keys of this user's own keyring are not on the list.
            "gpg.x509.program=false",
        )
        words = [word for option in options for word in ("-c", option)]
        try:
            git.run(*words, f"--git-dir={git_dir}", "verify-commit", commit)
        except git.GitFailed:
            return False
    return True


def with_credential(remote: git.Remote, policy: Policy) -> git.Remote:
    """The remote with what the closest rule's credential names on this host.

    `env:NAME` and `file:PATH` hold `user:password`, or a token alone, and must be what a secret
    must be; `key:PATH` is the private key for ssh.

    Raises:
        MountFailed: step "fetch", reason "no_credential": it names nothing here.
    """
    rule = next((rule for rule in covering(remote.url, policy) if rule.credential), None)
    if rule is None:
        return remote
    kind, _, name = rule.credential.partition(":")
    if kind == "key":
        if not os.access(name, os.R_OK):
            raise _no_credential(remote, rule, f"there is no readable key {name}")
        return remote._replace(key=name)
    if kind == "secret":
        raise _no_credential(remote, rule, "this node may not read a secret of that name")
    if kind == AT_HOME:
        raise _no_credential(remote, rule, f"{name} is in the node's own home")
    if kind == "env" and name.startswith("MESH_"):
        raise _no_credential(remote, rule, f"${name} is one of the node's own variables")
    # A secret's place: the node has put it where its name was.
    source = name if kind == "private" else rule.credential
    try:
        text = read_source(source).strip()
    except ValueError as error:
        raise _no_credential(remote, rule, str(error)) from None
    user, colon, password = text.partition(":")
    if not colon:
        user, password = remote.user or "git", text
    return remote._replace(user=user, password=password)


def _no_credential(remote: git.Remote, rule: Rule, why: str) -> MountFailed:
    return MountFailed(
        f"the repository {remote.url} is fetched with the credential {rule.credential} of the rule"
        f" {rule.name!r}, and {why}; nothing was fetched. Put it there on this host, or change the"
        " rule",
        step="fetch",
        reason="no_credential",
    )


def reader(rules: list[dict[str, Any]]) -> Callable[[str], tuple[str, str]]:
    """What tells of a repository: why it may not be mounted, if so; who must have signed it."""
    try:
        rows = read(rules)
    except MountFailed as error:
        text = error.text  # A list with a hole is no list.
        return lambda _url: (text, "")

    def said_of(url: str) -> tuple[str, str]:
        if not rules:
            return "", ""
        try:
            why, rule = refusal(url, rows), signers_of(url, rows)
        except MountFailed as error:
            return error.text, ""
        refused = why and f"{why}; `mesh ls repos` shows the rules"
        return refused, "" if rule is None else rule.signers

    return said_of
