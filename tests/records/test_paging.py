"""Pages of long histories: a request looks at a bounded number of records, a page is whole."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from meshcode import Node, connect, paths
from meshcode.client import Client
from meshcode.errors import BadRequest
from meshcode.ids import text_of
from meshcode.listing import whole_page
from meshcode.node.meshlist import _in_reach
from meshcode.node.paging import LOOKED_MAX, SCAN_MAX, Part
from meshcode.store.contract import DONE, META
from meshcode.store.memory_log import MemoryLog
from tests.cli.conftest import Shell
from tests.live.harness import refusal
from tests.records.test_retention import Keeper as NodeParts
from tests.records.world import BEGAN_MS, NODE, done, ids, submit, waiting, write, write_home

LONG = 2 * LOOKED_MAX + 500
RARE_EACH = 2_000
OPEN = 12_000  # More than are sorted for one listing.
MIXED = 3_000


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shell, Client, list[str]]]:
    """A node with a long history: the first call is to `t.once`, one in 2,000 to `t.rare`."""
    home = str(tmp_path_factory.mktemp("long"))
    made = ids(LONG)
    ops: list[Any] = [(META, b"node", NODE)]
    for n, id in enumerate(made):
        name = "t.once" if n == 0 else "t.rare" if n % RARE_EACH == 1 else "t.usual"
        ops.append(done(submit(id, name)))
    write_home(home, ops)
    with Node(home), connect(paths.clients_address(home)) as client:
        yield Shell(home), client, [text_of(id) for id in made]


def ids_of(page: dict[str, Any]) -> list[str]:
    return [row["id"] for row in page["calls"]]


@pytest.mark.parametrize("operation", ["call.list", "mesh.calls"])
def test_one_request_looks_at_so_many_records_and_says_where_to_go_on(history, operation: str):
    _, client, made = history

    first = client.ask(operation, socket="t.once")
    second = client.ask(operation, socket="t.once", cursor=first["cursor"], passed=first["passed"])

    assert (first["calls"], first["total"], first["more"]) == ([], None, True)
    assert (first["cursor"], first["passed"]) == (made[-LOOKED_MAX], 0)
    assert (second["calls"], second["cursor"]) == ([], made[-2 * LOOKED_MAX])


@pytest.mark.parametrize("operation", ["call.list", "mesh.calls"])
def test_a_page_is_whole_however_far_its_calls_lie(history, operation: str):
    _, client, made = history

    found = whole_page(client.ask, operation, {"socket": "t.once"})
    short = whole_page(client.ask, operation, {"socket": "t.once"}, looks=2)

    assert ids_of(found) == made[:1]
    assert (found["total"], found["more"]) == (1, False)
    assert (short["calls"], short["cursor"]) == ([], made[-2 * LOOKED_MAX])


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("rows", [4, 7, 100])
def test_pages_of_few_among_many_have_each_of_them_once(history, rows: int, ascending: bool):
    _, client, made = history
    rare = made[1::RARE_EACH][:: 1 if ascending else -1]

    pages = [
        whole_page(
            client.ask, "call.list",
            {"socket": "t.rare", "rows": rows, "page": page, "ascending": ascending},
        )
        for page in range(1, len(rare) // rows + 2)
    ]  # fmt: skip

    assert [id for page in pages for id in ids_of(page)] == rare
    assert (pages[-1]["total"], pages[-1]["more"]) == (len(rare), False)


def test_a_page_by_its_number_lies_where_it_would_lie_in_one_list(history):
    _, client, made = history
    newest = made[::-1]

    found = whole_page(client.ask, "mesh.calls", {"page": 31, "rows": 1_000})

    assert ids_of(found) == newest[30_000:31_000]
    assert found["total"] == LONG
    assert found["more"]


def test_the_command_goes_on_until_its_page_is_full(history):
    shell, _, made = history

    once = shell.json("ls", "calls", "-s", "t.once")
    rare = shell.json("ls", "calls", "-s", "t.rare", "-r", "15")

    assert [row["id"] for row in once] == made[:1]
    assert [row["id"] for row in rare] == made[1::RARE_EACH][::-1][:15]


def test_a_dense_page_does_not_count_the_whole_history(history):
    _, client, made = history

    found = client.ask("mesh.calls", socket="t.usual", rows=5)

    assert ids_of(found) == made[:-6:-1]
    assert (found["total"], found["more"], "cursor" in found) == (None, True, False)


def test_a_cursor_of_something_else_is_refused(history):
    _, client, _ = history

    for wrong in ("", "zz", 7, b"short"):
        error = refusal(lambda cursor=wrong: client.ask("call.list", cursor=cursor))
        assert isinstance(error, BadRequest)
        assert "cursor" in error.text


@pytest.mark.parametrize("ascending", [False, True])
def test_a_listing_goes_on_in_the_middle_of_many_open_calls(tmp_path, ascending: bool):
    home = str(tmp_path / "home")
    made = ids(OPEN, int(time.time()) * 1_000)
    ops = [waiting(submit(id, "t.waits"), n, BEGAN_MS) for n, id in enumerate(made)]
    write_home(home, [(META, b"node", NODE), *ops])
    order = [text_of(id) for id in made][:: 1 if ascending else -1]
    with Node(home), connect(paths.clients_address(home)) as client:
        found = client.ask("call.list", before=order[OPEN - 100], ascending=ascending, rows=20)

    assert ids_of(found) == order[OPEN - 99 : OPEN - 79]


@pytest.mark.parametrize("ascending", [False, True])
def test_pages_of_open_and_ended_calls_are_one_list(tmp_path, ascending: bool):
    """Every ninth call is open still; an end of the list has more of each than are read at once."""
    home = str(tmp_path / "home")
    made = ids(MIXED)
    ops = [
        waiting(submit(id, "t.waits"), n) if n % 9 == 0 else done(submit(id, "t.ended"))
        for n, id in enumerate(made)
    ]
    write_home(home, [(META, b"node", NODE), *ops])
    order = [text_of(id) for id in made][:: 1 if ascending else -1]
    with Node(home), connect(paths.clients_address(home)) as client:
        numbered = [
            client.ask("call.list", page=page, rows=700, ascending=ascending)
            for page in range(1, MIXED // 700 + 2)
        ]
        behind = client.ask("call.list", before=order[1_500], rows=600, ascending=ascending)

    assert [id for page in numbered for id in ids_of(page)] == order
    assert [page["more"] for page in numbered] == [True] * (MIXED // 700) + [False]
    assert {page["total"] for page in numbered} == {MIXED}
    assert ids_of(behind) == order[1_501:2_101]
    assert behind["more"]


@pytest.mark.parametrize("waiting_calls", [0, 3])
def test_a_page_behind_others_reads_no_records_of_those_and_shows_no_damaged_one(
    waiting_calls: int,
):
    log = MemoryLog()
    made = ids(60)
    ended, opens = made[: 60 - waiting_calls], made[60 - waiting_calls :]
    ops = [waiting(submit(id, "t.waits"), n) for n, id in enumerate(opens)]
    write(log, *ops, *[done(submit(id, "t.ended")) for id in ended])
    newest = made[::-1]
    for id in (newest[7], newest[25]):
        log.disk.damage(DONE, id)

    page = NodeParts(log).history.page({"page": 3, "rows": 10})

    assert log.damaged() == [(DONE, newest[25])]
    assert ids_of(page) == [text_of(id) for id in newest[20:31] if id != newest[25]]
    assert page["more"]


def test_parts_of_a_page():
    ids = [bytes([n]) * 16 for n in range(1, 9)]
    part = Part({"page": 2, "rows": 3})
    rest = Part({"page": 2, "rows": 3, "cursor": ids[3], "passed": 4})

    assert (part.wanted, part.shown(ids)) == (7, ids[3:6])
    assert part.told(ids[:4], ids[3]) == {
        "page": 2, "rows": 3, "more": True, "cursor": text_of(ids[3]), "passed": 4,
    }  # fmt: skip
    assert part.told(ids[:5], None) == {"page": 2, "rows": 3, "more": False}
    assert (rest.wanted, rest.shown(ids[4:])) == (3, ids[4:6])
    with pytest.raises(BadRequest, match=f"pages reach to row {SCAN_MAX}; .*--before ID"):
        Part({"page": SCAN_MAX // 10 + 1, "rows": 10})


def test_lists_of_several_nodes_are_one_as_far_as_all_are_whole():
    ids = {bytes([n]) * 16 for n in range(10)}

    newest, end = _in_reach(ids, [bytes([3]) * 16, None, bytes([6]) * 16], False)
    oldest, _ = _in_reach(ids, [bytes([3]) * 16, bytes([6]) * 16], True)

    assert ([id[0] for id in newest], end) == ([9, 8, 7, 6], bytes([6]) * 16)
    assert [id[0] for id in oldest] == [0, 1, 2, 3]
    assert _in_reach(ids, [None], False) == (sorted(ids, reverse=True), None)
