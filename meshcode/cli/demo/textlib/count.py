"""Counting: the first processor of the demo.  It needs nothing but Python."""

from __future__ import annotations

import importlib.util
import io
import tokenize
from collections import Counter
from typing import Any

from .clean import note, read, words


def measure(path: str) -> dict[str, Any]:
    """Lines, words, Python tokens and the five most frequent words of a file."""
    text = read(path)
    found = words(text)
    try:
        tokens = sum(1 for _ in tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        tokens = -1  # Not Python.
    top = sorted(Counter(found).items(), key=lambda pair: (-pair[1], pair[0]))[:5]
    return {
        "path": path,
        "bytes": len(text.encode()),
        "lines": text.count("\n"),
        "words": len(found),
        "tokens": tokens,
        "top": [list(pair) for pair in top],
    }


def count(path: str, key: str, ledger: str) -> dict[str, Any]:
    """Measure a file, and leave a line that says so."""
    found = measure(path)
    note(ledger, key)
    return found


def echo(value: Any) -> Any:
    """Give back what came."""
    return value


def can_import(name: str) -> bool:
    """Whether the environment of this processor has that package."""
    return importlib.util.find_spec(name) is not None
