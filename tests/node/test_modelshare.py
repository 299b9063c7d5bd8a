"""The model of a mesh, merged without a head node: what it does, its laws, lossy worlds."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcode.errors import BadValue
from meshcode.model.entries import make_entry, messages_of
from meshcode.node.modelkeep import unpack_kept
from meshcode.node.modelshare import Change, Message, ModelShare
from tests.node.modelnode import (
    NAMES,
    A,
    B,
    C,
    Node,
    content,
    deployment,
    processor,
    queue,
    socket,
    talk,
    tell,
)

# What an operator sees.


def test_an_object_added_on_any_node_is_known_on_all():
    ann, bob = Node(A), Node(B)
    tell(ann.declare("queue", "orders", queue()), bob)
    tell(bob.declare("processor", "shop", processor()), ann)
    tell(ann.declare("socket", "shop.clean", socket()), bob)

    assert set(bob.share.snapshot()["sockets"]) == {"shop.clean"}
    assert content(ann.share.snapshot()) == content(bob.share.snapshot())
    assert ann.share.digest == bob.share.digest
    assert ann.share.problems() == bob.share.problems() == []


def test_a_deletion_holds_and_an_older_edit_does_not_bring_the_object_back():
    ann, bob = Node(A), Node(B)
    added = ann.declare("queue", "orders", queue())
    tell(added, bob)
    tell(bob.declare("queue", "orders", None), ann)

    again = tell(added, ann, bob)

    assert ann.share.snapshot()["queues"] == bob.share.snapshot()["queues"] == {}
    assert not any(change.changed or change.news for change in again)


def test_an_object_may_be_added_again_after_its_deletion():
    ann, bob = Node(A), Node(B)
    tell(ann.declare("queue", "orders", queue()), bob)
    tell(ann.declare("queue", "orders", None), bob)

    tell(bob.declare("queue", "orders", queue(max_length=3)), ann)

    assert ann.share.snapshot()["queues"] == {"orders": queue(max_length=3)}


def test_the_later_of_two_edits_at_once_holds_and_the_other_is_told():
    """Both have number 2, so the node ids decide; whoever lost hears of it, once."""
    ann, bob = Node(A), Node(B)
    tell(ann.declare("queue", "orders", queue()), bob)
    by_ann = ann.declare("queue", "orders", queue(max_length=1))
    by_bob = bob.declare("queue", "orders", queue(max_length=2, message_ttl_ms=9))

    at_ann = tell(by_bob, ann)[0]
    at_bob = tell(by_ann, bob)[0]

    assert ann.share.snapshot()["queues"]["orders"] == queue(max_length=2, message_ttl_ms=9)
    assert content(ann.share.snapshot()) == content(bob.share.snapshot())
    assert (at_bob.changed, at_bob.overruled, at_bob.news) == (False, [], [])
    assert [found.text(NAMES.__getitem__) for found in at_ann.overruled] == [
        "queue 'orders' was changed on ann and on bob at once; that of bob holds; of ann is lost:"
        " max_length 1, message_ttl_ms None; `mesh get queue orders` shows what holds"
    ]


def test_a_deletion_and_an_edit_at_once_are_told_as_what_they_are():
    ann, bob = Node(A), Node(B)
    tell(ann.declare("queue", "orders", queue()), bob)
    deleted = ann.declare("queue", "orders", None)
    edited = bob.declare("queue", "orders", queue(max_length=2))

    told = tell(edited, ann)[0].overruled[0].text(NAMES.__getitem__)
    tell(deleted, bob)

    assert told.endswith("of ann is lost: its deletion; `mesh get queue orders` shows what holds")
    assert set(bob.share.snapshot()["queues"]) == {"orders"}


def test_an_edit_that_went_on_from_ours_overrules_nothing():
    """Also when the edits in between never came here."""
    ann, bob, cy = Node(A), Node(B), Node(C)
    tell(ann.declare("queue", "orders", queue(max_length=1)), bob)
    tell(bob.declare("queue", "orders", queue(max_length=2)), cy)
    last = cy.declare("queue", "orders", queue(max_length=3))

    heard = tell(last, ann)[0]

    assert heard.changed
    assert heard.overruled == []
    assert ann.share.snapshot()["queues"]["orders"]["max_length"] == 3


def test_localhost_means_the_node_where_it_was_declared():
    ann, bob = Node(A, host="ann-1"), Node(B, host="bob-1")
    tell(ann.declare("processor", "shop", processor()), bob)
    tell(ann.declare("deployment", "here", deployment(host="localhost")), bob)
    assert ann.share.behind  # Its own database is to say so as well.
    ann.adopt()

    tell(bob.declare("deployment", "any", deployment(host="*")), ann)

    hosts = {n: d["host"] for n, d in ann.share.snapshot()["deployments"].items()}
    assert hosts == {"here": "ann-1", "any": "*"}
    assert ann.database["deployments"]["here"]["host"] == "ann-1"
    assert content(bob.share.snapshot()) == content(ann.share.snapshot())


def test_without_a_mesh_name_localhost_stays():
    ann = Node(A)
    ann.declare("deployment", "here", deployment(host="localhost"))

    assert ann.share.snapshot()["deployments"]["here"]["host"] == "localhost"
    assert not ann.share.behind


def test_what_a_merge_leaves_without_its_other_half_is_kept_and_named():
    """One node deletes the queue while another adds a socket of it: both were right."""
    ann, bob = Node(A), Node(B)
    tell(ann.declare("queue", "orders", queue()), bob)
    tell(ann.declare("processor", "shop", processor()), bob)
    deleted = ann.declare("queue", "orders", None)
    added = bob.declare("socket", "shop.clean", socket())

    tell(deleted, bob)
    tell(added, ann)

    for node in (ann, bob):
        assert set(node.share.snapshot()["sockets"]) == {"shop.clean"}
        assert node.share.problems() == [
            "socket 'shop.clean' names queue 'orders', which another node deleted or this one has"
            " not heard of; add the queue, or update or delete the socket"
        ]
    tell(ann.declare("queue", "orders", queue()), bob)
    assert ann.share.problems() == bob.share.problems() == []


def test_dead_letters_that_two_nodes_closed_to_a_round_are_named_once():
    ann, bob = Node(A), Node(B)
    for name in ("one", "two", "into"):
        tell(ann.declare("queue", name, queue()), bob)
        tell(ann.declare("socket", f"s.{name}", socket(queue=name)), bob)
    tell(ann.declare("processor", "shop", processor()), bob)
    tell(ann.declare("queue", "into", queue(dead_letter="s.one")), bob)
    by_ann = ann.declare("queue", "one", queue(dead_letter="s.two"))
    tell(bob.declare("queue", "two", queue(dead_letter="s.one")), ann)
    tell(by_ann, bob)

    assert (
        ann.share.problems()
        == bob.share.problems()
        == ["dead letters would go round: queue one -> two -> one; give a socket of another queue"]
    )


# The database of a node.


def test_a_local_change_made_before_the_database_adopted_loses_nothing():
    """The rule that matters most: what the database does not have is no deletion."""
    ann, bob = Node(A), Node(B)
    tell(ann.declare("queue", "orders", queue()), bob)
    tell(ann.declare("queue", "bills", queue()), bob)

    change = bob.edit("queue", "mine", queue())

    assert set(bob.share.snapshot()["queues"]) == {"orders", "bills", "mine"}
    assert [row[1] for m in change.news for row in m["objects"]] == ["mine"]
    assert bob.share.behind
    bob.adopt()
    assert set(bob.database["queues"]) == {"orders", "bills", "mine"}


def test_a_local_edit_of_what_a_peer_changed_unseen_holds_and_is_told():
    ann, bob = Node(A), Node(B)
    tell(ann.declare("queue", "orders", queue()), bob)
    bob.adopt()
    tell(ann.declare("queue", "orders", queue(max_length=1)), bob)

    change = bob.edit("queue", "orders", queue(max_length=2))
    at_ann = tell(change, ann)[0]

    assert bob.share.snapshot()["queues"]["orders"]["max_length"] == 2
    assert [(o.winner, o.loser) for o in change.overruled] == [(B, A)]
    assert [(o.winner, o.loser) for o in at_ann.overruled] == [(B, A)]


def test_the_number_goes_up_with_each_change_and_never_down():
    ann, bob = Node(A), Node(B)
    numbers = []
    for n in range(3):
        tell(ann.declare("queue", f"a{n}", queue()), bob)
        numbers.append(bob.share.snapshot()["number"])
        tell(bob.edit("queue", f"b{n}", queue()), ann)
        numbers.append(bob.share.snapshot()["number"])
        bob.adopt()
        numbers.append(bob.share.snapshot()["number"])

    assert numbers == sorted(numbers)
    assert all(a < b for a, b in zip(numbers[::3], numbers[1::3], strict=True))
    assert bob.database["number"] == numbers[-1]


def test_the_same_snapshot_again_stamps_nothing():
    ann = Node(A)
    ann.declare("queue", "orders", queue())
    digest, number = ann.share.digest, ann.share.number

    change = ann.share.local_changed(ann.database)

    assert (change.changed, change.news) == (False, [])
    assert (ann.share.digest, ann.share.number) == (digest, number)


def test_a_node_that_crashed_after_its_database_adopted_stamps_nothing():
    """The answer was lost; then a newer edit of the peer came.  The old one must not win."""
    ann, bob = Node(A), Node(B)
    tell(ann.declare("queue", "orders", queue(max_length=1)), bob)
    snapshot, *_ = bob.share.offer()
    bob.database = snapshot
    bob = bob.restarted()
    tell(ann.declare("queue", "orders", queue(max_length=2)), bob)
    bob = bob.restarted()

    change = bob.share.local_changed(bob.database)
    bob.adopt()

    assert change.news == change.overruled == []
    assert bob.database["queues"]["orders"]["max_length"] == 2


def test_offers_that_nobody_answered_are_all_remembered():
    """Killed twice: the database may have adopted either, and a command came on top."""
    ann, bob = Node(A), Node(B)
    tell(ann.declare("queue", "orders", queue(max_length=1)), bob)
    first, *_ = bob.share.offer()
    tell(ann.declare("queue", "orders", queue(max_length=2)), bob)
    bob.share.offer()
    bob = bob.restarted()
    bob.database = first

    change = bob.edit("queue", "mine", queue())
    bob.adopt()

    assert [row[1] for m in change.news for row in m["objects"]] == ["mine"]
    assert bob.database["queues"] == {"orders": queue(max_length=2), "mine": queue()}


def test_a_snapshot_that_was_published_before_the_offer_came_does_not_undo_it():
    """The first of an empty database crosses the first offer; then it adopts."""
    ann, bob = Node(A), Node(B)
    tell(ann.declare("queue", "orders", queue()), bob)
    tell(ann.declare("queue", "other", queue()), bob)
    bob.share.offer()

    assert bob.share.local_changed(bob.database).news == []
    bob.database = bob.share.snapshot()
    bob.share.adopted()

    gone = bob.edit("queue", "orders", None)
    changed = bob.edit("queue", "other", queue(max_length=3))
    assert [len(change.news) for change in (gone, changed)] == [1, 1]
    assert gone.overruled == changed.overruled == []
    assert [c.overruled for c in tell(gone, ann) + tell(changed, ann)] == [[], []]
    assert content(ann.share.snapshot()) == content(bob.database)


def test_a_share_is_the_same_after_a_restart():
    ann, bob = Node(A, host="ann-1"), Node(B)
    tell(ann.declare("queue", "orders", queue()), bob)
    tell(ann.declare("queue", "gone", queue()), bob)
    tell(ann.declare("queue", "gone", None), bob)
    bob.edit("queue", "mine", queue())
    again = bob.restarted()

    assert again.share.snapshot() == bob.share.snapshot()
    assert again.share.base_snapshot() == bob.share.base_snapshot() == bob.database
    assert (again.share.digest, again.share.behind) == (bob.share.digest, True)
    assert unpack_kept(again.share.pack()) == unpack_kept(bob.share.pack())


def test_a_node_that_had_a_model_of_its_own_brings_it_into_the_mesh():
    ann, bob = Node(A), Node(B)
    tell(ann.declare("queue", "orders", queue(max_length=1)), bob)
    alone = Node(C)
    alone.database = {**alone.database, "number": 8, "queues": {"own": queue()}}

    joined = alone.share.local_changed(alone.database)
    talk(ann, alone)

    assert joined.changed
    assert set(ann.share.snapshot()["queues"]) == {"orders", "own"}
    assert content(ann.share.snapshot()) == content(alone.share.snapshot())
    assert alone.share.snapshot()["number"] > 8


@pytest.mark.parametrize("size", [0, 3, 40, -1])
def test_a_kept_share_that_is_cut_or_newer_is_refused(size: int):
    ann = Node(A)
    ann.declare("queue", "orders", queue())
    kept = ann.share.pack()
    cut = kept[:size] if size >= 0 else kept.replace(b"version\x01", b"version\x02")

    with pytest.raises(BadValue, match="the model kept in the log"):
        ModelShare(A, cut)


# The laws of the merge.

_NODES = st.sampled_from([A, B, C])
_FIELDS = st.one_of(st.none(), st.builds(lambda n: queue(max_length=n), st.integers(1, 3)))
_SEEN = st.dictionaries(_NODES, st.integers(1, 2), max_size=2).map(
    lambda found: tuple(sorted(found.items()))
)
_ENTRIES = st.builds(
    lambda name, number, node, fields, seen: make_entry(
        ("queue", name), number, node, fields, seen
    ),
    st.sampled_from(["q", "r"]), st.integers(3, 5), _NODES, _FIELDS, _SEEN,
)  # fmt: skip
_BATCHES = st.lists(_ENTRIES, max_size=6)


def merged(*batches: Any) -> ModelShare:
    share = ModelShare(A)
    for batch in batches:
        for message in messages_of(batch):
            share.merge(message)
    return share


def same(first: ModelShare, second: ModelShare) -> bool:
    contents = content(first.snapshot()) == content(second.snapshot())
    return first.digest == second.digest and contents


@given(_BATCHES, _BATCHES)
def test_the_merge_is_commutative(first, second):
    """Also for edits that bear one stamp, as a node makes that lost its log."""
    assert same(merged(first, second), merged(second, first))


@given(_BATCHES, _BATCHES, _BATCHES)
def test_the_merge_is_associative(first, second, third):
    left, right = merged(first, second), merged(second, third)
    for message in messages_of(third):
        left.merge(message)
    for message in right.full():
        merged(first).merge(message)
    other = merged(first)
    for message in right.full():
        other.merge(message)

    assert same(left, other)


@given(_BATCHES)
def test_the_merge_is_idempotent(batch):
    share = merged(batch)
    number = share.number

    again = [share.merge(message) for message in [*messages_of(batch), *share.full()]]

    assert not any(change.changed or change.save or change.news for change in again)
    assert share.number == number


@given(_BATCHES, _BATCHES)
def test_what_is_passed_on_is_all_that_was_new(first, second):
    share, follower = merged(first), merged(first)
    for message in messages_of(second):
        for news in share.merge(message).news:
            follower.merge(news)

    assert same(share, follower)


@given(_BATCHES, _BATCHES)
def test_two_that_talk_have_the_same_afterwards(first, second):
    ann, bob = Node(A), Node(B)
    ann.share, bob.share = merged(first), merged(second)

    talk(ann, bob)

    assert same(ann.share, bob.share)
    assert same(ann.share, merged(first, second))


# A lossy world.


class World:
    """Three nodes; messages are lost, doubled, late, and cut by partitions; nodes restart."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.nodes = {node: Node(node, host=name) for node, name in NAMES.items()}
        self.flying: list[tuple[bytes, bytes, Message]] = []
        self.cut: set[frozenset[bytes]] = set()
        self.numbers = dict.fromkeys(NAMES, 0)

    def send(self, source: bytes, target: bytes, message: Message) -> None:
        if frozenset((source, target)) in self.cut or self.random.random() < 0.3:
            return
        self.flying += [(source, target, message)] * (2 if self.random.random() < 0.2 else 1)

    def spread(self, source: bytes, change: Change) -> None:
        for message in change.news:
            for target in NAMES:
                if target != source:
                    self.send(source, target, message)

    def deliver(self) -> None:
        source, target, message = self.flying.pop(self.random.randrange(len(self.flying)))
        change = self.nodes[target].share.receive(message)
        self.spread(target, change)
        for reply in change.replies:
            self.send(target, source, reply)

    def act(self) -> None:
        node = self.random.choice(list(NAMES))
        one = self.nodes[node]
        act = self.random.choice(
            ["edit"] * 4 + ["adopt", "hello", "restart", "lost", "look", "cut"]
        )
        if act == "edit":
            kind = self.random.choice(["queue", "queue", "deployment"])
            made = queue if kind == "queue" else deployment
            options = (
                {"max_length": self.random.randint(1, 9)}
                if kind == "queue"
                else {"host": self.random.choice(["localhost", "*"])}
            )
            fields = None if self.random.random() < 0.3 else made(**options)
            edit = self.random.choice([one.declare, one.edit])
            name = self.random.choice("xyz")
            change = edit(kind, name, fields)
            stamped = [row[1] for message in change.news for row in message["objects"]]
            assert stamped in ([], [name]), stamped  # Nothing but what the person did.
            self.spread(node, change)
        elif act == "adopt":
            one.level()
        elif act == "hello":
            self.send(node, self.random.choice(list(NAMES)), one.share.hello())
        elif act == "restart":
            self.nodes[node] = one.restarted()
        elif act == "lost" and one.share.behind:  # The answer of an adoption; sometimes no more.
            snapshot, *_ = one.share.offer()
            self.nodes[node] = one.restarted()
            if self.random.random() < 0.7:
                self.nodes[node].database = snapshot
        elif act == "look":  # The model process starts, and tells of a newer database.
            if one.database["number"] > one.share.base_number:
                assert one.share.local_changed(one.database).news == []
        elif act == "cut":
            pair = frozenset(self.random.sample(list(NAMES), 2))
            self.cut ^= {pair}
        for other, number in self.numbers.items():
            now = self.nodes[other].share.snapshot()["number"]
            assert now >= number, (NAMES[other], number, now)
            self.numbers[other] = now


@settings(max_examples=60)
@given(st.integers(0, 1 << 32))
def test_three_nodes_in_a_lossy_world_have_one_model_after_it_heals(seed):
    """And nothing is ever stamped that no person did: an echo would win over what is newer."""
    world = World(seed)
    for _ in range(80):
        world.act()
        while world.flying and world.random.random() < 0.7:
            world.deliver()

    for first, second in ((A, B), (B, C), (A, B)):
        talk(world.nodes[first], world.nodes[second])

    shares = [node.share for node in world.nodes.values()]
    assert same(shares[0], shares[1]) and same(shares[1], shares[2])
    assert "localhost" not in {d["host"] for d in shares[0].snapshot()["deployments"].values()}
    for node in world.nodes.values():
        node.level()
        assert content(node.database) == content(shares[0].snapshot())
