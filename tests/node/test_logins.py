"""Logins that are ended: never silently not, also where no more can be remembered."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from meshcode.errors import Busy
from meshcode.ids import unix_ms
from meshcode.model.rights import Rights
from meshcode.node import accounts, logins
from meshcode.node.logins import ENDED_MAX_TOLD, Logins
from meshcode.node.sessions import Session
from meshcode.node.who import Who, token_problem
from meshcode.trust import tokens
from meshcode.trust.signing import make_key

KEY = make_key()
HASH = "a hash"


class Loop:
    """What a logout needs of a node; what is asked of the model is kept."""

    def __init__(self, *, mesh, ended=()):
        self.mesh = object() if mesh else None
        self.log = SimpleNamespace(get=lambda *_: None)
        self.turns = SimpleNamespace(add=lambda _: None)
        self.asked = []
        user = {"enabled": True, "roles": [], "keys": [], "password_hash": HASH,
                "signed_out_ms": None, "ended": dict(ended)}  # fmt: skip
        self.guard = SimpleNamespace(rights=Rights({"users": {"joe": user}}), fresh=lambda who: who)
        self.guard.logins = Logins(self)

    def ask_model(self, client, request, fields, answer=None):
        self.asked.append((fields["name"], fields["fields"], answer))


def token(*, ahead_ms=0):
    now = unix_ms() + ahead_ms
    return tokens.read(tokens.make(
        KEY, id=os.urandom(16), mesh=b"", node=bytes(16), user="joe", stamp=tokens.stamp_of(HASH),
        at_ms=now, until_ms=now + tokens.FOR_MS,
    ))  # fmt: skip


def logout(loop, login, user="joe"):
    session = Session(1, b"")
    session.who = Who(None)
    session.who.token, session.who.user = login, user
    return accounts.logout(loop, session, b"r", {})


def far(count):
    return {os.urandom(16).hex(): unix_ms() + tokens.FOR_MS_MAX for _ in range(count)}


def holds(loop, login, given):
    """Whether another node that hears of a change of the user still takes a login."""
    users = {"joe": {**loop.guard.rights.users["joe"], **given}}
    return token_problem(login, Rights({"users": users}), KEY.public, b"", unix_ms()) == ""


def test_an_ended_login_is_told_to_the_other_nodes_with_those_before_it():
    before = far(ENDED_MAX_TOLD - 1)
    loop, mine = Loop(mesh=True, ended=before), token()

    assert logout(loop, mine) is None

    ((name, given, answer),) = loop.asked
    assert (name, answer) == ("joe", {"user": "joe", "all": False})
    assert given["ended"] == {**before, mine.digest().hex(): mine.until_ms}
    assert not holds(loop, mine, given)


@pytest.mark.parametrize("ahead_ms", [0, tokens.SKEW_MS // 2])
def test_where_no_more_can_be_told_all_logins_of_the_user_end(ahead_ms):
    """Also one of a node whose clock is ahead."""
    loop, mine = Loop(mesh=True, ended=far(ENDED_MAX_TOLD)), token(ahead_ms=ahead_ms)

    assert logout(loop, mine) is None

    ((_, given, answer),) = loop.asked
    assert answer == {"user": "joe", "all": True}
    assert not holds(loop, mine, given)


def test_where_no_more_can_be_remembered_all_logins_of_the_user_end(monkeypatch):
    monkeypatch.setattr(logins, "ENDED_MAX", 5)
    loop, mine = Loop(mesh=False), [token() for _ in range(6)]
    for one in mine[:5]:
        assert logout(loop, one) == {"user": "joe", "all": False}
    assert logout(loop, mine[0]) == {"user": "joe", "all": False}  # It is remembered already.
    assert loop.asked == []

    assert logout(loop, mine[5]) is None

    ((_, given, answer),) = loop.asked
    assert answer == {"user": "joe", "all": True}
    assert not holds(loop, mine[5], given)


def test_a_login_of_nobody_that_cannot_be_remembered_is_refused_aloud(monkeypatch):
    monkeypatch.setattr(logins, "ENDED_MAX", 0)
    loop = Loop(mesh=False)

    with pytest.raises(Busy, match="does not hold now, and was not ended for good"):
        logout(loop, token(), user=None)
    assert loop.asked == []


def login(loop, signed_out_ms):
    """What the client gets that gave the right password."""
    loop.node_id, loop.identity = bytes(16), SimpleNamespace(sign=KEY)
    loop.audit = SimpleNamespace(login=lambda *_: None)
    loop.guard.rights.users["joe"]["signed_out_ms"] = signed_out_ms
    fields = {"user": "joe", "password": "the right one"}
    loop.guard.logins.ask(1, b"r", fields, "local")
    return loop.guard.logins.answered(1, b"r", True, True)[2:]


def test_a_login_that_would_be_void_is_refused_and_says_until_when():
    good, data = login(Loop(mesh=False), 1 << 53)

    assert (good, data["code"]) == (False, "wrong_state")
    assert f"all logins of joe from before {1 << 53} are void" in data["text"]


def test_a_login_made_just_after_all_were_ended_by_a_clock_that_is_ahead_holds():
    loop, ended = Loop(mesh=False), unix_ms() + tokens.SKEW_MS // 2
    good, data = login(loop, ended)

    assert good and holds(loop, tokens.read(data["login"]), {"signed_out_ms": ended})
