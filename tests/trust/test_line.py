"""The line of an invitation: what it says, and what is said about one that is not whole."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as some

from meshcode.errors import BadInvitation
from meshcode.trust.line import Line, parse, parse_host, text_of

GOOD = Line(b"123456", b"s" * 21, ("10.0.0.5:7421", "[fe80::1]:7421", "mesh.example.org:1"),
            b"k" * 32)  # fmt: skip


def test_a_line_is_read_as_it_was_written():
    text = text_of(GOOD)

    assert parse(text) == GOOD
    assert parse(f"  {text}\n") == GOOD
    assert "\n" not in text and " " not in text


def test_it_has_the_shape_that_people_know():
    text = text_of(GOOD)

    assert text.startswith("mesh1:")
    assert text.split("@")[0].count(".") == 1
    assert text.split("@")[1].split("#")[0] == ",".join(GOOD.hosts)
    assert len(text.split("#")[1]) == 52


def test_every_changed_character_is_found():
    """Each position, some other characters: never a line that says something else."""
    text = text_of(GOOD)
    missed = []
    for index, old in enumerate(text):
        for new in "Ab_9.-":
            if new == old:
                continue
            try:
                parse(text[:index] + new + text[index + 1 :])
                missed.append((index, old, new))
            except BadInvitation:
                pass

    assert missed == []


def test_every_cut_line_is_found():
    text = text_of(GOOD)

    for length in range(len(text)):
        with pytest.raises(BadInvitation):
            parse(text[:length])


def test_parts_of_two_lines_do_not_fit_together():
    other = text_of(Line(os.urandom(6), os.urandom(21), GOOD.hosts, os.urandom(32)))
    head, fingerprint = text_of(GOOD).split("#")

    with pytest.raises(BadInvitation, match="does not belong to the rest"):
        parse(f"{head}#{other.split('#')[1]}")
    assert fingerprint != other.split("#")[1]


@given(some.text())
def test_no_text_makes_it_fall_over(text: str):
    with pytest.raises(BadInvitation):
        parse(text)
    with pytest.raises(BadInvitation):
        parse("mesh1:" + text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("a:1", "a", 1), ("10.0.0.5:65535", "10.0.0.5", 65535), ("[::1]:7", "[::1]", 7)],
)
def test_a_host_is_read(text: str, host: str, port: int):
    assert parse_host(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    ["", ":", "a", "a:", ":1", "a:0", "a:65536", "a:-1", "a:x", "a b:1", "::1:7", "-a:1", "a/b:1",
     "a:1:2", "a:1٣", "tcp://a:1", "a:99999999999999999999"],
)  # fmt: skip
def test_a_host_that_is_none_is_refused(text: str):
    with pytest.raises(ValueError, match=r"HOST:PORT|host name"):
        parse_host(text)


def test_the_secret_is_not_shown_by_accident():
    assert "ssss" not in repr(GOOD)
