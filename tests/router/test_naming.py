"""Words that name many instances: they say the same as one word for each, in the same order."""

from __future__ import annotations

import pytest

from meshcode.limits import PEER_WORDS_MAX
from meshcode.replica import naming
from meshcode.replica.instance import KEY_BYTES
from meshcode.router.effects import Effects
from meshcode.wire.kinds import Kind

A, B, C = (bytes([number]) * 16 for number in (1, 2, 3))
STORED, AGREED, TOLD = int(Kind.STORED), int(Kind.AGREED), int(Kind.TOLD)
EPOCH = (1, A, 7)


def key(number: int) -> bytes:
    """The key of some instance."""
    return number.to_bytes(KEY_BYTES, "big")


def test_what_is_alike_is_one_entry_for_all_who_are_told():
    said, out = naming.Naming(), Effects()
    for number in range(3):
        said.say((A, B, C), 0b110, TOLD, key(number), out, (1, EPOCH, False))
    said.say((A,), 1, AGREED, key(9), out, (EPOCH,))

    said.flush(out)

    entry = [key(0) + key(1) + key(2), 1, [*EPOCH], False]
    told = [(B, TOLD, entry), (C, TOLD, entry)]
    assert out.peer == [*told, (A, AGREED, [key(9), [*EPOCH]])]
    assert said.entries == [], "and it is said once"


def test_what_is_named_comes_where_the_first_of_it_was_named():
    said, out = naming.Naming(), Effects()
    for number in range(2):
        said.say((A,), 1, STORED, key(number), out)
        out.peer.append((A, int(Kind.GONE), [key(number)]))

    said.flush(out)

    assert [kind for _, kind, _ in out.peer] == [STORED, Kind.GONE, Kind.GONE]
    assert out.peer[0][2] == [key(0) + key(1)]


def test_what_differs_in_anything_is_said_apart():
    said, out = naming.Naming(), Effects()
    for more in ((1, EPOCH, False), (1, None, False), (1, EPOCH, True), (1, (2, A, 7), False)):
        said.say((A,), 1, TOLD, key(1), out, more)
    said.say((A, B), 1, TOLD, key(1), out, (1, EPOCH, False))
    said.say((A,), 1, STORED, key(1), out)

    said.flush(out)

    assert len(out.peer) == 6


def test_instances_may_be_named_one_by_one():
    said, out = naming.Naming(), Effects()
    said.apart = True
    for number in range(2):
        said.say((A, B), 0b11, STORED, key(number), out)

    said.flush(out)

    assert out.peer == [(node, STORED, [key(number)]) for number in range(2) for node in (A, B)]


def test_the_phases_of_an_instance_keep_their_order():
    """Although a word of the second phase was begun for another instance before."""
    said, out = naming.Naming(), Effects()
    said.say((A,), 1, TOLD, key(1), out, (2, None, False))
    said.say((A,), 1, TOLD, key(2), out, (1, EPOCH, False))
    said.say((A,), 1, TOLD, key(2), out, (2, None, False))

    said.flush(out)

    phases = [entry[1] for _, _, [*entry] in naming.singly(out.peer) if entry[0] == key(2)]
    assert phases == [1, 2]


def test_an_entry_names_no_more_than_an_envelope_may_have_entries():
    said, out = naming.Naming(), Effects()
    many = 2 * PEER_WORDS_MAX + 1
    for number in range(many):
        said.say((A,), 1, STORED, key(number), out)

    said.flush(out)

    assert [len(entry[0]) // KEY_BYTES for *_, entry in out.peer] == [
        PEER_WORDS_MAX, PEER_WORDS_MAX, 1,
    ]  # fmt: skip
    assert naming.singly(out.peer) == [(A, STORED, [key(number)]) for number in range(many)]


@pytest.mark.parametrize("keys", [b"", b"x", bytes(KEY_BYTES + 1), "text", None, 7, [key(1)]])
def test_what_is_no_run_of_keys_is_left_for_its_reader(keys: object):
    assert naming.split(keys) is None
    assert naming.each([[keys, 1], [], [key(1) + key(2), 5]]) == [
        [keys, 1], [], [key(1), 5], [key(2), 5],
    ]  # fmt: skip


def test_words_of_other_kinds_are_left_alone():
    said = [(A, int(Kind.GONE), [key(1) + key(2)])]

    assert naming.singly(said) == said
