"""The C twin is built where it can be, and never stands in the way of an install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sources(tmp_path) -> Path:
    """What a build needs of the project, in a folder of its own."""
    for name in ("setup.py", "MANIFEST.in"):
        shutil.copy(ROOT / name, tmp_path / name)
    skip = shutil.ignore_patterns("*.so", "_staging.c", "__pycache__", "built")
    shutil.copytree(ROOT / "meshcode", tmp_path / "meshcode", ignore=skip)
    (tmp_path / "setup.cfg").write_text("[metadata]\nname = meshcode\n")
    return tmp_path


def build(sources: Path, **env: str) -> list[str]:
    """Build in place as an editable install does; returns the libraries made."""
    if find_spec("setuptools") is None:  # Not imported here: another test may have its distutils.
        pytest.skip("setuptools is not installed")
    kept = {k: v for k, v in os.environ.items() if k not in ("MESHCODE_PURE", "CC")}
    made = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=sources, env={**kept, **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-2000:]
    return sorted(path.name for path in (sources / "meshcode/native").glob("_*.so"))


def twin_of(sources: Path) -> str:
    """The twin that a fresh interpreter finds there."""
    env = {k: v for k, v in os.environ.items() if k != "MESHCODE_PURE"}
    found = subprocess.run(
        [sys.executable, "-c", "import meshcode.native as n; print(n.__file__, n.TWIN)"],
        cwd=sources, env={**env, "PYTHONPATH": str(sources)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    path, twin = found.stdout.split()
    assert path.startswith(str(sources))
    return twin


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler here")
def test_with_a_compiler_libraries_for_all_later_pythons_are_built(sources):
    assert build(sources) == ["_objects.abi3.so", "_staging.abi3.so"]
    assert twin_of(sources) == "c"


def test_without_a_compiler_the_build_goes_on_with_the_pure_twin(sources):
    assert build(sources, CC="/nonexistent/compiler") == []
    assert twin_of(sources) == "pure"


def test_meshcode_pure_leaves_the_compiler_alone(sources):
    """The compiler named would fail loudly if it were asked: it is not."""
    assert build(sources, MESHCODE_PURE="1", CC="/nonexistent/compiler") == []
    assert twin_of(sources) == "pure"
