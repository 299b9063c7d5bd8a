"""Which calls a listing with times takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from meshcode.cli.options import Moment
from meshcode.client.past import since_ms
from meshcode.ids import child_id, make_ids
from meshcode.node.choosing import Choice

MS = 1_790_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "made_ms", "accepted_ms", "takes"),
    [
        ({"since_ms": MS}, MS - 2, MS - 1, False),
        ({"since_ms": MS}, MS - 2, MS, True),
        # The node read its clock before the call was made, and took it in the same turn.
        ({"since_ms": MS}, MS, MS - 3, True),
        ({"until_ms": MS}, MS - 2, MS, True),
        ({"until_ms": MS}, MS - 2, MS + 1, False),
        ({"since_ms": MS, "until_ms": MS}, MS, MS - 3, True),
    ],
)
def test_what_was_made_or_accepted_since_a_time_was_accepted_since(
    fields, made_ms, accepted_ms, takes
):
    (id,) = make_ids(1, made_ms)
    assert Choice(SimpleNamespace(lines={}), fields).takes_submit(id, b"", accepted_ms) is takes


def test_what_a_call_has_caused_later_is_taken_by_its_own_time():
    (parent,) = make_ids(1, MS - 5000)
    choice = Choice(SimpleNamespace(lines={}), {"since_ms": MS})
    assert choice.takes_submit(child_id(parent, b"0"), b"", MS)
    assert not choice.takes_submit(child_id(parent, b"0"), b"", MS - 1)


@pytest.mark.parametrize("micros", [0, 1, 499, 500, 573, 999])
def test_a_time_within_a_millisecond_has_all_of_it(micros):
    """A call of the same millisecond is not before it."""
    at = EPOCH + timedelta(milliseconds=MS, microseconds=micros)
    assert since_ms(at) == MS
    assert Moment().convert(at.isoformat(), None, None) == MS
