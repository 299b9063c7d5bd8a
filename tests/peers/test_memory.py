"""Amnesia (P12): a node that forgot what it promised is refused, with both numbers."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcode import limits
from meshcode.errors import BadValue
from meshcode.peers.lives import Life, pack_lives, unpack_lives
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
        now(6, OTHER, 301),
        now(6, OTHER, 302),
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
        (now(life=OTHER), "life 6f6f6f6f in boot 5, it was known in that boot with life 6c6c6c6c"),
        (now(life=OTHER, commit=999), "in that boot with life"),
        (now(life=bytes(16)), "life 00000000 in boot 5"),
        (now(6, OTHER, 299), "boot 6 at transaction 299 of its log, transaction 300 was heard"),
        (now(6, OTHER, 300), "boot 6 at transaction 300 of its log, transaction 300 was heard"),
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


@pytest.mark.parametrize(
    ("past", "what"),
    [
        ([Life(5, LIFE, 1)], ""),
        ([Life(4, OTHER, 1), Life(5, LIFE, 1), Life(6, OTHER, 301)], ""),
        ([Life(1, OTHER, 9_999), Life(4, STORE, 9_999)], ""),  # Before what is known.
        ([Life(7, OTHER, 301)], ""),  # What is missing is not compared.
        ([], ""),
        ([Life(5, OTHER, 1)], "had life 6f6f6f6f in boot 5, it was known in that boot"),
        ([Life(5, LIFE, 1), Life(6, OTHER, 300)], "began boot 6 at transaction 300"),
        ([Life(7, OTHER, 5)], "began boot 7 at transaction 5"),
    ],
)
def test_a_copy_that_went_its_own_way_is_known_by_its_past(past: list[Life], what: str):
    """However far it has come: it says boot 9 and a transaction that nobody has heard of."""
    why = remembered().judge(NODE, now(9, OTHER, 10**9), past)

    assert (what in why and "restored from a copy" in why) if what else why == ""


@settings(max_examples=300)
@given(st.data())
def test_the_original_is_always_welcome_and_a_copy_never_once_both_were_heard(data):
    """A store with any boots and transactions, its peer hearing any of them; copied at any time."""
    draw = data.draw
    memory, lives, commit = PeerMemory(), [], 0
    copies: list[tuple[list[Life], int]] = []
    heard_at = -1  # How many lives and transactions the store had when it was heard last.
    for number in range(draw(st.integers(1, 5))):
        copies.append((list(lives), commit))
        commit += 1
        lives.append(Life(number + 1, bytes([number + 1]) * 16, commit))
        if draw(st.booleans()):
            said = Known(STORE, lives[-1].boot, lives[-1].life, lives[-1].commit)
            assert memory.judge(NODE, said, lives[:-1]) == ""
            memory.remember(NODE, said)
            heard_at = commit
            for _ in range(draw(st.integers(0, 3))):
                commit += draw(st.integers(0, 100))
                copies.append((list(lives), commit))
                if draw(st.booleans()):
                    memory.heard(NODE, commit)
                    heard_at = commit
    past, at = draw(st.sampled_from(copies))
    for _ in range(draw(st.integers(1, 5))):  # The copy is started, works alone, ends.
        at += 1
        past.append(Life(len(past) + 1, bytes([100 + len(past)]) * 16, at))
        said = Known(STORE, past[-1].boot, past[-1].life, past[-1].commit)
        before, at = past[:-1], at + draw(st.integers(0, 500))
    why = memory.judge(NODE, said, before)

    forgot = copies_commit(copies, past) < heard_at
    assert bool(why) == forgot, (why, heard_at)


def copies_commit(copies: list[tuple[list[Life], int]], past: list[Life]) -> int:
    """The transaction at which this copy left the original: one before its first own life began."""
    own = next(life for life in past if life.life[0] >= 100)
    return own.commit - 1


def test_lives_survive_their_bytes_and_only_the_newest_are_told():
    lives = [Life(n, bytes([n]) * 16, n * 1000) for n in range(1, limits.PEER_LIVES_KEPT + 5)]

    assert unpack_lives(pack_lives(lives)) == tuple(lives[-limits.PEER_LIVES_KEPT :])
    assert unpack_lives(b"") == ()


@pytest.mark.parametrize("data", [b"x", bytes(27), bytes(29), bytes(28 * 17)])
def test_bytes_that_are_no_lives_are_told(data: bytes):
    with pytest.raises(BadValue, match="the lives of a store"):
        unpack_lives(data)


def test_only_what_is_new_counts_as_a_change():
    memory = PeerMemory()
    assert memory.remember(NODE, now())

    assert not memory.remember(NODE, now())
    assert memory.changes == 1
    assert memory.remember(NODE, now(6, OTHER, commit=101))
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
