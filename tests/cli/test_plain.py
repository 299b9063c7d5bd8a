"""Values as text: what other programs read must say the same in every format."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshcode.cli.plain import (
    length_of_time,
    local_time,
    to_json,
    to_json_data,
    to_raw,
    to_yaml,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(JSON_VALUES)
def test_json_reads_back_as_it_was(value):
    assert json.loads(to_json(value)) == value


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=20,
))  # fmt: skip
def test_yaml_reads_back_as_it_was(value):
    assert yaml.safe_load(to_yaml(value)) == value


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (b"\x00\xff", {"$bytes": "AP8="}),
        ((1, (2,)), [1, [2]]),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (
            datetime.datetime(2026, 11, 23, 12, 0, 1, tzinfo=datetime.UTC),
            "2026-11-23T12:00:01+00:00",
        ),
        (datetime.date(2026, 11, 23), "2026-11-23"),
        (datetime.timedelta(seconds=61), "0:01:01"),
        (decimal.Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ({2: "a", b"k": "b", None: "c", True: "d"}, {"2": "a", "k": "b", "null": "c", "true": "d"}),
        ({(1, 2): "b", 1.5: "c"}, {"(1, 2)": "b", "1.5": "c"}),
        (10**400, 10**400),
    ],
)
def test_values_that_json_lacks_have_one_spelling(value, data):
    assert to_json_data(value) == data


def test_numpy_values_become_lists_and_numbers():
    numpy = pytest.importorskip("numpy")

    assert to_json_data(numpy.array([[1, 2], [3, 4]])) == [[1, 2], [3, 4]]
    assert to_json_data(numpy.float64(1.5)) == 1.5


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        ("text", b"text\n"),
        ("two\n", b"two\n\n"),
        ("", b"\n"),
        (b"\x00\xff", b"\x00\xff"),
        (5, b"5\n"),
        (None, b"null\n"),
        ({"a": "é"}, '{"a": "é"}\n'.encode()),
    ],
)
def test_a_result_goes_into_a_pipe_byte_for_byte(value, raw):
    """A string gains exactly the one newline that the next command takes away."""
    assert to_raw(value) == raw


def test_yaml_quotes_what_would_be_read_as_something_else():
    text = to_yaml({"a": "yes", "b": "1", "c": "x: y", "d": "", "e": [], "f": [{"g": None}, "#"]})

    assert text == ('a: "yes"\nb: "1"\nc: "x: y"\nd: ""\ne: []\nf:\n- g: null\n- "#"\n')


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0.172, "172us"),
        (1, "1ms"),
        (12.34, "12.3ms"),
        (999.4, "999ms"),
        (999.6, "1s"),
        (1500, "1.5s"),
        (59_949, "59.9s"),
        (59_960, "1m00s"),
        (200_000, "3m20s"),
        (7_500_000, "2h05m"),
        (273_600_000, "3d04h"),
    ],
)
def test_a_length_of_time_has_three_digits_at_most(milliseconds, text):
    assert length_of_time(milliseconds) == text


def test_a_time_is_shown_in_the_zone_of_the_shell(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()

    assert local_time(1_700_000_000_123) == "2023-11-14 22:13:20.123"
    assert local_time(None) == ""
