"""Putting code of the model in the place of functions of a module, after its import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SUFFIX = "+override"  # Behind the commit that a worker tells, so that nobody takes it for that.


def apply(module: Any, overrides: Mapping[str, str]) -> None:
    """Run each piece of code in the module, where it defines the task of that name anew.

    Raises:
        BaseException: whatever the code raises when it is run.
    """
    if not overrides:
        return
    import linecache  # Late: most workers have none, and it brings the tokenizer.

    for task, code in sorted(overrides.items()):
        name = f"<override of {module.__name__}.{task}>"
        # So that tracebacks and `mesh task code` show the lines.
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        exec(compile(code, name, "exec"), vars(module))


def label(commit: str, overrides: Mapping[str, str]) -> str:
    """The commit as it is told when some of its functions are replaced."""
    return f"{commit[:12]}{SUFFIX}" if overrides else commit
