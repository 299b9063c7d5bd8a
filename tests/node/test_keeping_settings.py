"""What of history is kept, as the settings of the mesh say."""

from __future__ import annotations

from types import SimpleNamespace

from meshcode.limits import RESULT_KEEP_COUNT, RESULT_KEEP_MS
from meshcode.model.settingnames import values
from meshcode.node.keeping import Keeping


def test_history_is_kept_for_what_the_settings_say_and_looked_at_at_once():
    keeping = Keeping(SimpleNamespace())
    keeping._next_forget_ms = 10_000

    keeping.apply(values({"settings": {"retention_age_ms": {"value": 60_000},
                                       "retention_count": {"value": 1_000}}}))  # fmt: skip
    assert (keeping.keep_ms, keeping.keep_count) == (60_000, 1_000)
    assert keeping._next_forget_ms == 0

    keeping.apply(values({}))
    assert (keeping.keep_ms, keeping.keep_count) == (RESULT_KEEP_MS, RESULT_KEEP_COUNT)
