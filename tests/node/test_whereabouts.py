"""Where a node is sought: as it said, then as was announced."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from meshcode import limits
from meshcode.node.whereabouts import Whereabouts
from meshcode.router.effects import Effects
from meshcode.store.memory_log import MemoryLog

ME, OTHER, STRANGER = (bytes((number,)) * 16 for number in (1, 2, 3))
OLD, NEW, THIRD = "tcp://10.42.0.2:7420", "tcp://10.43.0.2:7420", "tcp://10.44.0.2:7420"


class Sought:
    """What the links were told, and the records that were made."""

    def __init__(self) -> None:
        self.addresses: list[list[str]] = []
        self.records: list[Any] = []

    def set_addresses(self, node: bytes, addresses: list[str], *, only: bool) -> None:
        assert node == OTHER and not only
        self.addresses.append(addresses)

    def add(self, effects: Effects) -> None:
        self.records += effects.records


@pytest.fixture
def sought() -> Sought:
    return Sought()


@pytest.fixture
def where(sought: Sought) -> Whereabouts:
    loop = SimpleNamespace(log=MemoryLog(), turns=sought)
    roster = SimpleNamespace(members={ME, OTHER})
    identity = SimpleNamespace(advertise=("tcp://10.43.0.1:7420",), seeds=())
    mesh = SimpleNamespace(
        node=ME, up={}, links=sought, loop=loop, roster=roster, identity=identity,
        name_of=lambda node: node.hex(),
    )  # fmt: skip
    return Whereabouts(mesh)  # type: ignore[arg-type]


def test_an_announced_address_stays_behind_what_the_node_says(where, sought):
    where.learn(OTHER, [OLD], certain=True)
    where.learn(OTHER, [NEW], certain=False)
    assert sought.addresses == [[OLD], [OLD, NEW]]

    where.learn(OTHER, [THIRD], certain=True)  # For instance by who heard it long ago.

    assert where.of(OTHER) == sought.addresses[-1] == [THIRD, NEW]


def test_what_was_announced_before_the_node_said_anything_stays(where, sought):
    where.learn(OTHER, [NEW], certain=False)
    where.learn(OTHER, [OLD], certain=True)

    assert sought.addresses == [[NEW], [OLD, NEW]]
    assert where.seeds() == ["tcp://10.43.0.1:7420", OLD, NEW]


def test_only_what_a_node_said_is_kept_for_the_next_boot(where, sought):
    where.learn(OTHER, [NEW], certain=False)
    assert sought.records == []

    where.learn(OTHER, [OLD], certain=True)

    assert len(sought.records) == 1 and OLD.encode() in sought.records[0][2]
    assert NEW.encode() not in sought.records[0][2]


def test_a_flood_of_announcements_keeps_nothing_away_that_the_node_said(where):
    where.learn(OTHER, [OLD], certain=True)
    where.learn(OTHER, [f"tcp://10.0.0.{n}:1" for n in range(50)], certain=False)

    assert where.of(OTHER)[0] == OLD and len(where.of(OTHER)) == limits.PEER_ADDRESSES_MAX


def test_nobody_seeks_a_stranger_or_itself(where, sought):
    for node in (STRANGER, ME):
        where.learn(node, [NEW], certain=True)

    assert sought.addresses == [] and where.of(STRANGER) == []


def test_a_disk_that_takes_no_file_ends_no_node_and_is_told_once(where, tmp_path):
    """On a full disk the node goes on; a peer that came or went was enough to end it."""
    said: list[str] = []
    mesh = where._mesh
    mesh.loop.home, mesh.say = tmp_path, said.append
    folder = tmp_path / "mesh"
    folder.write_text("in the way")
    mesh.up = {OTHER: {"clients": ["tcp://10.43.0.2:7422"]}}
    mesh.roster.members = {OTHER: SimpleNamespace(key=bytes(32))}
    for _ in range(3):
        where.write_clients()

    assert len(said) == 1 and "clients.json cannot be written: Not a directory" in said[0]

    folder.unlink()
    folder.mkdir()
    where.write_clients()
    assert '"address": "tcp://10.43.0.2:7422"' in (folder / "clients.json").read_text()
    assert len(said) == 1
