"""Reading what people type: values for calls, and durations.

A value is JSON when it is JSON, else a Python literal.  Nothing is ever evaluated: a name, a call
or an operator is refused, and the text says at which line and column, with a caret under it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

from meshcode.errors import BadData
from meshcode.limits import DATA_DEPTH_MAX

if TYPE_CHECKING:
    import ast

CARET_COLUMNS = 72  # Of a long line, so many characters around the error are shown.

_NAME_HINTS = {
    "true": "Python writes True",
    "false": "Python writes False",
    "null": "Python writes None",
    "nan": 'write it as a string, "nan"',
    "inf": 'write it as a string, "inf"',
}


def parse_data(text: str, *, source: str = "--data") -> Any:
    """The value of `text`: JSON first, then a Python literal.

    Raises:
        BadData: it is neither.  The text names `source`, the line and the column, and shows them.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise _too_deep(source) from None
    except ValueError as error:
        return _parse_literal(text, source, error)
    _check_depth(value, source)
    return value


def parse_json(text: str, *, source: str = "stdin") -> Any:
    """The value of `text`, which must be JSON.

    Raises:
        BadData: it is not; the text names the line and the column.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise _too_deep(source) from None
    except json.JSONDecodeError as error:
        _refuse(text, source, "is not JSON", error.msg, error.lineno, error.colno)
    except ValueError as error:
        raise BadData(f"{source} is not JSON: {error}") from None
    _check_depth(value, source)
    return value


def parse_word(text: str) -> Any:
    """One word of a command line: its value when it is JSON, else the word itself as a string."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text
    _check_depth(value, "the argument")
    return value


def arguments_of(value: Any) -> list[Any]:
    """The positional arguments a value stands for: a list or tuple is them, else it is one."""
    if isinstance(value, list | tuple):
        return list(value)
    return [value]


def parse_keyword(text: str, *, words: bool = False) -> tuple[str, Any]:
    """Read `name=value` into the name of a keyword argument and its value; with `words`, a string.

    Raises:
        BadData: there is no `=`, or the name is not a Python name.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise BadData(f"-k wants NAME=VALUE, this has no '=': {text!r}")
    if not name.isidentifier():
        raise BadData(f"-k wants NAME=VALUE, and {name!r} is not a Python name")
    return name, value if words else parse_word(value)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _parse_literal(text: str, source: str, json_error: ValueError) -> Any:
    import ast
    import warnings

    body = text.strip()
    if not body:
        raise BadData(f"{source} is empty; for an empty string write '\"\"', for no arguments '[]'")
    if "\0" in body:
        raise BadData(f"{source} holds a zero byte, at column {body.index(chr(0)) + 1}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Odd escapes such as "\d" are the caller's business.
            tree = ast.parse(body, mode="eval")
            offender = _offender(tree.body)
            if offender is None:
                value = ast.literal_eval(tree)
                _check_depth(value, source)
                return value
    except SyntaxError as error:
        detail = _json_words(body, json_error)
        _refuse(
            body,
            source,
            "is neither JSON nor a Python literal",
            (error.msg or "invalid syntax") + detail,
            error.lineno or 1,
            error.offset or 1,
        )
    except (MemoryError, RecursionError):
        raise _too_deep(source) from None
    except (TypeError, ValueError) as error:
        raise BadData(f"{source} is neither JSON nor a Python literal: {error}") from None
    node, why = offender
    column = len(_lines(body)[node.lineno - 1].encode()[: node.col_offset].decode()) + 1
    return _refuse(body, source, "is not plain data", why, node.lineno, column)


def _json_words(body: str, error: ValueError) -> str:
    """What JSON says, when the text looks as if JSON was meant."""
    if body[0] in '{["' and isinstance(error, json.JSONDecodeError):
        return f" (as JSON: {error.msg}, column {error.colno})"
    return ""


def _offender(node: ast.expr) -> tuple[ast.expr, str] | None:
    """The first part of the tree that is not a literal, and why; None when all of it is."""
    import ast

    if isinstance(node, ast.Constant):
        if node.value is Ellipsis:
            return node, "`...` is not a value"
        if isinstance(node.value, complex):
            return node, "a complex number is not plain data; send its parts as a list"
        return None
    if isinstance(node, ast.Name):
        hint = _NAME_HINTS.get(node.id.lower(), f'for a string write "{node.id}"')
        return node, f"`{node.id}` is a name, not a value; {hint}"
    if isinstance(node, ast.List | ast.Tuple):
        return next(filter(None, map(_offender, node.elts)), None)
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                return value, "`**` is not allowed in plain data"
            if isinstance(key, ast.List | ast.Dict):
                return key, "a list or dict cannot be the key of a dict"
            found = _offender(key) or _offender(value)
            if found is not None:
                return found
        return None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        operand = node.operand
        if isinstance(operand, ast.Constant) and type(operand.value) in (int, float):
            return None
    if isinstance(node, ast.Set):
        return node, "a set is not plain data; use a list"
    if isinstance(node, ast.Call):
        return node, "a call is not a value; nothing is evaluated here"
    if isinstance(node, ast.JoinedStr):
        return node, "an f-string is not a value; nothing is evaluated here"
    return node, "an expression is not a value; nothing is evaluated here"


def _check_depth(value: Any, source: str) -> None:
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, dict | list | tuple)]:
        depth += 1
        if depth > DATA_DEPTH_MAX:
            raise _too_deep(source)
        level = [
            part for item in level for part in (item.values() if isinstance(item, dict) else item)
        ]


def _too_deep(source: str) -> BadData:
    return BadData(f"{source} is nested deeper than {DATA_DEPTH_MAX} levels; flatten it")


def _lines(text: str) -> list[str]:
    # Not splitlines(): the parser ends a line at these three only.
    return re.split(r"\r\n|\r|\n", text)


def _refuse(text: str, source: str, what: str, why: str, line: int, column: int) -> NoReturn:
    lines = _lines(text)
    line = min(max(line, 1), len(lines))
    shown = "".join(c if c.isprintable() else " " for c in lines[line - 1])
    start = max(0, column - 1 - CARET_COLUMNS // 2)
    window = shown[start : start + CARET_COLUMNS]
    caret = " " * (column - 1 - start) + "^"
    raise BadData(
        f"{source} {what}: line {line}, column {column}: {why}\n  {window}\n  {caret}",
        line=line,
        column=column,
    )
