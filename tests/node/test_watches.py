"""Sessions that want the outcomes of calls elsewhere: none hears of one that it may not see."""

from __future__ import annotations

from meshcode.node.watches import Watches

X, Y = b"x" * 16, b"y" * 16
JOE, EVE = 5, 6
CALL, OTHER = b"c" * 16, b"o" * 16
OUTCOME = b"its outcome"


def waiting(*clients: int) -> Watches:
    """They wait for a call of which X will tell."""
    watches = Watches()
    for client in clients:
        assert watches.answered(watches.ask(client, [CALL]), {CALL}) == []
    watches.knows(X, {CALL})
    return watches


def test_all_who_may_hear_of_a_call_are_told_once():
    watches = waiting(JOE, EVE)

    assert watches.came(X, CALL, OUTCOME) == [(JOE, OUTCOME), (EVE, OUTCOME)]
    assert watches.came(Y, CALL, OUTCOME) == []


def test_an_outcome_for_another_is_not_told_before_a_peer_has_said_that_it_may_be():
    watches = waiting(JOE)
    asked = watches.ask(EVE, [CALL])

    assert watches.came(X, CALL, OUTCOME) == [(JOE, OUTCOME)]

    assert watches.answered(asked, known=set()) == []
    assert watches.came(X, CALL, OUTCOME) == []


def test_what_came_before_the_answers_is_told_with_them():
    watches = waiting(JOE)
    asked = watches.ask(EVE, [CALL, OTHER])
    watches.came(X, CALL, OUTCOME)

    assert watches.answered(asked, {CALL, OTHER}) == [(EVE, OUTCOME)]

    assert watches.take(CALL) == []
    assert watches.take(OTHER) == [EVE]


def test_who_leaves_before_the_answers_is_told_nothing():
    watches = Watches()
    asked = watches.ask(EVE, [CALL])
    watches.client_left(EVE)

    assert watches.answered(asked, {CALL}) == []
    assert watches.take(CALL) == []


def test_what_a_lost_peer_would_have_told_is_asked_of_others():
    watches = waiting(JOE)

    assert watches.lost(X) == [CALL]
    assert watches.lonely([CALL, OTHER]) == [CALL]
    watches.knows(Y, {CALL, OTHER})
    assert watches.lonely([CALL]) == []
    assert watches.lost(Y) == [CALL], "nobody waits for the other one"


def test_an_outcome_that_came_is_not_asked_for_again():
    watches = waiting(JOE)
    watches.came(X, CALL, OUTCOME)

    assert watches.lost(X) == []
