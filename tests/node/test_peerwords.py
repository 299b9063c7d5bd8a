"""What the core says to peers: every kind of it gets in, and entries arrive as they left."""

from __future__ import annotations

import pytest

from meshcode.node import peerwords
from meshcode.router import words
from meshcode.wire.frame import check_envelope
from meshcode.wire.kinds import Kind


@pytest.mark.parametrize("kind", words.HANDLERS, ids=lambda kind: Kind(kind).name)
def test_a_kind_that_the_core_hears_is_let_in(kind: int):
    assert peerwords.FIRST_KIND <= kind <= peerwords.LAST_KIND


def test_outcomes_for_a_peer_leave_in_frames_of_the_size_wanted():
    entries = [[bytes(16), bytes(50_000)] for _ in range(6)]

    said = [(b"n", int(Kind.OUTCOME_IS), entry) for entry in entries]
    (envelopes,) = peerwords.to_envelopes(said).values()

    assert len(envelopes) == 3
    found = []
    for data in envelopes:
        row = check_envelope(data)
        assert row.kind == Kind.OUTCOME_IS
        found += peerwords.entries_of(data[row.body_at : row.end]) or []
    assert found == entries
