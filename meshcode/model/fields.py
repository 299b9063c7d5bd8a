"""The options of every kind of model object, and what may stand in each.

Pure checks of plain values, without a database: the model process uses them on every change, and
again on rows that somebody else wrote.  A check returns the value as it is kept (for instance a
local path as a `file://` URL) or raises `BadRequest`.  docs/model.md has the table for people.
"""

from __future__ import annotations

import difflib
import keyword
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from meshcode.errors import BadRequest
from meshcode.limits import OPEN_CALLS_MAX, PRIORITY_MAX

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

KINDS = ("queue", "processor", "socket", "deployment")
PLURALS = {kind: kind + "s" for kind in KINDS}

Check = Callable[[Any], Any]  # Gives the value to keep, or raises ValueError("what it must be").

_NAME = re.compile(r"[A-Za-z0-9._:/@][A-Za-z0-9._:/@-]{0,199}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_LOGIN = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")
_RATE = re.compile(r"([0-9]{1,9})/([smh])")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_URL_LOGIN = re.compile(r"//[^/]*@")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REF_BAD = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)")


def shown(value: Any) -> str:
    """`repr` of a value for an error text, at most 80 characters long."""
    try:
        text = repr(value)
    except ValueError:  # An integer of thousands of digits, or something with one in it.
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= 80 else text[:77] + "..."


def _shown_url(value: Any) -> str:
    return shown(_URL_LOGIN.sub("//***@", value) if isinstance(value, str) else value)


def _shown_type(value: Any) -> str:
    return f"a {type(value).__name__}"


@dataclass(frozen=True, slots=True)
class Field:
    """One option of a kind of object."""

    check: Check
    default: Any = None  # What an object has when the option was never given.
    required: bool = False
    refers: str | None = None  # The value is the name of an object of this kind.
    show: Callable[[Any], str] = shown  # For error texts: without the secrets a value may hold.


def near(word: Any, known: Collection[str]) -> str:
    """`; did you mean 'x'?` when something in `known` is close to `word`, else nothing."""
    if not isinstance(word, str):
        return ""
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


def _integer(least: int, most: int, unit: str = "") -> Check:
    wanted = f"a whole number from {least} to {most}{' ' + unit if unit else ''}"

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(wanted)
        return value

    return check


def _choice(*allowed: str) -> Check:
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
        )
    return str(value)


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


def check_host(value: Any) -> str:
    """A host name, or `*` for any host."""
    if not isinstance(value, str) or (value != "*" and not _HOST.fullmatch(value)):
        raise ValueError("a host name, or * for any host")
    return str(value)


def check_ref(value: Any) -> str:
    """A branch or tag, by the rules of `git check-ref-format`."""
    good = isinstance(value, str) and 0 < len(value) <= NAME_CHARS_MAX and value != "@"
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
        if not isinstance(text, str) or "\0" in text:
            raise ValueError(f"a map to texts without NUL, and the value of {name} is none")
        size += len(name.encode()) + len(text.encode("utf-8", "surrogatepass"))
    if size > ENV_BYTES_MAX:
        raise ValueError(f"at most {ENV_BYTES_MAX} bytes in all, and this has {size}")
    return dict(value)


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
        raise ValueError("a git URL like https://host/path, ssh://git@host/path or file:///path")
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
        raise ValueError("without a name or password; let a git credential helper give them")
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


_times = _integer(1, TIME_MS_MAX, "milliseconds")
_count = _integer(1, CONCURRENCY_MAX)

FIELDS: dict[str, dict[str, Field]] = {
    "queue": {
        "type": Field(_choice("direct"), "direct"),
        "max_length": Field(_integer(1, OPEN_CALLS_MAX, "calls")),
        "max_length_bytes": Field(_integer(1, QUEUE_BYTES_MAX, "bytes")),
        "message_ttl_ms": Field(_times),
        "expires_ms": Field(_times),
        "overflow": Field(_choice("reject", "dead-letter"), "reject"),
        "dead_letter": Field(check_name, refers="socket"),
    },
    "processor": {
        "git": Field(check_git, required=True, show=_shown_url),
        "module": Field(check_module, required=True),
        "branch": Field(check_ref),
        "commit": Field(check_commit),
        "tag": Field(check_ref),
        "requirements": Field(check_requirements),
        "module_path": Field(check_path),
        "workers": Field(_integer(1, WORKERS_MAX), 1),
        "retries": Field(_integer(0, RETRIES_MAX)),
        "retry_delay_ms": Field(_integer(0, TIME_MS_MAX, "milliseconds")),
        "time_limit_ms": Field(_times),
        "rate_limit": Field(check_rate),
        "recycle_calls": Field(_integer(1, OPEN_CALLS_MAX, "calls")),
        "recycle_age_ms": Field(_times),
        "recycle_bytes": Field(_integer(16 << 20, QUEUE_BYTES_MAX, "bytes")),
        "requested_status": Field(_choice("start", "stop", "pause"), "start"),
        "env": Field(check_env, {}, show=_shown_type),
    },
    "socket": {
        "processor": Field(check_name, required=True, refers="processor"),
        "task": Field(check_task, required=True),
        "queue": Field(check_name, required=True, refers="queue"),
        "priority": Field(_integer(0, PRIORITY_MAX)),
        "rate_limit": Field(check_rate),
        "concurrency": Field(_count),
        "key_concurrency": Field(_count),
        "retries": Field(_integer(0, RETRIES_MAX)),
        "retry_delay_ms": Field(_integer(0, TIME_MS_MAX, "milliseconds")),
        "time_limit_ms": Field(_times),
    },
    "deployment": {
        "processor": Field(check_name, required=True, refers="processor"),
        "host": Field(check_host, "*"),
        "cpus": Field(_integer(1, CPUS_MAX), 1),
    },
}

# What a snapshot shows of an object; how often a restart was asked for is no option of anybody's.
PUBLISHED: dict[str, tuple[str, ...]] = {
    kind: (*FIELDS[kind], "restarted") if kind == "processor" else tuple(FIELDS[kind])
    for kind in KINDS
}


def bad(text: str, **fields: Any) -> BadRequest:
    """The error of every refused option: `text` and that nothing was changed."""
    return BadRequest(f"{text}; nothing was changed", **fields)


def check_kind(kind: Any) -> str:
    """The kind of a request; raises `BadRequest` for any but the four."""
    if kind in KINDS:
        return str(kind)
    raise bad(f"the model has no kind {shown(kind)}{near(kind, KINDS)}; it has: {', '.join(KINDS)}")


def check_object_name(kind: str, name: Any) -> str:
    """The name in a request; raises `BadRequest`."""
    if name is None or name == "":
        raise bad(f"the {kind} has no name; give one", kind=kind, field="name")
    try:
        return check_name(name)
    except ValueError as exc:
        text = f"the name of a {kind} is {shown(name)}; it must be {exc}"
        raise bad(text, kind=kind, field="name") from None


def check_value(kind: str, name: str, field: str, value: Any) -> Any:
    """One option of one object as it is kept; None stands for "not given".

    Raises:
        BadRequest: no such option, not allowed there, or None where there must be a value.
    """
    spec = FIELDS[kind].get(field)
    if spec is None:
        known = ", ".join(FIELDS[kind])
        text = f"a {kind} has no option {shown(field)}{near(field, FIELDS[kind])}; it has: {known}"
        raise bad(text, kind=kind, name=name, field=str(field))
    if value is None:
        if spec.required:
            text = f"{kind} {name!r} must have a value for {field}; give one"
            raise bad(text, kind=kind, name=name, field=field)
        return dict(spec.default) if isinstance(spec.default, dict) else spec.default
    try:
        return spec.check(value)
    except ValueError as exc:
        text = f"{kind} {name!r}: {field} is {spec.show(value)}; it must be {exc}"
        raise bad(text, kind=kind, name=name, field=field) from None


def check_new(kind: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a new object: those given, checked, and the defaults of the others."""
    kept = {field: check_value(kind, name, field, value) for field, value in given.items()}
    for field in FIELDS[kind]:
        if field not in kept:
            kept[field] = check_value(kind, name, field, None)
    check_together(kind, name, kept)
    return kept


def check_together(kind: str, name: str, options: Mapping[str, Any]) -> None:
    """Rules between the options of one object.

    Raises:
        BadRequest: a queue that dead-letters to nowhere; a processor with a tag and a commit.
    """
    if kind == "queue" and options["overflow"] == "dead-letter" and not options["dead_letter"]:
        text = (
            f"queue {name!r}: overflow is 'dead-letter' and dead_letter names no socket; give one"
        )
        raise bad(text, kind=kind, name=name, field="dead_letter")
    if kind == "processor" and options["tag"] and options["commit"]:
        text = (
            f"processor {name!r} would have tag {options['tag']!r} and commit"
            f" {options['commit'][:12]!r}; give one, and none for the other"
        )
        raise bad(text, kind=kind, name=name, field="commit")


def check_published(kind: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of an object of a snapshot: those that are there, as they are, and defaults.

    They were checked where they were declared; here nobody trusts that.  A value is kept as it
    stands there, so that the same object is the same everywhere.

    Raises:
        BadRequest: no command of ours would have let it in.
    """
    check_object_name(kind, name)
    given = {field: value for field, value in options.items() if field != "restarted"}
    kept = check_new(kind, name, given)
    if kind == "processor":
        kept["restarted"] = _check_restarted(name, options.get("restarted"))
    elif "restarted" in options:
        raise bad(f"{kind} {name!r} counts restarts, which only a processor does", kind=kind)
    return {
        field: kept[field] if options.get(field) is None else options[field]
        for field in PUBLISHED[kind]
    }


def _check_restarted(name: str, value: Any) -> int:
    count = 0 if value is None else value
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= RESTARTS_MAX:
        text = f"processor {name!r}: restarted is {shown(value)}; it must be a count of restarts"
        raise bad(text, kind="processor", name=name, field="restarted")
    return count


def fill(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of an object of a snapshot, with defaults for those a version did not know.

    Unchecked; the map itself when nothing is missing.
    """
    wanted = PUBLISHED[kind]
    if len(options) == len(wanted) and all(field in options for field in wanted):
        return options
    defaults = {field: spec.default for field, spec in FIELDS[kind].items()} | {"restarted": 0}
    return {field: options.get(field, defaults[field]) for field in wanted}
