"""Who is told what, how much may wait, and what two nodes tell each other for their listeners."""

from __future__ import annotations

import sys
from collections import deque
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from meshcode import limits
from meshcode.errors import BadRequest, Busy, UnknownObject
from meshcode.hearing import is_named
from meshcode.ids import make_id
from meshcode.node.feed import Feed
from meshcode.node.feedevents import Lines, model_events, names_of
from meshcode.node.turn import Turns
from meshcode.router.effects import Effects
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import check_envelope

NAMES = names_of({"socket": "s.do", "processor": "p", "queue": "q"})


@pytest.mark.parametrize("name", [None, "s.do", "p", "q", "q.p", "s.*", "?.p", "[pq]", "*"])
def test_a_name_is_heard(name):
    assert is_named(name, NAMES)


@pytest.mark.parametrize("name", ["s", "do", "p.q", "x*", "", "P", "q.p.s", "[!a-z]*"])
def test_another_is_not(name):
    assert not is_named(name, NAMES)


@pytest.mark.parametrize(
    ("pieces", "lines", "rest"),
    [
        ([b"a\nb\n"], ["a", "b"], ""),
        ([b"a", b"b\nc"], ["ab"], "c"),
        ([b"\n\n"], ["", ""], ""),
        (["é".encode()[:1], "é\n".encode()[1:]], ["é"], ""),
        ([b"\xff\n"], ["\ufffd"], ""),
        ([b"x" * (limits.LISTEN_RESULT_BYTES_MAX + 1), b"y"],
         ["x" * (limits.LISTEN_RESULT_BYTES_MAX + 1)], "y"),
    ],
)  # fmt: skip
def test_output_is_cut_into_lines(pieces, lines, rest):
    cut = Lines()
    key = (b"", 1, "stdout")

    assert [line for piece in pieces for line in cut.add(key, piece)] == lines
    assert (cut.end(key), cut.end(key)) == (rest, "")


def test_changes_of_the_model_hide_what_is_never_shown():
    before = {"users": {}, "sockets": {"s": {"processor": "p", "queue": "q"}}}
    after = {"users": {"ann": {"enabled": True, "password_hash": "$argon2"}}, "sockets": {}}

    told = model_events(before, after)

    assert [(e["kind"], e["name"], e["change"], e["object"]) for e in told] == [
        ("socket", "s", "deleted", {"processor": "p", "queue": "q"}),
        ("user", "ann", "added", {"enabled": True}),
    ]
    assert names_of(told[0]) == {"s", "p", "q", "q.p"}


class Sessions:
    """The sessions of one node; a link that takes nothing keeps all in the outbox."""

    def __init__(self):
        self.by_id = {1: SimpleNamespace(id=1, outbox_bytes=0, who=None)}
        self.reads = True
        self.got = []
        self.frames = []

    def send(self, session, envelopes):
        self.frames.append(sum(map(len, envelopes)))
        for data in envelopes:
            row = check_envelope(data)
            self.got.append(unpack(data[row.body_at : row.end]))
        if not self.reads:
            session.outbox_bytes += self.frames[-1]


class Node:
    """As much of a loop, and of a mesh, as a feed needs; `wire` takes what it says to peers."""

    def __init__(self, name, wire=None):
        self.name = name
        self.node_id = name.encode()
        self.snapshot = {"processors": {"p": {}}, "queues": {"q": {}}}
        config = SimpleNamespace(processor="p", queue="q", task="do")
        line = SimpleNamespace(name="s.do", config=config, depth=0, running=0, bytes=0,
                               removed=False, addressed=False)  # fmt: skip
        self.router = SimpleNamespace(
            seats=SimpleNamespace(lines={}),
            lines={"s.do": line}, guest_lines={}, calls={}, guests={}, workers={}, listening=False,
            parked_reason=lambda line: "",
        )  # fmt: skip
        self.sessions = Sessions()
        self.guard = SimpleNamespace(may=lambda *_: True)
        self.clock = SimpleNamespace(now_ms=lambda: 1_000)
        self.processors = SimpleNamespace(by_name={})
        self.turns = Turns(self.router, lambda _: None)
        self.crew = SimpleNamespace(by_id={})
        self.wire = wire
        self.mesh = None if wire is None else self
        self.relay = self
        self.identity = SimpleNamespace(name=name)
        self.feed = Feed(self)

    def ended(self, ids):
        return self.turns.ended(ids, lambda _: None)

    def hear_calls(self):
        self.router.listening = self.feed.wants("task")

    def name_of(self, node):
        return node.decode()

    def gather(self, message, done, among=None):
        self.wire.append((self.node_id, message))
        done([])

    def send(self, node, envelopes):
        for data in envelopes:
            row = check_envelope(data)
            self.wire.append((self.node_id, unpack(data[row.body_at : row.end])))

    def listen(self, **fields):
        request = make_id()
        self.feed.add(1, request, fields)
        self.feed.peers.say()
        return request

    def call(self, count=1, note=""):
        """So many calls have come."""
        events = [(make_id(), "s.do", "received", note, 5) for _ in range(count)]
        self.feed.calls(Effects(events=events))
        self.feed.flush()

    def heard(self):
        """How many calls were heard, and how many were told to be lost."""
        got = self.sessions.got
        lost = sum(event["count"] for event in got if event["channel"] == "lost")
        return sum(event["channel"] == "task" for event in got), lost


def test_the_core_makes_events_while_somebody_listens_and_only_then():
    node = Node("n1")
    assert not node.router.listening

    log = node.listen(channel="log")
    assert not node.router.listening
    task = node.listen(channel="task", name="p")
    assert node.router.listening
    node.feed.remove(1, task)
    node.feed.remove(1, log)
    assert not node.router.listening
    node.call()
    assert node.sessions.got == []


def test_a_listener_whose_session_has_ended_hears_nothing_and_is_forgotten():
    node = Node("n1")
    node.listen(channel="task")
    node.sessions.by_id.clear()

    node.call()
    node.feed.leave({1})

    assert (node.sessions.got, node.router.listening) == ([], False)


def test_one_client_listens_so_often_and_again_with_the_same_request():
    node = Node("n1")
    requests = [node.listen(channel="task") for _ in range(limits.LISTEN_PER_CLIENT)]
    with pytest.raises(Busy, match=f"listens {limits.LISTEN_PER_CLIENT} times already"):
        node.listen(channel="task")

    node.sessions.by_id[1].outbox_bytes = limits.LISTEN_BYTES_MAX
    node.call(2)
    node.feed.add(1, requests[0], {"channel": "task"})  # As after a resync.
    node.sessions.by_id[1].outbox_bytes = 0
    node.feed.tick()
    node.feed.flush()

    assert node.heard() == (0, 2 * limits.LISTEN_PER_CLIENT)


def test_a_name_is_of_a_bounded_length():
    with pytest.raises(BadRequest, match="has at most 511 characters, this one 512"):
        Node("n1").listen(channel="state", name="*" * 512)


def test_a_name_that_is_declared_later_may_be_a_pattern_and_no_name():
    node = Node("n1")
    with pytest.raises(UnknownObject, match="no socket, processor or queue is named 'later'"):
        node.listen(name="later")
    node.listen(name="later*")
    assert node.router.listening


def test_what_waits_for_one_that_does_not_read_is_bounded_and_each_loss_is_counted_once():
    node = Node("n1")
    node.listen(channel="task")
    node.sessions.reads = False
    session = node.sessions.by_id[1]
    note = "x" * 1_000

    for _ in range(20):
        node.call(100, note)

    assert session.outbox_bytes <= limits.LISTEN_BYTES_MAX
    assert max(node.sessions.frames) <= limits.LISTEN_FRAME_BYTES
    heard, lost = node.heard()
    assert (0 < heard < 2_000, lost) == (True, 0)
    node.feed.tick()
    assert node.heard() == (heard, 0)  # It still does not read.
    session.outbox_bytes = 0
    node.feed.tick()
    node.feed.flush()
    assert node.heard() == (heard, 2_000 - heard)
    node.call()
    assert node.heard() == (heard + 1, 2_000 - heard)


def test_a_node_tells_so_many_events_a_second_and_counts_the_others():
    node = Node("n1")
    node.listen(channel="task", name="q.p")
    node.listen(channel="task", name="x*")
    more = limits.LISTEN_EVENTS_PER_SECOND + 7

    for _ in range(more // 500):
        node.call(500)
    node.call(more % 500)
    node.feed.tick()
    node.feed.flush()

    assert node.heard() == (limits.LISTEN_EVENTS_PER_SECOND, 7)
    node.call()
    assert node.heard() == (limits.LISTEN_EVENTS_PER_SECOND + 1, 7)


def test_what_many_hear_counts_for_each_of_them():
    node = Node("n1")
    for _ in range(4):
        node.listen(channel="task")
    told = limits.LISTEN_EVENTS_PER_SECOND // 4

    for _ in range(5):
        node.call(told // 5)
    node.call(7)
    node.feed.tick()
    node.feed.flush()

    assert node.heard() == (4 * told, 4 * 7)


def _work_of_telling(others: int) -> int:
    """Lines that run to tell 200 events to the one who hears them, beside so many who do not."""
    node = Node("n1")
    for client in range(2, 2 + others):
        node.feed.add(client, make_id(), {"channel": "task", "name": f"x{client}*"})
    node.listen(channel="task", name="p")
    told = {"channel": "task", "socket": "s.do", "processor": "p"}
    node.feed.tell({**told})  # Who hears of it is found out once.
    lines = 0

    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal lines
        lines += event == "line" and frame.f_code.co_filename.endswith(("feed.py", "hearing.py"))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for number in range(200):
            node.feed.tell({**told, "n": number})
    finally:
        sys.settrace(before)
    node.feed.flush()
    assert node.heard() == (201, 0)
    return lines


def test_an_event_costs_nothing_for_those_who_do_not_hear_of_it():
    assert _work_of_telling(400) == _work_of_telling(4)


def test_what_is_not_told_is_noted_with_its_listeners_once_a_second():
    node = Node("n1")
    asked = []
    may = node.guard.may
    node.guard.may = lambda *what: asked.append(what) or may(*what)
    for _ in range(3):
        node.listen(channel="task")
    node.sessions.by_id[1].outbox_bytes = limits.LISTEN_BYTES_MAX
    for _ in range(20):
        node.call(100)
    assert asked == []

    late = node.listen(channel="task")  # It has missed nothing.
    assert len(asked) == 3
    node.feed.remove(1, late)
    node.call()
    node.sessions.by_id[1].outbox_bytes = 0
    node.feed.tick()
    node.feed.flush()

    assert node.heard() == (0, 3 * 2_001)
    assert len(asked) == 6


class Pair:
    """Two nodes, and what is on its way between them."""

    def __init__(self):
        self.wire = deque()
        self.a, self.b = Node("a", self.wire), Node("b", self.wire)

    def pass_on(self):
        """Everything arrives."""
        while self.wire:
            sender, message = self.wire.popleft()
            to = self.b if sender == b"a" else self.a
            if message.get("op") == "feed":
                to.feed.peers.wanted(sender, message["want"])
            else:
                to.feed.peers.heard(sender, message["feed"])
            to.feed.flush()


def test_a_peer_tells_what_is_wanted_and_nothing_else():
    pair = Pair()
    request = pair.a.listen(channel="task", name="p")
    pair.pass_on()
    assert pair.b.router.listening

    pair.b.call(3)
    pair.b.feed.tell({"channel": "task", "socket": "other", "state": "received"})
    pair.b.feed.tell({"channel": "log", "socket": "s.do", "text": "not asked for"})
    pair.b.feed.tell({"channel": "task", "socket": "s.do", "local": True})
    pair.b.feed.flush()
    pair.pass_on()

    assert pair.a.heard() == (3, 0)
    assert {event["node"] for event in pair.a.sessions.got} == {"b"}
    pair.a.feed.remove(1, request)
    pair.a.feed.peers.say()
    pair.pass_on()
    assert (pair.b.router.listening, pair.b.feed.peers.wanting) == (False, {})


def test_a_peer_that_takes_nothing_is_sent_a_window_and_told_how_many_it_missed():
    pair = Pair()
    pair.a.listen(channel="task")
    pair.pass_on()
    note = "x" * 1_000
    for _ in range(40):
        pair.b.call(100, note)

    under_way = [m["feed"]["events"] for _, m in pair.wire]
    assert len(under_way) == limits.LISTEN_MESSAGES
    sizes = [sum(map(len, events)) for events in under_way]
    assert max(sizes) <= limits.LISTEN_MESSAGE_BYTES
    waiting = pair.b.feed.peers.wanting[b"a"]
    assert waiting.size <= limits.LISTEN_PEER_BYTES

    pair.pass_on()
    for node in (pair.b, pair.a, pair.a):
        node.feed.tick()
        node.feed.flush()
        pair.pass_on()
    heard, lost = pair.a.heard()
    assert (heard + lost, lost > 0) == (4_000, True)


def test_objects_that_change_wait_for_a_peer_within_the_same_bound():
    pair = Pair()
    pair.a.feed.wanted = lambda: {"state": None}
    pair.a.feed.peers.say()
    pair.b.feed.looks.begin = lambda: None
    pair.pass_on()

    for n in range(200):
        event = {"channel": "state", "kind": "queue", "name": str(n), "object": "x" * 10_000}
        pair.b.feed.tell(event)

    taker = pair.b.feed.peers.wanting[b"a"]
    assert taker.size <= limits.LISTEN_PEER_BYTES
    assert taker.lost == {"state": 200 - len(taker.events)}


def test_a_lost_word_of_what_was_taken_is_said_again():
    pair = Pair()
    pair.a.listen(channel="task")
    pair.pass_on()
    for _ in range(limits.LISTEN_MESSAGES + 1):
        pair.b.call(1)
    while pair.wire:  # The events arrive, and no answer does.
        sender, message = pair.wire.popleft()
        if sender == b"b":
            pair.a.feed.peers.heard(sender, message["feed"])
    assert pair.a.heard()[0] == 0  # They leave with the next round.
    pair.a.feed.flush()
    assert pair.a.heard() == (limits.LISTEN_MESSAGES, 0)

    for _ in range(limits.LISTEN_AGAIN_TICKS):
        pair.a.feed.tick()
        pair.pass_on()
    pair.a.feed.flush()
    assert pair.a.heard() == (limits.LISTEN_MESSAGES + 1, 0)


def test_a_session_that_breaks_ends_what_the_peer_wanted_and_a_new_one_begins_it():
    pair = Pair()
    pair.a.listen(channel="task")
    pair.pass_on()

    pair.b.feed.peers.lost(b"a")
    assert not pair.b.router.listening
    pair.a.feed.peers.came(b"b")
    pair.pass_on()

    pair.b.call(2)
    pair.pass_on()
    assert pair.a.heard() == (2, 0)


@pytest.mark.parametrize(
    "message",
    [
        None, 5, {}, {"n": "x"}, {"took": None}, {"took": 99}, {"n": 1, "events": 5},
        {"n": 1, "events": [b"\xc1", b"", 5, pack([1]), pack({"channel": "log"})], "lost": [1]},
        {"n": 1, "events": [pack({"channel": [1]}), pack({"channel": "queue", "sockets": [5]})]},
        {"n": 1, "events": [], "lost": {"task": -5, 7: 3, "x": "y"}},
    ],
)  # fmt: skip
def test_odd_words_of_a_peer_change_nothing(message):
    pair = Pair()
    pair.a.listen(channel="task")
    pair.a.listen(channel="queue", name="nothing*")
    pair.pass_on()

    pair.a.feed.peers.heard(b"b", message)
    pair.a.feed.tick()
    pair.a.feed.flush()

    assert pair.a.heard() == (0, 0)


@pytest.mark.parametrize("want", [None, 5, {7: None}, {"task": 5}, {"task": [None, 7]}])
def test_odd_wishes_of_a_peer_are_no_wishes(want):
    pair = Pair()

    pair.b.feed.peers.wanted(b"a", want)
    pair.b.call(1)

    assert pair.wire == deque()


def test_a_node_speaks_for_itself_only():
    pair = Pair()
    pair.a.listen(channel="task")
    body = pack({"channel": "task", "socket": "s.do", "node": "c"})

    pair.a.feed.peers.heard(b"b", {"n": 1, "events": [body]})
    pair.a.feed.flush()

    assert [event["node"] for event in pair.a.sessions.got] == ["b"]
