"""Fixtures of the worker tests: a lend folder for all, a small node and a git repository each."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshcode.worker import lend as lend_module
from tests.worker.harness import MiniNode


@pytest.fixture(scope="session")
def lend(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One lend folder for the whole run, as one node has."""
    return lend_module.ensure(str(tmp_path_factory.mktemp("cache")))


def _node(lend: str) -> Iterator[MiniNode]:
    folder = Path(tempfile.mkdtemp(prefix="mw"))  # A short path: ipc addresses are limited.
    made = MiniNode(folder, lend)
    yield made
    made.close()
    shutil.rmtree(folder)


@pytest.fixture
def node(lend: str) -> Iterator[MiniNode]:
    """A ROUTER and the workers a test starts on it."""
    yield from _node(lend)


@pytest.fixture(scope="module")
def shared_node(lend: str) -> Iterator[MiniNode]:
    """The same for all tests of a file, so that they can share workers (`MiniNode.fresh`)."""
    yield from _node(lend)


class Repo:
    """A real git repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *identity, *arguments],
            cwd=self.folder,
            check=True,
            capture_output=True,
        )
        return done.stdout.decode().strip()

    def commit(self, files: dict[str, str], message: str = "change") -> str:
        """Write files and commit them; returns the commit's id."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def make_repo(tmp_path: Path) -> Callable[[str], Repo]:
    """Makes git repositories below the test's folder."""
    return lambda name: Repo(tmp_path / name)


@pytest.fixture
def repo(make_repo: Callable[[str], Repo]) -> Repo:
    """A repository without a commit."""
    return make_repo("repo")
