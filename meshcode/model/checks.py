"""What may stand in an option of a model object: pure checks of plain values.

A check returns the value as it is kept (for instance a local path as a `file://` URL) or raises
ValueError with what it must be.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import urlsplit

from meshcode.nearest import nearest

NAME_CHARS_MAX = 200  # Fits the one length byte of an envelope with room for a derived suffix.
TEXT_CHARS_MAX = 4_000  # Inline requirements; anything longer belongs in a file of the repository.
TIME_MS_MAX = 10 * 365 * 24 * 3_600_000  # Ten years; a longer time is a mistake in the unit.
QUEUE_BYTES_MAX = 1 << 40  # 1 TiB: more than any log's map.
WORKERS_MAX = 256  # Worker processes of one processor on one node.
CPUS_MAX = 1_024  # CPUs of one deployment.
RETRIES_MAX = 1_000
CONCURRENCY_MAX = 100_000  # Calls of one socket, or of one key, at once.
RATE_COUNT_MAX = 1_000_000  # Calls per unit of a rate limit; above it a limit limits nothing.
ENV_ENTRIES_MAX = 64
ENV_BYTES_MAX = 16 * 1024  # All names and values of one processor's environment together.
STATUS_CHARS_MAX = 200
RESTARTS_MAX = (1 << 31) - 1  # What the column holds.

Check = Callable[[Any], Any]  # Gives the value to keep, or raises ValueError("what it must be").

_NAME = re.compile(r"[A-Za-z0-9._:/][A-Za-z0-9._:/@-]{0,199}")  # @... are the router's own.
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_LOGIN = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")
_RATE = re.compile(r"([0-9]{1,9})/([smh])")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_URL_LOGIN = re.compile(r"//[^/]*@")
_TOPIC = re.compile(r"(?:[A-Za-z0-9_-]+|[*#])(?:\.(?:[A-Za-z0-9_-]+|[*#]))*")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REF_BAD = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)")


def shown(value: Any) -> str:
    """`repr` of a value for an error text, at most 80 characters long."""
    try:
        text = repr(value)
    except ValueError:  # An integer of thousands of digits, or something with one in it.
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= 80 else text[:77] + "..."


def shown_url(value: Any) -> str:
    """`shown`, without the name and password that a URL may hold."""
    return shown(_URL_LOGIN.sub("//***@", value) if isinstance(value, str) else value)


def shown_type(value: Any) -> str:
    """Only what type it is: its content may be secret."""
    return f"a {type(value).__name__}"


def near(word: Any, known: Collection[str]) -> str:
    """`; did you mean 'x'?` when something in `known` is close to `word`, else nothing."""
    if not isinstance(word, str):
        return ""
    found = nearest(word, known, cutoff=0.5)
    return f"; did you mean {found!r}?" if found else ""


def integer(least: int, most: int, unit: str = "") -> Check:
    """A whole number of these bounds; `unit` is for the error text."""
    wanted = f"a whole number from {least} to {most}{' ' + unit if unit else ''}"

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(wanted)
        return value

    return check


def choice(*allowed: str) -> Check:
    """One of these words."""
    def check(value: Any) -> str:
        if value not in allowed:
            raise ValueError(" or ".join(repr(a) for a in allowed))
        return str(value)

    return check


def check_name(value: Any) -> str:
    """The name of any object."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(
            f"1 to {NAME_CHARS_MAX} of the characters A-Z a-z 0-9 . _ : / @ - without a leading -"
            " or @"
        )
    return str(value)


def check_topic(value: Any) -> str:
    """Which topics a socket takes: words with dots between, `*` one word, `#` any number."""
    if not isinstance(value, str) or len(value) > NAME_CHARS_MAX or not _TOPIC.fullmatch(value):
        raise ValueError(
            "words of A-Z a-z 0-9 _ - with dots between; * stands for one word, # for any number"
        )
    return value


def check_rate(value: Any) -> str:
    """A rate limit: `10/s`, `60/m` or `5/h`."""
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None or not 1 <= int(found[1]) <= RATE_COUNT_MAX:
        raise ValueError(f"like 10/s, 60/m or 5/h, with a count from 1 to {RATE_COUNT_MAX}")
    return f"{int(found[1])}/{found[2]}"


def check_module(value: Any) -> str:
    """A dotted Python module name."""
    parts = value.split(".") if isinstance(value, str) and len(value) <= NAME_CHARS_MAX else [""]
    if not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        raise ValueError("a dotted Python module name like shop.orders")
    return str(value)


def check_task(value: Any) -> str:
    """The name of a function."""
    fits = isinstance(value, str) and value.isidentifier() and not keyword.iskeyword(value)
    if not fits or len(value) > NAME_CHARS_MAX:
        raise ValueError("the name of a Python function like clean")
    return str(value)


def check_argument(value: Any) -> str:
    """The name of a parameter of a function."""
    fits = isinstance(value, str) and value.isidentifier() and not keyword.iskeyword(value)
    if not fits or len(value) > NAME_CHARS_MAX:
        raise ValueError("the name of a parameter like text")
    return str(value)


def check_text(value: Any) -> str:
    """A few words for people."""
    good = isinstance(value, str) and 0 < len(value.strip()) <= len(value) <= TEXT_CHARS_MAX
    if not good or any(not (c.isprintable() or c in "\n\t") for c in value):
        raise ValueError(f"printable text of at most {TEXT_CHARS_MAX} characters")
    return str(value)


def check_credential(value: Any) -> str:
    """Where a credential is on the host that needs it; never the credential itself."""
    kind, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    good = isinstance(value, str) and len(value) <= TEXT_CHARS_MAX and value.isprintable()
    if good and kind == "env" and _ENV_NAME.fullmatch(name) and not name.startswith("MESH_"):
        return str(value)
    if good and kind == "secret" and _NAME.fullmatch(name):
        return str(value)
    if not good or kind not in ("file", "key") or not name.startswith("/"):
        raise ValueError(
            "secret:NAME, env:NAME, not beginning with MESH_, file:/PATH or key:/PATH, which name"
            " it"
        )
    return str(value)


def check_signers(value: Any) -> str:
    """Lines of a file of allowed signers, as ssh-keygen(1) has them."""
    good = isinstance(value, str) and 0 < len(value) <= TEXT_CHARS_MAX and "\0" not in value
    lines = [line.split() for line in value.splitlines() if line.strip()] if good else []
    if not lines or not all(len(words) >= 3 or words[0].startswith("#") for words in lines):
        raise ValueError(
            "lines like `ann@example.org ssh-ed25519 AAAA...`, at most"
            f" {TEXT_CHARS_MAX} characters"
        )
    return str(value)


def check_host(value: Any) -> str:
    """A host name, or `*` for any host."""
    if not isinstance(value, str) or (value != "*" and not _HOST.fullmatch(value)):
        raise ValueError("a host name, or * for any host")
    return str(value)


def check_ref(value: Any) -> str:
    """A branch or tag, by the rules of `git check-ref-format`."""
    good = isinstance(value, str) and 0 < len(value) <= NAME_CHARS_MAX and value != "@"
    good = good and value.isprintable()  # Which half a surrogate is not.
    if not good or value[0] in "-/." or value[-1] in "/." or _REF_BAD.search(value):
        raise ValueError("a branch or tag name that git allows, without a leading -")
    return str(value)


def check_commit(value: Any) -> str:
    """A commit id, whole or abbreviated to 7 digits or more."""
    text = value.lower() if isinstance(value, str) else ""
    if not _COMMIT.fullmatch(text):
        raise ValueError("a commit id of 7 to 64 hexadecimal digits")
    return text


def check_path(value: Any) -> str:
    """A path inside the repository."""
    good = isinstance(value, str) and 0 < len(value) <= TEXT_CHARS_MAX and value.isprintable()
    if not good or value[0] in "/-~" or "\\" in value or ".." in value.split("/"):
        raise ValueError("a path inside the repository, without a leading / or - and without ..")
    return str(value)


def check_requirements(value: Any) -> str:
    """The path of a requirements file in the repository, or requirements themselves."""
    good = isinstance(value, str) and 0 < len(value.strip()) <= len(value) <= TEXT_CHARS_MAX
    if not good or any(not (c.isprintable() or c in "\n\t") for c in value):
        raise ValueError(
            "a requirements file of the repository, or requirements separated by commas or lines,"
            f" at most {TEXT_CHARS_MAX} characters"
        )
    return str(value)


def check_env(value: Any) -> dict[str, str]:
    """Environment variables of a processor's workers."""
    if not isinstance(value, dict) or len(value) > ENV_ENTRIES_MAX:
        raise ValueError(f"a map of at most {ENV_ENTRIES_MAX} environment variables")
    size = 0
    for name, text in value.items():
        if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
            raise ValueError(f"a map of environment variables, and {name!r} is no name of one")
        if name.startswith("MESH_"):
            raise ValueError(f"without {name}: names that begin with MESH_ belong to the mesh")
        if not isinstance(text, str) or "\0" in text or not _is_unicode(text):
            wanted = "a map to texts of Unicode without NUL"
            raise ValueError(f"{wanted}, and the value of {name} is none")
        size += len(name.encode()) + len(text.encode())
    if size > ENV_BYTES_MAX:
        raise ValueError(f"at most {ENV_BYTES_MAX} bytes in all, and this has {size}")
    return dict(value)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def check_git(value: Any) -> str:
    """The URL of a git repository: https, ssh, file, `user@host:path` or an absolute path.

    Never carries a password: URLs are shown, logged and published to every node.
    """
    good = isinstance(value, str) and 0 < len(value) <= TEXT_CHARS_MAX
    if not good or not value.isprintable() or " " in value or value.startswith("-"):
        raise ValueError("a git URL without spaces and without a leading -")
    if value.startswith("/"):
        return f"file://{value}"
    scheme, found, rest = value.partition("://")
    if not found:
        if "::" not in value and _is_scp(value):
            return str(value)
        raise ValueError(
            "a git URL like https://host/path, ssh://git@host/path or file:///path, or an absolute"
            " path"
        )
    if scheme not in ("https", "ssh", "file"):
        raise ValueError(f"an https, ssh or file URL, and {scheme!r} is not allowed")
    if scheme == "file":
        if not rest.startswith("/"):
            raise ValueError("absolute after file://, like file:///srv/shop.git")
        return str(value)
    try:
        parts = urlsplit(value)
        host, _port = parts.hostname or "", parts.port
    except ValueError as exc:
        raise ValueError("a git URL with a host, a port from 1 to 65535 and a path") from exc
    if parts.password is not None or (scheme == "https" and parts.username is not None):
        raise ValueError(
            "without a name or password; name where they are by `mesh add repo -u URL --credential"
            " env:NAME`"
        )
    if parts.username is not None and not _LOGIN.fullmatch(parts.username):
        raise ValueError("a git URL with a plain user name")
    if not _HOST.fullmatch(host) or len(parts.path) < 2:
        raise ValueError("a git URL with a host and a path")
    return str(value)


def _is_scp(value: str) -> bool:
    login, at, rest = value.partition("@")
    host, colon, path = rest.partition(":")
    names = bool(_LOGIN.fullmatch(login) and _HOST.fullmatch(host))
    return bool(at and colon and names and path and path[0] != "-")
