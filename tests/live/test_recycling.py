"""A worker goes after so many calls; in a burst it runs what it was handed ahead, and no more."""

from __future__ import annotations

from collections import Counter

import pytest

from meshcode import limits
from meshcode.client import connect
from tests.live.harness import offering

WHO = "import os\ndef who(n):\n    return os.getpid()\n"


@pytest.mark.parametrize("most", [1, 100])
def test_a_worker_runs_no_more_than_the_limit_and_what_it_was_handed_ahead(most: int):
    """As docs/model.md and `mesh add processor --help` say of `recycle_calls`."""
    with (
        offering("w", {"m.py": WHO}, "m", ["who"], recycle_calls=most) as mesh,
        connect(mesh.address) as client,
    ):
        ran = Counter(client.socket("m.who").map(range(3_000)))

    assert sum(ran.values()) == 3_000
    assert max(ran.values()) < most + limits.CREDIT_CALLS_MAX
    assert len(ran) >= 3_000 // (most + limits.CREDIT_CALLS_MAX)
