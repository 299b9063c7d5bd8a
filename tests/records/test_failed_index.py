"""What has not ended well is found at once, however long the history is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshcode import Node, connect, paths
from meshcode.ids import make_ids, text_of
from meshcode.node.paging import LOOKED_MAX
from meshcode.router.effects import Effects
from meshcode.router.records import done_ops, split_done
from meshcode.store.contract import DONE, FAILED, META, Log
from meshcode.store.lmdb_log import LmdbLog
from meshcode.store.memory_log import MemoryLog
from meshcode.wire.kinds import Outcome
from tests.live.harness import until
from tests.records.test_retention import HOUR, NOW, Keeper
from tests.records.world import NODE, done, ids, submit, write, write_home

OLD = LOOKED_MAX + 1_000


@pytest.fixture(params=["lmdb", "memory"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    found: Any = LmdbLog(tmp_path / "log") if request.param == "lmdb" else MemoryLog()
    yield found
    found.close()


def failed(id: bytes, code: Outcome = Outcome.FAILED, at_ms: int = NOW - HOUR) -> Any:
    return done(submit(id, "t.s"), {"text": "no"}, code=code, at_ms=at_ms)


def complete(part: Keeper) -> None:
    for _ in part.history.failed.complete():
        part.sync()
    part.sync()


def listed(part: Keeper, **fields: Any) -> list[bytes]:
    return part.history.choose(fields, 100).ids


def test_a_record_enters_the_index_unless_it_ended_well():
    [id] = ids(1)
    for code in (Outcome.DONE, Outcome.FAILED, Outcome.CANCELLED):
        record = failed(id, code)[2]
        wanted = [("done", id, record)]
        if code != Outcome.DONE:
            wanted.append(("failed", id, b""))
        assert done_ops(id, record) == wanted
        assert split_done(record)["code"] == code


def test_a_log_from_before_the_index_gets_the_entries_of_its_history(log: Log):
    made = make_ids(1_000, NOW - HOUR)
    write(log, *(failed(id, Outcome(1 + n % 3)) for n, id in enumerate(made)))
    part = Keeper(log)
    before = listed(part, state="FAILED")
    assert not part.history.failed.is_whole

    complete(part)

    assert part.history.failed.is_whole
    assert [id for id, _ in log.scan(FAILED)] == [id for n, id in enumerate(made) if n % 3]
    assert listed(part, state="FAILED") == before == made[1::3][::-1][:100]
    assert listed(part, state="CANCELLED", ascending=True) == made[2::3][:100]
    assert listed(part, state="DONE", ascending=True) == made[::3][:100]


def test_listings_by_the_index_filter_go_on_and_leave_out_what_is_gone(log: Log):
    made = make_ids(600, NOW - HOUR)
    write(log, *(failed(id) for id in made))
    part = Keeper(log)
    complete(part)
    write(log, (DONE, made[599], None), (DONE, made[0], None))

    assert listed(part, state="FAILED") == made[598:498:-1]
    assert listed(part, state="FAILED", cursor=made[3]) == [made[2], made[1]]
    assert listed(part, state="FAILED", socket="t.other") == []
    assert part.history.page({"state": "FAILED", "rows": 5})["total"] == 598


def test_a_call_that_failed_in_a_turn_not_yet_synced_is_listed(log: Log):
    part = Keeper(log)
    complete(part)
    [id] = make_ids(1, NOW)

    _, _, record = failed(id)
    part.turns.add(Effects(records=done_ops(id, record)))

    assert listed(part, state="FAILED") == [id]
    part.sync()
    assert listed(part, state="FAILED") == [id]


def test_what_is_forgotten_leaves_the_index(log: Log):
    made = [make_ids(1, NOW - HOUR * n)[0] for n in range(10, 0, -1)]
    write(log, *(failed(id, at_ms=NOW - HOUR * (10 - n)) for n, id in enumerate(made)))
    part = Keeper(log)
    complete(part)
    part.keeping.age_ms = 5 * HOUR + 60_000

    part.forget()

    assert part.kept == made[5:]
    assert [id for id, _ in log.scan(FAILED)] == made[5:]


def test_one_that_failed_among_very_many_is_found_by_one_request(tmp_path: Path):
    home = str(tmp_path)
    made = ids(OLD)
    ops: list[Any] = [(META, b"node", NODE), failed(made[0])]
    ops += [done(submit(id, "t.usual")) for id in made[1:]]
    write_home(home, ops)
    with Node(home) as node, connect(paths.clients_address(home)) as client:

        def found() -> dict[str, Any]:
            return dict(client.ask("call.list", state="FAILED"))

        until(lambda: "cursor" not in found(), 60, "the history has entered the index")
        assert [row["id"] for row in found()["calls"]] == [text_of(made[0])]

        def fail() -> None:
            raise ValueError("of this test")

        node.serve("t.fails", fail)
        with pytest.raises(ValueError, match="of this test"):
            client.socket("t.fails")()
        page = found()
        assert [row["socket"] for row in page["calls"]] == ["t.fails", "t.s"]
        assert page["total"] == 2
