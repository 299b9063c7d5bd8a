"""What a shell asks at a Tab: the answer of some seconds ago without loading the command.

    $XDG_CACHE_HOME/meshcode/tabs     of one user, 0600; entries of the last seconds

A person presses Tab, types a letter, presses it again.  The words before the one that is typed
decide what may stand there; so the first Tab asks click for all of it, and the following ones only
look up what begins with the letters.  What click was not asked for in this form, and what it does
not know by itself (files), is asked anew each time.
"""

from __future__ import annotations

import os
import sys
import time
from hashlib import blake2b

VARIABLE = "_MESH_COMPLETE"
FRESH_S = 5.0  # As long as names of objects are remembered.
FILE_BYTES_MAX = 1 << 20
_QUOTES = frozenset("'\"\\")
_ENTRY, _PART = "\x1e", "\x1f"  # Between entries of the file, and parts of one.

Lines = list[tuple[str, str]]  # A word that may stand there, and what the shell is told for it.


def main() -> int:
    """Answer one Tab; the exit status."""
    shell, _, what = os.environ[VARIABLE].partition("_")
    asked = _asked(shell) if what == "complete" else None
    lines = None
    if asked is not None:
        words, typed = asked
        key = _key(shell, words, typed)
        lines = read().get(key, (0.0, None))[1]
        if lines is None:
            lines = _from_click(shell, words, typed)
            if lines:  # Nothing may be a node that was too slow.
                remember(key, lines)
    if lines is None:
        return _click()
    told = "\n".join(line for word, line in lines if word.startswith(typed))
    sys.stdout.buffer.write(told.encode(errors="replace") + b"\n")
    return 0


def _asked(shell: str) -> tuple[list[str], str] | None:
    """The words before the one that is typed, and that one; None when click must read them."""
    line, cursor = os.environ.get("COMP_WORDS", ""), os.environ.get("COMP_CWORD", "")
    if not _QUOTES.isdisjoint(line + cursor):
        return None
    words = line.split()
    if shell == "fish":
        typed = cursor
        if typed and words[-1:] == [typed]:
            words.pop()
        before = words[1:]
    elif shell in ("bash", "zsh") and cursor.isdecimal():
        place = int(cursor)
        before, typed = words[1:place], words[place] if place < len(words) else ""
    else:
        return None
    if "=" in typed or (typed and not typed[0].isalnum() and not typed.startswith("-")):
        return None
    return before, typed


def _key(shell: str, words: list[str], typed: str) -> str:
    """What an answer depends on, without the letters typed; hashed, for it may be secret."""
    known = {n: v for n, v in os.environ.items() if n.startswith("MESH_")}
    for name in ("HOME", "XDG_CONFIG_HOME"):
        known[name] = os.environ.get(name, "")
    try:
        known["PWD"] = os.getcwd()  # A folder may have settings of its own.
    except OSError:
        known["PWD"] = ""
    about = repr((shell, words, typed.startswith("-"), sorted(known.items())))
    return blake2b(about.encode(errors="replace"), digest_size=16).hexdigest()


def _from_click(shell: str, words: list[str], typed: str) -> Lines | None:
    """All that may stand there; None when the shell is to look itself, for a file."""
    from click.shell_completion import get_completion_class

    from meshcode.cli.app import root

    found = get_completion_class(shell)
    assert found is not None, shell
    completer = found(root(), {}, "mesh", VARIABLE)
    items = completer.get_completions(words, "-" if typed.startswith("-") else "")
    if any(item.type != "plain" for item in items):
        return None
    return [(item.value, completer.format_completion(item)) for item in items]


def _click() -> int:
    from meshcode.cli.app import run

    return run([])


def file_of() -> str:
    """Where answers are remembered."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    if not os.path.isabs(base):
        base = os.path.join(os.environ.get("HOME") or os.path.expanduser("~"), ".cache")
    return os.path.join(base, "meshcode", "tabs")


def read() -> dict[str, tuple[float, Lines]]:
    """The answers of the last seconds; a file that is damaged, or of somebody else, is none."""
    now = time.time()
    found: dict[str, tuple[float, Lines]] = {}
    try:
        with open(file_of(), "rb") as file:
            about = os.fstat(file.fileno())
            if about.st_uid != os.getuid() or about.st_size > FILE_BYTES_MAX:
                return {}
            text = file.read().decode()
        for entry in text.split(_ENTRY)[1:]:
            at, key, *parts = entry.split(_PART)
            if 0 <= now - float(at) < FRESH_S and len(parts) % 2 == 0:
                found[key] = float(at), list(zip(parts[::2], parts[1::2], strict=True))
    except (OSError, ValueError):
        return {}
    return found


def remember(key: str, lines: Lines) -> None:
    """Keep an answer for some seconds; a folder that cannot be written to is no fault."""
    entries = {**read(), key: (time.time(), lines)}
    parts = (
        [str(at), one, *(part for line in told for part in line)]
        for one, (at, told) in entries.items()
    )
    text = "".join(_ENTRY + _PART.join(entry) for entry in parts)
    from meshcode import aside  # Late: an answer that is remembered already does without.

    path = file_of()
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        aside.write(path, text.encode(errors="replace"))
    except OSError:
        return


def forget() -> None:
    """An object came or went: the next Tab asks again."""
    try:
        os.unlink(file_of())
    except OSError:
        return  # It is a hint only, and old in seconds.
