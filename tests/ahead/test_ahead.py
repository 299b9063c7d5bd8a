"""The compiled core is taken only where it was made of the very source that lies there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from meshcode import ahead

_CORE = "def step(number: int) -> int:\n    return number + {}\n"
_SMALL = """
import sys
from pathlib import Path
from meshcode import ahead
ahead.ROOT, ahead.BUILT = Path(sys.argv[1]), Path(sys.argv[2])
"""
_BUILD = """
from meshcode.ahead.build import CannotCompile, build
try:
    print(*build())
except CannotCompile as error:
    sys.exit(str(error))
"""
_ASK = """
import meshcode.router
meshcode.router.__path__[:] = [str(ahead.ROOT / "router")]  # The small core instead of ours.
used = ahead.use()
from meshcode.router.core import step
print(used, ahead.is_used(), step(1))
"""


@pytest.fixture
def small(tmp_path, monkeypatch) -> Path:
    """A core of two files, and nothing compiled yet."""
    root = tmp_path / "meshcode"
    for name in (*ahead.PACKAGES, "wire", "schedule"):
        (root / name).mkdir(parents=True)
        (root / name / "__init__.py").write_text('"""Small."""\n')
    for name in ("__init__.py", *(leaf for leaf in ahead.LEAVES if leaf.endswith(".py"))):
        (root / name).write_text('"""Small."""\n')
    (root / "router" / "core.py").write_text(_CORE.format(1))
    monkeypatch.setattr(ahead, "ROOT", root)
    monkeypatch.setattr(ahead, "BUILT", tmp_path / "built")
    monkeypatch.delenv("MESHCODE_PURE", raising=False)
    return root


def _run(code: str, root: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, with the small core: setuptools must be the first there."""
    return subprocess.run(
        [sys.executable, "-c", _SMALL + code, str(root), str(root.parent / "built")],
        env={**os.environ, **more}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _ask(root: Path, **more: str) -> str:
    """What a process says: used, is used, one step."""
    run = _run(_ASK, root, **more)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler here")
def test_what_was_compiled_runs_until_its_source_changes(small):
    assert _ask(small) == "False False 2"

    built = _run(_BUILD, small)

    assert built.stdout.split()[-2:] == [str(ahead.folder()), "True"], built.stderr
    assert _ask(small) == "True True 2"
    assert _ask(small, MESHCODE_PURE="1") == "False False 2"
    assert _run(_BUILD, small).stdout.split() == [str(ahead.folder()), "False"]
    (small / "router" / "core.py").write_text(_CORE.format(2))
    assert _ask(small) == "False False 3"


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler here")
def test_two_who_compile_at_once_both_have_it(small):
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: _run(_BUILD, small), range(2)))

    assert [run.returncode for run in runs] == [0, 0], runs
    assert [run.stdout.split()[-2] for run in runs] == [str(ahead.folder())] * 2


@pytest.mark.parametrize(
    "file", ["router/core.py", "replica/__init__.py", "limits.py", "wire/__init__.py"]
)
def test_the_key_tells_every_file_that_the_core_is_made_of(small, file):
    before = ahead.key()

    (small / file).write_text("LIMIT = 1\n")

    assert ahead.key() != before


def test_a_process_that_has_the_core_already_keeps_it():
    import meshcode.router.core

    assert meshcode.router.core.__file__.endswith(".py")
    assert not ahead.use()
    assert not ahead.is_used()


def test_without_a_compiler_nothing_is_changed_and_it_says_what_to_install(small):
    run = _run(_BUILD, small, CC="/nowhere/cc")

    assert run.returncode == 1
    assert re.search(r"'/nowhere/cc'.*source as before.*python3-dev", run.stderr)
    assert ahead.folder() is None
    assert list(ahead.BUILT.iterdir()) == []


def test_source_that_mypy_refuses_is_not_compiled(small):
    if shutil.which("gcc") is None:
        pytest.skip("there is no C compiler here")
    (small / "router" / "core.py").write_text("def step(number: int) -> str:\n    return number\n")

    run = _run(_BUILD, small)

    assert run.returncode == 1
    assert "mypy refused" in run.stderr
    assert "core.py:2" in run.stdout + run.stderr
    assert ahead.folder() is None
