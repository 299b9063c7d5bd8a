"""Plays stories: blocks of acts, each followed by `----` and what came of it.

The acts are the methods of a story object that begin with `do_`; they get the words of their line,
and those of the form `name=value` as a map.  What happens is appended to its `lines`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol


class Played(Protocol):
    """A story under way."""

    lines: list[str]


def play(story: Played, text: str, after_act: Callable[[], None] | None = None) -> str:
    """Play all acts; the text again, with what really happened after each `----`.

    Args:
        story: has the acts.
        text: of the file.
        after_act: called after each act.
    """
    told: list[str] = []
    skipping = False
    for line in text.splitlines():
        if skipping:
            if line:
                continue
            skipping = False
        told.append(line)
        if line == "----":
            told += story.lines or ["nothing"]
            story.lines = []
            skipping = True
        elif line and not line.startswith("#"):
            words = [word for word in line.split() if "=" not in word]
            given = dict(word.split("=", 1) for word in line.split() if "=" in word)
            act: Any = getattr(story, f"do_{words[0]}", None)
            assert act is not None, f"there is no act `{words[0]}`"
            act(words[1:], given)
            if after_act is not None:
                after_act()
    return "\n".join(told) + "\n"


def check(run: Callable[[str], str], arguments: list[str]) -> int:
    """Check the story files among the arguments, or rewrite them; the number that differ."""
    rewrite = "--rewrite" in arguments
    wrong = 0
    for path in [Path(name) for name in arguments if name != "--rewrite"]:
        old = path.read_text()
        new = run(old)
        if old == new:
            continue
        wrong += 1
        if rewrite:
            path.write_text(new)
            print(f"{path}: rewritten")
        else:
            before, after = old.splitlines(), new.splitlines()
            print("\n".join(difflib.unified_diff(before, after, str(path), "played", lineterm="")))
    return 0 if rewrite else wrong


__all__ = ["check", "play"]
