"""The remembering and failing disk, compiled once."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from images import build


@pytest.fixture(scope="session")
def disk_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """disk.c as a library for LD_PRELOAD."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler (cc) to build the remembering disk with")
    return build(tmp_path_factory.mktemp("disk") / "disk.so")


@pytest.fixture
def quick_folder() -> Iterator[Path]:
    """A folder where a sync costs nothing, if the system has one: these tests sync often."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as temp:
        yield Path(temp)
