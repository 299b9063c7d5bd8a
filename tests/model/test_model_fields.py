"""Bad input to the model: one row each, with the exact text a person reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshcode.errors import BadRequest
from meshcode.model import fields
from meshcode.model.fields import check_new, check_value
from meshcode.model.kinds import FIELDS, KINDS
from meshcode.schedule import parse

QUEUE = {}
PROCESSOR = {"git": "https://host.example/shop.git", "module": "shop.orders"}
SOCKET = {"processor": "p", "task": "clean", "queue": "q"}
DEPLOYMENT = {"processor": "p"}
BASE = {"queue": QUEUE, "processor": PROCESSOR, "socket": SOCKET, "deployment": DEPLOYMENT}

INT_Q = "a whole number from 1 to 20000000 calls"
TIME = "a whole number from 1 to 315360000000 milliseconds"
URL = (
    "a git URL like https://host/path, ssh://git@host/path or file:///path, or an absolute path"
)
NO_PASSWORD = (
    "without a name or password; name where they are by `mesh add repo -u URL --credential"
    " env:NAME`"
)
REF = "a branch or tag name that git allows, without a leading -"
COMMIT = "a commit id of 7 to 64 hexadecimal digits"
PATH = "a path inside the repository, without a leading / or - and without .."
MODULE = "a dotted Python module name like shop.orders"
TASK = "the name of a Python function like clean"
RATE = "like 10/s, 60/m or 5/h, with a count from 1 to 1000000"
HOST = "a host name, or * for any host"
REQUIREMENTS = (
    "a requirements file of the repository, or requirements separated by commas or lines,"
    " at most 4000 characters"
)
NAME = "1 to 200 of the characters A-Z a-z 0-9 . _ : / @ - without a leading - or @"
QUEUE_TYPES = "'direct' or 'topic' or 'fanout' or 'broadcast'"

# kind, option, value, what the text says it is, what it must be
BAD = [
    ("queue", "type", "topics", "'topics'", QUEUE_TYPES),
    ("queue", "type", 1, "1", QUEUE_TYPES),
    ("queue", "max_length", 0, "0", INT_Q),
    ("queue", "max_length", -1, "-1", INT_Q),
    ("queue", "max_length", 20_000_001, "20000001", INT_Q),
    ("queue", "max_length", "10", "'10'", INT_Q),
    ("queue", "max_length", True, "True", INT_Q),
    ("queue", "max_length", 1.5, "1.5", INT_Q),
    ("queue", "max_length_bytes", 0, "0", "a whole number from 1 to 1099511627776 bytes"),
    ("queue", "message_ttl_ms", 0, "0", TIME),
    ("queue", "message_ttl_ms", 315_360_000_001, "315360000001", TIME),
    ("queue", "expires_ms", "1h", "'1h'", TIME),
    ("queue", "overflow", "drop-head", "'drop-head'", "'reject' or 'dead-letter'"),
    ("queue", "dead_letter", "-x", "'-x'", NAME),
    ("queue", "dead_letter", ["a"], "['a']", NAME),
    ("processor", "git", "", "''", "a git URL without spaces and without a leading -"),
    ("processor", "git", 7, "7", "a git URL without spaces and without a leading -"),
    ("processor", "git", "--upload-pack=x", "'--upload-pack=x'",
     "a git URL without spaces and without a leading -"),
    ("processor", "git", "https://h/a b", "'https://h/a b'",
     "a git URL without spaces and without a leading -"),
    ("processor", "git", "https://h/a\n", "'https://h/a\\n'",
     "a git URL without spaces and without a leading -"),
    ("processor", "git", "ext::sh", "'ext::sh'", URL),
    ("processor", "git", "shop.git", "'shop.git'", URL),
    ("processor", "git", "git@host", "'git@host'", URL),
    ("processor", "git", "git@-o:x", "'git@-o:x'", URL),
    ("processor", "git", "git@host:-x", "'git@host:-x'", URL),
    ("processor", "git", "http://h/a", "'http://h/a'",
     "an https, ssh or file URL, and 'http' is not allowed"),
    ("processor", "git", "git://h/a", "'git://h/a'",
     "an https, ssh or file URL, and 'git' is not allowed"),
    ("processor", "git", "file://shop.git", "'file://shop.git'",
     "absolute after file://, like file:///srv/shop.git"),
    ("processor", "git", "https://joe:secret@h/a", "'https://***@h/a'", NO_PASSWORD),
    ("processor", "git", "https://token@h/a", "'https://***@h/a'", NO_PASSWORD),
    ("processor", "git", "ssh://git:secret@h/a", "'ssh://***@h/a'", NO_PASSWORD),
    ("processor", "git", "ssh://-oProxyCommand=x/a", "'ssh://-oProxyCommand=x/a'",
     "a git URL with a host and a path"),
    ("processor", "git", "https://h", "'https://h'", "a git URL with a host and a path"),
    ("processor", "git", "https:///a", "'https:///a'", "a git URL with a host and a path"),
    ("processor", "git", "https://h:99999/a", "'https://h:99999/a'",
     "a git URL with a host, a port from 1 to 65535 and a path"),
    ("processor", "git", "ssh://-x@h/a", "'ssh://***@h/a'", "a git URL with a plain user name"),
    ("processor", "module", "", "''", MODULE),
    ("processor", "module", "shop..orders", "'shop..orders'", MODULE),
    ("processor", "module", "shop.class", "'shop.class'", MODULE),
    ("processor", "module", "shop/orders.py", "'shop/orders.py'", MODULE),
    ("processor", "module", None, None, None),
    ("processor", "branch", "-x", "'-x'", REF),
    ("processor", "branch", "a..b", "'a..b'", REF),
    ("processor", "branch", "a b", "'a b'", REF),
    ("processor", "branch", "a.lock", "'a.lock'", REF),
    ("processor", "tag", "v1^{}", "'v1^{}'", REF),
    ("processor", "tag", "@", "'@'", REF),
    ("processor", "commit", "abc", "'abc'", COMMIT),
    ("processor", "commit", "main", "'main'", COMMIT),
    ("processor", "commit", "a" * 65, repr("a" * 65), COMMIT),
    ("processor", "requirements", " ", "' '", REQUIREMENTS),
    ("processor", "requirements", "a\0b", "'a\\x00b'", REQUIREMENTS),
    ("processor", "module_path", "/etc", "'/etc'", PATH),
    ("processor", "module_path", "a/../../b", "'a/../../b'", PATH),
    ("processor", "module_path", "~joe", "'~joe'", PATH),
    ("processor", "workers", 0, "0", "a whole number from 1 to 256"),
    ("processor", "workers", 257, "257", "a whole number from 1 to 256"),
    ("processor", "retries", -1, "-1", "a whole number from 0 to 1000"),
    ("processor", "retry_delay_ms", -1, "-1",
     "a whole number from 0 to 315360000000 milliseconds"),
    ("processor", "time_limit_ms", 0, "0", TIME),
    ("processor", "rate_limit", "60", "'60'", RATE),
    ("processor", "rate_limit", "0/s", "'0/s'", RATE),
    ("processor", "rate_limit", "10/d", "'10/d'", RATE),
    ("processor", "rate_limit", "9999999/s", "'9999999/s'", RATE),
    ("processor", "rate_limit", "-1/s", "'-1/s'", RATE),
    ("processor", "requested_status", "run", "'run'", "'start' or 'stop' or 'pause'"),
    ("processor", "env", [], "a list", "a map of at most 64 environment variables"),
    ("processor", "env", {"A B": "x"}, "a dict",
     "a map of environment variables, and 'A B' is no name of one"),
    ("processor", "env", {"MESH_HOME": "x"}, "a dict",
     "without MESH_HOME: names that begin with MESH_ belong to the mesh"),
    ("processor", "env", {"A": 1}, "a dict",
     "a map to texts of Unicode without NUL, and the value of A is none"),
    ("processor", "env", {"A": "x" * 16_384}, "a dict",
     "at most 16384 bytes in all, and this has 16385"),
    ("socket", "task", "clean up", "'clean up'", TASK),
    ("socket", "task", "shop.clean", "'shop.clean'", TASK),
    ("socket", "task", "lambda", "'lambda'", TASK),
    ("socket", "priority", 10, "10", "a whole number from 0 to 9"),
    ("socket", "priority", -1, "-1", "a whole number from 0 to 9"),
    ("socket", "concurrency", 0, "0", "a whole number from 1 to 100000"),
    ("socket", "key_concurrency", "1", "'1'", "a whole number from 1 to 100000"),
    ("deployment", "host", "a b", "'a b'", HOST),
    ("deployment", "host", "-h", "'-h'", HOST),
    ("deployment", "cpus", 0, "0", "a whole number from 1 to 1024"),
    ("deployment", "cpus", 1025, "1025", "a whole number from 1 to 1024"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "field", "value", "has", "wanted"), BAD)
def test_a_bad_option_is_refused_with_what_it_is_and_what_it_must_be(
    kind, field, value, has, wanted
):
    """The text has both; secrets in a URL or an environment are never in it."""
    if has is None:
        text = f"{kind} 'x' must have a value for {field}; give one; nothing was changed"
    else:
        text = f"{kind} 'x': {field} is {has}; it must be {wanted}; nothing was changed"

    with pytest.raises(BadRequest) as caught:
        fields.check_new(kind, "x", {**BASE[kind], field: value})

    assert caught.value.text == text
    assert caught.value.fields == {"kind": kind, "name": "x", "field": field}


GOOD = [
    ("queue", "max_length", 20_000_000, 20_000_000),
    ("queue", "overflow", "reject", "reject"),
    ("processor", "git", "/srv/shop", "file:///srv/shop"),
    ("processor", "git", "git@host.example:shop.git", "git@host.example:shop.git"),
    ("processor", "git", "ssh://git@host:22/shop", "ssh://git@host:22/shop"),
    ("processor", "git", "file:///srv/shop.git", "file:///srv/shop.git"),
    ("processor", "commit", "ABCDEF0", "abcdef0"),
    ("processor", "branch", "feature/x-1", "feature/x-1"),
    ("processor", "requirements", "humanize==4.9, numpy>=2", "humanize==4.9, numpy>=2"),
    ("processor", "requirements", "a\nb\n", "a\nb\n"),
    ("processor", "rate_limit", "060/m", "60/m"),
    ("processor", "retries", 0, 0),
    ("processor", "retries", None, None),
    ("processor", "workers", None, 1),
    ("processor", "env", None, {}),
    ("processor", "env", {"LANG": "C"}, {"LANG": "C"}),
    ("socket", "priority", 0, 0),
    ("deployment", "host", "edge-7.example", "edge-7.example"),
    ("deployment", "host", None, "*"),
]


@pytest.mark.parametrize(("kind", "field", "value", "kept"), GOOD)
def test_a_good_option_is_kept_in_its_one_form(kind, field, value, kept):
    options = fields.check_new(kind, "x", {**BASE[kind], field: value})

    assert options[field] == kept
    assert set(options) == set(fields.FIELDS[kind])


NAMES = ["", None, "-x", "a b", "a" * 201, "é", "a\n", 7]


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_name_is_refused(name):
    if name in ("", None):
        text = "the queue has no name; give one; nothing was changed"
    else:
        has = fields.shown(name)
        text = f"the name of a queue is {has}; it must be {NAME}; nothing was changed"

    with pytest.raises(BadRequest) as caught:
        fields.check_object_name("queue", name)

    assert caught.value.text == text


@pytest.mark.parametrize("name", ["a", "shop.orders:clean/2@x-1", "a" * 200])
def test_a_good_name_is_kept(name):
    assert fields.check_object_name("queue", name) == name


def test_an_unknown_option_is_refused_with_the_one_that_was_meant():
    with pytest.raises(BadRequest) as caught:
        fields.check_new("queue", "q", {"max_lenght": 3})

    assert caught.value.text == (
        "a queue has no option 'max_lenght'; did you mean 'max_length'?; it has: network, type,"
        " max_length, max_length_bytes, message_ttl_ms, expires_ms, overflow, dead_letter,"
        " labels; nothing was changed"
    )


TOGETHER = [
    ("queue", {"overflow": "dead-letter"},
     "queue 'x': overflow is 'dead-letter' and dead_letter names no socket; give one;"
     " nothing was changed"),
    ("processor", {**PROCESSOR, "tag": "v1", "commit": "abcdef0123456789"},
     "processor 'x' would have tag 'v1' and commit 'abcdef012345'; give one, and none for the"
     " other; nothing was changed"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "text"), TOGETHER)
def test_options_that_contradict_each_other_are_refused(kind, options, text):
    with pytest.raises(BadRequest) as caught:
        fields.check_new(kind, "x", options)

    assert caught.value.text == text


def test_no_two_objects_share_a_default_that_can_change():
    first = fields.check_new("processor", "a", PROCESSOR)
    second = fields.check_new("processor", "b", PROCESSOR)

    assert first["env"] == second["env"] == {}
    assert first["env"] is not second["env"]


def test_every_option_is_in_the_manual():
    manual = (Path(__file__).parents[2] / "docs" / "model.md").read_text()

    missing = [
        field
        for kind in KINDS
        for field in FIELDS[kind]
        if f"`{field}`" not in manual
    ]

    assert missing == []


def test_a_schedule_is_read_with_all_the_options_that_the_model_has():
    """As nodes get it: every option is there, those not given as None."""
    options = check_new("schedule", "x", {"socket": "s", "cron": "@daily"})
    assert set(options) == set(FIELDS["schedule"])
    assert parse(options).next_after(0) == 86_400_000

    for option, value in {
        "interval_ms": 5_000, "at": "2026-01-01", "timezone": "Europe/Berlin", "jitter_ms": 5,
        "catch_up": "all", "start": "2026-01-01", "end": "2030-01-01", "args": [1],
        "kwargs": {"a": 1}, "requested_status": "pause",
    }.items():  # fmt: skip
        timing = {"cron": None} if option in ("interval_ms", "at") else {}
        parse({**options, **timing, option: check_value("schedule", "x", option, value)})
