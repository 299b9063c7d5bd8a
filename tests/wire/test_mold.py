"""Molds make what `draft` makes."""

from __future__ import annotations

import pytest

from meshcode.errors import TooLarge
from meshcode.limits import META_BYTES_MAX
from meshcode.wire.frame import draft, index, seal_frame
from meshcode.wire.kinds import Kind
from meshcode.wire.mold import mold_of

ID, FLOW, PARENT = bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 48))


@pytest.mark.parametrize("body", [b"", b"\x90", b"x" * 70_000])
@pytest.mark.parametrize(
    ("kind", "same"),
    [
        (Kind.SUBMIT, {"name": b"a", "argc": 0, "flags": 5}),
        (Kind.SUBMIT, {"name": b"n" * 255, "meta": b"\x80", "parent": PARENT}),
        (Kind.OUTCOME, {"meta": b"m" * 300, "code": 1}),
    ],
)
def test_a_mold_makes_the_bytes_that_draft_makes(kind, same, body):
    mold = mold_of(kind, **same)

    for attempt, number in ((0, 0), (1, 2), (2**32 - 1, 2**64 - 1)):
        made = mold(ID, FLOW, body, attempt, number)

        assert made == draft(
            kind, id=ID, flow=FLOW, body=body, attempt=attempt, number=number, **same
        )
        _, [row] = index(seal_frame([made]))
        assert (row.kind, row.id, row.attempt, row.number) == (kind, ID, attempt, number)


def test_what_no_draft_may_have_no_mold_has():
    with pytest.raises(TooLarge):
        mold_of(Kind.OUTCOME, meta=bytes(META_BYTES_MAX + 1))
