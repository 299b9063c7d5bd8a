"""`mesh ls calls` and `mesh ls call` over records of calls and flows, as a node keeps them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshcode import Node, connect, paths
from meshcode.client import Socket
from meshcode.errors import RemoteError
from meshcode.ids import child_id, text_of
from meshcode.store.contract import FLOW, META
from meshcode.wire.kinds import Outcome
from tests.cli.conftest import Shell
from tests.live.harness import until
from tests.records.world import BEGAN_MS, NODE, Flow, done, ids, submit, waiting, write_home

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shell, list[str]]]:
    """A node that keeps 23 calls, one each minute, the last ones still open; and their ids."""
    home = str(tmp_path_factory.mktemp("many"))
    made = [ids(1, BEGAN_MS + n * 60_000)[0] for n in range(23)]
    ops: list[Any] = [(META, b"node", NODE)]
    for n, id in enumerate(made):
        data = submit(id, f"t.s{n % 3}")
        at_ms = BEGAN_MS + n * 60_000
        if n >= 20:
            ops.append(waiting(data, n, at_ms))
        else:
            ops.append(done(data, n, code=Outcome.FAILED if n == 4 else Outcome.DONE, at_ms=at_ms))
    write_home(home, ops)
    with Node(home):
        yield Shell(home), [text_of(id) for id in made]


def listed(shell: Shell, *words: str) -> list[int]:
    """What `mesh ls calls` lists, by the minute in which it was made."""
    return [
        int((row["accepted_ms"] - BEGAN_MS) / 60_000) for row in shell.json("ls", "calls", *words)
    ]


def footer(shell: Shell, *words: str) -> str:
    return shell("ls", "calls", *words)[0].splitlines()[-1]


def test_pages_reach_the_last_row_and_say_how_many_there_are(many):
    shell, _ = many

    pages = [listed(shell, "-r", "10", "-p", str(page)) for page in (1, 2, 3, 4)]

    assert [n for page in pages for n in page] == list(range(22, -1, -1))
    assert [len(page) for page in pages] == [10, 10, 3, 0]
    assert footer(shell, "-r", "10", "-p", "3") == "Page 3 of 3 of 23 total records"
    assert footer(shell, "-r", "10", "-p", "4") == "There is no page 4: 3 pages of 23 total records"
    assert listed(shell, "-a", "-r", "5") == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["-s", "t.s1"], [22, 19, 16, 13, 10, 7, 4, 1]),
        (["--state", "FAILED"], [4]),
        (["--state", "parked"], [22, 21, 20]),
        (["-u"], [22, 21, 20]),
        (["-u", "-s", "t.s0"], [21]),
        (["--processor", "none"], []),
        (["--state", "MOVED"], []),
    ],
)
def test_calls_are_chosen_and_the_chosen_are_counted(many, words: list[str], found: list[int]):
    shell, _ = many

    assert listed(shell, *words, "-r", "100") == found
    assert footer(shell, *words, "-r", "5").endswith(f"of {len(found)} total records")
    if len(found) > 5:
        assert listed(shell, *words, "-r", "5", "-p", "2") == found[5:]


def test_who_does_not_want_the_total_has_only_what_is_looked_at_anyway(many):
    shell, _ = many
    with connect(paths.clients_address(shell.home)) as client:
        some = client.ask("mesh.calls", socket="t.s1", rows=2, total=False)
        rare = client.ask("mesh.calls", state="FAILED", rows=2, total=False)

    assert (some["total"], some["more"], len(some["calls"])) == (None, True, 2)
    assert (rare["total"], rare["more"], len(rare["calls"])) == (1, False, 1)


def test_calls_are_chosen_by_time_and_by_flow(many):
    shell, made = many
    begin = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(BEGAN_MS / 1000 + 5 * 60))
    end = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(BEGAN_MS / 1000 + 7 * 60))

    assert listed(shell, "--since", begin, "--until", end) == [7, 6, 5]
    assert listed(shell, "--flow", made[9]) == [9]
    shell("ls", "calls", "--flow", "zz", status=2)
    assert "is no time" in shell("ls", "calls", "--since", "whenever", status=2)[1]


def test_pages_begin_behind_a_call(many):
    shell, made = many

    assert listed(shell, "--before", made[12], "-r", "5") == [11, 10, 9, 8, 7]
    assert listed(shell, "--before", made[12][:13], "-r", "5", "-p", "2") == [6, 5, 4, 3, 2]
    assert listed(shell, "--before", made[12], "-a", "-r", "5") == [13, 14, 15, 16, 17]
    assert listed(shell, "--before", made[12], "-s", "t.s1", "-r", "2") == [10, 7]
    assert footer(shell, "--before", made[12], "-r", "5").startswith("Page 1 with 5 records")
    shell("ls", "calls", "--before", "zz", status=2)


@pytest.fixture(scope="module")
def flows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shell, Flow, Flow]]:
    """A node that keeps a flow of six steps, and one of 10,000."""
    home = str(tmp_path_factory.mktemp("flows"))
    small, large = Flow(), Flow(BEGAN_MS + HOUR_MS)
    load = small.step("t.load")
    left = small.step("t.left", load)
    right = small.step("t.right", load)
    joined = small.step("@gather", [left, [right]])
    report = small.step("t.report", joined, value={"rows": 7})
    small.step("t.log", left, code=Outcome.FAILED, value=RemoteError("no room").to_data())
    for n in range(9_998):
        large.step("t.part", code=Outcome.FAILED if n == 77 else Outcome.DONE,
                   value=RemoteError("boom").to_data() if n == 77 else n)  # fmt: skip
    large.step("@gather", [{"from": 0, "count": 9_998}])
    ops = [*small.root(report), *large.root(9_998)]
    write_home(home, [(META, b"node", NODE), *ops])
    with Node(home):
        yield Shell(home), small, large


def step_id(flow: Flow, number: int) -> str:
    return text_of(child_id(flow.id, b"%d" % number))


def test_a_flow_is_drawn_with_its_joins_from_any_of_its_calls(flows):
    shell, small, _ = flows

    out = shell("ls", "call", step_id(small, 4), "--graph", "--ascii")[0].splitlines()

    assert [line.split(" (")[0] for line in out] == [
        "* @flow", "* t.load", "+-.", "| * t.left", "| +-.", "| | * t.log", "* | t.right", "+-'",
        "* @gather", "* t.report",
    ]  # fmt: skip
    assert f"t.log (FAILED, {step_id(small, 5)})" in "\n".join(out)


def test_the_tree_is_what_a_call_has_caused_and_the_flow_is_all(flows):
    shell, small, _ = flows

    tree = shell.json("ls", "call", step_id(small, 1), "--tree")
    whole = shell.json("ls", "call", step_id(small, 1), "--flow")
    graph = shell.json("ls", "call", text_of(small.id), "--graph")

    assert [(row["depth"], row["socket"]) for row in tree] == [
        (0, "t.left"), (1, "@gather"), (2, "t.report"), (1, "t.log"),
    ]  # fmt: skip
    assert len(whole) == len(graph) == 7
    needs = {row["socket"]: row["needs"] for row in graph}
    assert needs["@gather"] == [step_id(small, 1), step_id(small, 2)]
    assert needs["@flow"] == []


def test_the_result_of_a_flow_is_that_of_its_result_step(flows):
    shell, small, _ = flows

    out = shell("ls", "call", text_of(small.id), "--result")[0]
    (row,) = shell.json("ls", "call", text_of(small.id), "-r")

    assert '{"rows":7}' in out.replace(" ", "").replace("\n", "")
    assert f"result step: {step_id(small, 4)} (DONE)" in out
    assert (row["result"], row["result_step"]) == ({"rows": 7}, step_id(small, 4))


def test_a_flow_is_drawn_for_other_programs(flows):
    shell, small, _ = flows

    dot = shell("ls", "call", text_of(small.id), "-o", "dot")[0]
    mermaid = shell("ls", "call", text_of(small.id), "--tree", "-o", "mermaid")[0]

    assert dot.startswith("digraph flow {") and dot.count("->") == 7
    assert mermaid.startswith("graph TD") and mermaid.count("-->") == 7


def test_a_flow_of_ten_thousand_calls_is_cut_and_says_so(flows):
    shell, _, large = flows
    begun = time.monotonic()

    out, err = shell("ls", "call", text_of(large.id), "--graph")
    rows = shell.json("ls", "call", text_of(large.id), "--flow")

    assert time.monotonic() - begun < 20
    assert len(out.splitlines()) < 20 and "t.part (FAILED, " in out
    assert err.startswith("2,000 of 10,000 calls of the flow are shown; it has ")
    assert "9,999 DONE" in err and "1 FAILED" in err
    assert len(rows) == 2_000
    assert {"@flow", "t.part"} <= {row["socket"] for row in rows}
    assert [row["id"] for row in rows if row["state"] == "FAILED"] == [step_id(large, 77)]


def test_the_newest_call_of_a_socket_is_shown_by_its_name(flows):
    shell, small, _ = flows

    assert shell.json("ls", "call", "-n", "t.report")[0]["id"] == step_id(small, 4)
    assert "no call of socket 't.gone'" in shell("ls", "call", "-n", "t.gone", status=3)[1]
    shell("ls", "call", "-n", "t.report", "--id", step_id(small, 1), status=2)


def test_calls_made_by_tasks_are_found_with_their_flow_also_after_a_restart(tmp_path: Path):
    home = str(tmp_path / "home")
    traced = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with Node(home) as node, connect(node.address) as client:

        def outer() -> int:
            begun = time.time_ns() // 1_000_000
            until(lambda: time.time_ns() // 1_000_000 > begun + 1, 5, "ids have another time")
            return Socket("t.middle", client)() + 1

        def middle() -> int:
            return sum(Socket("t.inner", client).map([1, 2]))

        node.serve("t.outer", outer)
        node.serve("t.middle", middle)
        node.serve("t.inner", lambda n: n)
        call = client.socket("t.outer").options(trace=traced).submit()
        assert call.result(timeout=20) == 4
        id = call.id
    with Node(home) as node:
        shell = Shell(home)
        out = shell("ls", "call", id, "--tree")[0]
        rows = shell.json("ls", "call", id, "--tree")
        (one,) = shell.json("ls", "call", id)
        log = node._loop.log
        assert log.count(FLOW) == 3

    assert [(row["depth"], row["socket"]) for row in rows] == [
        (0, "t.outer"), (1, "t.middle"), (2, "t.inner"), (2, "t.inner"),
    ]  # fmt: skip
    assert {row["flow"] for row in rows} == {id}
    assert f"| {id} " in out and f"|   {rows[1]['id']} " in out
    assert one["trace"] == traced
    assert all(row["trace"].startswith(traced[:36]) for row in rows)
