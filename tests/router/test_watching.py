"""Who is told how calls end, besides who submitted them."""

from __future__ import annotations

from random import Random

from meshcode.router import events
from meshcode.router.watching import Watchers

from .driver import Driver


def test_it_does_what_a_plain_table_does_and_keeps_nothing_of_who_is_gone():
    rng, made = Random(1), Watchers()
    table: dict[bytes, list[int]] = {}
    ids = [bytes([n]) for n in range(20)]
    for _ in range(5_000):
        id, client = rng.choice(ids), rng.randrange(6)
        clients = table.setdefault(id, [])
        match rng.randrange(8):
            case 0:
                made.leave(client)
                for others in table.values():
                    if client in others:
                        others.remove(client)
            case 1:
                assert made.take(id) == clients
                table[id] = []
            case 2:
                made.drop(id, client)
                if client in clients:
                    clients.remove(client)
            case _:
                made.add(id, client)
                if client not in clients:
                    clients.append(client)
        assert made.by_call == {id: clients for id, clients in table.items() if clients}
        wanted = {(id, client) for id, clients in made.by_call.items() for client in clients}
        assert {(id, c) for c, ids in made._by_client.items() for id in ids} == wanted
        assert all(made._by_client.values())


def test_a_client_that_leaves_is_told_nothing_and_others_are():
    made = Driver()
    made.join()
    ids = made.submit(2)
    for client in (11, 12):
        made.step(events.Watched(client, ids))

    made.step(events.ClientLeft(11))

    told = [client for id in ids for client, _ in made.finish(id).outcomes]
    assert sorted(told) == [1, 1, 12, 12]
    assert made.router.watchers.by_call == {}
