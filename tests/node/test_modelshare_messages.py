"""Messages about the model between nodes: bounded, and believed only when every part is right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcode import limits
from meshcode.errors import BadValue
from meshcode.model.entries import BUCKET_BYTES, BUCKETS
from meshcode.model.kinds import PLURALS
from meshcode.node.modelshare import ModelShare
from meshcode.wire.codec import pack
from tests.node.modelnode import A, B, Node, content, processor, queue, talk, tell


def test_a_large_model_goes_in_messages_of_bounded_size():
    ann, bob = Node(A), Node(B)
    many = {f"p{n}": processor(env={"E": "x" * 15_000}) for n in range(60)}
    change = ann.share.local_changed({**ann.database, "number": 1, "processors": many})

    sizes = [len(pack(message)) for message in change.news]
    talk(ann, bob)

    assert len(sizes) > 1
    assert max(sizes) <= limits.MODEL_MESSAGE_BYTES_MAX
    assert ann.share.digest == bob.share.digest


def test_a_repair_sends_little_more_than_what_differs():
    ann, bob = Node(A), Node(B)
    many = {f"q{n}": queue() for n in range(2_000)}
    change = ann.share.local_changed({**ann.database, "number": 1, "queues": many})
    tell(change, bob)
    many = {**many, "q7": queue(max_length=1)}
    ann.share.local_changed({**ann.database, "number": 2, "queues": many})

    asked = bob.share.receive(ann.share.hello()).replies[0]
    sent = ann.share.receive(asked).replies

    assert sum(len(message.get("objects", [])) for message in sent) < 20
    assert bob.share.receive(bob.share.hello()).replies == []


GOOD = ["queue", "q", 3, B, queue(), []]


def row(**parts: Any) -> list[Any]:
    names = ("kind", "name", "number", "node", "fields", "seen")
    return [parts.get(name, value) for name, value in zip(names, GOOD, strict=True)]


BAD_MESSAGES = [
    None, 7, [], {}, {"digest": b"x" * 16, "objects": []}, {"object": []}, {7: 8},
    {"digest": b"short"}, {"digest": "x" * 16}, {"digest": None},
    {"ask": b"", "back": False}, {"ask": None, "back": False}, {"ask": b"x"},
    {"ask": bytes(BUCKETS * BUCKET_BYTES), "back": 1},
    {"objects": None}, {"objects": {}}, {"objects": b"x"}, {"objects": [None]},
    {"objects": [[]]}, {"objects": [GOOD[:5]]}, {"objects": [[*GOOD, 1]]},
    {"objects": [row(kind="planet")]}, {"objects": [row(kind=None)]}, {"objects": [row(kind=[])]},
    {"objects": [row(name="")]}, {"objects": [row(name="-rf")]}, {"objects": [row(name=b"q")]},
    {"objects": [row(name="q" * 201)]}, {"objects": [row(name="a b")]},
    {"objects": [row(number=0)]}, {"objects": [row(number=-1)]}, {"objects": [row(number=True)]},
    {"objects": [row(number=1.5)]}, {"objects": [row(number=1 << 62)]},
    {"objects": [row(number=1 << 63)]}, {"objects": [row(number=(1 << 32) + 2)]},
    {"objects": [row(node=b"b" * 15)]}, {"objects": [row(node="b" * 16)]},
    {"objects": [row(node=None)]},
    {"objects": [row(fields=[])]}, {"objects": [row(fields={1: 2})]}, {"objects": [row(fields=0)]},
    {"objects": [row(seen=None)]}, {"objects": [row(seen=[[B]])]}, {"objects": [row(seen=[B])]},
    {"objects": [row(seen=[[B, 3]])]}, {"objects": [row(seen=[[B, 0]])]},
    {"objects": [row(seen=[[A, 1], [A, 2]])]}, {"objects": [row(seen=[[B, 1], [A, 1]])]},
    {"objects": [row(seen=[[bytes([n]) * 16, 1] for n in range(17)])]},
]  # fmt: skip


@pytest.mark.parametrize("message", BAD_MESSAGES, ids=repr)
def test_a_bad_message_is_refused_and_changes_nothing(message: Any):
    """Also what stands before it in the same message is not taken."""
    ann = Node(A)
    ann.declare("queue", "orders", queue())
    before = ann.share.pack()
    if isinstance(message, dict) and isinstance(message.get("objects"), list) and len(message) == 1:
        message = {"objects": [["queue", "first", 2, B, queue(), []], *message["objects"]]}

    with pytest.raises(BadValue) as caught:
        ann.share.receive(message)

    assert len(caught.value.text) < 400
    assert ann.share.pack() == before


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20)
    | st.sampled_from([10**4_000, "queue", "\ud800", A, b"", "-", "*"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=3) | st.sampled_from([*queue(), "env", "git"]), inner,
                      max_size=3),
    max_leaves=6,
)  # fmt: skip
_WHERE = st.lists(st.integers(0, 5), min_size=1, max_size=2)


@settings(max_examples=300)
@given(_WHERE, _PLAIN, st.sampled_from(["queue", "processor", "socket", "deployment"]))
def test_whatever_stands_in_a_row_it_is_taken_or_refused(where, value, kind):
    ann = Node(A)
    bad = [kind, *GOOD[1:]]
    for place in where:
        bad[place] = value

    try:
        change = ann.share.receive({"objects": [bad]})
    except BadValue as exc:
        assert len(exc.text) < 400
        assert ann.share.number == 0
    else:
        assert change.changed or change.save or change.refused
        ModelShare(A, ann.share.pack())


@pytest.mark.parametrize("option", [*queue(), *processor()])
@given(value=_PLAIN)
@settings(max_examples=30)
def test_whatever_stands_in_an_option_it_is_taken_or_refused(option, value):
    kind, fields = ("queue", queue()) if option in queue() else ("processor", processor())
    ann = Node(A)

    change = ann.share.receive({"objects": [[kind, "x", 3, B, {**fields, option: value}, []]]})

    assert bool(change.refused) != change.changed
    ModelShare(A, ann.share.pack())


UNUSABLE = [
    ("queue", {"max_length": 0}), ("queue", {"max_length": "9"}), ("queue", {"new_option": 1}),
    ("queue", {"overflow": "dead-letter"}), ("queue", {"restarted": 1}), ("socket", {}),
    ("queue", {"dead_letter": ["a"]}), ("processor", {"git": "/x", "module": "m", "env": {"A": 1}}),
    ("processor", {"git": "https://joe:secret@host/x", "module": "m"}),
    ("processor", {"git": "ext::sh -c id", "module": "m"}),
    ("processor", {"git": "/x", "module": "m", "restarted": -1}),
    ("processor", {"git": "/x", "module": "m", "restarted": 1 << 31}),
    ("deployment", {"processor": "p", "host": "a b"}), ("deployment", {"processor": "p", "cpus": 0})
]  # fmt: skip


def test_a_number_too_long_to_be_written_is_refused_like_any_other():
    """Python does not write integers of more than 4,300 digits."""
    ann = Node(A)
    huge = 10**5_000

    change = ann.share.receive({"objects": [["queue", "q", 3, B, {"max_length": huge}, []]]})
    with pytest.raises(BadValue, match="a int that cannot be shown"):
        ann.share.receive({"objects": [["queue", "q", huge, B, None, []]]})

    assert "max_length is a int that cannot be shown" in change.refused[0]


@pytest.mark.parametrize(("kind", "fields"), UNUSABLE, ids=repr)
def test_an_object_this_version_cannot_use_is_left_out_with_its_reason(kind: str, fields: Any):
    """The others of the message are taken: a newer version's options must not hold them up."""
    ann = Node(A)
    good = ["queue", "good", 2, B, queue(), []]

    change = ann.share.receive({"objects": [[kind, "bad", 3, B, fields, []], good]})

    assert len(change.refused) == 1 and "'bad'" in change.refused[0]
    assert "secret" not in change.refused[0]
    assert ann.share.problems() == change.refused
    assert content(ann.share.snapshot())["queues"] == {"good": queue()}
    assert all("bad" not in ann.share.snapshot()[plural] for plural in PLURALS.values())
    ann.share.receive({"objects": [[kind, "bad", 4, B, None, []]]})
    assert ann.share.problems() == []


def test_the_largest_object_that_its_options_allow_fits_a_message():
    ann = Node(A)
    fields = processor(requirements="\U0001f600" * 4_000, git="file:///" + "\U0001f600" * 3_900,
                       module_path="\U0001f600" * 4_000, env={"E": "x" * 16_000})  # fmt: skip

    seen = [[bytes([n]) * 16, 1] for n in range(limits.MODEL_EDITORS_MAX)]

    change = ann.share.receive({"objects": [["processor", "p" * 200, 3, B, fields, seen]]})

    assert change.changed and change.refused == []
    assert 60 * 1024 < len(pack(change.news[0])) <= limits.MODEL_MESSAGE_BYTES_MAX // 2


def test_a_full_model_takes_edits_and_no_new_objects(monkeypatch):
    monkeypatch.setattr("meshcode.node.modelshare.MODEL_OBJECTS_MAX", 2)
    ann, bob = Node(A), Node(B)
    tell(bob.declare("queue", "x", queue()), ann)
    tell(bob.declare("queue", "y", queue()), ann)

    third = tell(bob.declare("queue", "z", queue()), ann)[0]
    edit = tell(bob.declare("queue", "x", queue(max_length=1)), ann)[0]
    own = ann.declare("queue", "own", queue())

    assert third.refused[0].startswith(
        "queue 'z' of another node was not taken: the mesh's model has 2 objects of "
    )
    assert edit.changed and own.changed
    assert set(ann.share.snapshot()["queues"]) == {"x", "y", "own"}
