"""What a node forgets of ended calls, on both logs: by age, number and bytes, flows together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshcode import Node, config, limits
from meshcode.errors import CallerError
from meshcode.ids import child_id, make_ids, text_of
from meshcode.node.later import Later
from meshcode.node.retention import Retention
from meshcode.router.records import sequence_key
from meshcode.store.contract import DONE, FLOW, META, OPEN, OUTPUT, Log
from meshcode.store.lmdb_log import LmdbLog
from meshcode.store.memory_log import MemoryLog
from meshcode.wire.codec import pack
from tests.cli.conftest import Shell
from tests.records.world import NODE, done, submit, waiting, write, write_home
from tests.router.part import Part

NOW = 1_800_000_000_000
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


class Keeper(Part):
    """A node that forgets ended calls."""

    def __init__(self, log: Log) -> None:
        super().__init__(log, NOW)
        self.turns.add(self.router.recover(iter(log.scan(OPEN)), iter(()), NOW, ()))
        self.sync()
        self.later = Later()
        self.keeping = Retention(self)  # type: ignore[arg-type]
        self.keeping.age_ms = self.keeping.calls_max = self.keeping.bytes_max = 0

    def look(self) -> bool:
        more = self.keeping.look(NOW)
        self.sync()
        return more

    def forget(self) -> int:
        """Look until there is no more at once; how often that was."""
        looks = 1
        while self.look():
            looks += 1
            assert looks < 1_000
        return looks

    @property
    def kept(self) -> list[bytes]:
        return [id for id, _ in self.log.scan(DONE, limit=100_000)]


@pytest.fixture(params=["lmdb", "memory"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    found: Any = LmdbLog(tmp_path / "log") if request.param == "lmdb" else MemoryLog()
    yield found
    found.close()


def ended(id: bytes, at_ms: int, value: Any = None, **more: Any) -> Any:
    return done(submit(id, "t.s", **more), value, at_ms=at_ms)


def each_hour(count: int) -> list[bytes]:
    """Ids, oldest first; the newest is an hour old."""
    return [make_ids(1, NOW - HOUR * n)[0] for n in range(count, 0, -1)]


def ended_each_hour(log: Log, count: int) -> list[bytes]:
    """The same of calls that the log has, each ended when it was made."""
    ids = each_hour(count)
    write(log, *(ended(id, NOW - HOUR * (count - n)) for n, id in enumerate(ids)))
    return ids


def test_what_is_older_than_its_age_goes_with_its_output_and_moves_the_horizon(log: Log):
    ids = ended_each_hour(log, 10)
    outputs = [(OUTPUT, id + attempt.to_bytes(4, "big"), pack({"stdout": b"x"}))
               for id in ids for attempt in (1, 2)]  # fmt: skip
    write(log, *outputs)
    part = Keeper(log)
    part.keeping.age_ms = 5 * HOUR + MINUTE

    part.forget()

    assert part.kept == ids[5:]
    assert {key[:16] for key, _ in log.scan(OUTPUT)} == set(ids[5:])
    assert part.router.horizon_ms == NOW - 6 * HOUR + 1
    assert log.get(META, b"horizon") == part.router.horizon_ms.to_bytes(8, "big")
    facts = part.keeping.facts()
    assert (facts["calls"], facts["since_ms"], facts["age_ms"]) == (5, NOW - 5 * HOUR, 18_060_000)


def outputs_of(ids: list[bytes], text: bytes = b"x") -> list[Any]:
    return [(OUTPUT, id + bytes((0, 0, 0, 1)), pack({"stdout": text})) for id in ids]


def test_what_ran_here_for_others_leaves_no_output_for_ever(log: Log):
    """Another node owned these calls, and others kept them: here only their output is."""
    ids = each_hour(600)
    open_one = make_ids(1, NOW - 590 * HOUR)[0]
    write(log, *outputs_of([*ids, open_one]), waiting(submit(open_one, "t.s"), 1))
    part = Keeper(log)
    part.keeping.age_ms = 100 * HOUR + MINUTE

    for _ in range(4):  # Some hundred at each look.
        part.look()

    assert {key[:16] for key, _ in log.scan(OUTPUT, limit=1000)} == {open_one, *ids[500:]}


def test_output_of_others_goes_with_the_horizon_and_above_a_number_of_bytes(log: Log):
    ids = each_hour(10)
    others = each_hour(10)
    write(log, *(ended(id, NOW - HOUR * (10 - n)) for n, id in enumerate(ids)))
    write(log, *outputs_of(others, bytes(1000)))
    part = Keeper(log)
    part.keeping.calls_max = 4
    part.forget()
    part.look()
    assert {key[:16] for key, _ in log.scan(OUTPUT)} == set(others[6:])

    part.keeping.calls_max, part.keeping.bytes_max = 0, 3_000
    part.forget()
    part.look()
    assert log.size(DONE) + log.size(OUTPUT) <= 3_000


def test_the_oldest_go_above_a_number_and_nothing_goes_below_it(log: Log):
    ids = ended_each_hour(log, 20)
    part = Keeper(log)
    part.keeping.calls_max = 7

    part.forget()
    assert part.kept == ids[13:]
    part.keeping.calls_max = 8
    part.forget()
    assert part.kept == ids[13:]


def test_the_oldest_go_above_a_number_of_bytes_files_of_large_results_included(log: Log):
    ids = each_hour(12)
    large = b"x" * (limits.BLOB_BYTES_MIN + 10_000)
    for n, id in enumerate(ids):
        write(log, ended(id, NOW - HOUR * (12 - n), large))
    part = Keeper(log)
    before = part.keeping.facts()["bytes"]
    part.keeping.bytes_max = 5 * len(large)

    part.forget()

    assert before > 12 * len(large)
    assert part.keeping.facts()["bytes"] <= 5 * len(large)
    assert len(part.kept) in (3, 4) and part.kept == ids[-len(part.kept) :]


def test_no_more_goes_than_the_bytes_ask_for_although_records_do_not_fill_their_pages(log: Log):
    ids = each_hour(600)
    write(log, *(ended(id, NOW - HOUR * (600 - n), "x" * 2_300) for n, id in enumerate(ids)))
    part = Keeper(log)
    limit = part.keeping.facts()["bytes"] // 2
    part.keeping.bytes_max = limit

    part.forget()

    assert 0.9 * limit <= part.keeping.facts()["bytes"] <= limit
    assert len(part.kept) >= 270 and part.kept == ids[-len(part.kept) :]


def test_what_ended_just_now_is_never_forgotten(log: Log):
    ids = make_ids(5, NOW - limits.RETENTION_MS_MIN + 1)
    late = make_ids(1, NOW - DAY)[0]  # It was made a day ago and took until now.
    write(log, *(ended(id, NOW - 1) for id in [late, *ids]))
    part = Keeper(log)
    part.keeping.calls_max, part.keeping.age_ms, part.keeping.bytes_max = 1, 1, 1

    part.forget()

    assert part.kept == [late, *ids]
    assert part.router.horizon_ms == 0


def a_flow(at_ms: int, steps: int) -> tuple[bytes, list[bytes]]:
    root = make_ids(1, at_ms)[0]
    return root, [child_id(root, b"%d" % n) for n in range(steps)]


def test_no_call_of_a_flow_goes_while_another_one_is_open_here(log: Log):
    root, steps = a_flow(NOW - 30 * DAY, 6)
    other, others = a_flow(NOW - 30 * DAY + 5, 3)
    below = {"flow": root, "parent": root}
    write(log, ended(root, NOW - 30 * DAY), ended(other, NOW - 30 * DAY),
          *(ended(id, NOW - 29 * DAY, **below) for id in steps[1:]),
          *(ended(id, NOW - 29 * DAY, flow=other, parent=other) for id in others),
          waiting(submit(steps[0], "t.s", **below), 1, NOW - 30 * DAY))  # fmt: skip
    part = Keeper(log)
    part.keeping.age_ms = DAY

    part.forget()
    assert set(part.kept) == {root, *steps[1:]}

    write(log, (OPEN, sequence_key(1), None), ended(steps[0], NOW - 2 * DAY, **below))
    again = Keeper(log)
    again.keeping.age_ms = DAY
    again.forget()
    assert again.kept == []


def test_a_call_that_a_task_made_keeps_its_flow_while_it_is_open(log: Log):
    root = make_ids(1, NOW - 30 * DAY)[0]
    inner, second = make_ids(2, NOW - 29 * DAY)
    below = {"flow": root, "parent": root}
    write(log, ended(root, NOW - 29 * DAY), ended(second, NOW - 29 * DAY, **below),
          waiting(submit(inner, "t.s", **below), 1), (FLOW, root + inner, b""),
          (FLOW, root + second, b""))  # fmt: skip
    part = Keeper(log)
    part.keeping.age_ms = DAY

    part.forget()
    assert set(part.kept) == {root, second}

    write(log, (OPEN, sequence_key(1), None))
    again = Keeper(log)
    again.keeping.age_ms = DAY
    again.forget()
    again.forget()
    assert again.kept == []
    assert log.count(FLOW) == 0, "what an entry leads to is gone, so the entry goes"


def test_a_flow_goes_when_its_youngest_call_may(log: Log):
    root, steps = a_flow(NOW - 3 * DAY, 4)
    below = {"flow": root, "parent": root}
    times = [3 * DAY, 3 * DAY, 2 * DAY, HOUR]
    write(log, ended(root, NOW - 3 * DAY),
          *(ended(id, NOW - t, **below) for id, t in zip(steps, times, strict=True)))  # fmt: skip
    part = Keeper(log)
    part.keeping.age_ms = DAY

    part.forget()
    assert len(part.kept) == 5
    part.keeping.age_ms = HOUR - MINUTE
    part.forget()
    assert part.kept == []


def test_calls_that_stay_do_not_stop_those_behind_them(log: Log, monkeypatch):
    """A large open flow at the beginning of the history, and others after it."""
    monkeypatch.setattr(limits, "RETENTION_LOOK_CALLS", 50)
    root, steps = a_flow(NOW - 30 * DAY, 200)
    below = {"flow": root, "parent": root}
    young = make_ids(5, NOW - HOUR)
    write(log, waiting(submit(root, "t.s"), 1, NOW - 30 * DAY),
          *(ended(id, NOW - 29 * DAY, **below) for id in steps),
          *(ended(id, NOW - 5 * DAY) for id in make_ids(200, NOW - 6 * DAY)),
          *(ended(id, NOW - HOUR) for id in young))  # fmt: skip
    part = Keeper(log)
    part.keeping.age_ms = DAY

    looks = part.forget()

    assert set(part.kept) == {*steps, *young}
    assert looks > 5, "it was done in small batches"


def test_a_look_before_the_last_one_is_on_disk_forgets_nothing_more(log: Log, monkeypatch):
    monkeypatch.setattr(limits, "RETENTION_LOOK_CALLS", 50)
    ids = ended_each_hour(log, 400)
    part = Keeper(log)
    part.keeping.calls_max = 100

    assert part.keeping.look(NOW)
    for _ in range(5):
        assert part.keeping.look(NOW)
    part.sync()
    part.forget()

    assert part.kept == ids[-100:]


# The settings.


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("retention_age", "a week", "write a number and a unit"),
        ("retention_age", 7, "it must be text in quotes"),
        ("retention_calls", "many", "'many' is not a count; write a whole number"),
        ("retention_calls", "-1", "is not a count"),
        ("retention_calls", True, "True is no number"),
        ("retention_calls", 1.5, "1.5 is no number"),
        ("retention_bytes", "10 potatoes", "is not a size; write bytes, or a unit"),
    ],
)
def test_what_cannot_be_a_limit_is_refused_with_its_place(name: str, raw: Any, said: str):
    with pytest.raises(CallerError, match=f"mesh.toml: {name} is .*{said}"):
        config.check(name, raw, "mesh.toml")


def test_limits_come_from_flag_environment_and_file(tmp_path: Path):
    (tmp_path / "mesh.toml").write_text(
        'retention_age = "30d"\nretention_calls = 5000\nretention_bytes = "1GiB"\n'
    )
    env = {"MESH_RETENTION_BYTES": "2GiB", "HOME": str(tmp_path)}
    found = config.settings({"retention_age": "1h"}, env, str(tmp_path))

    shown = {name: (found.get(name).value, found.get(name).level)
             for name in ("retention_age", "retention_calls", "retention_bytes")}  # fmt: skip

    assert shown == {
        "retention_age": ("1h", "flag"), "retention_calls": ("5000", "project"),
        "retention_bytes": ("2GiB", "environment"),
    }  # fmt: skip
    assert config.exports(found) == {"MESH_RETENTION_CALLS": "5000"}


def test_a_node_reads_its_limits_forgets_and_says_what_it_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import time

    home, now = str(tmp_path / "home"), time.time_ns() // 1_000_000
    ids = [make_ids(1, now - HOUR * n)[0] for n in range(30, 0, -1)]
    write_home(home, [(META, b"node", NODE),
                      *(ended(id, now - HOUR * (30 - n)) for n, id in enumerate(ids))])  # fmt: skip
    monkeypatch.setenv("MESH_RETENTION_CALLS", "12")
    monkeypatch.setenv("MESH_RETENTION_AGE", "3d")
    with Node(home):
        shell = Shell(home)

        def kept() -> list[dict[str, Any]] | None:
            rows = shell.json("ls", "calls", "-r", "100")
            return rows if len(rows) == 12 else None

        rows = shell.wait_until(kept)
        text = shell("status")[0]
        (status,) = shell.json("status")
        checks = {row["name"]: row for row in doctor(shell)}

    assert [row["id"] for row in rows] == [text_of(id) for id in reversed(ids[18:])]
    assert "history" in text and "12 calls, " in text and "at most 3d00h, 12 calls" in text
    assert status["history"]["since_ms"] == rows[-1]["accepted_ms"]
    assert (checks["history"]["state"], "at most 3d00h" in checks["history"]["detail"]) == (
        "OK", True,
    )  # fmt: skip


def doctor(shell: Shell) -> list[dict[str, Any]]:
    import json

    items: list[dict[str, Any]] = json.loads(shell.run(["doctor", "-o", "json"])[1])["items"]
    return items


def test_up_takes_the_limits_and_refuses_what_is_none(fresh: Shell):
    said = fresh("up", "--retention-calls", "lots", status=2)[1]
    assert "--retention-calls: retention_calls is 'lots'" in said
    fresh("up", "--retention-calls", "1,000", "--retention-age", "0")

    (status,) = fresh.json("status")
    again = fresh("up", "--retention-age", "5d")[1]

    assert status["history"]["calls_max"] == 1_000 and status["history"]["age_ms"] == 0
    assert "it keeps the settings it was started with" in again


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Shell]:
    found = Shell(tmp_path / "home")
    yield found
    found.end()


def test_a_node_forgets_in_small_looks_with_pauses_between_them(log: Log, monkeypatch):
    monkeypatch.setattr(limits, "RETENTION_LOOK_CALLS", 50)
    ended_each_hour(log, 400)
    part = Keeper(log)
    part.keeping.calls_max = 100
    now_ms, kept = NOW, [400]

    part.keeping.tick(now_ms)
    part.keeping.tick(now_ms)  # Once is enough.
    while (due_ms := part.later.next_due_ms(now_ms)) is not None:
        now_ms = due_ms
        part.later.run(now_ms)
        part.sync()
        kept.append(len(part.kept))

    assert kept[-1] == 100 and max(a - b for a, b in pairwise(kept)) <= 50
    assert now_ms - NOW >= limits.RETENTION_PAUSE_MS * 300 // 50
    assert part.later.next_due_ms(now_ms) is None, "it is over until the next look"


def test_output_between_that_of_forgotten_calls_stays(log: Log):
    """Few calls print, or all of them, and some of those stay for a call that is open."""
    root = make_ids(1, NOW - 9 * HOUR - MINUTE)[0]
    below = {"flow": root, "parent": root}
    ids = each_hour(100)
    write(log, waiting(submit(root, "t.s"), 1, NOW - 9 * HOUR),
          *(ended(id, NOW - HOUR * (100 - n), **(below if n % 7 == 3 else {}))
            for n, id in enumerate(ids)),
          *outputs_of(ids), *outputs_of(make_ids(1, NOW)))  # fmt: skip
    part = Keeper(log)
    part.keeping.age_ms = 50 * HOUR + MINUTE

    part.forget()

    kept = set(part.kept)
    assert {ids[n] for n in range(3, 50, 7)} <= kept and len(kept) == 57
    assert kept <= {key[:16] for key, _ in log.scan(OUTPUT)} and len(log.scan(OUTPUT)) == 58


def test_a_look_goes_on_behind_what_the_last_one_has_forgotten(log: Log, monkeypatch):
    """Else each look reads once more what is gone, but not yet from the tree."""
    monkeypatch.setattr(limits, "RETENTION_LOOK_CALLS", 50)
    ids = ended_each_hour(log, 400)
    part = Keeper(log)
    part.keeping.calls_max = 100
    begins: list[bytes | None] = []
    real = log.scan

    def scan(table: str, start: bytes | None = None, **given: Any) -> Any:
        if table == DONE and given["limit"] == 50:
            begins.append(start)
        return real(table, start, **given)

    monkeypatch.setattr(log, "scan", scan)

    part.forget()

    assert part.kept == ids[-100:]
    assert begins[:6] == [None, *(ids[n] + b"\0" for n in range(49, 250, 50))]


def test_flows_with_entries_are_found_among_others(log: Log):
    """A look for each that has some, and one more: not one for each of hundreds of calls."""
    ids = each_hour(300)
    made = [ids[7], ids[8], ids[120], ids[299]]
    children = make_ids(4, NOW - MINUTE)
    for number, (flow, id) in enumerate(zip(made, children, strict=True)):
        write(log, (FLOW, flow + id, b""))
        if flow != ids[8]:
            write(log, waiting(submit(id, "t.s", flow=flow), number))
    part = Keeper(log)
    looks = []
    real = log.scan
    part.history.flows._log = SimpleNamespace(
        scan=lambda *given, **more: looks.append(given) or real(*given, **more)
    )  # type: ignore[assignment]

    assert part.history.flows.open_among(ids, set()) == {ids[7], ids[120], ids[299]}
    assert part.history.flows.open_among(ids, {ids[5][:6]}) == {ids[5], ids[7], ids[120], ids[299]}
    assert len(looks) < 30


def test_what_is_too_much_is_counted_when_that_is_gone_and_not_in_each_look(log: Log, monkeypatch):
    """Counting asks the log about each record that only its journal has."""
    monkeypatch.setattr(limits, "RETENTION_LOOK_CALLS", 50)
    ids = ended_each_hour(log, 400)
    part = Keeper(log)
    part.keeping.calls_max = 100
    counted = []
    real = log.count
    monkeypatch.setattr(log, "count", lambda table: counted.append(table) or real(table))

    looks = part.forget()

    assert part.kept == ids[-100:]
    assert looks >= 7
    assert counted.count(DONE) == 2

    part.keeping.calls_max = 40
    part.forget()
    assert part.kept == ids[-40:]
