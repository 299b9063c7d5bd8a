"""Running git on behalf of strangers: one hardened way to start it, and checks of what users name.

Rules kept here and nowhere else:
- no value from a user is ever an argument that could be read as an option: names travel on
  standard input or behind a fixed prefix (`refs/heads/NAME`, `file:///...`), after a check;
- no system, global or included configuration (but `safe.directory`, see `run`), no hooks, no
  prompts, no helpers but our own;
- only https, ssh and (when allowed) file; objects are checked as they arrive (what comes from a
  plain web server right after: `repository.py`); every run has an end, and none fetches unasked.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from meshcode.errors import MountFailed
from meshcode.worker import child

FETCH_SECONDS_MAX = 300  # One fetch of one repository; a larger one wants a local mirror.
LOCAL_SECONDS_MAX = 120  # Anything that does not talk to the remote.

# The helper answers from its environment, so a password is in no file, argument or log.
_HELPER = '!f() { echo "username=$MESH_GIT_USER"; echo "password=$MESH_GIT_PASSWORD"; }; f'
_OPTIONS = (
    "core.hooksPath=/dev/null",
    "protocol.ext.allow=never",
    "submodule.recurse=false",
    "transfer.fsckObjects=true",
    # Harmless defects of old public repositories; everything else stops the fetch.
    "fetch.fsck.badTimezone=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "fetch.fsck.zeroPaddedFilemode=ignore",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
)
# The same for objects that a peer gave, which arrive by no fetch.
FSCK_OPTIONS = (
    *("-c", "fsck.badTimezone=ignore"),
    *("-c", "fsck.missingSpaceBeforeDate=ignore"),
    *("-c", "fsck.zeroPaddedFilemode=ignore"),
)
_KEPT = (
    *("PATH", "HOME", "SSH_AUTH_SOCK", "TMPDIR"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),  # Read by OpenSSL, and by no git with GnuTLS.
    *("GIT_SSL_CAINFO", "GIT_SSL_CAPATH"),
)
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
_BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)")
_HEX = re.compile(r"[0-9a-fA-F]{7,64}\Z")
_OWNED_BY_OTHERS = "dubious ownership"  # In what git says.
_SECRET = re.compile(r"(?<=://)[^/@\s]*@")


class Remote(NamedTuple):
    """Where a repository is, checked."""

    url: str  # Normalised, without a password.
    user: str
    password: str
    allow_file: bool
    key: str = ""  # File of the private key for ssh.
    relative: str = ""  # `host:path` of ssh, whose path is below the login's home there.

    @property
    def address(self) -> str:
        """What git is told: another path than the URL's where that was `host:path`."""
        return self.relative or self.url


def hide_secrets(text: str) -> str:
    """The text without user names and passwords of URLs."""
    return _SECRET.sub("", text)


def _refuse(url: str, why: str) -> MountFailed:
    return MountFailed(
        f"the repository {hide_secrets(url)!r} is refused: {why}; nothing was fetched",
        step="fetch",
        reason="bad_url",
    )


def parse_remote(url: str, *, allow_file: bool = True) -> Remote:
    """Check and normalise what a user gave as the repository.

    `host:path` of ssh, plain absolute paths and `#egg=...` tails are understood; a password in the
    URL is kept apart.

    Raises:
        MountFailed: step "fetch", reason "bad_url".
    """
    text = url.strip().partition("#")[0]
    if not text or text.startswith("-") or re.search(r"[\x00-\x20\x7f]", text):
        raise _refuse(url, "it is empty, begins with a dash, or holds spaces or control characters")
    if text.startswith(("/", "~")):
        text = "file://" + quote(os.path.expanduser(text))
    scp = re.fullmatch(r"([A-Za-z0-9._-]+@)?([A-Za-z0-9.-]+):(?![/-])([^:]+)", text)
    scp = None if "://" in text else scp
    if scp:
        text = f"ssh://{scp[1] or ''}{scp[2]}/{scp[3]}"
    text = text.removeprefix("git+")
    try:
        parts = urlsplit(text)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise _refuse(url, f"it is not a URL ({error})") from error
    if parts.scheme not in ("https", "ssh", "file"):
        raise _refuse(url, "use https://, ssh://, file:// or an absolute path")
    host = (parts.hostname or "").lower().rstrip(".")  # A dot at its end changes nothing.
    if parts.scheme == "file":
        if not allow_file:
            raise _refuse(url, "repositories on this host are not allowed here")
        if host not in ("", "localhost"):
            raise _refuse(url, f"file:// names this host, not {host!r}")
        path = os.path.realpath(unquote(parts.path))
        return Remote("file://" + quote(path), "", "", allow_file)
    if not host or host.startswith("-") or parts.path in ("", "/"):
        raise _refuse(url, "it names no host or no path")
    user = unquote(parts.username or "")
    if user.startswith("-") or parts.query:
        raise _refuse(url, "the user name begins with a dash, or there is a query")
    # ssh needs its user in the URL; https gets it from the environment.
    login = f"{quote(user)}@" if user and parts.scheme == "ssh" else ""
    path = parts.path.rstrip("/")
    url = f"{parts.scheme}://{login}{host}{port}{path}"
    relative = f"{scp[1] or ''}{host}:{scp[3].rstrip('/')}" if scp else ""
    return Remote(url, user, unquote(parts.password or ""), allow_file, relative=relative)


def check_ref(name: str, what: str) -> str:
    """The name of a branch or tag, checked by git's own rules (git-check-ref-format).

    Raises:
        MountFailed: step "fetch", reason "bad_ref".
    """
    bad = (
        not name
        or len(name) > 200
        or name.startswith(("-", "/", "."))
        or name.endswith(("/", "."))
        or name == "@"
        or _BAD_REF.search(name)
    )
    if bad:
        raise MountFailed(
            f"{name!r} is no name of a {what}; nothing was fetched", step="fetch", reason="bad_ref"
        )
    return name


def check_commit(text: str) -> str:
    """A commit id of 7 to 64 hexadecimal digits, in lower case.

    Raises:
        MountFailed: step "fetch", reason "bad_ref".
    """
    if not _HEX.match(text):
        raise MountFailed(
            f"{text!r} is no commit id: 7 to 64 hexadecimal digits are wanted, this has"
            f" {len(text)} characters; nothing was fetched",
            step="fetch",
            reason="bad_ref",
        )
    return text.lower()


def environment(remote: Remote | None, network: bool = False) -> dict[str, str]:
    """The whole environment of one git process; without `network` it can reach no remote at all."""
    found = {name: os.environ[name] for name in _KEPT if name in os.environ}
    for name in _PROXIES:
        for spelling in (name, name.upper()):
            if spelling in os.environ:
                found[spelling] = os.environ[spelling]
    protocols = "none"
    if network:
        protocols = "https:ssh:file" if remote is None or remote.allow_file else "https:ssh"
    found.update(
        LC_ALL="C",
        GIT_TERMINAL_PROMPT="0",
        GIT_ASKPASS="",
        SSH_ASKPASS="",
        GIT_CONFIG_NOSYSTEM="1",
        GIT_CONFIG_GLOBAL=os.devnull,
        GIT_ATTR_NOSYSTEM="1",
        GIT_ALLOW_PROTOCOL=protocols,
        GIT_SSH_COMMAND="ssh -oBatchMode=yes -oConnectTimeout=20",
        GIT_LFS_SKIP_SMUDGE="1",
        # A mirror without file contents asks for what it lacks by a fetch of its own. git would
        # start one for any object it misses; from a plain web server it fetches object by object,
        # misses each, and so starts itself without end.
        GIT_NO_LAZY_FETCH="1",
    )
    if remote is not None and remote.key:
        found["GIT_SSH_COMMAND"] += f" -oIdentitiesOnly=yes -i {shlex.quote(remote.key)}"
    if remote is not None and remote.password:
        found.update(MESH_GIT_USER=remote.user or "git", MESH_GIT_PASSWORD=remote.password)
    return found


class GitFailed(Exception):
    """git ended with an error; `text` is what it said, without secrets."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def _what_it_said(err: bytes) -> str:
    lines = [line.strip() for line in err.decode("utf-8", "replace").splitlines()]
    said = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))] or lines
    return hide_secrets(" / ".join(said[-4:]))


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _not_ours(path: str) -> str:
    """Why git does not read a repository on this host, and what helps."""
    me = _owner(os.geteuid())
    with contextlib.suppress(OSError):
        owner = _owner(os.stat(path).st_uid)
        return (
            f"{path} belongs to {owner} and is read as {me}: git reads nobody else's repository"
            f" unless it is told to. As {me}, `git config --global --add safe.directory {path}`"
            f" tells it; or give it to {me} with chown, or name it by ssh:// or https://"
        )
    return f"{path} belongs to somebody else than {me}"


def _trusted() -> list[str]:
    """What this user, or the host, has told git to read whoever owns it: `safe.directory`."""
    kept = ("PATH", "HOME", "XDG_CONFIG_HOME")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    found: list[str] = []
    for scope in ("--system", "--global"):
        told = subprocess.run(
            ["git", "config", scope, "--null", "--get-all", "safe.directory"],
            env=env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False,
            timeout=LOCAL_SECONDS_MAX,
        )  # fmt: skip
        found += told.stdout.decode("utf-8", "replace").split("\0")[:-1]
    return found


def run(
    *arguments: str,
    remote: Remote | None = None,
    stdin: str = "",
    network: bool = False,
) -> str:
    """Run git with checked arguments; returns its output.

    Of the user's configuration one word counts, and only where git asks for it: that it may read a
    repository on this host that belongs to somebody else.

    Raises:
        GitFailed: it ended with an error, or not in time (FETCH_SECONDS_MAX, LOCAL_SECONDS_MAX).
        MountFailed: git is not installed.
    """
    env = environment(remote, network)
    try:
        return _run(arguments, remote, stdin, network, env)
    except GitFailed as error:
        if remote is None or _OWNED_BY_OTHERS not in error.text:
            raise
    import tempfile  # Late: it brings bz2 and lzma, and a node never needs it.

    with tempfile.NamedTemporaryFile("w", prefix="mesh-git-", encoding="utf-8") as config:
        env["GIT_CONFIG_GLOBAL"] = config.name
        # No option: what git starts to read the repository is not told of options.
        for folder in _trusted():
            quoted = folder.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            config.write(f'[safe]\n\tdirectory = "{quoted}"\n')
        config.flush()
        try:
            return _run(arguments, remote, stdin, network, env)
        except GitFailed as error:
            if _OWNED_BY_OTHERS not in error.text:
                raise
            raise GitFailed(_not_ours(unquote(urlsplit(remote.url).path))) from None


def _run(
    arguments: Sequence[str],
    remote: Remote | None,
    stdin: str,
    network: bool,
    env: Mapping[str, str],
) -> str:
    seconds_max = FETCH_SECONDS_MAX if network else LOCAL_SECONDS_MAX
    command = ["git"]
    for option in _OPTIONS:
        command += ["-c", option]
    if remote is not None and remote.password:
        # For the one server only: it may lead git to another, which asks, too.
        server = urlsplit(remote.url)
        command += ["-c", f"credential.{server.scheme}://{server.netloc}.helper={_HELPER}"]
    try:
        # git starts helpers (ssh, remote-https); they are in its group and go with it.
        with child.group(
            [*command, *arguments],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            out, err = process.communicate(stdin.encode(), timeout=seconds_max)
    except FileNotFoundError as error:
        raise MountFailed(
            "git is not installed, or not on PATH; install git 2.30 or newer",
            step="fetch",
            reason="no_git",
        ) from error
    except subprocess.TimeoutExpired:
        raise GitFailed(f"git did not end within {seconds_max} s and was stopped") from None
    if process.returncode != 0:
        raise GitFailed(_what_it_said(err) or f"git ended with status {process.returncode}")
    return out.decode("utf-8", "replace")
