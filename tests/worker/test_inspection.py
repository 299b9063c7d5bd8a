"""What is told of a task that is no plain function."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from meshcode.worker.inspection import describe

MODULE = '''"""Tasks of all sorts."""
import functools
import math


def logged(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper


def scale(factor, value, *, shift=0):
    """Scale a value."""
    return factor * value + shift


@logged
def wrapped(value):
    """It is wrapped."""
    return value


@functools.lru_cache
async def fetch(url):
    return url


class Model:
    """A model that can be called."""

    def __call__(self, row):
        """Predict."""
        return row


twice = functools.partial(scale, 2, shift=1)
more = functools.partial(functools.partial(wrapped), value=3)
fetch_home = functools.partial(fetch, "/")
model = Model()
root = math.sqrt
made = eval("lambda: 1")
'''


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    path = tmp_path_factory.mktemp("tree") / "tasks.py"
    path.write_text(MODULE)
    spec = importlib.util.spec_from_file_location("tasks_of_all_sorts", path)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # As an import does; the source of a class is looked up so.
    spec.loader.exec_module(found)
    yield found
    del sys.modules[spec.name]


@pytest.mark.parametrize(
    ("name", "begins", "doc", "kind", "signature"),
    [
        ("twice", "def scale(factor", "Scale a value.", "plain", "(value, *, shift=1)"),
        ("wrapped", "@logged\ndef wrapped", "It is wrapped.", "plain", "(value)"),
        ("more", "@logged\ndef wrapped", "It is wrapped.", "plain", "(*, value=3)"),
        ("fetch_home", "@functools.lru_cache\nasync def fetch", "", "async", "()"),
        ("model", "    def __call__(self, row)", "Predict.", "plain", "(row)"),
        ("Model", "class Model:", "A model that can be called.", "plain", "()"),
    ],
)  # fmt: skip
def test_the_code_of_a_task_is_what_somebody_wrote(module, name, begins, doc, kind, signature):
    """Not what `functools.partial` says of itself, and not nothing."""
    found = describe(getattr(module, name), str(Path(module.__file__).parent))

    assert found["source"].startswith(begins)
    assert (found["doc"], found["kind"], found["file"]) == (doc, kind, "tasks.py")
    assert found["signature"]["text"] == signature
    text = Path(module.__file__).read_text().splitlines()
    assert text[found["line"] - 1] == begins.partition("\n")[0] or begins in text[found["line"] - 1]


@pytest.mark.parametrize("name", ["root", "made"])
def test_what_is_in_no_file_has_no_source(module, name):
    found = describe(getattr(module, name), str(Path(module.__file__).parent))

    assert (found["source"], found["file"], found["line"]) == ("", "", 0)
