"""What of a client's frame is believed."""

from __future__ import annotations

from meshcode import limits
from meshcode.node import intake


def test_a_device_whose_clock_begins_in_1970_takes_calls(monkeypatch):
    """In its first seconds the oldest id that is believed would be older than all ids."""
    monkeypatch.setattr(intake, "unix_ms", lambda: 5_000)

    assert intake._trusted() == (bytes(6), (5_000 + limits.FRESH_TRUSTED_MS).to_bytes(6, "big"))
