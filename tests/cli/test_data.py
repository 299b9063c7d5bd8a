"""What people type: values and durations, the good ones and every refusal by its exact text."""

from __future__ import annotations

import pytest

from meshcode.cli.data import (
    arguments_of,
    parse_data,
    parse_json,
    parse_keyword,
    parse_word,
)
from meshcode.errors import BadData
from meshcode.units import parse_duration

GOOD_DATA = [
    ("['some data']", ["some data"]),
    ('["some data"]', ["some data"]),
    ("('a', 1)", ("a", 1)),
    ("(1,)", (1,)),
    ("1", 1),
    ("-5", -5),
    ("+5", 5),
    ("1.5", 1.5),
    ("1e3", 1000.0),
    ("1_000", 1000),
    ("0x10", 16),
    ('"text"', "text"),
    ("'text'", "text"),
    ("'a' 'b'", "ab"),
    ("b'bytes'", b"bytes"),
    ("true", True),
    ("True", True),
    ("null", None),
    ("None", None),
    ("[]", []),
    ("()", ()),
    ("{}", {}),
    ("{'a': [1, {'b': None}]}", {"a": [1, {"b": None}]}),
    ('{"a": [1, {"b": null}]}', {"a": [1, {"b": None}]}),
    ("{1: 'one', (1, 2): 'pair'}", {1: "one", (1, 2): "pair"}),
    ("  [1]  ", [1]),
    ("[\n  1,\n  2,\n]", [1, 2]),
    ('"é\\u00e9"', "éé"),
    ("'it''s'", "its"),
    ("r'\\d'", "\\d"),
    ("'\\d'", "\\d"),
    ("123456789012345678901234567890", 123456789012345678901234567890),
]


@pytest.mark.parametrize(("text", "value"), GOOD_DATA)
def test_data_is_json_or_a_python_literal(text, value):
    found = parse_data(text)

    assert found == value
    assert type(found) is type(value)


BAD_DATA = [
    ("", "--data is empty; for an empty string write '\"\"', for no arguments '[]'"),
    (
        "   ",
        "--data is empty; for an empty string write '\"\"', for no arguments '[]'",
    ),
    (
        "hello",
        "--data is not plain data: line 1, column 1: `hello` is a name, not a value;"
        ' for a string write "hello"\n  hello\n  ^',
    ),
    (
        "[True, false]",
        "--data is not plain data: line 1, column 8: `false` is a name, not a value;"
        " Python writes False\n  [True, false]\n         ^",
    ),
    (
        "{'a': null}",
        "--data is not plain data: line 1, column 7: `null` is a name, not a value;"
        " Python writes None\n  {'a': null}\n        ^",
    ),
    (
        "NaN",
        "--data is not plain data: line 1, column 1: `NaN` is a name, not a value;"
        ' write it as a string, "nan"\n  NaN\n  ^',
    ),
    (
        "[1,\n 2,\n x]",
        "--data is not plain data: line 3, column 2: `x` is a name, not a value;"
        ' for a string write "x"\n   x]\n   ^',
    ),
    (
        "['é', x]",
        "--data is not plain data: line 1, column 7: `x` is a name, not a value;"
        " for a string write \"x\"\n  ['é', x]\n        ^",
    ),
    (
        "[1, {2, 3}]",
        "--data is not plain data: line 1, column 5: a set is not plain data; use a list\n"
        "  [1, {2, 3}]\n      ^",
    ),
    (
        "set()",
        "--data is not plain data: line 1, column 1: a call is not a value;"
        " nothing is evaluated here\n  set()\n  ^",
    ),
    (
        "__import__('os').system('id')",
        "--data is not plain data: line 1, column 1: a call is not a value;"
        " nothing is evaluated here\n  __import__('os').system('id')\n  ^",
    ),
    (
        "1 + 2",
        "--data is not plain data: line 1, column 1: an expression is not a value;"
        " nothing is evaluated here\n  1 + 2\n  ^",
    ),
    (
        "2j",
        "--data is not plain data: line 1, column 1: a complex number is not plain data;"
        " send its parts as a list\n  2j\n  ^",
    ),
    (
        "...",
        "--data is not plain data: line 1, column 1: `...` is not a value\n  ...\n  ^",
    ),
    (
        "f'{1}'",
        "--data is not plain data: line 1, column 1: an f-string is not a value;"
        " nothing is evaluated here\n  f'{1}'\n  ^",
    ),
    (
        "{**{}}",
        "--data is not plain data: line 1, column 4: `**` is not allowed in plain data\n"
        "  {**{}}\n     ^",
    ),
    (
        "{[1]: 2}",
        "--data is not plain data: line 1, column 2: a list or dict cannot be the key of a dict\n"
        "  {[1]: 2}\n   ^",
    ),
    (
        "{'a': {'b': x}}",
        "--data is not plain data: line 1, column 13: `x` is a name, not a value;"
        " for a string write \"x\"\n  {'a': {'b': x}}\n              ^",
    ),
    (
        "-'a'",
        "--data is not plain data: line 1, column 1: an expression is not a value;"
        " nothing is evaluated here\n  -'a'\n  ^",
    ),
    (
        "[x for x in y]",
        "--data is not plain data: line 1, column 1: an expression is not a value;"
        " nothing is evaluated here\n  [x for x in y]\n  ^",
    ),
    (
        "['some data'",
        "--data is neither JSON nor a Python literal: line 1, column 1: '[' was never closed"
        " (as JSON: Expecting value, column 2)\n  ['some data'\n  ^",
    ),
    (
        "['some data'}",
        "--data is neither JSON nor a Python literal: line 1, column 13: closing parenthesis '}'"
        " does not match opening parenthesis '[' (as JSON: Expecting value, column 2)\n"
        "  ['some data'}\n              ^",
    ),
    (
        "'some data",
        "--data is neither JSON nor a Python literal: line 1, column 1: unterminated string"
        " literal (detected at line 1)\n  'some data\n  ^",
    ),
    (
        "[1, 2",
        "--data is neither JSON nor a Python literal: line 1, column 1: '[' was never closed"
        " (as JSON: Expecting ',' delimiter, column 6)\n  [1, 2\n  ^",
    ),
    (
        "007",
        "--data is neither JSON nor a Python literal: line 1, column 1: leading zeros in decimal"
        " integer literals are not permitted; use an 0o prefix for octal integers\n  007\n  ^",
    ),
    (
        "a = 1",
        "--data is neither JSON nor a Python literal: line 1, column 3: invalid syntax\n"
        "  a = 1\n    ^",
    ),
    (
        "1 2",
        "--data is neither JSON nor a Python literal: line 1, column 3: invalid syntax\n"
        "  1 2\n    ^",
    ),
    ("'\0'", "--data holds a zero byte, at column 2"),
    ("[" * 65 + "]" * 65, "--data is nested deeper than 64 levels; flatten it"),
    ("(" * 66 + "1," + ")," * 65 + ")", "--data is nested deeper than 64 levels; flatten it"),
    ("[" * 100_000 + "]" * 100_000, "--data is nested deeper than 64 levels; flatten it"),
]


@pytest.mark.parametrize(("text", "message"), BAD_DATA)
def test_data_that_is_neither_is_refused_with_its_place(text, message):
    with pytest.raises(BadData) as caught:
        parse_data(text)

    assert str(caught.value) == message
    assert caught.value.exit_status == 2


def test_the_deepest_data_is_let_through():
    value = parse_data("[" * 64 + "]" * 64)

    for _ in range(63):
        (value,) = value
    assert value == []


def test_a_long_line_is_shown_around_the_error_only():
    text = "['" + "x" * 500 + "', oops]"

    with pytest.raises(BadData) as caught:
        parse_data(text)

    _, window, caret = str(caught.value).split("\n")
    assert len(window) <= 74
    assert window[caret.index("^") :].startswith("oops")


GOOD_DURATIONS = [
    ("0", 0),
    ("500ms", 500),
    ("5s", 5_000),
    ("2m", 120_000),
    ("1h", 3_600_000),
    ("1d", 86_400_000),
    ("1.5s", 1_500),
    ("0.25s", 250),
    ("1h30m", 5_400_000),
    ("1m0.5s", 60_500),
    (" 5s ", 5_000),
]


@pytest.mark.parametrize(("text", "milliseconds"), GOOD_DURATIONS)
def test_a_duration_is_whole_milliseconds(text, milliseconds):
    assert parse_duration(text) == milliseconds


BAD_DURATIONS = [
    ("5", "'5' has no unit; write 5s for seconds or 5ms"),
    ("1.5", "'1.5' has no unit; write 1.5s for seconds or 1.5ms"),
    ("", "'' is not a duration; write a number and a unit: 500ms, 5s, 2m, 1h, 1d"),
    ("s", "'s' is not a duration; write a number and a unit: 500ms, 5s, 2m, 1h, 1d"),
    ("5 s", "'5 s' is not a duration; write a number and a unit: 500ms, 5s, 2m, 1h, 1d"),
    ("5S", "'5S' is not a duration; write a number and a unit: 500ms, 5s, 2m, 1h, 1d"),
    ("-5s", "'-5s' is not a duration; write a number and a unit: 500ms, 5s, 2m, 1h, 1d"),
    ("5s later", "'5s later' is not a duration; write a number and a unit: 500ms, 5s, 2m, 1h, 1d"),
    ("1w", "'1w' is not a duration; write a number and a unit: 500ms, 5s, 2m, 1h, 1d"),
    ("0.5ms", "'0.5ms' is not a whole number of milliseconds"),
]


@pytest.mark.parametrize(("text", "message"), BAD_DURATIONS)
def test_a_duration_without_a_known_unit_is_refused(text, message):
    with pytest.raises(ValueError) as caught:
        parse_duration(text)

    assert str(caught.value) == message


def test_a_list_or_tuple_is_the_arguments_and_anything_else_is_one():
    assert arguments_of(["a", 1]) == ["a", 1]
    assert arguments_of(("a", 1)) == ["a", 1]
    assert arguments_of([]) == []
    assert arguments_of("ab") == ["ab"]
    assert arguments_of({"a": 1}) == [{"a": 1}]
    assert arguments_of(None) == [None]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("5", 5),
        ("-5.5", -5.5),
        ("true", True),
        ("True", "True"),
        ('"5"', "5"),
        ("007", "007"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("[1, 2]", [1, 2]),
        ("[1, 2", "[1, 2"),
        ("plain words", "plain words"),
        ("", ""),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_a_word_is_a_value_when_it_is_json_else_a_string(word, value):
    assert parse_word(word) == value


def test_a_keyword_is_a_name_and_a_word():
    assert parse_keyword("top=5") == ("top", 5)
    assert parse_keyword("top=5", words=True) == ("top", "5")
    assert parse_keyword("title=a=b") == ("title", "a=b")
    assert parse_keyword("empty=") == ("empty", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("top", "-k wants NAME=VALUE, this has no '=': 'top'"),
        ("=5", "-k wants NAME=VALUE, and '' is not a Python name"),
        ("a-b=5", "-k wants NAME=VALUE, and 'a-b' is not a Python name"),
    ],
)
def test_a_keyword_without_a_name_is_refused(text, message):
    with pytest.raises(BadData) as caught:
        parse_keyword(text)

    assert str(caught.value) == message


def test_stdin_that_is_not_json_is_refused_with_its_place():
    with pytest.raises(BadData) as caught:
        parse_json('{"a": 1,\n "b": oops}')

    assert str(caught.value) == (
        'stdin is not JSON: line 2, column 7: Expecting value\n   "b": oops}\n        ^'
    )
    assert parse_json('{"a": [1]}') == {"a": [1]}
