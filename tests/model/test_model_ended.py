"""Logins that were ended stay ended, whoever changes their user at the same moment."""

from __future__ import annotations

from random import Random

import pytest

from meshcode.model import ended
from meshcode.model.fields import fill
from meshcode.model.plan import plan_file
from meshcode.model.steps import model_of
from meshcode.model.usercheck import ENDED_MAX
from tests.model.conftest import NOW_MS
from tests.model.test_model_nodes import make, nodes  # noqa: F401  Fixtures.
from tests.node.modelnode import NAMES, A, B, C, Node, content, talk, tell

FAR_MS = 1 << 52


def login(number: int) -> str:
    return f"{number:032x}"


def joe(*logins: int, **options: object) -> dict[str, object]:
    """Who has ended these logins."""
    return fill("user", {"ended": dict.fromkeys(map(login, logins), FAR_MS)} | options)


def ended_of(one: Node) -> set[str]:
    return set(one.share.snapshot()["users"]["joe"]["ended"])


def test_two_nodes_that_end_a_login_each_at_once_both_end_it_everywhere(nodes):  # noqa: F811
    """Real model processes, told of each other's edit when both are made."""
    ann, bob = nodes
    ann.ask("add", "user", "joe")
    bob.ask("update", "user", "joe", email="joe@example.org")
    ann.until(lambda: ann.process.number == bob.process.number)
    ann.peers, bob.peers = [], []
    ann.ask("update", "user", "joe", ended={login(1): FAR_MS})
    bob.ask("update", "user", "joe", ended={login(2): FAR_MS})

    ann.peers, bob.peers = [bob], [ann]
    for one, other in ((ann, bob), (bob, ann)):
        for message in one.share.full():
            change = other.share.receive(message)
            other.adopter.changed(change)
            other.save()
            assert change.overruled == []
            for news in change.news:
                one.hear(news)

    for one in (ann, bob):
        assert set(one.share.snapshot()["users"]["joe"]["ended"]) == {login(1), login(2)}
        found = one.ask("get", "user", "joe")  # The database follows.
        assert (set(found["ended"]), found["email"]) == ({login(1), login(2)}, "joe@example.org")
    assert ann.share.digest == bob.share.digest


@pytest.mark.parametrize("by_ann", [joe(1), joe(signed_out_ms=7), joe(1, signed_out_ms=7)])
@pytest.mark.parametrize("first", ["ann", "bob"])
def test_a_logout_is_not_lost_to_another_change_of_the_user(by_ann, first):
    """Whichever edit holds, and whoever hears first."""
    ann, bob, cy = Node(A), Node(B), Node(C)
    tell(ann.declare("user", "joe", joe()), bob, cy)
    out = ann.declare("user", "joe", by_ann)
    mail = bob.declare("user", "joe", joe(email="joe@example.org"))

    for change in (out, mail) if first == "ann" else (mail, out):
        tell(change, cy)
    for one, other in ((ann, bob), (bob, cy), (cy, ann), (ann, bob)):
        talk(one, other)

    for one in (ann, bob, cy):
        held = one.share.snapshot()["users"]["joe"]
        assert held["email"] == "joe@example.org"  # Bob's edit is the later one.
        assert {o: held[o] for o in ended.OPTIONS} == {o: by_ann[o] for o in ended.OPTIONS}
        one.level()
    assert ann.share.digest == bob.share.digest == cy.share.digest


def test_what_else_is_overruled_is_still_told_and_the_ended_logins_are_not():
    ann, bob = Node(A), Node(B)
    tell(ann.declare("user", "joe", joe()), bob)
    ann.declare("user", "joe", joe(1, email="ann@example.org"))
    tell_of = bob.declare("user", "joe", joe(email="bob@example.org"))

    (change,) = tell(tell_of, ann)

    (lost,) = change.overruled
    text = lost.text(NAMES.__getitem__)
    assert "of ann is lost: email" in text and "ended" not in text
    assert ended_of(ann) == {login(1)}


def test_logins_that_are_over_are_not_told_again():
    ann, bob = Node(A, unix_ms=lambda: FAR_MS), Node(B)
    tell(ann.declare("user", "joe", joe()), bob)
    ann.declare("user", "joe", joe(1))

    (change,) = tell(bob.declare("user", "joe", joe(email="joe@example.org")), ann)

    assert ended_of(ann) == set()
    assert len(change.news) == 1  # Nothing of its own.


def test_any_order_of_logouts_on_three_nodes_ends_all_of_them():
    random = Random(52)
    for _ in range(60):
        three = [Node(node) for node in (A, B, C)]
        tell(three[0].declare("user", "joe", joe()), *three[1:])
        count = 0
        for _ in range(random.randint(2, 8)):
            one = random.choice(three)
            if random.random() < 0.7:
                count += 1
                mine = one.share.snapshot()["users"]["joe"]
                one.declare("user", "joe", joe() | mine | {
                    "ended": {**mine["ended"], login(count): FAR_MS}
                })  # fmt: skip
            else:
                talk(one, random.choice([other for other in three if other is not one]))
        for _ in range(2):
            for one, other in ((0, 1), (1, 2), (2, 0)):
                talk(three[one], three[other])
        for one in three:
            assert ended_of(one) == {login(at) for at in range(1, count + 1)}
        assert len({one.share.digest for one in three}) == 1
        assert content(three[0].share.snapshot()) == content(three[2].share.snapshot())


def test_more_than_a_user_may_have_end_all_logins_that_were_made_until_now():
    first = {login(at): FAR_MS + at for at in range(ENDED_MAX)}
    second = {login(1_000 + at): FAR_MS for at in range(ENDED_MAX)}

    found = ended.kept({"ended": first}, {"ended": second, "signed_out_ms": 3}, NOW_MS)

    assert found["signed_out_ms"] == NOW_MS
    assert len(found["ended"]) == ENDED_MAX
    assert set(found["ended"]) > set(list(first)[1:])  # Those that would hold longest.


def test_no_later_change_of_the_user_forgets_an_ended_login(model):
    """Two logouts of one node, each with the list as it was before; and whatever a plan says."""
    live, over = NOW_MS + 1_000, NOW_MS
    model.ask("add", "user", "joe")
    model.ask("update", "user", "joe", ended={login(1): live}, signed_out_ms=9)
    model.ask("update", "user", "joe", ended={login(2): over})
    model.ask("update", "user", "joe", ended={login(3): live}, signed_out_ms=5)

    found = model.ask("get", "user", "joe")
    assert (found["ended"], found["signed_out_ms"]) == ({login(1): live, login(3): live}, 9)

    base = model.published[-1]["number"]
    step = ["update", "user", "joe", {"ended": {}, "signed_out_ms": None, "enabled": False}]
    model.ask("apply", base=base, steps=[step])
    found = model.ask("get", "user", "joe")
    assert (found["ended"], found["signed_out_ms"]) == ({login(1): live, login(3): live}, 9)
    assert found["enabled"] is False


def test_no_file_says_which_logins_were_ended_or_brings_them_back():
    current = model_of({"users": {"joe": joe(1, signed_out_ms=9)}})
    for given in ({}, {"ended": {login(2): FAR_MS}}, {"signed_out_ms": 3}):
        assert plan_file(current, {"user": {"joe": given}}).steps == []
