"""What may be put in the place of a task's code: one function of its name, and helpers.  Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

CODE_BYTES_MAX = 32 * 1024


def check_code(value: Any) -> str:
    """Python source; what it defines is looked at together with the task's name."""
    if not isinstance(value, str) or "\0" in value or not value.strip():
        raise ValueError("Python source without NUL")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("Python source of Unicode")
    size = len(value.encode())
    if size > CODE_BYTES_MAX:
        raise ValueError(f"Python source of at most {CODE_BYTES_MAX} bytes, and this has {size}")
    return str(value)


@lru_cache(maxsize=256)
def problem(code: str, task: str) -> str:
    """Why this code cannot stand for a task; empty when it can.

    It runs in the module of the task, so that it sees what is there.  What else it defines must
    begin with an underscore: an override of one task never replaces another by accident.
    """
    try:
        tree = ast.parse(code)
    except SyntaxError as exc:
        return f"line {exc.lineno} is no Python: {exc.msg}"
    except (ValueError, RecursionError, MemoryError) as exc:
        return f"it cannot be read as Python: {type(exc).__name__}"
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    if not any(isinstance(node, functions) and node.name == task for node in tree.body):
        return f"it defines no function {task!r} at its top level"
    for node in tree.body:
        for name in _bound(node):
            if name != task and not name.startswith("_"):
                return (
                    f"line {node.lineno} defines {name!r}; beside {task!r} it may import, and"
                    " define names that begin with _"
                )
        if not isinstance(node, _ALLOWED):
            return f"line {node.lineno} is neither a definition nor an import"
    return ""


_ALLOWED = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign,
    ast.AnnAssign, ast.Expr,
)  # fmt: skip


def _bound(node: ast.stmt) -> Iterator[str]:
    """The names that a statement defines, other than by importing."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            for inner in ast.walk(target):
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                    yield inner.id
