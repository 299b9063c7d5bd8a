"""What waits for voters that are away: in the log, read back when it is named or they come back."""

from __future__ import annotations

from meshcode import limits
from meshcode.replica.instance import KEY_BYTES, Instance
from meshcode.replica.shelf import PAUSE_MS, Shelf
from meshcode.router.effects import Effects
from meshcode.router.records import joined
from meshcode.wire.kinds import Kind

A, B, C = (bytes([number]) * 16 for number in (1, 2, 3))
PREPARE, STORED = int(Kind.PREPARE), int(Kind.STORED)
NOW = 1_000


def key(number: int) -> bytes:
    """The key of some instance."""
    return number.to_bytes(KEY_BYTES, "big")


def shelf_of(many: int, lacking: list[bytes]) -> Shelf:
    """So many instances that wait for the same voters; their sequences are their numbers."""
    shelf = Shelf()
    for number in range(many):
        shelf.put(Instance(key(number), (A, B, C), 1, number), lacking)
    return shelf


def test_a_word_that_names_one_is_kept_until_it_was_read_once():
    shelf, out = shelf_of(2, [C]), Effects()

    first, second = [key(1), "first"], [key(1), "second"]
    assert shelf.is_put_off(C, PREPARE, first, out)
    assert shelf.is_put_off(B, PREPARE, second, out)

    assert out.votes == [1], "it is read once"
    assert shelf.take(key(1)) == [(C, PREPARE, first), (B, PREPARE, second)]
    assert not shelf.is_put_off(C, PREPARE, first, out), "it is in memory from here on"
    assert shelf.take(key(1)) is None, "and is not read into memory twice"


def test_words_that_make_no_instance_read_none():
    shelf, out = shelf_of(1, [C]), Effects()

    assert not shelf.is_put_off(B, STORED, [key(0)], out)
    assert not shelf.is_put_off(B, PREPARE, [key(7)], out)

    assert out.votes == []


def test_what_waits_for_a_voter_is_read_in_portions_with_pauses():
    portion = limits.REPLICA_TIMERS_PER_STEP
    shelf, out = shelf_of(portion + 3, [C]), Effects()

    assert not shelf.came_back(B)
    assert shelf.came_back(C)
    assert not shelf.came_back(C), "it is on its way"
    assert shelf.read_some(NOW, out) == NOW + PAUSE_MS
    assert len(out.votes) == portion
    assert shelf.read_some(NOW + PAUSE_MS - 1, out) == 0
    assert len(out.votes) == portion
    assert shelf.read_some(NOW + PAUSE_MS, out) == 0, "that was all"
    assert sorted(out.votes) == list(range(portion + 3))


def test_what_waits_for_two_is_read_when_the_first_of_them_comes_back():
    shelf, out = shelf_of(1, [B, C]), Effects()

    assert shelf.came_back(C)
    shelf.read_some(NOW, out)
    assert out.votes == [0]
    assert shelf.take(key(0)) == []

    assert shelf.came_back(B)
    shelf.read_some(NOW + PAUSE_MS, out)
    assert out.votes == [0], "it is in memory, or gone"


def test_records_of_two_tables_are_joined_by_their_keys():
    opens = [(b"2", b"open"), (b"3", b"open"), (b"5", b"open")]
    votes = [(b"1", b"vote"), (b"3", b"vote"), (b"4", b"vote"), (b"6", b"vote"), (b"7", b"vote")]

    assert list(joined(opens, votes)) == [
        (b"1", None, b"vote"), (b"2", b"open", None), (b"3", b"open", b"vote"),
        (b"4", None, b"vote"), (b"5", b"open", None), (b"6", None, b"vote"), (b"7", None, b"vote"),
    ]  # fmt: skip
    assert list(joined([], [])) == []
