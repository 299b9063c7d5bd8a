"""Amnesia (P12): a node that forgot what it promised is refused, with both numbers."""

from __future__ import annotations

import struct

import pytest

from meshcode import limits
from meshcode.errors import BadValue
from meshcode.peers.memory import Known, PeerMemory

NODE, STORE, OTHER, LIFE = b"n" * 16, b"s" * 16, b"o" * 16, b"l" * 16


def now(boot: int = 5, life: bytes = LIFE, commit: int = 100, store: bytes = STORE) -> Known:
    """What NODE says of itself."""
    return Known(store, boot, life, commit)


def remembered() -> PeerMemory:
    """NODE was heard in boot 5, up to transaction 300."""
    memory = PeerMemory()
    assert memory.remember(NODE, now())
    memory.heard(NODE, 300)
    return memory


@pytest.mark.parametrize(
    "said",
    [
        now(),
        now(commit=0),  # The same life began where it began.
        now(6, OTHER, 300),
        now(6, OTHER, 301),
        now(2**32 - 1, OTHER, 2**63 - 1),
    ],
)
def test_the_same_life_and_a_later_boot_that_forgot_nothing_are_welcome(said: Known):
    memory = remembered()

    assert memory.judge(NODE, said) == ""
    memory.remember(NODE, said)
    assert memory.by_node[NODE].commit == max(300, said.commit)


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (now(9, store=OTHER), f"store {OTHER.hex()}, it was known with store {STORE.hex()}"),
        (now(4), "boot 4, it was known in boot 5"),
        (now(life=OTHER), "boot 5 and life 6f6f6f6f, it was known in that boot with life 6c6c6c6c"),
        (now(life=OTHER, commit=999), "boot 5 and life"),
        (now(life=bytes(16)), "boot 5 and life 00000000"),
        (now(6, OTHER, 299), "boot 6 at transaction 299 of its log, transaction 300 was heard"),
        (now(99, OTHER, 0), "boot 99 at transaction 0"),
        (now(6, LIFE, 299), "boot 6 at transaction 299"),
    ],
)
def test_a_node_that_forgot_is_refused_with_both_numbers(said: Known, what: str):
    memory = remembered()
    before = memory.pack()

    why = memory.judge(NODE, said)

    assert what in why and "join it as a new node" in why
    assert memory.pack() == before


def test_only_what_is_new_counts_as_a_change():
    memory = PeerMemory()
    assert memory.remember(NODE, now())

    assert not memory.remember(NODE, now())
    assert memory.changes == 1
    assert memory.remember(NODE, now(6, OTHER))
    assert memory.changes == 2


def test_commits_are_worth_keeping_only_in_larger_steps():
    """Else two idle nodes would write of each other's writes for ever."""
    memory = PeerMemory()
    memory.remember(NODE, now(commit=0))

    for commit in range(1, limits.PEER_COMMITS_UNKEPT):
        memory.heard(NODE, commit)
    assert memory.changes == 1
    assert memory.by_node[NODE].commit == limits.PEER_COMMITS_UNKEPT - 1, "but they are known"
    memory.heard(NODE, limits.PEER_COMMITS_UNKEPT)
    assert memory.changes == 2
    memory.heard(NODE, limits.PEER_COMMITS_UNKEPT + 1)
    assert memory.changes == 2


def test_two_idle_logs_come_to_rest():
    """Each keeps what it heard of the other, which is a transaction of which the other hears."""
    sides = {NODE: PeerMemory(), OTHER: PeerMemory()}
    other = {NODE: OTHER, OTHER: NODE}
    commits = {NODE: 1_000_000, OTHER: 1}
    for node in sides:
        sides[other[node]].remember(node, now(commit=1))
    saved = dict.fromkeys(sides, 0)
    busy = []
    for second in range(200):
        for node, memory in sides.items():
            memory.heard(other[node], commits[other[node]])
            if memory.changes != saved[node]:
                saved[node] = memory.changes
                commits[node] += 1
                busy.append(second)

    assert busy and max(busy) < 3


@pytest.mark.parametrize("commit", [0, 1, 299, 300, 2**63, 2**128 - 1])
def test_a_commit_that_is_no_news_or_no_number_changes_nothing(commit: int):
    memory = remembered()
    before = memory.pack()

    memory.heard(NODE, commit)
    memory.heard(OTHER, 5)

    assert memory.pack() == before and OTHER not in memory.by_node


def test_memory_survives_its_bytes():
    memory = remembered()
    assert memory.remember(OTHER, Known(NODE, 2**32 - 1, LIFE, 2**63 - 1))

    again = PeerMemory.unpack(memory.pack())

    assert again.by_node == memory.by_node
    assert again.pack() == memory.pack()


def test_what_the_first_version_kept_is_read_and_takes_on_the_first_life_it_hears():
    old = struct.pack("<BI", 1, 1) + struct.pack("<16s16sI", NODE, STORE, 5)

    memory = PeerMemory.unpack(old)

    assert memory.by_node == {NODE: Known(STORE, 5)}
    assert "boot 4" in memory.judge(NODE, now(4))
    assert memory.remember(NODE, now())
    assert "in that boot with life" in memory.judge(NODE, now(life=OTHER))
    assert PeerMemory.unpack(memory.pack()).by_node == {NODE: now()}


def test_an_evicted_node_is_forgotten():
    memory = remembered()
    before = memory.changes

    memory.forget(NODE)

    assert memory.by_node == {} and memory.changes == before + 1


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01", b"\x03\0\0\0\0", b"\x01\x01\0\0\0", b"\x02\x01\0\0\0",
     b"\x01" + remembered().pack()[1:], remembered().pack()[:-1], remembered().pack() + b"x"],
)  # fmt: skip
def test_damaged_bytes_are_told(data: bytes):
    with pytest.raises(BadValue, match="memory of peers"):
        PeerMemory.unpack(data)
