"""Messages about code: each field of each word, wrong in every way, is dropped with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshcode import limits
from meshcode.node import codewords
from tests.node.code_world import World

GOOD = {
    "who": {"op": "who", "ask": 1, "url": "file:///x", "branch": "", "commit": "", "tag": ""},
    "have": {"op": "have", "ask": 1, "commits": ["d" * 40]},
    "want": {"op": "want", "ask": 1, "url": "file:///x", "commit": "d" * 40},
    "making": {"op": "making", "ask": 1, "commit": "d" * 40},
    "bundle": {"op": "bundle", "ask": 1, "commit": "d" * 40, "size": 1, "sha256": "0" * 64},
    "read": {"op": "read", "ask": 1, "commit": "d" * 40, "sha256": "0" * 64, "offset": 0},
    "chunk": {"op": "chunk", "ask": 1, "commit": "d" * 40, "offset": 0, "data": b"x"},
    "sorry": {"op": "sorry", "ask": 1, "commit": "d" * 40, "why": "gone"},
    "runs": {"op": "runs", "ask": 1, "processor": "p", "code": "0" * 32},
    "running": {"op": "running", "ask": 1, "commit": "d" * 40},
}
BAD_VALUES: dict[str, list[Any]] = {
    "ask": [None, "1", 1.0, True, -1, 1 << 63],
    "url": [None, b"x", 7, "x" * 2_049, "a\nb", "a\0b"],
    "branch": [None, b"main", "x" * 201, "a\nb"],
    "tag": [None, 1, "x" * 201, "\x1b[2J"],
    "commits": [None, "d" * 40, ["d" * 39], ["D" * 40], ["d" * 40] * 9, [b"d" * 40], [None]],
    "size": [None, -1, "1", 1.5, True, 1 << 63],
    "sha256": [None, "0" * 63, "0" * 65, "A" * 64, "../" * 21 + "x", b"0" * 64, "0" * 64 + "\n"],
    "offset": [None, -1, 1 << 63, "0", False],
    "data": [None, b"", "x", bytes(limits.CODE_CHUNK_BYTES + 1), [1]],
    "processor": [None, b"p", 1, "x" * (limits.NAME_BYTES_MAX + 1), "a\nb"],
    "code": [None, b"0" * 32, "", "0" * 31, "0" * 33, "A" * 32, "0" * 32 + "\n"],
    "why": [None, b"x", "x" * 501, "a\nb"],
}
BAD_COMMITS: list[Any] = [None, b"d" * 40, 1, "D" * 40, "../../x", "d" * 65, "d" * 40 + "\n", "-x"]


def bad_commits(op: str) -> list[Any]:
    """Values that are no commit in a message: `who` may give a short or no one, `running` none."""
    return BAD_COMMITS + {"who": [], "running": ["abc1234"]}.get(op, ["", "abc1234"])


def test_good_messages_are_good():
    assert set(GOOD) == set(codewords.FIELDS)
    assert [codewords.fault(message) for message in GOOD.values()] == [""] * len(GOOD)


@pytest.mark.parametrize("op", GOOD)
def test_a_message_with_a_bad_field_is_dropped(op: str, tmp_path: Path):
    world = World(tmp_path)
    member, stranger = world.node("b"), world.node("c")
    message, seen = GOOD[op], 0
    for name in message:
        if name == "op":
            continue
        for value in bad_commits(op) if name == "commit" else BAD_VALUES[name]:
            said = member.hear_say(stranger, **message | {name: value})
            assert said == f"{op} has a bad {name!r}", value
            seen += 1
        less = {key: value for key, value in message.items() if key != name}
        assert member.hear_say(stranger, **less) == f"{op} has no field {name!r}"
    assert member.hear_say(stranger, **message, path="/etc") == f"{op} has 1 fields too many"
    assert seen >= 10 and not world.sent


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (None, "a message about code is a NoneType, wanted a dict"),
        ([], "a message about code is a list, wanted a dict"),
        ({}, "a message about code has the word 'None', which nobody knows"),
        ({"op": "rm"}, "a message about code has the word 'rm', which nobody knows"),
        ({"op": ["who"]}, "a message about code has the word \"['who']\", which nobody knows"),
        ({"op": b"who"}, "a message about code has the word \"b'who'\", which nobody knows"),
    ],
)
def test_what_is_no_message_is_dropped(message: Any, why: str, tmp_path: Path):
    world = World(tmp_path)
    member = world.node("b")

    assert member.share.received(bytes(16), message, 1) == why
    assert not world.sent
