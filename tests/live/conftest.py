"""Nodes for the live tests: one shared by a module, and fresh ones for tests that break them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import Mesh, make_repository, offering

TASKS = '''
"""Tasks of the live tests."""

import os
import sys
import time


def echo(value):
    """Return `value` as it came."""
    return value


def join(left, right, *, by=""):
    """Put two texts together."""
    return left + by + right


def boom(text):
    """Raise."""
    raise ValueError(text)


def a_set():
    """Return what is no plain data."""
    return {"when": [{1, 2}]}


def large(size):
    """Return `size` bytes."""
    return bytes(size)


def die():
    """End the worker under the call."""
    os._exit(7)


def where():
    """Which process and which environment run this."""
    return {"pid": os.getpid(), "prefix": sys.prefix}


def nap(seconds):
    """Take its time."""
    time.sleep(seconds)
    return seconds


def say(text):
    """Print to both streams."""
    print(text)
    print(text.upper(), file=sys.stderr)
    return len(text)
'''

BROKEN = '''
"""A module that cannot be imported."""

import a_package_that_nobody_has


def fine():
    return 1
'''


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with good and bad modules."""
    folder = tmp_path_factory.mktemp("repository")
    make_repository(folder, {"live/__init__.py": "", "live/tasks.py": TASKS, "live/bad.py": BROKEN})
    return folder


@pytest.fixture
def fresh() -> Iterator[Mesh]:
    """A node of one's own, started; it and all it started are gone afterwards."""
    with Mesh() as mesh:
        yield mesh


@pytest.fixture(scope="module")
def mesh(repository: Path) -> Iterator[Mesh]:
    """A node that offers live.tasks; shared, so leave it as it was."""
    tasks = ["echo", "join", "boom", "a_set", "large", "where", "say"]
    with offering("live", repository, "live.tasks", tasks) as node:
        yield node
