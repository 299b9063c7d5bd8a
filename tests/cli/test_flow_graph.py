"""Flows drawn as graphs: joins once, calls alike as one line, and the same for other programs."""

from __future__ import annotations

from typing import Any

import pytest

from meshcode.cli import flowgraph
from meshcode.ids import child_id, make_id, parse_id, text_of

ROOT = make_id()


def call(number: int, socket: str, feed: Any = None, state: str = "DONE") -> dict[str, Any]:
    id = text_of(child_id(ROOT, b"%d" % number))
    return {"id": id, "flow": text_of(ROOT), "parent": text_of(ROOT), "socket": socket,
            "state": state, "feed": feed}  # fmt: skip


def flow(*steps: dict[str, Any]) -> list[dict[str, Any]]:
    root = {"id": text_of(ROOT), "flow": text_of(ROOT), "parent": None, "socket": "@flow",
            "state": "DONE", "feed": None}  # fmt: skip
    return [root, *steps]


def shown(calls: list[dict[str, Any]], strokes: flowgraph.Strokes = flowgraph.UTF8) -> list[str]:
    """The drawing without ids."""
    lines = flowgraph.draw(flowgraph.graph(calls), strokes)
    return [line.split(" (")[0] for line in lines]


DIAMOND = flow(
    call(0, "load"), call(1, "clean", 0), call(2, "count", 0), call(3, "cut", 2),
    call(4, "@gather", [1, [3]]), call(5, "report", 4, "WAITING"), call(6, "log", 1),
)  # fmt: skip


def test_a_pipeline_is_one_line_down():
    steps = [call(0, "a"), call(1, "b", 0), call(2, "c", 1)]
    assert shown(flow(*steps)) == ["* @flow", "* a", "* b", "* c"]


def test_a_join_is_drawn_once_with_lines_from_all_it_needs():
    assert shown(DIAMOND) == [
        "* @flow",
        "* load",
        "├─╮",
        "│ * clean",
        "│ ├─╮",
        "│ │ * log",
        "* │ count",
        "* │ cut",
        "├─╯",
        "* @gather",
        "* report",
    ]


def test_steps_of_an_earlier_flow_that_a_range_names_are_needed():
    earlier = make_id()
    feed = [{"first": 0, "count": 3, "by": 1, "done": [[earlier, b"\x02"]]}]

    needs = flowgraph.needs_of(call(3, "@gather", feed))

    plans = ((ROOT, 0), (earlier, 1), (ROOT, 2))
    assert needs == [text_of(child_id(plan, b"%d" % n)) for plan, n in plans]
    assert flowgraph.needs_of(call(3, "@gather", [{**feed[0], "by": None}])) == []


def test_the_same_in_ascii():
    assert shown(DIAMOND, flowgraph.ASCII) == [
        "* @flow",
        "* load",
        "+-.",
        "| * clean",
        "| +-.",
        "| | * log",
        "* | count",
        "* | cut",
        "+-'",
        "* @gather",
        "* report",
    ]


def test_a_join_of_many_has_a_stroke_for_each():
    steps = [call(n, f"s{n}", 0) for n in range(1, 4)]
    assert shown(flow(call(0, "load"), *steps, call(4, "sum", [1, 2, 3]))) == [
        "* @flow",
        "* load",
        "├─╮",
        "│ * s1",
        "├─│─╮",
        "│ │ * s2",
        "* │ │ s3",
        "├─┴─╯",
        "* sum",
    ]


def test_many_calls_alike_are_one_line_and_those_that_ended_otherwise_another():
    many = [call(n, "part", 0) for n in range(1, 1001)]
    many[7]["state"] = "FAILED"
    calls = flow(call(0, "load"), *many, call(1001, "sum", [{"from": 1, "count": 1000}]))

    nodes = flowgraph.graph(calls)

    assert [(n.socket, n.state, len(n.ids), n.needs) for n in nodes] == [
        ("@flow", "DONE", 1, ()),
        ("load", "DONE", 1, (0,)),
        ("part", "DONE", 999, (1,)),
        ("part", "FAILED", 1, (1,)),
        ("sum", "DONE", 1, (2, 3)),
    ]
    assert nodes[2].label == "part (DONE, 999 calls)"
    assert flowgraph.width(nodes) == 2


def test_a_call_that_a_task_made_hangs_below_the_call_it_was_made_in():
    inner = {"id": text_of(make_id()), "flow": text_of(ROOT), "parent": call(0, "")["id"],
             "socket": "inner", "state": "RUNNING", "feed": None}  # fmt: skip
    assert shown(flow(call(0, "load"), inner)) == ["* @flow", "* load", "* inner"]


@pytest.mark.parametrize(
    ("feed", "numbers"),
    [
        (3, [3]),
        ([1, [2, [3]], 4], [1, 2, 3, 4]),
        ([{"from": 5, "count": 3}], [5, 6, 7]),
        ([{"from": 9, "count": 3, "by": -2}, 1], [9, 7, 5, 1]),
        ([{"from": 1, "count": 2, "by": 0}], []),
        ([], []),
        ([b"0123456789abcdef", 2], [b"0123456789abcdef", 2]),
        ([{"from": "x", "count": 2}, True, "text", None], []),
    ],
)
def test_a_feed_names_its_steps_however_deep(feed: Any, numbers: list[int]):
    assert list(flowgraph.leaves_of(feed)) == numbers


def test_a_step_counts_in_the_plan_it_names_and_may_need_a_call_of_another_flow():
    inner, old = make_id(), make_id()
    step = {**call(0, "inner", [4, old]), "plan": text_of(inner)}

    assert flowgraph.needs_of(step) == [text_of(child_id(inner, b"4")), text_of(old)]


def test_steps_are_put_in_the_order_of_their_plans():
    steps = [call(n, f"s{n}") for n in range(30)]
    inner = {**flow()[0], "id": text_of(make_id()), "parent": steps[0]["id"]}
    below = [{**call(n, f"i{n}"), "id": text_of(child_id(parse_id(inner["id"]), b"%d" % n))}
             for n in range(3)]  # fmt: skip
    other = {**call(0, "other"), "id": text_of(make_id())}
    mixed = sorted([other, *flow(*steps), inner, *below], key=lambda c: (c["socket"] != "@flow",
                                                                          c["id"]))  # fmt: skip

    found = [c["socket"] for c in flowgraph.as_declared(mixed, 40)]

    roots = [n for n, name in enumerate(found) if name == "@flow"]
    assert [name for name in found if name[0] == "s"] == [f"s{n}" for n in range(30)]
    assert [name for name in found if name[0] == "i"] == ["i0", "i1", "i2"]
    assert roots[0] == 0 and found[-1] == "other"


def test_needs_that_are_not_known_and_rounds_do_not_break_the_graph():
    a, b = call(0, "a", 1), call(1, "b", 0)
    cut = call(7, "cut", [5, 6])

    nodes = flowgraph.graph([a, b, cut])

    assert sorted(n.socket for n in nodes) == ["a", "b", "cut"]
    assert all(need < at for at, node in enumerate(nodes) for need in node.needs)
    assert len(flowgraph.draw(nodes, flowgraph.ASCII)) >= 3


def test_what_a_call_caused_is_what_it_feeds_and_its_children():
    clean = DIAMOND[2]
    found = flowgraph.forward(DIAMOND, clean["id"])

    assert [call["socket"] for call in found] == ["clean", "@gather", "report", "log"]


def test_dot_and_mermaid_have_every_node_and_edge_and_take_any_name():
    nodes = flowgraph.graph(flow(call(0, 'a"b\n\\'), call(1, "c", 0)))
    first, second = (nodes[n].ids[0] for n in (1, 2))

    assert flowgraph.dot(nodes)[3:] == [
        f'  n1 [label="a\\"b/n/\\nDONE\\n{first}"];',
        f'  n2 [label="c\\nDONE\\n{second}"];',
        "  n0 -> n1;",
        "  n1 -> n2;",
        "}",
    ]
    assert flowgraph.mermaid(nodes)[2:] == [
        f'  n1["a#quot;b/n/<br/>DONE<br/>{first}"]',
        f'  n2["c<br/>DONE<br/>{second}"]',
        "  n0 --> n1",
        "  n1 --> n2",
    ]
