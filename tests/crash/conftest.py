"""The remembering and failing disk, compiled once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from images import build


@pytest.fixture(scope="session")
def disk_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """disk.c as a library for LD_PRELOAD."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler (cc) to build the remembering disk with")
    return build(tmp_path_factory.mktemp("disk") / "disk.so")
