"""What of history is kept, as the settings of the mesh say."""

from __future__ import annotations

from types import SimpleNamespace

from meshcode.model.settingnames import values
from meshcode.node.retention import Retention
from meshcode.store.memory_log import MemoryLog


def test_history_is_kept_for_what_the_settings_say_and_looked_at_at_once(monkeypatch):
    monkeypatch.setenv("MESH_RETENTION_AGE", "2d")
    retention = Retention(SimpleNamespace(log=MemoryLog()))
    own = (retention.age_ms, retention.calls_max, retention.bytes_max)
    assert own[0] == 2 * 24 * 3_600_000
    retention._next_ms = 10_000

    retention.apply(values({"settings": {"retention_age_ms": {"value": 60_000},
                                         "retention_bytes": {"value": 1 << 20}}}))  # fmt: skip
    assert (retention.age_ms, retention.calls_max, retention.bytes_max) == (60_000, own[1], 1 << 20)
    assert retention._next_ms == 0

    retention.apply(values({}))
    assert (retention.age_ms, retention.calls_max, retention.bytes_max) == own
