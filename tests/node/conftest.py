"""Fixtures of the node's tests: nodes that exchange code, and a git repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshcode import limits
from tests.node.code_hosts import Host, Network
from tests.node.code_world import CHUNK, World
from tests.worker.conftest import Repo


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """A repository without a commit."""
    return Repo(tmp_path / "repo")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Nodes with small chunks, so that a small repository takes many."""
    monkeypatch.setattr(limits, "CODE_CHUNK_BYTES", CHUNK)
    monkeypatch.setattr(limits, "CODE_CHUNKS_ASKED", 3)
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Callable[[str], Host]]:
    """Makes nodes that reach each other, with processors and real workers."""
    network: Network = {}
    yield lambda name: Host(name, tmp_path / name, network)
    for host in network.values():
        host.close()
