"""The link in, after it was cut: bound again at each address that this machine has."""

from __future__ import annotations

from pathlib import Path

import zmq

from meshcode.peers.door import Door

from .world import mesh, message, raw_keys, run

NOT_OURS = "tcp://192.0.2.1:9"  # An address for examples, which no machine has.


def test_peers_come_in_at_the_addresses_that_are_left():
    """A network that was gone when the door was cut ended the node."""
    with mesh(3) as (a, b, c):
        door = a.links._door
        assert door is not None
        door.endpoints.insert(0, NOT_OURS)

        a.roster.evict(c.public, b"")
        c.links.send(a.node, [message(b"here I am")])
        run([a, c], lambda: a.links._cut_ms is not None)
        a.skip(2_000)
        run([a, b], lambda: len(b.told("up", a.node)) == 2 and b.is_up(a))
        b.links.send(a.node, [message(b"as before")])

        run([a, b], lambda: (b.node, b"as before") in a.got)
        assert f"the address {NOT_OURS} for peers cannot be bound again" in str(a.told("refused"))


def test_an_address_that_comes_back_is_bound_again(tmp_path: Path):
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    folder, away = tmp_path / "d", tmp_path / "away"
    folder.mkdir()
    first, second = f"ipc://{folder}/a", f"ipc://{tmp_path}/b"
    door = Door(context, raw_keys()[1], [first, second])
    folder.rename(away)

    door.restart(0)
    while door.next_due_ms() is not None and door.next_due_ms() < 1_000:
        door.tick(door.next_due_ms())  # While libzmq gives the other one back.

    assert first in door.trouble and "tried again each second" in door.trouble
    away.rename(folder)
    while door.next_due_ms() is not None:
        door.tick(door.next_due_ms())
    assert door.trouble == ""
    assert (folder / "a").exists() and (tmp_path / "b").exists()
    door.close()
    context.term()
