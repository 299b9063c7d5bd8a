"""A few calls of a socket among millions are found at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from meshcode.ids import make_ids
from meshcode.node.paging import LOOKED_MAX
from meshcode.router.effects import Effects
from meshcode.router.records import stretch_at, stretch_of
from meshcode.store.contract import DONE, SOCKET, Log
from meshcode.store.lmdb_log import LmdbLog
from meshcode.store.memory_log import MemoryLog
from tests.records.test_retention import HOUR, NOW, Keeper
from tests.records.world import done, submit, write

STRETCH_MS = 16


@pytest.fixture(params=["lmdb", "memory"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    found: Any = LmdbLog(tmp_path / "log") if request.param == "lmdb" else MemoryLog()
    yield found
    found.close()


def entry(id: bytes, socket: str) -> tuple[str, bytes, bytes]:
    return (SOCKET, socket.encode() + b"\0" + stretch_of(id), b"")


def complete(part: Keeper) -> None:
    for _ in part.history.sockets.complete():
        part.sync()
    part.sync()


def listed(part: Keeper, rows: int = 100, **fields: Any) -> list[bytes]:
    return part.history.choose(fields, rows).ids


def test_a_stretch_is_sixteen_milliseconds():
    [first] = make_ids(1, NOW // STRETCH_MS * STRETCH_MS)
    [last] = make_ids(1, NOW // STRETCH_MS * STRETCH_MS + STRETCH_MS - 1)
    [next_one] = make_ids(1, NOW // STRETCH_MS * STRETCH_MS + STRETCH_MS)

    assert stretch_of(first) == stretch_of(last) == stretch_at(NOW) < stretch_of(next_one)
    assert len(stretch_of(first)) == 6


def test_a_log_from_before_the_index_gets_the_entries_of_its_history(log: Log):
    made = [make_ids(1, NOW - HOUR + 7 * n)[0] for n in range(600)]
    names = ["t.rare" if n % 200 == 9 else "t.usual" for n in range(600)]
    write(log, *(done(submit(id, name)) for id, name in zip(made, names, strict=True)))
    part = Keeper(log)
    before = listed(part, socket="t.rare")
    assert not part.history.sockets.is_whole

    complete(part)

    assert part.history.sockets.is_whole
    assert {key for key, _ in log.scan(SOCKET, limit=5_000)} == {
        entry(id, name)[1] for id, name in zip(made, names, strict=True)
    }
    assert listed(part, socket="t.rare") == before == made[9::200][::-1]


def test_one_of_very_many_is_found_by_one_look(log: Log):
    """Where a whole look at the history takes several requests."""
    [rare] = make_ids(1, NOW - 2 * HOUR)
    usual = make_ids(LOOKED_MAX + 1_000, NOW - HOUR)
    write(log, done(submit(rare, "t.rare")), *(done(submit(id, "t.usual")) for id in usual))
    part = Keeper(log)
    assert listed(part, socket="t.rare") == []  # Not found yet: it goes on with a cursor.

    complete(part)

    assert part.history.page({"socket": "t.rare"})["total"] == 1
    assert listed(part, socket="t.rare") == [rare]
    assert listed(part, socket="t.none") == []


def test_listings_by_the_index_are_those_of_the_whole_history(log: Log):
    """In both directions, from any cursor, for sockets that share stretches and that do not."""
    rng = Random(5)
    made = sorted({make_ids(1, NOW - HOUR + rng.randrange(3_000))[0] for _ in range(700)})
    names = {id: rng.choice(["a", "a", "a", "b", "a\x01", "ab"]) for id in made}
    write(log, *(done(submit(id, name)) for id, name in names.items()))
    part = Keeper(log)
    complete(part)

    for socket in ("a", "b", "a\x01", "ab", "c"):
        wanted = [id for id in made if names[id] == socket]
        assert listed(part, 1_000, socket=socket, ascending=True) == wanted
        assert listed(part, 1_000, socket=socket) == wanted[::-1]
        for cursor in rng.sample(made, 20):
            after = [id for id in wanted if id > cursor]
            before = [id for id in wanted[::-1] if id < cursor]
            assert listed(part, 1_000, socket=socket, cursor=cursor, ascending=True) == after
            assert listed(part, 1_000, socket=socket, cursor=cursor) == before
    two = {b"b", b"ab"}
    rows = part.history.sockets.scan(two, None, reverse=False, limit=1)
    first = next(id for id in made if names[id].encode() in two)
    assert stretch_of(rows[0][0]) == stretch_of(first)


def test_what_is_forgotten_leaves_the_index_and_what_is_kept_stays(log: Log):
    made = [make_ids(1, NOW - HOUR * n)[0] for n in range(10, 0, -1)]
    late = make_ids(1, NOW - HOUR * 10)[0]  # As old as the first, and it has only just ended.
    ops = [done(submit(id, "t.s"), at_ms=NOW - HOUR * (10 - n)) for n, id in enumerate(made)]
    ops.append(done(submit(late, "t.late"), at_ms=NOW - 1_000))
    write(log, *ops)
    part = Keeper(log)
    complete(part)
    part.keeping.age_ms = 5 * HOUR + 60_000

    for _ in range(3):
        part.forget()

    assert part.kept == sorted([late, *made[5:]])
    kept = {key for key, _ in log.scan(SOCKET)}
    assert {entry(id, "t.s")[1] for id in made[5:]} | {entry(late, "t.late")[1]} <= kept
    assert not {entry(id, "t.s")[1] for id in made[1:4]} & kept  # The horizon is in that of [4].
    assert listed(part, socket="t.late") == [late]


def test_an_old_stretch_that_a_call_not_yet_synced_needs_is_not_swept(log: Log):
    [id] = make_ids(1, NOW - HOUR)
    write(log, entry(id, "t.s"))
    part = Keeper(log)

    _, _, record = done(submit(id, "t.s"))
    part.turns.add(Effects(records=[(DONE, id, record), entry(id, "t.s")]))

    assert part.history.sockets.sweep(NOW) == []
    part.sync()
    assert part.history.sockets.sweep(NOW) == []  # Now the history has it.
    write(log, (DONE, id, None))
    assert part.history.sockets.sweep(NOW) == [(SOCKET, entry(id, "t.s")[1], None)]


def test_a_sweep_goes_on_where_the_last_one_ended(log: Log):
    made = [make_ids(1, NOW - HOUR + STRETCH_MS * n)[0] for n in range(700)]
    write(log, *(entry(id, "t.s") for id in made), *(entry(id, "t.z") for id in made[:3]))
    part = Keeper(log)

    for _ in range(9):
        write(log, *part.history.sockets.sweep(unix_of(made[600])))

    left = [key for key, _ in log.scan(SOCKET, limit=2_000)]
    assert left == [entry(id, "t.s")[1] for id in made[600:]]


def unix_of(id: bytes) -> int:
    return int.from_bytes(id[:6], "big")
