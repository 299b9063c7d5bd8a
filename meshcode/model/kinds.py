"""The kinds of model object and the options of each: the one list that all of it is made from.

The tables, the checks of every change, snapshots, what nodes tell each other, the commands and the
Python objects have a kind or an option because it is here.  docs/model.md has it for people.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from meshcode.limits import OPEN_CALLS_MAX, PRIORITY_MAX
from meshcode.model.checks import (
    CONCURRENCY_MAX,
    CPUS_MAX,
    QUEUE_BYTES_MAX,
    RETRIES_MAX,
    TIME_MS_MAX,
    WORKERS_MAX,
    Check,
    check_argument,
    check_commit,
    check_credential,
    check_env,
    check_git,
    check_host,
    check_module,
    check_name,
    check_path,
    check_rate,
    check_ref,
    check_requirements,
    check_signers,
    check_task,
    check_text,
    check_topic,
    choice,
    integer,
    shown,
    shown_type,
    shown_url,
)
from meshcode.model.datacheck import check_args, check_kwargs
from meshcode.model.keptcheck import (
    check_content,
    check_document,
    check_folder,
    check_former,
    check_of,
    check_source,
    secrets_of_credential,
    secrets_of_env,
    shown_source,
    sockets_of_document,
)
from meshcode.model.overridecheck import check_code
from meshcode.model.usercheck import (
    check_bool,
    check_email,
    check_ended,
    check_hash,
    check_keys,
    check_labels,
    check_names,
    check_right,
    check_scope,
    shown_secret,
)
from meshcode.schedule.fields import (
    check_catch_up,
    check_cron,
    check_interval,
    check_jitter,
    check_time,
    check_timezone,
)


def names_in(value: Any) -> list[str]:
    """The names of other objects in the value of an option that refers to them."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


@dataclass(frozen=True, slots=True)
class Field:
    """One option of a kind of object."""

    check: Check
    default: Any = None  # What an object has when the option was never given.
    required: bool = False
    refers: str | None = None  # The value is the name of an object of this kind.
    many: bool = False  # The value is a list of such names, or has them somewhere in it.
    names: Callable[[Any], list[str]] = names_in  # Those in a value.
    hidden: bool = False  # No answer and no listing has it; `password` says that there is one.
    data: bool = False  # The value is plain data of calls: maps in it mean nothing to us.
    show: Callable[[Any], str] = shown  # For error texts: without the secrets a value may hold.


SETTING_MAX = 1 << 53  # What JSON holds exactly.
# Nobody declares them: the model makes them.
MADE = ("version",)

_times = integer(1, TIME_MS_MAX, "milliseconds")
_count = integer(1, CONCURRENCY_MAX)
_secret = Field(check_hash, show=shown_secret, hidden=True)
_labels = Field(check_labels, {})

# In the order in which they can be made: what is named stands before what names it.  (But a queue
# names a socket for its dead letters, and a socket its queue.)
FIELDS: dict[str, dict[str, Field]] = {
    "setting": {
        "value": Field(integer(0, SETTING_MAX), required=True),
    },
    "secret": {
        "source": Field(check_source, required=True, show=shown_source),
        "description": Field(check_text),
    },
    "network": {
        "description": Field(check_text),
        "labels": _labels,
    },
    "scheduler": {
        "network": Field(check_name, refers="network"),
        "strategy": Field(choice("BALANCED", "EFFICIENT"), "BALANCED"),
    },
    "node": {
        "network": Field(check_name, refers="network"),
        "scheduler": Field(check_name, refers="scheduler"),
        "host": Field(check_host),
        "cpus": Field(integer(1, CPUS_MAX)),
        "labels": _labels,
    },
    "queue": {
        "network": Field(check_name, refers="network"),
        "type": Field(choice("direct", "topic", "fanout", "broadcast"), "direct"),
        "max_length": Field(integer(1, OPEN_CALLS_MAX, "calls")),
        "max_length_bytes": Field(integer(1, QUEUE_BYTES_MAX, "bytes")),
        "message_ttl_ms": Field(_times),
        "expires_ms": Field(_times),
        "overflow": Field(choice("reject", "dead-letter"), "reject"),
        "dead_letter": Field(check_name, refers="socket"),
        "labels": _labels,
    },
    "processor": {
        "git": Field(check_git, required=True, show=shown_url),
        "module": Field(check_module, required=True),
        "branch": Field(check_ref),
        "commit": Field(check_commit),
        "tag": Field(check_ref),
        "requirements": Field(check_requirements),
        "module_path": Field(check_path),
        "workers": Field(integer(1, WORKERS_MAX), 1),
        "retries": Field(integer(0, RETRIES_MAX)),
        "retry_delay_ms": Field(integer(0, TIME_MS_MAX, "milliseconds")),
        "time_limit_ms": Field(_times),
        "rate_limit": Field(check_rate),
        "recycle_calls": Field(integer(1, OPEN_CALLS_MAX, "calls")),
        "recycle_age_ms": Field(_times),
        "recycle_bytes": Field(integer(16 << 20, QUEUE_BYTES_MAX, "bytes")),
        "requested_status": Field(choice("start", "stop", "pause"), "start"),
        "env": Field(
            check_env, {}, show=shown_type, refers="secret", many=True, names=secrets_of_env
        ),
        "password_hash": _secret,  # Who changes the processor must know the password.
        "labels": _labels,
    },
    "socket": {
        "processor": Field(check_name, required=True, refers="processor"),
        "task": Field(check_task, required=True),
        "queue": Field(check_name, required=True, refers="queue"),
        "priority": Field(integer(0, PRIORITY_MAX)),
        "rate_limit": Field(check_rate),
        "topic": Field(check_topic),
        "wait_for_all": Field(check_bool, False),  # For a value from each of its plugs.
        "concurrency": Field(_count),
        "key_concurrency": Field(_count),
        "retries": Field(integer(0, RETRIES_MAX)),
        "retry_delay_ms": Field(integer(0, TIME_MS_MAX, "milliseconds")),
        "time_limit_ms": Field(_times),
        "labels": _labels,
    },
    "override": {
        "processor": Field(check_name, required=True, refers="processor"),
        "task": Field(check_task, required=True),
        "code": Field(check_code, required=True, show=shown_type),
        "by": Field(check_name),
        "made_ms": Field(integer(0, SETTING_MAX, "Unix milliseconds")),
    },
    "deployment": {
        "processor": Field(check_name, required=True, refers="processor"),
        "scheduler": Field(check_name, refers="scheduler"),
        "host": Field(check_host, "*"),
        "cpus": Field(integer(1, CPUS_MAX), 1),
    },
    "plug": {
        "source": Field(check_name, required=True, refers="socket"),
        "target": Field(check_name, required=True, refers="socket"),
        "queue": Field(check_name, refers="queue"),
        "type": Field(choice("RESULT", "ERROR"), "RESULT"),
        "argument": Field(check_argument),
    },
    "repo": {
        "url": Field(check_git, required=True, show=shown_url),
        "access": Field(choice("allow", "deny")),
        "signers": Field(check_signers),
        "credential": Field(
            check_credential, refers="secret", many=True, names=secrets_of_credential
        ),
    },
    "gate": {
        "plug": Field(check_name, required=True, refers="plug"),
        "mode": Field(choice("open", "closed", "task"), "open"),
        "socket": Field(check_name, refers="socket"),
        "when_closed": Field(choice("hold", "reject"), "hold"),
    },
    "schedule": {
        "socket": Field(check_name, required=True, refers="socket"),
        "cron": Field(check_cron),
        "interval_ms": Field(check_interval),
        "at": Field(check_time),
        "timezone": Field(check_timezone, "UTC"),
        "jitter_ms": Field(check_jitter),
        "catch_up": Field(check_catch_up),
        "start": Field(check_time),
        "end": Field(check_time),
        "args": Field(check_args, [], data=True),
        "kwargs": Field(check_kwargs, {}, data=True),
        "requested_status": Field(choice("start", "pause"), "start"),
    },
    "file": {
        "content": Field(check_content, ""),
        "encoding": Field(choice("text", "base64"), "text"),
        "folder": Field(check_folder),
        "description": Field(check_text),
    },
    "flow": {
        "document": Field(
            check_document, required=True, refers="socket", many=True, names=sockets_of_document,
            data=True,
        ),
        "description": Field(check_text),
    },
    "version": {
        "of": Field(check_of, required=True),
        "number": Field(integer(1, SETTING_MAX), required=True),
        # Of a flow: its document as JSON.
        "content": Field(check_former, ""),
        "encoding": Field(choice("text", "base64"), "text"),
        "by": Field(check_name, required=True),
        "made_ms": Field(integer(0, SETTING_MAX, "Unix milliseconds"), required=True),
    },
    "role": {
        "description": Field(check_text),
    },
    "user": {
        "email": Field(check_email),
        "password_hash": _secret,
        "roles": Field(check_names, [], refers="role", many=True),
        "enabled": Field(check_bool, True),
        "keys": Field(check_keys, []),
        "ended": Field(check_ended, {}, data=True),
        "signed_out_ms": Field(integer(0, SETTING_MAX, "Unix milliseconds")),
    },
    "privilege": {
        "right": Field(check_right, required=True),
        "user": Field(check_name, refers="user"),
        "role": Field(check_name, refers="role"),
        "on": Field(check_scope),
        "revoked": Field(check_bool, False),
    },
}

KINDS = tuple(FIELDS)
LABELLED = tuple(kind for kind in FIELDS if "labels" in FIELDS[kind])
# Options of a kind that are never shown.
HIDDEN = {kind: {n for n, f in FIELDS[kind].items() if f.hidden} for kind in FIELDS}
PLURALS = {kind: kind + "s" for kind in KINDS}

# What a snapshot shows of an object; how often a restart was asked for is no option of anybody's.
PUBLISHED: dict[str, tuple[str, ...]] = {
    kind: (*FIELDS[kind], "restarted") if kind == "processor" else tuple(FIELDS[kind])
    for kind in KINDS
}
