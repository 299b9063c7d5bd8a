"""Whoever listens hears of every call that the node makes itself, once and before it runs."""

from __future__ import annotations

from typing import Any

import pytest

from meshcode.router import events, feeding, replicated
from meshcode.router.records import split_done

from .flowing import Flows, step
from .several import Several
from .test_broadcasts import Crew


def listening(made: Any) -> list[tuple[bytes, str, str]]:
    """What the node tells from now on: call, socket, event."""
    heard: list[tuple[bytes, str, str]] = []
    inner = made.step

    def tell(event: Any) -> Any:
        effects = inner(event)
        heard.extend((id, socket, name) for id, socket, name, _, _ in effects.events)
        return effects

    made.step = tell
    made.router.listening = True
    return heard


def of(heard: list[tuple[bytes, str, str]], id: bytes) -> list[str]:
    return [name for one, _, name in heard if one == id]


@pytest.mark.parametrize("options", [None, {"priority": 9}])
def test_steps_of_a_flow(options):
    made = Flows()
    heard = listening(made)
    last = step("a", feed=[0, 1])
    last[4] = options

    id, effects = made.flow([step("a", 1), step("a", feed=0), last])
    made.run(effects)

    for number in range(3):
        told = of(heard, feeding.step_id(id, number))
        assert told[0] == "received"
        assert told[-1] == "postrun"
        assert told.count("received") == 1


def test_what_a_plug_calls():
    made = Flows()
    made.socket("b")
    made.plugs["p"] = {"source": "a", "target": "b"}
    made.publish()
    heard = listening(made)

    _, effects = made.call("a", 1)
    made.run(effects)

    assert [name for _, socket, name in heard if socket == "b" and name != "prerun"] == [
        "received", "postrun",
    ]  # fmt: skip


def test_copies_of_a_broadcast():
    made = Crew(2)
    heard = listening(made)

    id, effects = made.call("a", broadcast=True)
    made.settle(effects)

    told = [(one, name) for one, socket, name in heard if socket == "a" and one != id]
    assert sorted(name for _, name in told if name != "prerun") == ["postrun"] * 2 + [
        "received"
    ] * 2
    assert len({one for one, _ in told}) == 2


def stories(net: Several) -> list[tuple[str, str]]:
    """The name and note of all that the histories tell of calls."""
    found = []
    for node in net.nodes:
        for record in node.log["done"].values():
            found += [(name, note) for _, name, note in split_done(record)["story"] or ()]
    return found


def test_a_call_that_nobody_had_before_is_not_told_as_taken_over():
    """It has no owner at first, like a tick of a schedule; and the home of a tick is no node."""
    net = Several(1, ("sinks",), ("sources",), ())
    net.submit(net.nodes[0], 5)

    net.settle()

    assert net.submits()
    assert not [name for name, _ in stories(net) if name == "taken over"]


def test_one_that_is_taken_over_says_who_accepted_it_where_that_is_a_node():
    net = Several(1, ("sinks",), ("sources",), ())
    first = net.nodes[0].router
    assert replicated._accepted_by(first, net.nodes[1].id).startswith(", accepted by ")
    assert replicated._accepted_by(first, b"\x0e" * 16) == ""
    net.submit(net.nodes[0], 500)
    for _ in range(9):
        net.turn(batch=4)

    net.kill(net.nodes[0])
    net.workers = (("sinks",), ("sources",), ("sinks",))
    net.nodes[2].post(events.WorkerJoined(1, "sinks", 1))
    net.settle()

    told = [note for name, note in stories(net) if name == "taken over"]
    assert any(", accepted by " in note for note in told), told
