"""What the core says to peers: every kind of it gets in, and entries arrive as they left."""

from __future__ import annotations

import pytest

from meshcode.node import peerwords
from meshcode.replica.instance import KEY_BYTES
from meshcode.router import words
from meshcode.wire.frame import check_envelope
from meshcode.wire.kinds import Kind


@pytest.mark.parametrize("kind", words.HANDLERS, ids=lambda kind: Kind(kind).name)
def test_a_kind_that_the_core_hears_is_let_in(kind: int):
    assert peerwords.FIRST_KIND <= kind <= peerwords.LAST_KIND


def test_outcomes_for_a_peer_leave_in_frames_of_the_size_wanted():
    entries = [[bytes(16), bytes(50_000)] for _ in range(6)]

    said = [(b"n", int(Kind.OUTCOME_IS), entry) for entry in entries]
    (envelopes,) = peerwords.to_envelopes(said, {}).values()

    assert len(envelopes) == 3
    found = []
    for data in envelopes:
        row = check_envelope(data)
        assert row.kind == Kind.OUTCOME_IS
        found += peerwords.entries_of(data[row.body_at : row.end])
    assert found == entries


def heard(envelopes: list[bytes]) -> list[tuple[int, list[object]]]:
    """Kind and entry of all that these say."""
    found = []
    for data in envelopes:
        row = check_envelope(data)
        entries = peerwords.entries_of(data[row.body_at : row.end])
        found += [(row.kind, entry) for entry in entries]
    return found


def test_a_node_of_an_older_meshcode_is_told_of_one_instance_after_the_other():
    new, old = b"n" * 16, b"o" * 16
    keys = [bytes([number]) * KEY_BYTES for number in range(3)]
    told = [b"".join(keys), 2, None, False]
    said = [
        (node, kind, entry)
        for kind, entry in ((Kind.TOLD, told), (Kind.STORED, [keys[0]]), (Kind.TAKEN, [keys[0], 1]))
        for node in (new, old)
    ]

    made = peerwords.to_envelopes(said, {new: {**peerwords.ABOUT}, old: {"name": "older"}})

    rest = [(Kind.STORED, [keys[0]]), (Kind.TAKEN, [keys[0], 1])]
    assert heard(made[new]) == [(Kind.TOLD, told), *rest]
    assert heard(made[old]) == [(Kind.TOLD, [key, 2, None, False]) for key in keys] + rest


def test_an_older_node_is_not_asked_which_commit_it_runs():
    """It would not answer, and be waited for."""
    assert peerwords.tells_commits(peerwords.ABOUT)
    assert not peerwords.tells_commits({"names_many": True, "version": "0.9"})
