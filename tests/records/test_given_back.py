"""The room of large values is given back to the disk when their calls are forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshcode.limits import BLOB_BYTES_MIN
from meshcode.node.keeping import Keeping
from meshcode.store import binding
from meshcode.store.contract import DONE, META, OUTPUT
from meshcode.store.journaled import JournaledLog, open_log
from tests.records.test_retention import HOUR, NOW, Keeper, each_hour, ended
from tests.records.world import write

LARGE = b"v" * (BLOB_BYTES_MIN + 1)


@pytest.fixture
def log(quick_folder: Path) -> Iterator[JournaledLog]:
    if binding.BINDING != "c":
        pytest.skip("the C twin was not compiled here")
    log = open_log(quick_folder / "data", ballast_bytes=0)
    assert isinstance(log, JournaledLog)
    yield log
    log.close()


def files(log: JournaledLog) -> int:
    return sum(path.is_file() for path in (log.folder / "blobs").glob("*/*"))


def test_what_is_forgotten_gives_its_room_back_though_the_journal_is_nearly_empty(
    log: JournaledLog,
):
    ids = each_hour(6)
    write(log, *(ended(id, NOW - HOUR * (6 - n), LARGE) for n, id in enumerate(ids)))
    part = Keeper(log)
    part.keeping.calls_max = 2
    assert files(log) == 6

    part.forget()

    assert (len(part.kept), files(log)) == (2, 2)


@pytest.mark.parametrize("level", [0, 1])
def test_a_nearly_full_disk_gets_back_what_is_deleted_and_only_then(
    log: JournaledLog, monkeypatch: pytest.MonkeyPatch, level: int
):
    """Not of ended calls: these deletes lie in the journal, which no call fills any more."""
    write(log, (OUTPUT, b"o" * 20, LARGE), (DONE, b"d" * 16, LARGE))
    write(log, (OUTPUT, b"o" * 20, None))
    usage = log.usage()
    tight = replace(usage, disk_free=10, disk_total=100, reusable=0)
    monkeypatch.setattr(log, "usage", lambda: tight if level else usage)
    part: Any = Keeper(log)
    part.commits = SimpleNamespace(full_ms=0, full_level=0)
    keeping = Keeping(part)

    keeping.tick(NOW)
    part.sync()

    assert part.router.disk_level == level
    assert files(log) == 2 - level
    assert (log.tree.get(META, b"now") is not None) == bool(level)
    commits = log.commits
    keeping.tick(NOW + 1_000)
    part.sync()
    assert log.commits == commits, "it has nothing more to give back, so it writes nothing"
