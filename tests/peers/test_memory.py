"""Amnesia (P12): a node that forgot what it promised is refused, with both numbers."""

from __future__ import annotations

import pytest

from meshcode.errors import BadValue
from meshcode.peers.memory import PeerMemory

NODE, STORE, OTHER = b"n" * 16, b"s" * 16, b"o" * 16


def remembered() -> PeerMemory:
    """NODE was heard with STORE in boot 5."""
    memory = PeerMemory()
    assert memory.remember(NODE, STORE, 5)
    return memory


@pytest.mark.parametrize("boot", [5, 6, 2**32 - 1])
def test_the_same_store_in_the_same_or_a_later_boot_is_welcome(boot: int):
    assert remembered().judge(NODE, STORE, boot) == ""


def test_another_store_is_a_lost_disk():
    why = remembered().judge(NODE, OTHER, 9)

    assert OTHER.hex() in why and STORE.hex() in why and "join it as a new node" in why


def test_a_lower_boot_is_a_restored_copy():
    why = remembered().judge(NODE, STORE, 4)

    assert "boot 4" in why and "boot 5" in why and "join it as a new node" in why


def test_only_what_is_new_counts_as_a_change():
    memory = remembered()

    assert not memory.remember(NODE, STORE, 5)
    assert memory.changes == 1
    assert memory.remember(NODE, STORE, 6)
    assert memory.changes == 2


def test_memory_survives_its_bytes():
    memory = remembered()
    assert memory.remember(OTHER, NODE, 2**32 - 1)

    again = PeerMemory.unpack(memory.pack())

    assert again.by_node == memory.by_node
    assert again.pack() == memory.pack()


def test_an_evicted_node_is_forgotten():
    memory = remembered()

    memory.forget(NODE)

    assert memory.by_node == {} and memory.changes == 2


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01", b"\x02\0\0\0\0", b"\x01\x01\0\0\0", remembered().pack()[:-1],
     remembered().pack() + b"x"],
)  # fmt: skip
def test_damaged_bytes_are_told(data: bytes):
    with pytest.raises(BadValue, match="memory of peers"):
        PeerMemory.unpack(data)
