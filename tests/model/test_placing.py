"""Where the CPUs of deployments go: the same on every node, and never more than was asked for."""

from __future__ import annotations

import random

import pytest

from meshcode.model.placing import cpus_here, names_here, placed


def model(nodes, deployments, strategy="BALANCED"):
    """Nodes as {name: cpus}, deployments as {name: cpus, or (cpus, host)}."""
    return {
        "schedulers": {"s": {"strategy": strategy}},
        "nodes": {name: {"scheduler": "s", "host": None, "cpus": c} for name, c in nodes.items()},
        "deployments": {
            name: {"cpus": asked, "scheduler": "s", "host": "*"} if isinstance(asked, int)
            else {"cpus": asked[0], "scheduler": None, "host": asked[1]}
            for name, asked in deployments.items()
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "deployments", "balanced", "efficient"),
    [
        ({"a": 4, "b": 4}, {"d": 4}, {"d": {"a": 2, "b": 2}}, {"d": {"a": 4}}),
        ({"a": 4, "b": 4}, {"d": 5}, {"d": {"a": 3, "b": 2}}, {"d": {"a": 4, "b": 1}}),
        ({"a": 1, "b": 9}, {"d": 6}, {"d": {"a": 1, "b": 5}}, {"d": {"a": 1, "b": 5}}),
        ({"a": 2, "b": 1}, {"d": 9}, {"d": {"a": 2, "b": 1}}, {"d": {"a": 2, "b": 1}}),
        ({"a": None, "b": None}, {"d": 5}, {"d": {"a": 3, "b": 2}}, {"d": {"a": 5}}),
        ({"a": 4, "b": 4}, {"d": 3, "e": 3}, {"d": {"a": 2, "b": 1}, "e": {"b": 2, "a": 1}},
         {"d": {"a": 3}, "e": {"a": 1, "b": 2}}),
        ({"a": 4, "b": 4}, {"d": 3, "fixed": (3, "a")}, {"d": {"b": 3}}, {"d": {"a": 1, "b": 2}}),
        ({"a": 4, "b": 4}, {"d": 3, "all": (4, "*")}, {"d": {}}, {"d": {}}),
        ({}, {"d": 3}, {"d": {}}, {"d": {}}),
        ({"a": 1}, {"fixed": (2, "a")}, {}, {}),
        ({"a": 1}, {"d": 1, "fixed": (2, "a")}, {"d": {}}, {"d": {}}),
    ],
)  # fmt: skip
def test_cpus_go_to_the_nodes_of_the_scheduler(nodes, deployments, balanced, efficient):
    assert placed(model(nodes, deployments)) == balanced
    assert placed(model(nodes, deployments, "EFFICIENT")) == efficient


def test_what_names_the_host_of_a_node_counts_there():
    found = model({"a": 4, "b": 4}, {"d": 2, "fixed": (4, "h1")})
    found["nodes"]["a"]["host"] = "h1"

    assert placed(found) == {"d": {"b": 2}}


def test_two_schedulers_have_nodes_of_their_own():
    found = model({"a": 4, "b": 4}, {"d": 2, "e": 2})
    found["schedulers"]["t"] = {"strategy": "EFFICIENT"}
    found["nodes"]["b"]["scheduler"] = found["deployments"]["e"]["scheduler"] = "t"

    assert placed(found) == {"d": {"a": 2}, "e": {"b": 2}}


@pytest.mark.parametrize("strategy", ["BALANCED", "EFFICIENT"])
def test_whatever_is_declared_nothing_gets_more_than_it_asked_for_or_has_room_for(strategy):
    rng = random.Random(7)
    for _ in range(300):
        nodes = {f"n{n}": rng.choice([None, 1, 2, 8]) for n in range(rng.randint(0, 6))}
        asked = {f"d{n}": rng.randint(1, 9) for n in range(rng.randint(0, 6))}
        found = placed(model(nodes, asked, strategy))

        room = sum(cpus or 100 for cpus in nodes.values())
        given = {name: sum(share.values()) for name, share in found.items()}
        assert all(given[name] <= asked[name] for name in asked)
        assert sum(given.values()) == min(room, sum(asked.values()))
        on = {n: sum(share.get(n, 0) for share in found.values()) for n in nodes}
        assert all(cpus is None or on[n] <= cpus for n, cpus in nodes.items())
        if strategy == "BALANCED":
            free = [on[n] for n, cpus in nodes.items() if cpus is None or on[n] < cpus]
            assert not free or max(on.values()) - min(free) <= 1
        # A dict in another order is the same model.
        shuffled = dict(rng.sample(list(nodes.items()), len(nodes)))
        assert placed(model(shuffled, asked, strategy)) == found


NODES = {
    "alpha": {"host": "h1", "cpus": 2}, "beta": {"host": "h1", "cpus": 3},
    "gamma": {"host": None, "cpus": None}, "near": {"host": "localhost", "cpus": 1},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "host", "others", "here", "cpus"),
    [
        ("alpha", "h1", set(), ["alpha"], 2),
        ("alpha", "h2", set(), ["alpha"], 2),
        ("delta", "h1", set(), ["alpha", "beta"], 5),
        ("delta", "h1", {"alpha"}, ["beta"], 3),
        ("delta", "h2", set(), [], None),
        ("", "h1", set(), ["alpha", "beta", "near"], 6),
        ("", "h2", set(), ["near"], 1),
        ("", "gamma", set(), ["gamma"], None),
        # The host of what is declared is the name of a node, as deployments may say it.
        ("h1", "machine", set(), ["alpha", "beta"], 5),
        ("other", "h1", {"h1"}, [], None),
        ("localhost", "h2", set(), [], None),
    ],
)
def test_which_declared_nodes_a_running_one_is(name, host, others, here, cpus):
    assert names_here(NODES, name, host, others) == here
    assert cpus_here(NODES, here) == cpus
