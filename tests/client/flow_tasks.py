"""Tasks for the tests of flows: a module of a repository, and what they are held against."""

import os
import threading


def shown(value):
    return f"[{'|'.join(map(shown, value))}]" if isinstance(value, list) else str(value)


def do_something(message, *own):
    """S(message;own), which is deterministic."""
    return f"S({shown(message)}{';' + ','.join(map(shown, own)) if own else ''})"


def do_this(message, *own):
    return do_something(message, *own).replace("S(", "T(", 1)


def boom(*args):
    raise ValueError("boom")


def record(*args, **kwargs):
    return [list(args), dict(sorted(kwargs.items()))]


def wait(value, path):
    """Give `value` when a file is there."""
    while not os.path.exists(path):
        threading.Event().wait(0.01)
    return value


def count(values):
    return len(values)


def blob(size):
    return b"x" * size
