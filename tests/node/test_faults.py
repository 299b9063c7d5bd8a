"""What an exception that nobody foresaw may end, and what it may not."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from meshcode.errors import BadRequest, InternalError, LogSuspect
from meshcode.node.faults import Faults
from meshcode.node.turn import Turns
from meshcode.router.core import Router
from meshcode.router.events import Submitted, Ticked


@pytest.fixture
def turns() -> Turns:
    """Of a node that knows nothing."""
    return Turns(Router(bytes(16), 1, Random(1)), lambda _effects: None)


def failed(action: Any) -> Exception:
    """What it raises."""
    with pytest.raises(Exception) as caught:
        action()
    return caught.value


def test_what_nobody_foresaw_becomes_an_internal_error_and_is_counted(turns: Turns, capfd):
    faults = Faults(turns)
    errors = [failed(lambda: int("x")) for _ in range(3)]

    told = [faults.of_request("status", error) for error in errors]

    assert {type(error) for error in told} == {InternalError}
    assert faults.counts == {"request status": 3}
    assert capfd.readouterr().err.count("Traceback") == 1


def test_a_refusal_stays_what_it_is(turns: Turns):
    error = failed(lambda: (_ for _ in ()).throw(BadRequest("no")))

    assert Faults(turns).of_request("status", error) is error


def test_a_log_that_cannot_be_trusted_passes(turns: Turns):
    faults, error = Faults(turns), LogSuspect("the disk is gone")

    assert failed(lambda: faults.of_request("status", error)) is error
    assert failed(lambda: faults.note("frame", "a client", error)) is error


def test_a_step_that_was_left_half_done_passes_and_one_that_ended_does_not(turns: Turns):
    faults, calls = Faults(turns), [None]
    turns.step(Ticked(), 1)
    error = failed(lambda: int("x"))
    faults.pass_on(error)

    broken = failed(lambda: turns.step(Submitted(1, 1, calls), 2))  # type: ignore[arg-type]

    assert failed(lambda: faults.note("frame", "a client", broken)) is broken
    assert not faults.counts
