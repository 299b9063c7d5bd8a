"""Taking results apart: tables of what goes in and what comes out."""

from __future__ import annotations

from collections import namedtuple
from types import SimpleNamespace

import pytest

from meshcode.client.results import chunk, flatten, get, omit, select, where
from meshcode.client.results import filter as keep
from meshcode.errors import BadData

NESTED = {"a": {"b": [{"c": 7, "none": None}, "x"]}, "a.b": "dotted", "n": 0, 3: "three"}
GRAPHS = [
    {"message": f"m{v}", "graph": {"value": v, "tag": "t" if v % 2 else None}} for v in (1, 2, 3, 4)
]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.b[0].c", 7),
        ("a.b.0.c", 7),
        ("a.b[-1]", "x"),
        ("a.b", "dotted"),
        (["a", "b", 1], "x"),
        (("a", "b", 0, "c"), 7),
        ("n", 0),
        (3, "three"),
        ("3", "three"),
        ("a.b[0].none", None),
        ("a.b[2]", "nothing"),
        ("a.b[-3]", "nothing"),
        ("a.x.c", "nothing"),
        ("n.real", "nothing"),
        ("a.b[1].upper.__self__", "nothing"),
        ("a.b[1][0]", "nothing"),
        ("a.b.count", "nothing"),
        ("a.b[1].upper", "nothing"),
        ("a.keys", "nothing"),
    ],
)
def test_get_follows_a_path(path, found):
    assert get(NESTED, path, "nothing") == found


def test_get_of_nothing_and_of_objects():
    assert get(None, "a.b") is None
    assert get(None, "a.b", 5) == 5
    assert get(SimpleNamespace(a=[1, 2]), "a[1]") == 2
    assert get(namedtuple("Point", "x y")(3, 4), "y") == 4
    assert get([10, 20], "[1]") == 20
    assert get([10, 20], 1) == 20
    assert get({"a": 1}, "") is None


@pytest.mark.parametrize(
    ("items", "flat"),
    [
        ([], []),
        ([1, [2, [3, 4]], (5,)], [1, 2, [3, 4], 5]),
        (["text", ["more"]], ["text", "more"]),
        ([[], [[]]], [[]]),
        ([{"a": [1]}, [None]], [{"a": [1]}, None]),
        (iter([[1], 2]), [1, 2]),
    ],
)
def test_flatten_takes_one_level_away(items, flat):
    assert flatten(items) == flat


@pytest.mark.parametrize(
    ("items", "size", "chunks"),
    [
        ([], 3, []),
        (range(5), 2, [[0, 1], [2, 3], [4]]),
        ("abc", 1, [["a"], ["b"], ["c"]]),
        ([1, 2], 9, [[1, 2]]),
        (iter([1, 2, 3]), 3, [[1, 2, 3]]),
    ],
)
def test_chunk_cuts_in_order(items, size, chunks):
    assert chunk(items, size) == chunks


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "2", None])
def test_chunk_refuses_a_size_that_is_none(size):
    with pytest.raises(BadData, match="a chunk has 1 item or more, not"):
        chunk([1], size)


@pytest.mark.parametrize(
    ("keys", "left"),
    [
        ((), {"a": {"b": 1, "c": [{"d": 2, "e": 3}]}, "f": 4, "g.h": 5}),
        (("f", "g.h"), {"a": {"b": 1, "c": [{"d": 2, "e": 3}]}}),
        ((["a", "f"],), {"g.h": 5}),
        (("a.b", "f", "g.h"), {"a": {"c": [{"d": 2, "e": 3}]}}),
        (("a.c[0].d", "f", "g.h"), {"a": {"b": 1, "c": [{"e": 3}]}}),
        (("none", "a.none.x", "a.c[7].d", "f", "g.h"), {"a": {"b": 1, "c": [{"d": 2, "e": 3}]}}),
    ],
)
def test_omit_gives_a_copy_without(keys, left):
    value = {"a": {"b": 1, "c": [{"d": 2, "e": 3}]}, "f": 4, "g.h": 5}
    before = repr(value)

    assert omit(value, *keys) == left
    assert repr(value) == before


@pytest.mark.parametrize(
    ("predicate", "messages"),
    [
        (lambda g: g["graph"]["value"] > 2, ["m3", "m4"]),
        ("graph.tag", ["m1", "m3"]),
        ("graph.none", []),
        ({"graph": {"value": 2}}, ["m2"]),
        ({"graph": {"value": 2}, "message": "m3"}, []),
        ({"none": None}, []),
        ({}, ["m1", "m2", "m3", "m4"]),
        (["graph.value", 4], ["m4"]),
        (("graph.none", None), []),
    ],
)
def test_filter_by_function_property_and_map(predicate, messages):
    assert [g["message"] for g in keep(GRAPHS, predicate)] == messages


def test_filter_without_a_predicate_and_of_a_map():
    assert keep([0, 1, "", "a", None, []]) == [1, "a"]
    assert keep({"x": {"on": 1}, "y": {"on": 0}}, "on") == [{"on": 1}]
    with pytest.raises(BadData, match="this has 3 items"):
        keep([1], ["a", "b", "c"])


def test_a_pipe_selects_where():
    found = GRAPHS | where(lambda g: g["graph"]["value"] > 2) | select(lambda g: g["message"])

    assert list(found) == ["m3", "m4"]


def test_a_pipe_reads_no_more_than_it_is_asked_for():
    read = []

    def endless():
        n = 0
        while True:
            read.append(n)
            yield n
            n += 1

    odd = endless() | where(lambda n: n % 2) | select(lambda n: n * 10)

    assert read == []
    assert [next(odd), next(odd)] == [10, 30]
    assert read == [0, 1, 2, 3]


def test_pipes_are_joined_before_there_is_a_left_side():
    both = where(lambda n: n > 1) | select(str)

    assert list([1, 2, 3] | both) == ["2", "3"]
    assert list((4,) | both) == ["4"]
    with pytest.raises(TypeError):
        5 | both
    with pytest.raises(TypeError):
        both | 5
